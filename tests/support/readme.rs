//! Types what a README says and compares what it says comes out.
//!
//! A ```` ```bash ```` block is typed line by line. A ```` ```text ```` block that follows it is the standard output of
//! its commands. `compozy start` is a terminal of its own that stays; the next commands are typed in another. A comment
//! that begins with `# Edit .env` is an edit which the test makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{self, Output, Running};
use super::server::Server;
use super::wait;

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// What follows the fence, `bash`.
    pub(crate) language: String,
    /// 1-based line of its fence.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The fenced blocks of a Markdown text.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in markdown.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(language), None) => {
                open = Some(Block { language: language.trim().to_owned(), line: number + 1, text: String::new() });
            }
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a fence is not closed");
    blocks
}

/// A block that was typed, with what came out and what should have.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) block: Block,
    pub(crate) expected: Option<String>,
    pub(crate) output: Output,
}

/// Someone at the keyboard, in a copy of the repository's example folders.
#[derive(Debug)]
pub(crate) struct Terminal {
    folder: tempfile::TempDir,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    dotenv: Vec<(String, String)>,
    server: Option<Server>,
    patience: Duration,
}

impl Terminal {
    /// Copies `example` (a folder of the repository) and sits down at the repository's root.
    pub(crate) fn with_example(example: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("compozy-readme-").tempdir().expect("a folder");
        let root = folder.path().join("repository");
        copy(&super::root().join(example), &root.join(example));
        std::fs::create_dir_all(folder.path().join("bin")).expect("bin");
        std::fs::create_dir_all(folder.path().join("home")).expect("home");
        std::os::unix::fs::symlink(command::COMPOZY, folder.path().join("bin/compozy")).expect("link");
        let components = super::root().join("plugins/target/components");
        let built = root.join("plugins/target");
        std::fs::create_dir_all(&built).expect("a folder");
        std::os::unix::fs::symlink(components, built.join("components")).expect("link");
        // The ports of the examples may be taken on this machine.
        let environment = vec![("COMPOZY_SERVER_PORT".to_owned(), "0".to_owned())];
        Self { folder, directory: root, environment, dotenv: Vec::new(), server: None, patience: wait::PATIENCE }
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits so long for each command instead of the usual time.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets a variable when the README says to edit `.env`.
    pub(crate) fn dotenv(mut self, name: &str, value: &str) -> Self {
        self.dotenv.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// Types the bash blocks of the README at `path` that `wanted` takes by number, from 0.
    pub(crate) fn type_readme(&mut self, path: &str, wanted: impl Fn(usize) -> bool) -> Vec<Typed> {
        let markdown = std::fs::read_to_string(super::root().join(path)).expect("the README");
        let blocks = blocks(&markdown);
        let with_next = blocks.iter().zip(blocks.iter().skip(1).map(Some).chain([None]));
        let bash = with_next.filter(|(block, _)| block.language == "bash").enumerate();
        let mut typed = Vec::new();
        for (_, (block, next)) in bash.filter(|(number, _)| wanted(*number)) {
            let expected = next.filter(|next| next.language == "text").map(|next| next.text.clone());
            typed.push(Typed { block: block.clone(), expected, output: self.type_block(&block.text) });
        }
        typed
    }

    /// Types some lines and returns what they printed together; the first failure ends them.
    pub(crate) fn type_block(&mut self, text: &str) -> Output {
        let mut all = Output { code: 0, stdout: String::new(), stderr: String::new() };
        for line in joined(text) {
            let output = self.type_line(&line);
            all.stdout.push_str(&output.stdout);
            all.stderr.push_str(&output.stderr);
            all.code = output.code;
            if all.code != 0 {
                break;
            }
        }
        all
    }

    /// Ctrl+C in the terminal of the server.
    pub(crate) fn stop_server(&mut self) -> Output {
        self.server.take().expect("a server runs").stop()
    }

    fn type_line(&mut self, line: &str) -> Output {
        let nothing = Output { code: 0, stdout: String::new(), stderr: String::new() };
        let line = line.trim();
        if line.starts_with("# Edit .env") {
            self.edit_dotenv();
            return nothing;
        }
        if line.is_empty() || line.starts_with('#') {
            return nothing;
        }
        if let Some(folder) = line.strip_prefix("cd ") {
            self.directory = self.directory.join(folder);
            assert!(self.directory.is_dir(), "{line}: no such folder");
            return nothing;
        }
        // The port that the README names, on the port that the server has.
        let line = &match &self.server {
            Some(server) => line.replace("localhost:8080", &server.address),
            None => line.to_owned(),
        };
        let running = Running::spawn(self.shell(line));
        if !is_start(line) {
            return running.finish_within(self.patience);
        }
        match Server::wait_ready(running) {
            Ok(server) => {
                let stdout = server.stdout();
                self.server = Some(server);
                Output { stdout, ..nothing }
            }
            Err(output) => output,
        }
    }

    fn shell(&self, line: &str) -> std::process::Command {
        let mut command = command::command("bash", &self.directory, &self.folder.path().join("home"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let given = self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
        let path = given.unwrap_or_else(|| std::env::var("PATH").unwrap_or_default());
        command.env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()));
        // The shell is replaced by the server, so that a signal reaches it.
        let line = if is_start(line) { format!("exec {line}") } else { line.to_owned() };
        command.args(["-c", &line]);
        command
    }

    fn edit_dotenv(&self) {
        let path = self.directory.join(".env");
        let mut text = std::fs::read_to_string(&path).expect("the README has copied .env.example");
        for (name, value) in &self.dotenv {
            let kept = text.lines().filter(|line| !line.starts_with(&format!("{name}=")));
            text = kept.map(|line| format!("{line}\n")).collect();
            text.push_str(&format!("{name}={value}\n"));
        }
        std::fs::write(path, text).expect("write .env");
    }
}

fn is_start(line: &str) -> bool {
    line == "compozy start" || line.starts_with("compozy start ")
}

/// Lines that end with a backslash go on in the next.
fn joined(text: &str) -> Vec<String> {
    text.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

/// Copies what git would: no data, no environment, no built components.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("list").flatten() {
        let name = entry.file_name();
        if [".env", "data", ".compozy"].iter().any(|left| name == *left) {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else if entry.path().extension().is_none_or(|extension| extension != "wasm") {
            std::fs::copy(entry.path(), to.join(name)).expect("copy");
        }
    }
}
