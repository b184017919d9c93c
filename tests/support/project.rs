//! A project in a folder of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::command::{self, Output, Running};
use super::database::Snapshot;
use super::server::Server;

/// A project folder with its environment; removed at the end of the test.
#[derive(Debug)]
pub(crate) struct Project {
    folder: TempDir,
    environment: Vec<(String, String)>,
    /// URL of its PostgreSQL database.
    url: Option<String>,
}

impl Project {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("compozy-test-").tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("home")).expect("a home");
        std::fs::create_dir(folder.path().join("project")).expect("a project folder");
        Self { folder, environment: Vec::new(), url: None }
    }

    /// A project on a SQLite file without more than `extra` in its `compozy.yaml`.
    pub(crate) fn sqlite(extra: &str) -> Self {
        let project = Self::empty();
        project.file("compozy.yaml", format!("database: {{driver: sqlite, path: ./data/compozy.db}}\n{extra}"));
        project
    }

    /// A project on a PostgreSQL database, a node of its own, with short leases and few connections.
    pub(crate) fn postgres(url: &str, lease: &str, extra: &str) -> Self {
        let mut project = Self::empty();
        let database = "database: {conn_string: \"${DATABASE_OF_THE_TEST}\", max_open_conns: 10}";
        project.file("compozy.yaml", format!("name: p\n{database}\ncluster: {{lease: {lease}}}\n{extra}"));
        project.env("DATABASE_OF_THE_TEST", url);
        project.url = Some(url.to_owned());
        project
    }

    /// What its database holds, in one consistent look. On SQLite no process may have it open.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match &self.url {
            Some(url) => Snapshot::of_server(url),
            None if self.database().exists() => Snapshot::of(&self.database()),
            None => Snapshot::default(),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root().join(relative)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("data/compozy.db")
    }

    /// Writes a file below the project folder.
    pub(crate) fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self
    }

    /// Puts a built component at `plugins/<name>.wasm`.
    pub(crate) fn component(&self, name: &str) -> &Self {
        let from = super::component(name);
        let to = self.path("plugins").join(from.file_name().expect("a name"));
        std::fs::create_dir_all(self.path("plugins")).expect("a folder");
        std::fs::copy(from, to).expect("copy the component");
        self
    }

    /// Sets a variable for every command from now on.
    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Any program, in the project folder and its environment.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command::command(program, &self.root(), &self.folder.path().join("home"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs compozy to its end.
    pub(crate) fn compozy(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).finish()
    }

    /// Starts compozy.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(command::COMPOZY);
        command.args(arguments);
        Running::spawn(command)
    }

    /// Starts a server on a free port and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        self.start_with(&[], &[])
    }

    /// The same with further arguments and variables.
    #[track_caller]
    pub(crate) fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        match self.try_start(arguments, environment) {
            Ok(server) => server,
            Err(output) => panic!("the server did not start: {output}"),
        }
    }

    /// A server, or what the process left behind when it ended before it was ready.
    pub(crate) fn try_start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Server, Output> {
        let mut command = self.command(command::COMPOZY);
        command.args(["start", "--port", "0"]).args(arguments).envs(environment.iter().copied());
        Server::wait_ready(Running::spawn(command))
    }
}
