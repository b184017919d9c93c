//! Plugins from registries: pulled once, pinned by the lock file, checked on each load, and never fetched by a run.

use std::path::Path;

use crate::support::readme::blocks;
use crate::support::registry::{Lie, Registry, digest};
use crate::support::{Project, component, root};

const WORKFLOW: &str = "id: count\ntasks: [{id: count, tool: stats, with: {text: three plain words}}]\noutputs: {words: \"{{ .tasks.count.output.words }}\"}\n";

/// A project whose one plugin has this source.
fn project(source: &str, more: &str) -> Project {
    project_of(&format!(
        "plugins: [{{id: text, source: \"{source}\"{more}}}]\ntools: [{{id: stats, plugin: text, description: Counts}}]\n"
    ))
}

/// What was pulled is kept in a folder of its own, and compiled code where all tests have it.
fn project_of(text: &str) -> Project {
    let mut project = Project::sqlite(text);
    project.file("workflows/count.yaml", WORKFLOW);
    let (own, shared) = (project.root().join("../home/.cache"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    for folder in [own.join("compozy"), shared.join("compozy/code")] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::os::unix::fs::symlink(shared.join("compozy/code"), own.join("compozy/code")).expect("a link");
    project.env("XDG_CACHE_HOME", &own.display().to_string());
    project
}

fn stats() -> Vec<u8> {
    std::fs::read(component("text-stats")).expect("a component")
}

/// A registry with `acme/text:1.0`, and the source of that.
fn registry() -> (Registry, String) {
    let registry = Registry::listen();
    registry.push("acme/text", "1.0", &stats());
    registry.asked();
    let source = format!("oci:{}/acme/text:1.0", registry.address);
    (registry, source)
}

/// The cached file of a component.
fn cached(project: &Project, bytes: &[u8]) -> std::path::PathBuf {
    let name = format!("{}.wasm", digest(bytes).trim_start_matches("sha256:"));
    project.root().join("../home/.cache/compozy/plugins/sha256").join(name)
}

fn lock(project: &Project) -> String {
    std::fs::read_to_string(project.path("compozy.lock")).unwrap_or_default()
}

#[track_caller]
fn runs(project: &Project) {
    let run = project.compozy(&["workflow", "run", "count", "-o", "json"]).ok();
    assert_eq!(run.json()["output"]["words"], 3, "{run}");
}

#[track_caller]
fn fails(project: &Project, arguments: &[&str], exit: i32, parts: &[&str]) {
    let output = project.compozy(arguments);
    assert_eq!(output.code, exit, "{output}");
    for part in parts {
        assert!(output.stderr.contains(part), "{part} is missing in {output}");
    }
}

#[test]
fn a_tag_is_pinned_until_it_is_updated() {
    let (registry, source) = registry();
    let project = project(&source, "");
    let not_pulled = ["CZ0711", "not pulled: it has no digest, and compozy.lock none for it", "compozy plugin pull"];
    fails(&project, &["workflow", "run", "count"], 3, &not_pulled);
    fails(&project, &["plugin", "pull", "--locked"], 6, &["lock_outdated", "compozy.lock has nothing for oci:"]);
    assert!(registry.asked().is_empty(), "neither a run nor a locked pull of what is not locked asks anyone");

    let pulled = project.compozy(&["plugin", "pull"]).ok();
    assert!(pulled.stdout.contains("fetched") && pulled.stdout.contains("written"), "{pulled}");
    let first = lock(&project);
    assert!(first.starts_with('#') && first.contains(&digest(&stats())) && first.contains(&source), "{first}");
    registry.asked();
    runs(&project);
    project.compozy(&["validate", "--strict"]).ok();
    let again = project.compozy(&["plugin", "pull", "--locked"]).ok();
    assert!(again.stdout.contains("present") && again.stdout.contains("as it was"), "{again}");
    assert!(registry.asked().is_empty(), "what is pinned and present is not asked for");

    // The tag moves: nothing changes until that is wanted.
    let mut other = stats();
    other.extend_from_slice(b"\x00\x05\x04note");
    registry.push("acme/text", "1.0", &other);
    std::fs::remove_file(cached(&project, &stats())).expect("the cached file");
    fails(&project, &["workflow", "run", "count"], 3, &["CZ0711", "not pulled: it is not on this machine"]);
    project.compozy(&["plugin", "pull"]).ok();
    assert_eq!(lock(&project), first);
    runs(&project);
    let updated = project.compozy(&["plugin", "pull", "--update", "text", "-o", "json"]).ok().json();
    assert_eq!(updated["plugins"][0]["component"], digest(&other));
    assert!(lock(&project).contains(&digest(&other)) && lock(&project) != first);
    runs(&project);

    // Another source is not what is locked, and a plugin that is gone leaves the lock.
    let text = std::fs::read_to_string(project.path("compozy.yaml")).expect("the project");
    project.file("compozy.yaml", text.replace(":1.0", ":2.0"));
    fails(&project, &["workflow", "run", "count"], 3, &["CZ0711", "not pulled"]);
    fails(&project, &["plugin", "pull"], 4, &["component_not_found", "manifests/2.0"]);
    project.component("text-stats").file("compozy.yaml", text.replace(&source, "./plugins/text-stats.wasm"));
    fails(&project, &["plugin", "pull", "--locked"], 6, &["names plugins that the project does not"]);
    fails(&project, &["plugin", "pull", "text"], 2, &["does not come from a registry"]);
    fails(&project, &["plugin", "pull", "nosuch"], 3, &["plugin 'nosuch' not found"]);
    project.compozy(&["plugin", "pull"]).ok();
    assert!(lock(&project).contains("plugins: {}"), "{}", lock(&project));
    runs(&project);
}

#[test]
fn a_digest_needs_no_lock() {
    let (registry, source) = registry();
    let manifest = registry.push("acme/text", "1.0", &stats());
    let project = project(&format!("{source}@{manifest}"), "");
    project.compozy(&["plugin", "pull"]).ok();
    std::fs::remove_file(project.path("compozy.lock")).expect("the lock");
    runs(&project);
    fails(&project, &["plugin", "pull", "--locked"], 6, &["lock_outdated"]);
    project.compozy(&["plugin", "pull"]).ok();
    project.file("compozy.lock", lock(&project).replace(&manifest, &format!("sha256:{}", "0".repeat(64))));
    // The lock's source is the one with the right digest, and its manifest another.
    let text = lock(&project).replacen(&format!("@sha256:{}", "0".repeat(64)), &format!("@{manifest}"), 1);
    project.file("compozy.lock", text);
    fails(&project, &["workflow", "run", "count"], 3, &["CZ0711", "digest mismatch"]);

    // A digest that the registry does not have, and one that is not what the entry says of the component.
    let unknown = format!("sha256:{}", "1".repeat(64));
    let project = self::project(&format!("{source}@{unknown}"), "");
    fails(&project, &["plugin", "pull"], 4, &["component_not_found", &unknown]);
    let project = self::project(&source, &format!(", digest: \"{unknown}\""));
    fails(&project, &["plugin", "pull"], 3, &["CZ0711", &digest(&stats())]);
    assert_eq!(lock(&project), "");
}

#[test]
fn what_is_cached_is_checked_on_each_load() {
    let (_registry, source) = registry();
    let project = project(&source, "");
    project.compozy(&["plugin", "pull"]).ok();
    let mut other = stats();
    *other.last_mut().expect("a byte") ^= 1;
    std::fs::write(cached(&project, &stats()), &other).expect("the cached file");
    fails(&project, &["workflow", "run", "count"], 3, &["CZ0711", "digest mismatch", &digest(&other)]);
    let pulled = project.compozy(&["plugin", "pull"]).ok();
    assert!(pulled.stdout.contains("fetched"), "what is damaged is fetched again: {pulled}");
    runs(&project);
    project.file("compozy.lock", "version: 9\n");
    fails(&project, &["workflow", "run", "count"], 3, &["CZ0711", "its version is 9"]);
    fails(&project, &["plugin", "pull"], 6, &["lock_outdated"]);
}

#[test]
fn tokens_and_credentials() {
    let (registry, source) = registry();
    registry.guard("");
    project(&source, "").compozy(&["plugin", "pull"]).ok();
    assert!(registry.asked().iter().any(|asked| asked.path.starts_with("/token?")));

    registry.guard("ada:canary-of-ada");
    let project = project(&source, "");
    fails(&project, &["plugin", "pull"], 5, &["registry_refused", "there are no credentials for it", "docker login"]);
    let config = |auth: &str| format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}", registry.address);
    project.file("../home/.docker/config.json", config("ZXZlOm5vcGU="));
    fails(&project, &["plugin", "pull"], 5, &["registry_refused", "the credentials were not accepted"]);
    // ada:canary-of-ada
    project.file("../home/.docker/config.json", config("YWRhOmNhbmFyeS1vZi1hZGE="));
    let pulled = project.compozy(&["plugin", "pull", "-vv"]).ok();
    assert!(!format!("{pulled}{}", lock(&project)).contains("canary"), "{pulled}");
    runs(&project);
}

/// Storage elsewhere is asked, and hears nothing of who we are.
#[test]
fn redirects_lose_the_authorization() {
    let (registry, source) = registry();
    let storage = Registry::listen();
    storage.push("any", "1", &stats());
    storage.asked();
    registry.guard("");
    registry.lie(Some(Lie::Redirect(format!("http://{}", storage.address))));
    let project = project(&source, "");
    project.compozy(&["plugin", "pull"]).ok();
    runs(&project);
    let asked = storage.asked();
    assert!(
        matches!(asked.as_slice(), [one] if one.path.starts_with("/storage/") && one.authorization.is_none()),
        "{asked:?}"
    );
    assert!(registry.asked().iter().any(|asked| asked.authorization.is_some()));
}

#[test]
fn registries_that_lie() {
    let (registry, source) = registry();
    let manifest = registry.push("acme/text", "1.0", &stats());
    let pinned = format!("{source}@{manifest}");
    for (lie, exit, parts) in [
        (Lie::Other("/manifests/"), 3, ["CZ0711", "digest mismatch: expected sha256:"]),
        (Lie::Short("/manifests/"), 3, ["CZ0711", "digest mismatch"]),
        (Lie::Endless("/manifests/"), 7, ["registry_unreachable", "longer than 4194304 bytes"]),
        (Lie::Cut("/manifests/"), 7, ["registry_unreachable", "plugin 'text'"]),
        (Lie::Other("/blobs/"), 3, ["CZ0711", "digest mismatch: expected sha256:"]),
        (Lie::Short("/blobs/"), 3, ["CZ0711", "bytes instead of"]),
        (Lie::Endless("/blobs/"), 3, ["CZ0711", "bytes instead of"]),
        (Lie::Cut("/blobs/"), 7, ["registry_unreachable", "plugin 'text'"]),
        (Lie::Status(401), 5, ["registry_refused", "proof of a kind that is not known"]),
        (Lie::Status(403), 5, ["registry_refused", "HTTP 403"]),
        (Lie::Status(404), 4, ["component_not_found", "acme/text"]),
        (Lie::Status(429), 7, ["registry_unreachable", "HTTP 429"]),
        (Lie::Status(500), 7, ["registry_unreachable", "HTTP 500"]),
        (Lie::Status(204), 7, ["registry_unreachable", "HTTP 204"]),
        (Lie::Circle, 7, ["registry_unreachable", "more than 5 redirects"]),
        (Lie::Redirect("ftp://127.0.0.1".to_owned()), 7, ["registry_unreachable", "which is not https"]),
        (Lie::Redirect("http://127.0.0.1:9".to_owned()), 7, ["registry_unreachable", "refused"]),
        (Lie::Redirect("http://192.0.2.1".to_owned()), 7, ["registry_unreachable", "which is not https"]),
        (Lie::TokensFrom("http://192.0.2.1/token".to_owned()), 7, ["registry_unreachable", "which is not https"]),
        (Lie::TokensFrom("file:///etc/passwd".to_owned()), 7, ["registry_unreachable", "which is not https"]),
        (Lie::TokensFrom("nowhere".to_owned()), 7, ["registry_unreachable", "no address"]),
    ] {
        registry.lie(Some(lie.clone()));
        let project = project(&pinned, "");
        let output = project.compozy(&["plugin", "pull"]);
        assert_eq!(output.code, exit, "{lie:?}: {output}");
        assert!(parts.iter().all(|part| output.stderr.contains(part)), "{lie:?}: {output}");
        assert_eq!(lock(&project), "", "{lie:?}: nothing is pinned");
        let folder = cached(&project, b"").parent().expect("a folder").to_owned();
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let names: Vec<_> = names.filter(|name| !name.to_string_lossy().ends_with(".json")).collect();
        assert!(names.is_empty(), "{lie:?}: {names:?} is left");
    }
    registry.guard("");
    registry.lie(Some(Lie::LongToken));
    fails(&project(&pinned, ""), &["plugin", "pull"], 7, &["registry_unreachable", "longer than 65536 bytes"]);
}

#[test]
fn what_is_no_plugin_is_not_pinned() {
    let registry = Registry::listen();
    let guest = std::fs::read(component("guests/not-a-tool")).expect("a component");
    for (bytes, part) in
        [(guest.as_slice(), "does not export compozy:plugin/tool"), (b"hello", "it is not WebAssembly")]
    {
        registry.push("acme/other", "1", bytes);
        let project = project(&format!("oci:{}/acme/other:1", registry.address), "");
        fails(&project, &["plugin", "pull"], 3, &["CZ0702", part]);
        assert_eq!(lock(&project), "");
    }
}

/// A registry that nobody answers for, and one elsewhere, which is spoken to by https only.
#[test]
fn registries_that_are_not_there() {
    fails(
        &project("oci:127.0.0.1:9/acme/text:1", ""),
        &["plugin", "pull"],
        7,
        &["registry_unreachable", "127.0.0.1:9"],
    );
    let (registry, _) = registry();
    let port = registry.address.split(':').next_back().expect("a port").to_owned();
    let away = format!("oci:localtest.invalid:{port}/acme/text:1.0");
    fails(&project(&away, ""), &["plugin", "pull"], 7, &["registry_unreachable", "localtest.invalid"]);
    assert!(registry.asked().is_empty());
    let nothing = Project::sqlite("");
    let pulled = nothing.compozy(&["plugin", "pull"]).ok();
    assert!(pulled.stderr.contains("No plugin of this project comes from a registry"), "{pulled}");
    assert!(!nothing.path("compozy.lock").exists());
}

/// The project of docs/plugins/distribution.md is valid, and its commands do what the page says, with a registry here.
#[test]
fn the_page_of_distribution_holds() {
    let text = std::fs::read_to_string(root().join("docs/plugins/distribution.md")).expect("the page");
    let blocks = blocks(&text);
    let block = |start: &str| blocks.iter().find(|block| block.text.starts_with(start)).expect(start).text.clone();
    let (_registry, source) = registry();
    let here = |text: String| text.replace("oci:ghcr.io/acme/text:1.0", &source);
    let project = project_of(&here(block("plugins:")));
    for line in block("compozy plugin").lines() {
        project.compozy(&line.split_whitespace().skip(1).collect::<Vec<_>>()).ok();
    }
    let lock = lock(&project);
    let line = |line: &str| {
        line.split("sha256:").next().unwrap_or_default().split("size").next().unwrap_or_default().to_owned()
    };
    let shown: Vec<String> = here(block("# Which components")).lines().map(line).collect();
    assert_eq!(shown, lock.lines().map(line).collect::<Vec<_>>(), "{lock}");
}
