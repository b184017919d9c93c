//! Writing plugins, as an author does it: `compozy plugin …` in a folder.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::command::{COMPOZY, Output};
use crate::support::readme::blocks;
use crate::support::{Project, component, root};

/// What docs/plugins/authoring.md tells a newcomer to type.
const NEWCOMER: [&str; 5] = [
    "compozy plugin new word-count --lang rust",
    "cd word-count",
    "compozy plugin build",
    "compozy plugin test",
    "compozy workflow run greet --param name=Ada",
];

/// The cases of a new tool.
const CASES: &str = include_str!("../runtime/src/authoring/templates/shared/tool/cases.yaml");

/// Runs compozy without an end to our patience: a compiler under load takes minutes.
fn patiently(project: &Project, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = project.command(COMPOZY);
    let home = std::env::home_dir().expect("a home");
    let home_of =
        |variable: &str, below: &str| std::env::var_os(variable).map_or_else(|| home.join(below), PathBuf::from);
    command
        .current_dir(folder)
        .args(arguments)
        .env("CARGO_HOME", home_of("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup"))
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("authoring"));
    let output = command.output().expect("run compozy");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Output { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// From nothing to a workflow that uses the plugin; each file as it was generated.
#[test]
fn a_newcomers_path_in_rust() {
    let project = Project::empty();
    let [new, enter, build, test, run] = NEWCOMER.map(|line| line.split(' ').skip(1).collect::<Vec<_>>());
    let json = |words: &[&'static str]| [words, ["-o", "json"].as_slice()].concat();
    let made = project.compozy(&json(&new)).ok().json();
    assert_eq!((&made["kind"], &made["language"]), (&json!("tool"), &json!("rust")));
    let folder = project.path(enter[0]);
    let early = patiently(&project, &folder, &test);
    assert_eq!((early.code, early.stderr.contains("run `compozy plugin build` first")), (3, true), "{early}");
    let built = patiently(&project, &folder, &json(&build)).ok().json();
    assert_eq!((&built["kinds"], &built["grants"]), (&json!(["tool"]), &json!([])));
    assert!(built["size_bytes"].as_u64().is_some_and(|bytes| bytes < 200_000), "{built}");
    let tested = patiently(&project, &folder, &test).ok();
    assert!(tested.stdout.ends_with("4 cases: 4 ok, 0 failed\n"), "{tested}");
    let inspected = patiently(&project, &folder, &["plugin", "inspect", "word-count.wasm", "-o", "json"]).ok().json();
    assert_eq!(inspected["digest"], built["digest"]);
    assert_eq!(inspected["functions"][0]["input_schema"]["required"], json!(["name"]));
    let run = patiently(&project, &folder, &json(&run)).ok();
    assert_eq!(run.json()["output"], json!({"greeting": "Hello, Ada!"}));
    let listed = patiently(&project, &folder, &["plugin", "list", "-o", "json"]).ok().json();
    assert_eq!(listed["plugins"][0]["functions"], json!(["greet", "average"]));
    // What does not compile is told as the compiler told it.
    std::fs::write(folder.join("src/lib.rs"), "fn broken(").expect("a file");
    let failed = patiently(&project, &folder, &["plugin", "build"]);
    assert_eq!(failed.code, 1, "{failed}");
    assert!(failed.stderr.contains("this file contains an unclosed delimiter"), "{failed}");
    assert!(failed.stderr.contains("error[build_failed]: the build failed: cargo build"), "{failed}");
}

/// The cases of docs/plugins/authoring.md are read without a complaint, the first ones hold, and its first commands are
/// those of a newcomer.
#[test]
fn the_page_about_authoring_says_what_is_so() {
    let text = std::fs::read_to_string(root().join("docs/plugins/authoring.md")).expect("docs/plugins/authoring.md");
    let blocks = blocks(&text);
    let files: Vec<_> = blocks.iter().filter(|block| block.language == "yaml").collect();
    assert_eq!(files.len(), 2);
    for block in &files {
        let (cases, found) = compozy_lang::cases::read("cases.yaml", block.text.clone());
        assert!(cases.is_some() && found.is_empty(), "docs/plugins/authoring.md:{}: {found:?}", block.line);
    }
    let project = Project::empty();
    project.component("text-stats").file("cases.yaml", &files[0].text);
    let tested = project.compozy(&["plugin", "test"]).ok();
    assert!(tested.stdout.ends_with("2 cases: 2 ok, 0 failed\n"), "{tested}");
    let typed: Vec<&str> =
        blocks.iter().find(|block| block.language == "bash").expect("commands").text.lines().collect();
    assert_eq!(typed, NEWCOMER);
    let shown = &blocks.iter().find(|block| block.language == "text").expect("what is printed").text;
    let names: Vec<&str> = CASES.lines().filter_map(|line| line.trim().strip_prefix("- name: ")).collect();
    let expected: String = names.iter().map(|name| format!("ok      {name}\n")).collect();
    assert_eq!(*shown, format!("{expected}4 cases: 4 ok, 0 failed\n"));
}

#[test]
fn cases_play_everything_that_is_lent() {
    let project = Project::empty();
    let file = root().join("tests/cases/plugins/played.yaml");
    let tested = project.compozy(&["plugin", "test", &file.to_string_lossy()]);
    assert_eq!(tested.code, 0, "{tested}");
    assert!(tested.stdout.ends_with("13 cases: 13 ok, 0 failed\n"), "{tested}");
    assert!(!tested.stdout.contains("canary-5f2c") && !tested.stderr.contains("canary-5f2c"), "{tested}");
}

/// Each way in which a case can fail, as it is told.
#[test]
fn what_fails_is_told_with_its_place() {
    let project = Project::empty();
    project.component("guests/zoo");
    let cases = r#"
plugin: ../plugins/zoo.wasm
permissions: {http: [a.test]}
cases:
  - {name: wrong sum, function: add, input: {a: 1, b: 2}, output: {sum: 4}}
  - {name: no error, function: add, input: {a: 1, b: 2}, error: {code: x}}
  - {name: other error, function: error, input: {code: a, message: b, retryable: true}, error: {code: c, message: d, retryable: false}}
  - {name: an error, function: error, input: {code: a, message: b, retryable: true}, output: 1}
  - {name: unforeseen, function: fetch, input: {url: "https://a.test/x"}}
  - {name: never made, function: echo, http: [{url: "https://a.test/"}]}
  - {name: denied, function: fetch, input: {url: "https://b.test/"}, output: {}}
  - {name: another request, function: fetch, input: {url: "https://a.test/"}, http: [{url: "https://a.test/", expect: {headers: {a: b}, body: {c: 1}}}]}
  - {name: no function, input: {}}
  - {function: echo, input: [1], output: [1]}
"#;
    project.file("cases/all.yaml", cases);
    let tested = project.compozy(&["plugin", "test", "."]);
    assert_eq!(tested.code, 1, "{tested}");
    for line in [
        "        at cases/all.yaml:5:5, function add\n        /sum: expected 4, got 3\n",
        "        expected an error x, got {\"sum\":3}\n",
        "        expected error c, got error a: b\n        expected a message with 'd', got 'b'\n        expected retryable: false, got true\n",
        "        error a: b\n",
        "        no answer is written for the request GET https://a.test/x\n",
        "        no request GET https://a.test/ was made\n",
        "permissions.http: [b.test]",
        "        GET https://a.test/: expected header a: b, got none\n        GET https://a.test/: the body is not JSON: ",
        "        the case names no function, and the plugin has several: echo, add, ",
        "ok      echo 10 (",
        "10 cases: 1 ok, 9 failed\n",
    ] {
        assert!(tested.stdout.contains(line), "{line}\nis not in {tested}");
    }
    let document = project.compozy(&["plugin", "test", ".", "--case", "wrong", "-o", "json"]);
    let difference = json!({"pointer": "/sum", "expected": 4, "found": 3});
    assert_eq!((document.code, &document.json()["cases"][0]["differences"][0]), (1, &difference));
}

#[test]
fn compiled_code_needs_its_digest() {
    let project = Project::sqlite("");
    let text =
        "tools: [{id: stats, plugin: text, description: Counts}]\nplugins:\n  - id: text\n    source: ./text.cwasm\n";
    let path = component("text-stats");
    let out = project.compozy(&["plugin", "compile", &path.to_string_lossy(), "--out", "text.cwasm", "-o", "json"]);
    let digest = out.ok().json()["digest"].as_str().expect("a digest").to_owned();
    project.file(
        "workflows/w.yaml",
        "tasks: [{id: a, tool: stats, with: {text: one two}}]\noutput: {words: \"{{ .tasks.a.output.words }}\"}\n",
    );
    for (line, code, said) in [
        (String::new(), 3, "CZ0710"),
        (format!("    digest: sha256:{}\n", "0".repeat(64)), 3, "CZ0711"),
        (format!("    digest: {digest}\n"), 0, ""),
    ] {
        project.file("compozy.yaml", format!("database: {{driver: sqlite, path: ./data/compozy.db}}\n{text}{line}"));
        let run = project.compozy(&["workflow", "run", "w", "-o", "json"]);
        assert_eq!((run.code, run.stderr.contains(said)), (code, true), "{run}");
        if code == 0 {
            assert_eq!(run.json()["output"]["words"], 2, "{run}");
        }
    }
    let listed = project.compozy(&["plugin", "list", "-o", "json"]).ok().json();
    assert_eq!((&listed["plugins"][0]["state"], &listed["plugins"][0]["digest"]), (&json!("ok"), &json!(digest)));
}

/// Every command with what it cannot use: the exit code and the sentence.
#[test]
fn bad_inputs_end_with_one_sentence() {
    let project = Project::empty();
    let zoo = std::fs::read(component("guests/zoo")).expect("the zoo");
    project.file("empty.wasm", "").file("text.wasm", "(component)").file("cut.wasm", &zoo[..9_000]);
    project.file("module.wasm", b"\0asm\x01\0\0\0").file("none.wasm", b"\0asm\x0d\0\x01\0").file("folder.wasm/a", "");
    project.file("typo/cases.yaml", "case: []\n").file("full/a", "").file("bare/cases.yaml", "cases: [{}]\n");
    project.file("elf.cwasm", b"\x7fELF\x02\x01\x01");
    for (arguments, code, said) in [
        ("new Word --lang rust", 2, "error[usage]: 'Word' cannot be the name of a plugin"),
        ("new ../x --lang rust", 2, "error[usage]: '../x' cannot be the name"),
        ("new x --lang cobol", 2, "invalid value 'cobol'"),
        ("new x", 2, "--lang"),
        ("new x --lang rust --kind thing", 2, "invalid value 'thing'"),
        ("new x --lang rust --dir full", 6, "error[folder_not_empty]: full is not an empty folder"),
        ("new x --lang rust --dir full/a", 2, "error[usage]: cannot use full/a"),
        ("build", 4, "error[plugin_project_not_found]: . holds no plugin project"),
        ("build nowhere", 2, "error[usage]: cannot read nowhere: entity not found"),
        ("build text.wasm", 3, "error[CZ0702]: it is not WebAssembly"),
        ("build module.wasm", 3, "error[CZ0702]: the module exports no interface of compozy:plugin"),
        ("build full --out x.wasm", 2, "error[usage]: --out is for a core module"),
        ("inspect nowhere.wasm", 2, "error[usage]: cannot read nowhere.wasm: entity not found"),
        ("inspect folder.wasm", 2, "error[usage]: cannot read folder.wasm: it is a folder"),
        ("inspect empty.wasm", 3, "error[CZ0702]: it is empty"),
        ("inspect text.wasm", 3, "error[CZ0702]: it is not WebAssembly"),
        ("inspect cut.wasm", 3, "error[CZ0702]: it is not valid WebAssembly: "),
        ("inspect cut.wasm --wit", 3, "error[CZ0702]: it is not valid WebAssembly: "),
        ("inspect module.wasm", 3, "error[CZ0702]: it is a core module; `compozy plugin build FILE`"),
        ("inspect none.wasm", 3, "error[CZ0702]: it exports no interface of compozy:plugin; it exports nothing"),
        ("inspect elf.cwasm", 3, "error[CZ0702]: it is not WebAssembly"),
        ("inspect builtin:none", 3, "no plugin 'none' is built in"),
        ("compile text.wasm", 3, "error[CZ0702]: it is not WebAssembly"),
        ("compile none.wasm", 3, "error[CZ0702]: none.wasm exports no interface of compozy:plugin"),
        ("test", 4, "error[plugin_project_not_found]: . holds no cases"),
        ("test nowhere.yaml", 2, "error[usage]: cannot read nowhere.yaml: entity not found"),
        ("test typo", 3, "error[CZ0108]: unknown key 'case'. Did you mean 'cases'?\n  --> typo/cases.yaml:1:1\n"),
        ("test bare", 3, "error[CZ0701]: bare holds no component yet"),
        ("list --builtin extra", 2, "unexpected argument 'extra'"),
    ] {
        let words: Vec<&str> = std::iter::once("plugin").chain(arguments.split(' ')).collect();
        let output = project.compozy(&words);
        assert_eq!(output.code, code, "{arguments}: {output}");
        assert!(output.stderr.contains(said), "{arguments}: {output}");
        assert!(!output.stderr.contains("panicked"), "{arguments}: {output}");
    }
    let listed = project.compozy(&["plugin", "list", "-o", "json"]).ok().json();
    let ids: Vec<&Value> = listed["plugins"].as_array().expect("a list").iter().map(|plugin| &plugin["id"]).collect();
    assert!(ids.contains(&&json!("template-go")), "{listed}");
    assert!(listed["plugins"].as_array().expect("a list").iter().all(|plugin| plugin["state"] == "ok"), "{listed}");
}
