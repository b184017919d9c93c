//! Python: CPython with the project's modules in a component, put together by PyPI's `componentize-py`.

use std::path::Path;

use compozy_lang::plan::PluginKind;

use super::{Language, Step, build_folder, checked_name, text_of};
use crate::authoring::programs::{Install, Program, find};
use crate::authoring::project::{Blank, File};
use crate::authoring::{Error, interfaces};

const PYTHON3: Program = Program::OnPath(
    &["python3", "python"],
    Install {
        linux: "install Python 3.10 or newer: `apt install python3 python3-venv`; or `pip install 'componentize-py>=0.25,<0.26'`",
        macos: "install Python 3.10 or newer: `brew install python`; or `pip install 'componentize-py>=0.25,<0.26'`",
        windows: "install Python 3.10 or newer from https://python.org; or `pip install \"componentize-py>=0.25,<0.26\"`",
    },
);

/// The compiler's versions whose bindings the glue is written for.
const REQUIREMENT: &str = "componentize-py>=0.25,<0.26";

/// The project's own environment.
const OWN_PYTHON: &str = if cfg!(windows) { ".venv/Scripts/python.exe" } else { ".venv/bin/python" };
const OWN_COMPILER: &str =
    if cfg!(windows) { ".venv/Scripts/componentize-py.exe" } else { ".venv/bin/componentize-py" };

/// Plugins in Python.
pub(super) const PYTHON: Language = Language {
    name: "python",
    title: "Python",
    kinds: &[PluginKind::Tool, PluginKind::Llm],
    notes: include_str!("../templates/python/notes.md"),
    files,
    mark: "pyproject.toml (with componentize-py)",
    is_at: |folder| text_of(folder, "pyproject.toml").is_some_and(|manifest| manifest.contains("componentize-py")),
    name_of,
    steps,
    result: |folder, _| Some(folder.join("build/plugin.wasm")),
};

macro_rules! python {
    ($file:literal) => {
        include_str!(concat!("../templates/python/", $file))
    };
}

macro_rules! glue {
    ($($file:literal)+) => {
        vec![$(File::filled(concat!("glue/compozy/", $file), include_str!(concat!("../templates/python/glue/compozy/", $file)))),+]
    };
}

fn files(blank: &Blank) -> Vec<File> {
    let mut files = glue!("__init__.py" "failure.py" "http.py" "kv.py" "secrets.py");
    files.extend([
        File::filled("pyproject.toml", python!("pyproject.toml")),
        File::filled(".gitignore", python!("gitignore")),
    ]);
    files.extend(match blank.kind() {
        PluginKind::Llm => [
            File::filled("provider.py", python!("llm/provider.py")),
            File::filled("glue/main.py", python!("llm/main.py")),
            File::filled("glue/compozy/llm.py", python!("glue/compozy/llm.py")),
            File::filled("wit/world.wit", python!("llm/world.wit")),
        ],
        _ => [
            File::filled("tool.py", python!("tool/tool.py")),
            File::filled("glue/main.py", python!("tool/main.py")),
            File::filled("glue/compozy/schema.py", python!("glue/compozy/schema.py")),
            File::filled("wit/world.wit", python!("tool/world.wit")),
        ],
    });
    files.extend(interfaces::packages());
    files
}

/// The first `name` of the manifest, which stands in `[project]`.
fn name_of(folder: &Path) -> Result<String, Error> {
    let manifest = text_of(folder, "pyproject.toml").unwrap_or_default();
    let line = manifest.lines().find(|line| line.starts_with("name"));
    checked_name(folder, "pyproject.toml", line.and_then(|line| line.split('"').nth(1)))
}

fn steps(folder: &Path) -> Result<Vec<Step>, Error> {
    build_folder(folder)?;
    let (mut steps, compiler) = match find("componentize-py") {
        Some(installed) if !folder.join(OWN_COMPILER).is_file() => (Vec::new(), Program::Made(installed)),
        _ => (own_environment(), Program::Made(OWN_COMPILER.into())),
    };
    // Full names of interfaces: short ones change with what else is imported.
    let arguments = [
        "-d",
        "wit",
        "-w",
        "plugin",
        "--full-names",
        "componentize",
        "-p",
        ".",
        "-p",
        "glue",
        "main",
        "-o",
        "build/plugin.wasm",
    ];
    steps.push(Step::new("make the component", compiler, &arguments));
    Ok(steps)
}

/// Steps that install the compiler into the project.
fn own_environment() -> Vec<Step> {
    let mut environment = Step::new("make the project's environment", PYTHON3, &["-m", "venv", ".venv"]);
    environment.makes = Some(OWN_PYTHON.into());
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT];
    let mut install = Step::new("install componentize-py", Program::Made(OWN_PYTHON.into()), &pip);
    install.makes = Some(OWN_COMPILER.into());
    vec![environment, install]
}
