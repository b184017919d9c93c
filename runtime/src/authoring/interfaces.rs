//! The WIT files, as projects and the encoder need them.

use wit_parser::{Resolve, SourceMap, UnresolvedPackageGroup, WorldId};

use super::Error;
use super::project::File;

macro_rules! wit {
    ($($path:literal)+) => {
        &[$(($path, include_str!(concat!("../../../wit/", $path)))),+]
    };
}

/// Every file below `wit/`, by its path there.
pub const FILES: &[(&str, &str)] = wit!(
    "embedder.wit"
    "llm-provider.wit"
    "template.wit"
    "tool.wit"
    "types.wit"
    "worlds.wit"
    "deps/cli.wit"
    "deps/clocks.wit"
    "deps/filesystem.wit"
    "deps/http.wit"
    "deps/io.wit"
    "deps/random.wit"
    "deps/sockets.wit"
    "deps/compozy-host/config.wit"
    "deps/compozy-host/kv.wit"
    "deps/compozy-host/llm.wit"
    "deps/compozy-host/log.wit"
    "deps/compozy-host/run.wit"
    "deps/compozy-host/secrets.wit"
    "deps/compozy-host/sql.wit"
    "deps/compozy-host/types.wit"
    "deps/compozy-host/vector.wit"
);

/// The files as part of a project, below its folder `folder`.
pub fn files(folder: &'static str) -> impl Iterator<Item = File> {
    FILES.iter().map(move |(path, text)| File::verbatim(format!("{folder}/{path}"), text.as_bytes()))
}

/// The files as packages that a world of the project's own imports from, below its folder `wit/deps`.
pub fn packages() -> impl Iterator<Item = File> {
    FILES.iter().map(|(path, text)| {
        let place = path.strip_prefix("deps/").map_or_else(|| format!("compozy-plugin/{path}"), str::to_owned);
        File::verbatim(format!("wit/deps/{place}"), text.as_bytes())
    })
}

/// All interfaces, and the world called `name` among them: `tool-plugin`.
///
/// # Errors
/// Never for the worlds of `worlds.wit`; a test reads them all.
pub fn world(name: &str) -> Result<(Resolve, WorldId), Error> {
    let mut main = SourceMap::default();
    let mut host = SourceMap::default();
    let mut packages = Vec::new();
    for (path, text) in FILES {
        match path.strip_prefix("deps/") {
            None => main.push_str(path, *text),
            Some(dep) if dep.starts_with("compozy-host/") => host.push_str(path, *text),
            Some(_) => {
                let mut package = SourceMap::default();
                package.push_str(path, *text);
                packages.push(parsed(package)?);
            }
        }
    }
    packages.push(parsed(host)?);
    let mut resolve = Resolve::default();
    let package = resolve.push_groups(parsed(main)?, packages).map_err(|error| defect(&error))?;
    let world = resolve.select_world(&[package], Some(name)).map_err(|error| defect(&format!("{error:#}")))?;
    Ok((resolve, world))
}

fn parsed(sources: SourceMap) -> Result<UnresolvedPackageGroup, Error> {
    sources.parse().map_err(|(_, error)| defect(&error))
}

fn defect(error: &dyn std::fmt::Display) -> Error {
    Error::NotAPlugin(format!("the interfaces of this binary cannot be read: {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Files below `folder` with this ending, by their path there.
    pub(crate) fn files_below(folder: &Path, ending: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|found| found == ending) {
                    found.insert(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found
    }

    #[test]
    fn the_list_names_every_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
        let listed: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, files_below(&folder, "wit"));
    }

    #[test]
    fn every_world_can_be_read() {
        for name in ["tool-plugin", "llm-provider-plugin", "embedder-plugin", "template-plugin"] {
            let (resolve, id) = world(name).unwrap();
            assert_eq!(resolve.worlds[id].name, name);
        }
        assert!(world("no-such-plugin").is_err());
    }
}
