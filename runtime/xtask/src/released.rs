//! `cargo xtask release-interfaces`: keeps the interfaces of the present version for ever, `tests/interfaces/<version>.wasm`.
//!
//! Such a file is the WIT package in its binary form. The tests of the host build a component against each of them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use wit_parser::Resolve;

use crate::process;

/// Writes the file of the present version.
///
/// # Errors
/// That version was released before, with other interfaces.
pub(crate) fn write() -> Result<()> {
    let (version, bytes) = present()?;
    let path = path(&version);
    if let Ok(released) = fs::read(&path) {
        ensure!(released == bytes, "release {version}: it was released already; raise the version in wit/");
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("find tests/interfaces")?).context("make tests/interfaces")?;
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
}

fn path(version: &str) -> PathBuf {
    process::project_root().join("tests/interfaces").join(format!("{version}.wasm"))
}

/// Version and binary form of `wit/`, comments included.
fn present() -> Result<(String, Vec<u8>)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(process::project_root().join("wit")).context("read wit/")?;
    let version = resolve.packages[package].name.version.clone().context("find the version of compozy:plugin")?;
    let bytes = wit_component::encode(&resolve, package).context("encode wit/")?;
    Ok((version.to_string(), bytes))
}

#[cfg(test)]
mod tests {
    use super::{path, present};

    #[test]
    fn what_was_released_has_not_changed() {
        let (version, bytes) = present().unwrap();
        let released = std::fs::read(path(&version)).expect("run `cargo xtask release-interfaces`");
        assert!(
            released == bytes,
            "the interfaces {version} were released and stay as they are; raise the version in wit/"
        );
    }
}
