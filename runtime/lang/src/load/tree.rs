//! Finding and reading the files of a project.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Severity;
use crate::document::item_path;
use crate::document::workflow::resource_kind;
use crate::script::{self, Modules, ScriptRef};
use crate::source::narrow;

use super::*;

/// Kinds of resource files and the list each of them belongs to.
const RESOURCES: &[(&str, &str)] = &[
    ("agent", "agents"),
    ("tool", "tools"),
    ("plugin", "plugins"),
    ("mcp", "mcps"),
    ("memory", "memories"),
    ("schema", "schemas"),
    ("model", "models"),
    ("knowledge_base", "knowledge_bases"),
    ("embedder", "embedders"),
    ("vector_db", "vector_dbs"),
];

/// Files that are left out of autoloading unless `exclude` is written.
const EXCLUDED: &[&str] = &["*~", "*.bak", "*.swp", "*.tmp"];

/// A load under way.
pub(super) struct Loading<'a> {
    request: &'a Request<'a>,
    root: PathBuf,
    config_file: PathBuf,
    limits: Limits,
    diagnostics: Vec<Diagnostic>,
    files: Vec<PathBuf>,
    read: BTreeSet<String>,
    written: Vec<(String, serde_json::Value)>,
}

impl<'a> Loading<'a> {
    pub(super) fn new(request: &'a Request<'a>) -> Self {
        Self {
            request,
            root: request.cwd.clone(),
            config_file: PathBuf::new(),
            limits: Limits::default(),
            diagnostics: Vec::new(),
            files: Vec::new(),
            read: BTreeSet::new(),
            written: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Draft {
        let config = self.config();
        let environment = self.environment();
        let mut definitions = Definitions::default();
        let mut workflows = Vec::new();
        let mut reader = Reader::new(&environment, self.request.strict);
        let mut project = None;
        let mut origins = Vec::new();
        if let Some((name, text)) = config
            && let Some(mut root) = self.parse(&name, text)
        {
            overlay::apply(&mut root, &environment, &self.request.overrides, &mut self.diagnostics);
            origins = crate::origins::settings(&root, &environment);
            project = reader.project(&root, &mut definitions);
            if let Some(project) = &project {
                self.limits.file_bytes = project.settings.limits.max_config_file_bytes;
                self.limits.depth = project.settings.limits.max_config_file_nesting_depth as usize;
                self.workflows(project, &mut reader, &mut definitions, &mut workflows);
                self.autoload(project, &mut reader, &mut definitions, &mut workflows);
            }
        }
        let Reader { diagnostics, missing, deferred, checks, secret_names, scripts, entrypoint, .. } = reader;
        self.diagnostics.extend(diagnostics);
        let scripts = self.scripts(&scripts);
        Draft {
            project,
            definitions,
            workflows,
            checks,
            environment: environment.with_secret_names(secret_names),
            diagnostics: self.diagnostics,
            missing,
            deferred,
            origins,
            files: self.files,
            written: self.written,
            scripts,
            entrypoint,
            root: self.root,
            config_file: self.config_file,
            strict: self.request.strict,
        }
    }

    /// Finds the project file and its folder.
    fn config(&mut self) -> Option<(String, Vec<u8>)> {
        let environment = &self.request.environment;
        let named = self.request.config.clone().or_else(|| {
            let name = environment.lookup("COMPOZY_CONFIG").or_else(|| environment.lookup("COMPOZY_CONFIG_FILE"));
            name.filter(|name| !name.is_empty()).map(PathBuf::from)
        });
        let cwd = self.request.cwd.clone();
        if let Some(path) = named {
            let path = cwd.join(path);
            return match self.bytes(&path) {
                Ok(bytes) => Some(self.found(path, bytes)),
                Err(error) => {
                    self.cannot_read(&path.to_string_lossy(), &error);
                    None
                }
            };
        }
        for name in ["compozy.yaml", "compozy.yml"] {
            match self.bytes(&cwd.join(name)) {
                Ok(bytes) => return Some(self.found(cwd.join(name), bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.cannot_read(name, &error);
                    return None;
                }
            }
        }
        let place = Place { file: Arc::from(cwd.to_string_lossy().as_ref()), line: 0, column: 0 };
        let problem = Diagnostic::error("CZ0101", format!("no compozy.yaml found in {}", cwd.display()), place);
        self.diagnostics.push(problem.help("change to the project folder, or name one with --config"));
        None
    }

    fn found(&mut self, path: PathBuf, bytes: Vec<u8>) -> (String, Vec<u8>) {
        self.root = path.parent().map(Path::to_path_buf).unwrap_or_else(|| self.request.cwd.clone());
        self.config_file = path.clone();
        self.files.push(path.clone());
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        (name, bytes)
    }

    fn bytes(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.request.files.read(path, self.limits.file_bytes)
    }

    fn cannot_read(&mut self, name: &str, error: &std::io::Error) {
        let place = Place { file: Arc::from(name), line: 0, column: 0 };
        let message = format!("cannot read {name}: {error}");
        self.diagnostics.push(Diagnostic::error("CZ0102", message, place).help("check that it exists and may be read"));
    }

    fn environment(&mut self) -> ProjectEnvironment {
        let (path, is_named) = match &self.request.env_file {
            Some(path) => (self.request.cwd.join(path), true),
            None => (self.root.join(".env"), false),
        };
        let name = self.relative(&path);
        let parsed = match self.bytes(&path) {
            Ok(bytes) => {
                self.files.push(path);
                dotenv::parse(&String::from_utf8_lossy(&bytes))
            }
            Err(error) => {
                if is_named || error.kind() != std::io::ErrorKind::NotFound {
                    self.cannot_read(&name, &error);
                }
                dotenv::DotEnv::default()
            }
        };
        for line in &parsed.ignored {
            let place = Place { file: Arc::from(name.as_str()), line: *line, column: 1 };
            self.diagnostics.push(
                Diagnostic::warning("CZ0116", format!("{name}:{line}: not KEY=VALUE, ignored"), place)
                    .help("fix the line"),
            );
        }
        ProjectEnvironment::new(self.request.environment.clone(), parsed)
    }

    /// A path as the user knows it.
    fn relative(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.root).ok().filter(|inside| !inside.as_os_str().is_empty());
        inside.unwrap_or(path).to_string_lossy().into_owned()
    }

    /// Text to tree, within the limits.
    fn parse(&mut self, name: &str, bytes: Vec<u8>) -> Option<Node> {
        let place = Place { file: Arc::from(name), line: 0, column: 0 };
        if bytes.len() as u64 > self.limits.file_bytes {
            let size = narrow(bytes.len());
            let message = format!(
                "{name} is more than {} bytes; the limit is {}",
                size.saturating_sub(1),
                self.limits.file_bytes
            );
            self.diagnostics.push(
                Diagnostic::error("CZ0103", message, place)
                    .help("split the file, or raise limits.max_config_file_size"),
            );
            return None;
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
                let place = Place { line: narrow(line + 1), column: 1, ..place };
                self.diagnostics.push(Diagnostic::error("CZ0105", "invalid YAML: it is not UTF-8", place));
                return None;
            }
        };
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let (node, problems) = yaml::parse(Arc::new(Source::new(name, Origin::File, text)), &self.limits);
        self.diagnostics.extend(problems);
        if let Some(node) = &node {
            self.written.push((name.to_owned(), crate::digest::written(node)));
        }
        node
    }

    /// Reads every script that is named, each once; one that cannot be used is told and left out.
    fn scripts(&mut self, named: &[ScriptRef]) -> BTreeMap<String, Modules> {
        let mut scripts = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for reference in named {
            let path = &reference.path.text;
            if !seen.insert(path.clone()) {
                continue;
            }
            match script::read(self.request.files, &self.root, reference, &mut self.files) {
                Ok(modules) => drop(scripts.insert(path.clone(), modules)),
                Err(problem) => diagnostic::keep(&mut self.diagnostics, problem),
            }
        }
        scripts
    }

    /// Workflows named by the project file, or those of the folder `workflows/`.
    fn workflows(
        &mut self,
        project: &ProjectDocument,
        reader: &mut Reader<'_>,
        definitions: &mut Definitions,
        workflows: &mut Vec<WorkflowDocument>,
    ) {
        let Some(sources) = &project.workflows else {
            for file in self.default_files() {
                self.file(&file, None, reader, definitions, workflows);
            }
            return;
        };
        for (index, node) in sources.iter().enumerate() {
            let path = item_path("workflows", node, index);
            if node.get("tasks").is_some() {
                workflows.extend(reader.workflow(node, workflows.len(), definitions));
                continue;
            }
            let source = match node.entries() {
                Some(_) => match reader
                    .fields(node, &crate::schema::project::SOURCE, &path)
                    .and_then(|fields| fields.get("source"))
                {
                    Some(source) => source.clone(),
                    None => {
                        reader.expected(node, &path, "'source' or 'tasks'");
                        continue;
                    }
                },
                None => node.clone(),
            };
            if let Some(name) = reader.name_of(&source, &path) {
                self.source(&name, reader, definitions, workflows);
            }
        }
    }

    /// `workflows/*.yaml` and `workflows/*.yml`, by name.
    fn default_files(&self) -> Vec<String> {
        let mut found = files::glob(self.request.files, &self.root, "workflows/*.yaml");
        found.extend(files::glob(self.request.files, &self.root, "workflows/*.yml"));
        found.sort();
        found
    }

    /// One entry of `workflows`: a path or a glob.
    fn source(
        &mut self,
        name: &crate::document::Name,
        reader: &mut Reader<'_>,
        definitions: &mut Definitions,
        workflows: &mut Vec<WorkflowDocument>,
    ) {
        let path = name.text.as_str();
        if files::leaves_folder(path) {
            reader
                .report(name.diagnostic("CZ0206", format!("path '{path}' leaves the project folder")).help("move it"));
            return;
        }
        if files::is_glob(path) {
            let found = files::glob(self.request.files, &self.root, path);
            if found.is_empty() {
                let problem = name.diagnostic("CZ0201", format!("workflow source '{path}' not found"));
                reader.report(problem.severity(Severity::Warning).help("no file matches the glob"));
            }
            for file in found {
                self.file(&file, None, reader, definitions, workflows);
            }
            return;
        }
        self.file(path, Some(name), reader, definitions, workflows);
    }

    /// Reads one file and registers what it defines. A file reached twice is read once.
    fn file(
        &mut self,
        path: &str,
        named_by: Option<&crate::document::Name>,
        reader: &mut Reader<'_>,
        definitions: &mut Definitions,
        workflows: &mut Vec<WorkflowDocument>,
    ) {
        let clean = path.strip_prefix("./").unwrap_or(path).to_owned();
        if !self.read.insert(clean.clone()) {
            return;
        }
        let full = self.root.join(&clean);
        let bytes = match self.bytes(&full) {
            Ok(bytes) => bytes,
            Err(error) => {
                match named_by {
                    Some(name) if error.kind() == std::io::ErrorKind::NotFound => {
                        reader.report(
                            name.diagnostic("CZ0201", format!("workflow source '{path}' not found"))
                                .help("fix the path"),
                        );
                    }
                    _ => self.cannot_read(&clean, &error),
                }
                return;
            }
        };
        self.files.push(full);
        let Some(node) = self.parse(&clean, bytes) else { return };
        Self::resource(&node, reader, definitions, workflows);
    }

    /// Registers the content of a file by its `resource`.
    fn resource(
        node: &Node,
        reader: &mut Reader<'_>,
        definitions: &mut Definitions,
        workflows: &mut Vec<WorkflowDocument>,
    ) {
        let kind = resource_kind(node).and_then(|kind| reader.text_of(kind, "resource"));
        let kind = kind.map_or_else(|| "workflow".to_owned(), |kind| kind.trim().to_ascii_lowercase());
        if kind == "workflow" {
            workflows.extend(reader.workflow(node, workflows.len(), definitions));
            return;
        }
        if let Some((_, list)) = RESOURCES.iter().find(|(name, _)| *name == kind) {
            definitions.entry(reader, list, node, "");
            return;
        }
        let Some(place) = resource_kind(node) else { return };
        if kind == "task" {
            reader.unsupported("resource: task", place.place());
            return;
        }
        let known: Vec<&str> = RESOURCES.iter().map(|(name, _)| *name).chain(["workflow", "task"]).collect();
        let message = format!("resource: expected one of {}, got '{kind}'", known.join(", "));
        reader.report(place.diagnostic("CZ0110", message));
    }

    /// Files registered by `autoload`.
    fn autoload(
        &mut self,
        project: &ProjectDocument,
        reader: &mut Reader<'_>,
        definitions: &mut Definitions,
        workflows: &mut Vec<WorkflowDocument>,
    ) {
        let autoload = &project.settings.autoload;
        if !autoload.enabled {
            return;
        }
        for pattern in &autoload.include {
            if files::leaves_folder(pattern) {
                let place = Place { file: Arc::from(self.relative(&self.config_file).as_str()), line: 0, column: 0 };
                reader.report(Diagnostic::error(
                    "CZ0206",
                    format!("path '{pattern}' leaves the project folder"),
                    place,
                ));
                continue;
            }
            for file in files::glob(self.request.files, &self.root, pattern) {
                let name = file.rsplit('/').next().unwrap_or(&file);
                let excluded = if autoload.exclude.is_empty() {
                    EXCLUDED.iter().any(|pattern| files::matches(pattern, name))
                } else {
                    autoload
                        .exclude
                        .iter()
                        .any(|pattern| files::matches(pattern, name) || files::matches(pattern, &file))
                };
                let is_config = self.root.join(&file) == self.config_file;
                if !excluded && !is_config && !self.read.contains(&file) {
                    self.autoload_file(&file, autoload.strict, reader, definitions, workflows);
                }
            }
        }
    }

    fn autoload_file(
        &mut self,
        path: &str,
        strict: bool,
        reader: &mut Reader<'_>,
        definitions: &mut Definitions,
        workflows: &mut Vec<WorkflowDocument>,
    ) {
        let severity = if strict { Severity::Error } else { Severity::Warning };
        self.read.insert(path.to_owned());
        let before = self.diagnostics.len();
        let bytes = match self.bytes(&self.root.join(path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.cannot_read(path, &error);
                self.diagnostics.last_mut().into_iter().for_each(|problem| problem.severity = severity);
                return;
            }
        };
        let node = self.parse(path, bytes);
        for problem in self.diagnostics.iter_mut().skip(before) {
            problem.severity = problem.severity.max(severity);
        }
        let Some(node) = node else { return };
        self.files.push(self.root.join(path));
        let has = |key: &str| node.get(key).is_some_and(|value| !value.is_null());
        if !has("resource") || !has("id") {
            let message = format!("autoloaded file {path} needs 'resource' and 'id'");
            reader.report(node.diagnostic("CZ0207", message).length(1).severity(severity).help("add them"));
            return;
        }
        Self::resource(&node, reader, definitions, workflows);
    }
}
