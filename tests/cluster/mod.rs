//! Several nodes on one PostgreSQL: what is lost, doubled or stuck when nodes are killed or stopped, when the database
//! goes away, and whether all stores and any number of nodes tell the same story of the same programs.
//!
//! Each test has a database of its own on the server that all tests share, except `chaos`, which ends servers.

mod canonical;
mod chaos;
mod differential;
mod kills;
mod nodes;
mod zombies;
