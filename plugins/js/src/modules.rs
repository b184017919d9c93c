//! The modules of a script: the files that came with it, and `compozy`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use boa_engine::module::{ModuleLoader, ModuleRequest, Referrer, SyntheticModuleInitializer};
use boa_engine::{Context, JsError, JsNativeError, JsResult, JsString, Module, Source, js_string};

use crate::{failure, globals};

/// Name of the module with what the host lends.
const LENT: &str = "compozy";

/// Texts by name, and what has been read of them.
pub(crate) struct Modules {
    texts: BTreeMap<String, String>,
    read: RefCell<BTreeMap<String, Module>>,
}

impl Modules {
    pub(crate) fn new(texts: &BTreeMap<String, String>) -> Self {
        Self { texts: texts.clone(), read: RefCell::default() }
    }

    /// The module of this name; the same one each time.
    pub(crate) fn module(&self, name: &str, context: &mut Context) -> JsResult<Module> {
        if let Some(known) = self.read.borrow().get(name) {
            return Ok(known.clone());
        }
        let module = if name == LENT { lent(context)? } else { self.parse(name, context)? };
        self.read.borrow_mut().insert(name.to_owned(), module.clone());
        Ok(module)
    }

    fn parse(&self, name: &str, context: &mut Context) -> JsResult<Module> {
        let Some(text) = self.texts.get(name) else {
            return Err(JsNativeError::error().with_message(format!("there is no file {name}")).into());
        };
        if name.ends_with(".json") {
            return Module::parse_json(JsString::from(text.as_str()), context);
        }
        // The parser wants something to stand behind the last export.
        let text = format!("{text}\n;");
        match read(&text, name, context) {
            Err(error) => match with_named_default(&text, &error) {
                Some(text) => read(&text, name, context),
                None => Err(error),
            }
            .map_err(|error| failure::syntax(&error, name)),
            module => module,
        }
    }
}

impl ModuleLoader for Modules {
    async fn load_imported_module(
        self: Rc<Self>,
        referrer: Referrer,
        request: ModuleRequest,
        context: &RefCell<&mut Context>,
    ) -> JsResult<Module> {
        let from = referrer.path().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let specifier = request.specifier().to_std_string_lossy();
        let name = resolve(&from, &specifier).map_err(|reason| {
            JsNativeError::error().with_message(format!("cannot import '{specifier}' in {from}: {reason}"))
        })?;
        self.module(&name, &mut context.borrow_mut())
    }
}

fn read(text: &str, name: &str, context: &mut Context) -> JsResult<Module> {
    Module::parse(Source::from_bytes(text.as_bytes()).with_path(Path::new(name)), None, context)
}

/// The parser takes every `export default async` for a function declaration. Where it has found an arrow function instead,
/// the same is said in two statements; the first has the length of what it replaces, so places stay true.
fn with_named_default(text: &str, error: &JsError) -> Option<String> {
    const NAMED: &str = "const _dflt__=";
    let message = error.as_native()?.message();
    if !message.starts_with("expected token 'function', got") {
        return None;
    }
    let (line, column) = failure::position(message)?;
    let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let found = text.get(before..)?.char_indices().nth(column.checked_sub(1)?)?.0;
    let head = text.get(..before + found)?.trim_end().strip_suffix("async")?;
    let (head, tail) = text.split_at_checked(head.len())?;
    let start = head.trim_end().strip_suffix("default")?.trim_end().strip_suffix("export")?;
    let between = head.get(start.len()..)?;
    let lines = "\n".repeat(between.matches('\n').count());
    // On the line of what follows: the new name stands on the first.
    let last = between.rsplit('\n').next().unwrap_or_default().len();
    let blanks = " ".repeat(if lines.is_empty() { last.saturating_sub(NAMED.len()) } else { last });
    Some(format!("{start}{NAMED}{lines}{blanks}{tail}\nexport {{ _dflt__ as default }};"))
}

/// What the host lends, as a module: `import { kv, secrets } from 'compozy'`.
fn lent(context: &mut Context) -> JsResult<Module> {
    let object = globals::lent(context)?;
    let keys = object.own_property_keys(context)?;
    let names: Vec<JsString> = keys
        .iter()
        .filter_map(|key| match key {
            boa_engine::property::PropertyKey::String(name) => Some(name.clone()),
            _ => None,
        })
        .chain([js_string!("default")])
        .collect();
    let fill = SyntheticModuleInitializer::from_copy_closure_with_captures(
        |module, (object, names), context| {
            for name in names {
                let is_default = *name == js_string!("default");
                let value = if is_default { object.clone().into() } else { object.get(name.clone(), context)? };
                module.set_export(name, value)?;
            }
            Ok(())
        },
        (object, names.clone()),
    );
    Ok(Module::synthetic(&names, fill, Some(LENT.into()), None, context))
}

/// The name of what `specifier` means in the module `from`. The host resolves the same way (`lang`, scripts).
fn resolve(from: &str, specifier: &str) -> Result<String, &'static str> {
    if specifier == LENT {
        return Ok(LENT.to_owned());
    }
    if specifier.starts_with("node:") {
        return Err("scripts have no Node API");
    }
    if !specifier.starts_with("./") && !specifier.starts_with("../") {
        return Err("scripts import files by ./ or ../, and 'compozy'; packages are bundled into one file first");
    }
    let mut segments: Vec<&str> = from.split('/').collect();
    segments.pop();
    for segment in specifier.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop().ok_or("it leaves the project folder")?),
            name => segments.push(name),
        }
    }
    Ok(segments.join("/"))
}

#[cfg(test)]
mod tests {
    use boa_engine::{JsError, JsNativeError};

    use super::{resolve, with_named_default};

    #[test]
    fn specifiers_are_paths_below_the_project() {
        for (from, specifier, expected) in [
            ("a.js", "./b.js", Some("b.js")),
            ("tools/a.js", "./b.js", Some("tools/b.js")),
            ("tools/a.js", "../b.js", Some("b.js")),
            ("tools/a.js", "../../b.js", None),
            ("tools/a.js", "compozy", Some("compozy")),
            ("tools/a.js", "lodash", None),
            ("tools/a.js", "node:fs", None),
            ("tools/a.js", "/etc/b.js", None),
        ] {
            assert_eq!(resolve(from, specifier).ok().as_deref(), expected, "{from} {specifier}");
        }
    }

    #[test]
    fn asynchronous_defaults_are_named_without_moving_anything() {
        let refused = |line, column| -> JsError {
            let message = format!(
                "expected token 'function', got '(' in async function declaration at line {line}, col {column}"
            );
            JsNativeError::syntax().with_message(message).into()
        };
        for (text, line, column, expected) in [
            ("export default async () => 1", 1, 22, Some("const _dflt__= async () => 1")),
            ("a;\nexport\n\n  default async x => x", 4, 17, Some("a;\nconst _dflt__=\n\n          async x => x")),
            ("async (x) => x", 1, 7, None),
            ("export default async", 9, 9, None),
        ] {
            let named = with_named_default(text, &refused(line, column));
            let named = named.as_deref().map(|text| text.trim_end_matches("\nexport { _dflt__ as default };"));
            assert_eq!(named, expected, "{text}");
        }
        let other = JsNativeError::syntax().with_message("unexpected token at line 1, col 1").into();
        assert_eq!(with_named_default("export default async () => 1", &other), None);
    }
}
