//! Projects written in the test, and a stand-in for the template plugin.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compozy_lang::load::{
    self, Checked, Files, FolderEntry, Request, TemplateProblem, TemplateReference, TemplateReport,
};

/// Files in memory, by path below `/project`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(pub BTreeMap<PathBuf, Vec<u8>>);

/// The folder of every test's project.
pub(crate) const ROOT: &str = "/project";

impl Memory {
    /// Files by their path below the project folder.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (Path::new(ROOT).join(path), text.as_bytes().to_vec())).collect())
    }
}

impl Files for Memory {
    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
        let path: PathBuf = path.components().collect();
        let bytes = self.0.get(&path).ok_or(io::ErrorKind::NotFound)?;
        Ok(bytes.iter().copied().take(usize::try_from(most_bytes).unwrap() + 1).collect())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>> {
        let mut found: Vec<FolderEntry> = Vec::new();
        for path in self.0.keys() {
            let Ok(rest) = path.strip_prefix(folder) else { continue };
            let mut components = rest.components();
            if let Some(first) = components.next() {
                let name = first.as_os_str().to_string_lossy().into_owned();
                found.push(FolderEntry { name, is_folder: components.next().is_some() });
            }
        }
        found.sort();
        found.dedup();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }
}

/// What a test asks for beside its files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub environment: BTreeMap<String, String>,
    pub overrides: Vec<(String, String)>,
    pub strict: bool,
    pub config: Option<PathBuf>,
    pub env_file: Option<PathBuf>,
}

/// Variables by name.
pub(crate) fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads a project.
pub(crate) fn load(files: &dyn Files, cwd: &Path, options: &Options) -> Checked {
    let request = Request {
        files,
        config: options.config.clone(),
        cwd: cwd.to_owned(),
        env_file: options.env_file.clone(),
        environment: Arc::new(options.environment.clone()),
        overrides: options.overrides.clone(),
        strict: options.strict,
    };
    let draft = load::read(&request);
    let reports = draft.template_sources().iter().map(|source| check(source.text, source.inert)).collect();
    draft.link(reports)
}

/// Loads a project of files written in the test.
pub(crate) fn load_files(files: &[(&str, &str)], options: &Options) -> Checked {
    load(&Memory::of(files), Path::new(ROOT), options)
}

/// The plan of a project that must be right.
pub(crate) fn plan(files: &[(&str, &str)], options: &Options) -> compozy_lang::plan::Project {
    let checked = load_files(files, options);
    let problems: Vec<String> = checked.diagnostics.iter().map(ToString::to_string).collect();
    checked.project.unwrap_or_else(|| panic!("{}", problems.join("\n")))
}

/// A stand-in for the plugin's `check`: finds actions, the paths in them, and actions that never end.
pub(crate) fn check(text: &str, inert: &[(u32, u32)]) -> TemplateReport {
    let mut report = TemplateReport::default();
    let is_inert = |at: usize| inert.iter().any(|(start, end)| (*start as usize..*end as usize).contains(&at));
    let mut at = 0;
    while let Some(start) = text[at..].find("{{").map(|found| at + found) {
        if is_inert(start) {
            at = start + 2;
            continue;
        }
        let Some(end) = text[start..].find("}}").map(|found| start + found) else {
            report.problems.push(TemplateProblem {
                code: "CZ0401".into(),
                message: "the action is not closed".into(),
                help: Some("close it with }}".into()),
                start: start as u32,
                end: text.len() as u32,
                warning: false,
            });
            return report;
        };
        report.is_template = true;
        references(text, start + 2, end, &mut report);
        at = end + 2;
    }
    if let Some(start) = text.find("{%").filter(|start| !is_inert(*start)) {
        report.problems.push(TemplateProblem {
            code: "CZ0412".into(),
            message: "'{%' is plain text here; templates use {{ }}".into(),
            start: start as u32,
            end: start as u32 + 2,
            warning: true,
            ..TemplateProblem::default()
        });
    }
    report
}

/// Paths between two offsets, string literals skipped.
fn references(text: &str, from: usize, to: usize, report: &mut TemplateReport) {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (from, None);
    while at < to {
        let byte = bytes[at];
        match quote {
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
            None if byte == b'.' && !bytes[at - 1].is_ascii_alphanumeric() && bytes[at - 1] != b')' => {
                let end = (at + 1..to)
                    .find(|end| !(bytes[*end].is_ascii_alphanumeric() || b"_-.".contains(&bytes[*end])))
                    .unwrap_or(to);
                let path: Vec<String> =
                    text[at + 1..end].split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
                report.references.push(TemplateReference {
                    path,
                    whole: false,
                    guarded: false,
                    start: at as u32,
                    end: end as u32,
                });
                at = end;
                continue;
            }
            None => {}
        }
        at += 1;
    }
}
