//! From a project to its component: the steps of its language, then the encoder.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::inspect::{self, Findings};
use super::language::{self, Step};
use super::{Error, encode};

/// Bytes kept of what a step prints, for its failure.
const KEPT_BYTES: usize = 16 << 10;

/// Bytes of stdout in which the result of a build is looked for.
const STDOUT_BYTES: u64 = 16 << 20;

/// Who is told how a build goes on.
pub trait Watch: Sync {
    /// A step begins: its command line. Called from the thread that builds.
    fn step(&self, command: &str);
    /// A step printed a line. Called from other threads.
    fn line(&self, line: &str);
}

/// A component that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The plugin's name.
    pub name: String,
    /// The language it is written in, for people.
    pub language: &'static str,
    /// Where the component was written.
    pub path: PathBuf,
    /// What is in it.
    pub findings: Findings,
}

/// Builds the project in `folder` and writes `<name>.wasm` there.
///
/// # Errors
/// No project, a program that is missing, a step that failed, or a result that can be no plugin.
pub fn project(folder: &Path, watch: &dyn Watch) -> Result<Built, Error> {
    let language = language::of(folder)?;
    let name = (language.name_of)(folder)?;
    let mut printed = String::new();
    for step in (language.steps)(folder)? {
        if !step.is_done(folder) {
            printed = run(&step, folder, watch)?;
        }
    }
    let result = (language.result)(folder, &printed)
        .ok_or_else(|| Error::NoResult(format!("{} printed no path of it", language.title)))?;
    let wasm = std::fs::read(&result).map_err(|error| Error::file("read", &result, &error))?;
    write(&wasm, &folder.join(format!("{name}.wasm")), name, language.title)
}

/// Makes a component of a module that some other tool has compiled, and writes it to `target`.
///
/// # Errors
/// It can be no plugin, or a file cannot be read or written.
pub fn module(file: &Path, target: &Path) -> Result<Built, Error> {
    let wasm = read(file)?;
    let name = target.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    write(&wasm, target, name, "WebAssembly")
}

/// Reads a file that is said to hold WebAssembly. A pipe or device, which might never end, is refused.
///
/// # Errors
/// It is no file, cannot be read, or is too large.
pub fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| Error::file("read", file, &error);
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    let refused = |reason: &str| Error::File { action: "read", path: file.to_owned(), reason: reason.to_owned() };
    if metadata.is_dir() {
        return Err(refused("it is a folder"));
    }
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    if metadata.len() > crate::plugin::MAX_COMPONENT_BYTES {
        return Err(refused("it is too large"));
    }
    std::fs::read(file).map_err(unreadable)
}

fn write(wasm: &[u8], target: &Path, name: String, language: &'static str) -> Result<Built, Error> {
    let component = encode::component(wasm)?;
    let findings = inspect::findings(&component)?;
    if findings.kinds.is_empty() {
        let exports = if findings.exports.is_empty() { "nothing".to_owned() } else { findings.exports.join(", ") };
        return Err(Error::NotAPlugin(format!("it exports no interface of compozy:plugin; it exports {exports}")));
    }
    // A run that reads the file meanwhile sees the old one or the new one.
    let temporary = target.with_extension("wasm.new");
    std::fs::write(&temporary, &component)
        .and_then(|()| std::fs::rename(&temporary, target))
        .map_err(|error| Error::file("write", target, &error))?;
    Ok(Built { name, language, path: target.to_owned(), findings })
}

/// Runs one step and gives what it printed to stdout.
fn run(step: &Step, folder: &Path, watch: &dyn Watch) -> Result<String, Error> {
    let program = step.program.locate(folder, step.what)?;
    let mut command = Command::new(&program);
    command.current_dir(folder).args(&step.arguments).envs(step.variables.iter().cloned());
    for variable in step.without {
        command.env_remove(variable);
    }
    let shown = shown(&program, step);
    watch.step(&shown);
    let failed = |status: String, output: String| Error::Step { command: shown.clone(), status, output };
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| failed(error.to_string(), String::new()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Both are read at once: a child that fills one pipe waits for its reader.
    let (printed, told) = thread::scope(|scope| {
        let told = scope.spawn(|| stderr.map(|stderr| tail(stderr, watch)).unwrap_or_default());
        let mut printed = Vec::new();
        if let Some(mut stdout) = stdout {
            let kept = stdout.by_ref().take(STDOUT_BYTES).read_to_end(&mut printed);
            // The rest is read and dropped, so that the child can end.
            drop(kept.and_then(|_| std::io::copy(&mut stdout, &mut std::io::sink())));
        }
        (String::from_utf8_lossy(&printed).into_owned(), told.join().unwrap_or_default())
    });
    let status = child.wait().map_err(|error| failed(error.to_string(), told.clone()))?;
    if status.success() {
        return Ok(printed);
    }
    let output = if told.trim().is_empty() { last(&printed) } else { told };
    Err(failed(status.to_string(), output))
}

fn shown(program: &Path, step: &Step) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = step.arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Hands on every line and keeps the last ones.
fn tail(stderr: impl Read, watch: &dyn Watch) -> String {
    let mut kept: VecDeque<String> = VecDeque::new();
    let mut bytes = 0;
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader.by_ref().take(KEPT_BYTES as u64).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        watch.line(&text);
        bytes += text.len();
        kept.push_back(text);
        while bytes > KEPT_BYTES {
            bytes -= kept.pop_front().map_or(bytes, |dropped| dropped.len());
        }
    }
    Vec::from(kept).join("\n")
}

/// The end of a text, cut at a character.
fn last(text: &str) -> String {
    let text = text.trim_end();
    let from = text.ceil_char_boundary(text.len().saturating_sub(KEPT_BYTES));
    text.get(from..).unwrap_or_default().to_owned()
}

/// How deep sources are looked for, and what holds none.
const SOURCE_DEPTH: usize = 5;
const NOT_SOURCES: [&str; 5] = ["target", "node_modules", "__pycache__", "README.md", "cases.yaml"];

/// A source of the project in `folder` that was changed after its component was built.
#[must_use]
pub fn newer(folder: &Path, component: &Path) -> Option<PathBuf> {
    let built = fs::metadata(component).and_then(|metadata| metadata.modified()).ok()?;
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_source = !name.starts_with('.') && !NOT_SOURCES.contains(&&*name);
            let Ok(metadata) = entry.metadata() else { continue };
            if !is_source || path.extension().is_some_and(|ending| ending == "wasm" || ending == "lock") {
                continue;
            }
            if metadata.is_dir() && depth < SOURCE_DEPTH {
                folders.push((path, depth + 1));
            } else if metadata.is_file() && metadata.modified().is_ok_and(|changed| changed > built) {
                return Some(path);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::authoring::programs::{Install, Program};

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Watch for Heard {
        fn step(&self, command: &str) {
            self.0.lock().unwrap().push(format!("$ {command}"));
        }

        fn line(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    fn shell(script: &str) -> Step {
        Step::new("try", Program::OnPath(&["sh"], Install::everywhere("")), &["-c", script])
    }

    #[test]
    fn a_step_gives_its_stdout_and_hands_on_its_stderr() {
        let folder = tempfile::tempdir().unwrap();
        let heard = Heard::default();
        let mut step = shell("echo out; echo one >&2; echo $GIVEN$HOME >&2");
        step.variables = vec![("GIVEN", "two".into())];
        step.without = &["HOME"];
        assert_eq!(run(&step, folder.path(), &heard).unwrap(), "out\n");
        let heard = heard.0.into_inner().unwrap();
        assert!(heard[0].starts_with("$ sh -c "));
        assert_eq!(heard[1..], ["one", "two"]);
    }

    #[test]
    fn a_step_that_fails_shows_the_end_of_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        for (script, expected) in [
            ("echo why >&2; exit 3", "why"),
            ("echo why; exit 3", "why"),
            (
                "for i in 1 2 3 4 5 6 7 8; do head -c 4000 /dev/zero | tr '\\0' x; echo; done >&2; echo end >&2; exit 3",
                "end",
            ),
        ] {
            let error = run(&shell(script), folder.path(), &Heard::default()).unwrap_err();
            let Error::Step { status, output, .. } = error else { panic!("{error}") };
            assert_eq!(status, "exit status: 3");
            assert!(output.ends_with(expected) && output.len() <= KEPT_BYTES + 8, "{} bytes", output.len());
        }
    }

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        for (path, reason) in [
            (folder.path().to_owned(), "it is a folder"),
            (folder.path().join("none"), "entity not found"),
            ("/dev/zero".into(), "it is not a regular file"),
        ] {
            let error = read(&path).unwrap_err();
            assert_eq!(
                (error.code(), error.to_string()),
                ("usage", format!("cannot read {}: {reason}", path.display()))
            );
        }
    }
}
