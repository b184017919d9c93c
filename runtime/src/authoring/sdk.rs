//! The Rust SDK, as a project carries it: it is on no registry, and a project must build anywhere as it is.

use super::interfaces;
use super::project::File;

macro_rules! sdk {
    ($($path:literal)+) => {
        &[$(($path, include_str!(concat!("../../../plugins/sdk/src/", $path)))),+]
    };
}

/// Every file below `plugins/sdk/src`, by its path there.
const SOURCES: &[(&str, &str)] = sdk!(
    "bindings.rs"
    "clock.rs"
    "config.rs"
    "embedder.rs"
    "error.rs"
    "heap.rs"
    "http.rs"
    "http/body.rs"
    "http/pending.rs"
    "http/url.rs"
    "kv.rs"
    "lib.rs"
    "llm.rs"
    "log.rs"
    "models.rs"
    "run.rs"
    "secrets.rs"
    "sql.rs"
    "tool.rs"
);

/// The manifest of the copy, which stands in no workspace of ours.
const MANIFEST: &str = include_str!("templates/rust/sdk.toml");

/// Where the sources look for the interfaces here, and where they find them in a copy.
const WIT: (&str, &str) = ("\"../../wit\"", "\"wit\"");

/// The SDK as a package in the project's folder `compozy-plugin`.
pub fn files() -> impl Iterator<Item = File> {
    let sources = SOURCES.iter().map(|(path, text)| {
        let text = text.replace(WIT.0, WIT.1);
        File::verbatim(format!("compozy-plugin/src/{path}"), text.into_bytes())
    });
    let manifest = File::verbatim("compozy-plugin/Cargo.toml", MANIFEST.as_bytes());
    std::iter::once(manifest).chain(sources).chain(interfaces::files("compozy-plugin/wit"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;
    use crate::authoring::interfaces::tests::files_below;

    #[test]
    fn the_list_names_every_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk/src");
        let listed: BTreeSet<String> = SOURCES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, files_below(&folder, "rs"));
    }

    #[test]
    fn the_copy_looks_for_its_interfaces_beside_itself() {
        let looking: Vec<&str> =
            SOURCES.iter().filter(|(_, text)| text.contains("wit\",")).map(|(path, _)| *path).collect();
        assert_eq!(looking, ["bindings.rs"]);
        let text = SOURCES.iter().find(|(path, _)| *path == "bindings.rs").unwrap().1;
        assert!(text.contains(WIT.0) && !text.replace(WIT.0, WIT.1).contains("../"));
    }

    /// Lines `name = …` of a section, without the order of their features.
    fn dependencies(manifest: &str, section: &str) -> BTreeMap<String, BTreeSet<String>> {
        let lines =
            manifest.lines().skip_while(|line| *line != section).skip(1).take_while(|line| !line.starts_with('['));
        let pairs = lines.filter_map(|line| line.split_once(" = ")).filter(|(name, _)| *name != "compozy-plugin");
        let words = |value: &str| value.split(['"', ' ', '{', '}', '[', ']', ',']).map(str::to_owned).collect();
        pairs.map(|(name, value)| (name.to_owned(), words(value))).collect()
    }

    #[test]
    fn the_copy_has_the_dependencies_of_the_workspace() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
        let workspace = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let own = std::fs::read_to_string(root.join("sdk/Cargo.toml")).unwrap();
        let mut expected = dependencies(&workspace, "[workspace.dependencies]");
        expected.retain(|name, _| own.lines().any(|line| line.starts_with(name.as_str())));
        assert!(expected.len() >= 4);
        let mut copied = dependencies(MANIFEST, "[dependencies]");
        for words in copied.values_mut() {
            words.retain(|word| !["optional", "true", "="].contains(&word.as_str()));
        }
        expected.values_mut().for_each(|words| words.retain(|word| word != "="));
        assert_eq!(copied, expected);
    }
}
