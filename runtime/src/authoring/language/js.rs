//! JavaScript: ES modules on QuickJS, put into a component by npm's `componentize-qjs`.

use std::path::Path;

use compozy_lang::plan::PluginKind;

use super::{Language, Step, build_folder, checked_name, text_of};
use crate::authoring::programs::{Install, Program};
use crate::authoring::project::{Blank, File};
use crate::authoring::{Error, interfaces};

const NPM: Program = Program::OnPath(
    &["npm"],
    Install {
        linux: "install Node.js 18 or newer with npm: `apt install nodejs npm`, or from https://nodejs.org",
        macos: "install Node.js 18 or newer with npm: `brew install node`, or from https://nodejs.org",
        windows: "install Node.js 18 or newer with npm from https://nodejs.org",
    },
);

/// The compiler, as npm installs it into the project.
const COMPILER: &str =
    if cfg!(windows) { "node_modules/.bin/componentize-qjs.cmd" } else { "node_modules/.bin/componentize-qjs" };

/// Plugins in JavaScript.
pub(super) const JS: Language = Language {
    name: "js",
    title: "JavaScript",
    kinds: &[PluginKind::Tool],
    notes: include_str!("../templates/js/notes.md"),
    files,
    mark: "package.json (with componentize-qjs)",
    is_at: |folder| text_of(folder, "package.json").is_some_and(|manifest| manifest.contains("\"componentize-qjs\"")),
    name_of,
    steps,
    result: |folder, _| Some(folder.join("build/plugin.wasm")),
};

macro_rules! js {
    ($file:literal) => {
        File::filled($file, include_str!(concat!("../templates/js/", $file)))
    };
}

fn files(_: &Blank) -> Vec<File> {
    let mut files = vec![
        js!("package.json"),
        js!("tool.js"),
        js!("glue/main.js"),
        js!("glue/compozy.js"),
        js!("glue/globals.js"),
        js!("glue/kv.js"),
        js!("glue/text.js"),
        File::filled("wit/world.wit", include_str!("../templates/js/world.wit")),
        File::filled(".gitignore", include_str!("../templates/js/gitignore")),
    ];
    files.extend(interfaces::packages());
    files
}

fn name_of(folder: &Path) -> Result<String, Error> {
    let manifest = text_of(folder, "package.json").unwrap_or_default();
    let manifest: Option<serde_json::Value> = serde_json::from_str(&manifest).ok();
    let name = manifest.as_ref().and_then(|manifest| manifest.get("name")?.as_str());
    checked_name(folder, "package.json", name)
}

fn steps(folder: &Path) -> Result<Vec<Step>, Error> {
    build_folder(folder)?;
    let mut install = Step::new(
        "install componentize-qjs",
        NPM,
        &["install", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"],
    );
    install.makes = Some("node_modules/.package-lock.json".into());
    install.depends_on = Some("package.json".into());
    // The engine without asynchronous exports, built for size. Not minified: errors name lines of the source.
    let arguments = [
        "--wit",
        "wit",
        "--world",
        "plugin",
        "--js",
        "glue/main.js",
        "--module-root",
        ".",
        "--sync",
        "--opt-size",
        "-o",
        "build/plugin.wasm",
    ];
    let compile = Step::new("make the component", Program::Made(COMPILER.into()), &arguments);
    Ok(vec![install, compile])
}
