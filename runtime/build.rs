//! Embeds the bundled plugins, which `cargo plugins` has compiled, and records commit and date of the build.
//!
//! No cargo runs in here: without the components the build stops with the one command to run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

/// Plugins that every binary carries; each is a folder below `plugins/`.
const BUNDLED: &[&str] = &["template-go", "llm-openai", "llm-anthropic", "llm-google", "llm-ollama", "llm-mock", "js"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=runtime/build.rs");
    embed_plugins(&root, &PathBuf::from(env::var("OUT_DIR")?))?;
    println!("cargo::rustc-env=COMPOZY_COMMIT={}", commit(&root).unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rustc-env=COMPOZY_BUILD_DATE={}", build_date());
    link_small();
    Ok(())
}

/// Options of the linker that take three and a half megabytes off a release: one copy of functions whose code is equal,
/// and relative relocations as a bitmap, where the C library reads that. A binary linked here needs this machine's C
/// library or a newer one in any case.
///
/// Only where Rust's own lld links, which it does by default for this target
/// (<https://blog.rust-lang.org/2025/09/01/rust-lld-on-1.90.0-stable/>): flags from outside may name a linker that does
/// not know the options.
fn link_small() {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let target = "x86_64-unknown-linux-gnu";
    if !is("PROFILE", "release") || !is("TARGET", target) || !is("CARGO_ENCODED_RUSTFLAGS", "") {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    // DT_RELR: https://sourceware.org/pipermail/libc-announce/2022/000033.html
    if is("HOST", target) && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library: the last word of the first line of `ldd --version`.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("ldd").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.lines().next()?.split_whitespace().last()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Writes `bundled.rs`: the components as `cargo plugins` packed them, with the digest and size of what is packed.
fn embed_plugins(root: &Path, out: &Path) -> io::Result<()> {
    let components = root.join("plugins/target/components");
    let mut entries = String::new();
    let mut missing = Vec::new();
    for name in BUNDLED {
        let packed = components.join(format!("packed/{name}.z"));
        let facts = components.join(format!("packed/{name}.facts"));
        for file in [&packed, &facts] {
            println!("cargo::rerun-if-changed={}", file.display());
        }
        let facts = fs::read_to_string(facts).unwrap_or_default();
        let Some((digest, bytes)) = facts.trim().split_once(' ').filter(|_| packed.is_file()) else {
            missing.push(*name);
            continue;
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            entries,
            "    Bundled {{ name: {name:?}, digest: {digest:?}, bytes: {bytes}, packed: include_bytes!({:?}) }},",
            packed.display().to_string()
        );
    }
    if !missing.is_empty() {
        println!(
            "cargo::error=the bundled plugins are not compiled yet ({}); run `cargo plugins` in the project folder, then build again",
            missing.join(", ")
        );
    }
    let source = format!("/// Components compiled into this binary.\nstatic BUNDLED: &[Bundled] = &[\n{entries}];\n");
    fs::write(out.join("bundled.rs"), source)
}

/// The commit being built, outside a repository none.
fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    // A release names its commit exactly; a debug build is not made again for each.
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| root.join(log).is_file());
        log.iter().for_each(|log| println!("cargo::rerun-if-changed={log}"));
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The day of the build in UTC, `2026-01-31`; `SOURCE_DATE_EPOCH` makes it repeatable
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
#[allow(clippy::disallowed_methods, reason = "a build has no other clock")]
fn build_date() -> String {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let days = given.unwrap_or_else(now) / 86_400;
    // Civil from days, counting years from March: https://howardhinnant.github.io/date_algorithms.html
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + shifted / 146_097 * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
