//! A newcomer's path in each language: `plugin new`, `build`, `test`, used by a workflow; and the examples, typed.
//!
//! A language is tried when its tools are here: on the `PATH`, or below `target/tools`, where `cargo verify --only
//! languages` puts what it can get. `COMPOZY_TEST_LANGUAGES` insists: `rust,c`, `all` or `none`. What was tried, how
//! long each step took and why a language was left out is printed (`cargo test … languages -- --nocapture`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::model_server::ModelServer;
use crate::support::readme::{Terminal, Typed, blocks};
use crate::support::root;

/// A language, the program whose presence says that it can be tried, and the examples written in it.
struct Language {
    name: &'static str,
    needs: &'static [&'static str],
    examples: &'static [&'static str],
}

const LANGUAGES: &[Language] = &[
    Language { name: "rust", needs: &["cargo"], examples: &["examples/plugins/rust"] },
    Language { name: "js", needs: &["npm", NPM_CACHE], examples: &["examples/plugins/js"] },
    Language {
        name: "python",
        needs: &["componentize-py"],
        examples: &["examples/plugins/python", "examples/plugins/llm-python"],
    },
    Language { name: "c", needs: &["clang-19"], examples: &["examples/plugins/c"] },
    Language { name: "go", needs: &["go"], examples: &["examples/plugins/go"] },
];

/// What npm has fetched, below the tools: projects are installed from it without a network.
const NPM_CACHE: &str = "npm-cache";

/// How long one command may take: compilers on two busy cores.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Commands of the path, by the heading of their column.
const PATH: &[(&str, &str)] = &[
    ("new", "compozy plugin new try-it --lang @lang@"),
    ("build", "compozy plugin build try-it"),
    ("test", "compozy plugin test try-it"),
    ("first run", "(cd try-it && compozy workflow run greet --param name=Ada)"),
    ("second run", "(cd try-it && compozy workflow run greet --param name=Ada)"),
];

/// `target/tools` of this build.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder").join("tools")
}

/// The `PATH` with the tools first.
fn path() -> String {
    let own = ["python/bin", "go/go/bin"].map(|folder| tools().join(folder).display().to_string()).join(":");
    format!("{own}:{}", std::env::var("PATH").unwrap_or_default())
}

/// What a language lacks here.
fn missing(language: &Language) -> Option<&'static str> {
    let there = |need: &str| {
        tools().join(need).is_dir() || std::env::split_paths(&path()).any(|folder| folder.join(need).is_file())
    };
    language.needs.iter().copied().find(|need| !there(need))
}

/// The languages to try, with a line for each that is left out.
fn chosen() -> (Vec<&'static Language>, Vec<String>) {
    let wanted = std::env::var("COMPOZY_TEST_LANGUAGES").ok();
    let names: Option<Vec<&str>> = wanted.as_deref().map(|wanted| match wanted {
        "all" => LANGUAGES.iter().map(|language| language.name).collect(),
        "none" => vec![],
        list => list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
    });
    for name in names.iter().flatten() {
        assert!(
            LANGUAGES.iter().any(|language| language.name == *name),
            "COMPOZY_TEST_LANGUAGES: no language '{name}'"
        );
    }
    let (mut tried, mut left) = (Vec::new(), Vec::new());
    for language in LANGUAGES {
        let insisted = names.as_ref().map(|names| names.contains(&language.name));
        match (insisted, missing(language)) {
            (Some(false), _) => left.push(format!("{} was left out: COMPOZY_TEST_LANGUAGES", language.name)),
            (Some(true), Some(need)) => panic!("{} cannot be tried: there is no {need}", language.name),
            (None, Some(need)) => left.push(format!("{} was left out: there is no {need}", language.name)),
            (_, None) => tried.push(language),
        }
    }
    (tried, left)
}

/// Someone with the languages' tools at hand, whose own folders hold nothing.
fn newcomer(example: &str) -> Terminal {
    let home = std::env::home_dir().unwrap_or_default();
    let of_home = |variable: &str, folder: &str| {
        std::env::var(variable).unwrap_or_else(|_| home.join(folder).display().to_string())
    };
    let mut terminal = Terminal::with_example(example)
        .patience(PATIENCE)
        .env("PATH", &path())
        .env("CARGO_HOME", &of_home("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", &of_home("RUSTUP_HOME", ".rustup"));
    if tools().join(NPM_CACHE).is_dir() {
        terminal = terminal
            .env("npm_config_cache", &tools().join(NPM_CACHE).display().to_string())
            .env("npm_config_prefer_offline", "true");
    }
    // Compiled dependencies of Go's and Rust's own are kept from one run to the next.
    terminal
        .env("GOCACHE", &tools().join("go-cache").display().to_string())
        .env("GOFLAGS", "-mod=mod")
        .env("CARGO_TARGET_DIR", &tools().join("rust-target").display().to_string())
}

/// The chapter on plugins of the README: its files are written where it says, its commands typed, and what it says
/// comes out.
#[test]
fn the_chapter_of_the_readme() {
    if chosen().0.iter().all(|language| language.name != "rust") {
        return;
    }
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let (before, chapter) = text.split_once("\n## Plugins\n").expect("the chapter");
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let mut terminal = newcomer("examples/plugins/text-stats");
    terminal.type_block("mkdir empty\ncd empty\n").ok();
    for (path, file) in files(chapter) {
        let path = terminal.directory().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("its folder");
        std::fs::write(path, file).expect("a file of the chapter");
    }
    let blocks = blocks(chapter);
    let mut typed = 0;
    for (block, next) in blocks.iter().zip(blocks.iter().skip(1)) {
        if block.language == "bash" {
            let output = terminal.type_block(&block.text);
            let place = before.lines().count() + 1 + block.line;
            assert_eq!(output.code, 0, "README.md:{place}: {output}");
            assert!(next.language == "text" && output.stdout.ends_with(&next.text), "README.md:{place}: {output}");
            typed += 1;
        }
    }
    assert_eq!(typed, 2, "a script, and a component");
}

/// Blocks below a line that is only a path in backquotes, by that path.
fn files(markdown: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = markdown.lines().collect();
    let path = |line: &str| Some(line.strip_prefix('`')?.strip_suffix("`:")?.to_owned());
    let blocks = blocks(markdown);
    let named =
        blocks.into_iter().filter_map(|block| Some((path(lines.get(block.line.checked_sub(3)?)?)?, block.text)));
    named.collect()
}

#[test]
fn newcomers() {
    let (languages, left) = chosen();
    let mut table = format!("\n{:<8}", "language");
    for (heading, _) in PATH {
        let _ = write!(table, "{heading:>12}");
    }
    table.push_str("       total   component\n");
    for language in languages {
        let mut terminal = newcomer("examples/plugins/text-stats");
        let mut total = Duration::ZERO;
        let _ = write!(table, "{:<8}", language.name);
        for (heading, command) in PATH {
            let begun = Instant::now();
            let output = terminal.type_block(&command.replace("@lang@", language.name));
            let took = begun.elapsed();
            assert_eq!(output.code, 0, "{} {heading}: {output}", language.name);
            if heading.ends_with("run") {
                let expected = "Workflow 'greet' completed successfully\nResult: { \"greeting\": \"Hello, Ada!\" }\n";
                assert_eq!(output.stdout, expected, "{} {heading}: {output}", language.name);
            }
            total += took;
            let _ = write!(table, "{:>10.2} s", took.as_secs_f64());
        }
        let component = terminal.directory().join("try-it/try-it.wasm");
        let size = std::fs::metadata(&component).expect("the component").len();
        // For the benchmark of languages.
        let kept = tools().join("components");
        std::fs::create_dir_all(&kept).expect("a folder");
        std::fs::copy(&component, kept.join(language.name).with_extension("wasm")).expect("keep the component");
        lent(&mut terminal, language.name);
        let _ = writeln!(table, "{:>10.2} s{:>9} KB", total.as_secs_f64(), size / 1000);
    }
    eprintln!("{table}{}", left.iter().map(|line| format!("{line}\n")).collect::<String>());
}

/// The project's tool makes way for one that calls everything the host lends; Rust's SDK has tests of its own.
fn lent(terminal: &mut Terminal, language: &str) {
    let cases = root().join("tests/cases/languages");
    let ending = if language == "python" { "py" } else { language };
    let tool = Path::new("tool").with_extension(ending);
    if language == "rust" {
        return;
    }
    let project = terminal.directory().join("try-it");
    for file in [tool.as_path(), Path::new("cases.yaml")] {
        std::fs::copy(cases.join(file), project.join(file)).expect("a file of the cases");
    }
    let world = project.join("wit/world.wit");
    if let Ok(text) = std::fs::read_to_string(&world) {
        let open = |text: String, name: &str| {
            text.replace(&format!("// import compozy:host/{name}@"), &format!("import compozy:host/{name}@"))
        };
        std::fs::write(&world, open(open(text, "kv"), "secrets")).expect("the world");
    }
    let tested = terminal.type_block("compozy plugin build try-it\ncompozy plugin test try-it\n");
    assert!(tested.code == 0 && tested.stdout.ends_with("6 cases: 6 ok, 0 failed\n"), "{language}: {tested}");
}

/// Fails unless every block printed what the README says.
#[track_caller]
fn as_written(readme: &str, typed: &[Typed]) {
    assert!(!typed.is_empty(), "{readme}");
    for Typed { block, expected, output } in typed {
        assert_eq!(output.code, 0, "{readme}:{}: {}{output}", block.line, block.text);
        if let Some(expected) = expected {
            assert_eq!(&output.stdout, expected, "{readme}:{}: {}{output}", block.line, block.text);
        }
    }
}

#[test]
fn examples_are_typed() {
    for language in chosen().0 {
        for example in language.examples {
            let begun = Instant::now();
            let readme = format!("{example}/README.md");
            let mut terminal = newcomer(example);
            if example.ends_with("llm-python") {
                provider(&mut terminal, &readme);
            } else {
                as_written(&readme, &terminal.type_readme(&readme, |_| true));
            }
            eprintln!("{example}: typed in {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
}

/// The provider's README, with a model server of ours in the place of its `server.py`.
fn provider(terminal: &mut Terminal, readme: &str) {
    const SERVER_BLOCK: usize = 2;
    let model = ModelServer::listen();
    let address = model.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let project = terminal.directory().join("examples/plugins/llm-python/compozy.yaml");
    let text = std::fs::read_to_string(&project).expect("the project").replace("127.0.0.1:8901", &address);
    std::fs::write(&project, text).expect("the project");
    as_written(readme, &terminal.type_readme(readme, |block| block != SERVER_BLOCK));
    let asked = model.asked();
    let seen: Vec<_> = asked.iter().map(|asked| (asked.path.as_str(), asked.authorization.as_deref())).collect();
    assert_eq!(seen, [("/v1/chat/completions", Some("Bearer any-key"))]);
    assert_eq!(asked[0].body["messages"][0]["content"], "Is it on?");
}

/// The examples beside each other promise the same tool.
#[test]
fn examples_are_alike() {
    let read = |name: &str, file: &str| {
        std::fs::read_to_string(root().join("examples/plugins").join(name).join(file)).expect("a file of an example")
    };
    for name in ["js", "python", "c", "go"] {
        for file in ["cases.yaml", "compozy.yaml", "workflows/publish.yaml"] {
            assert_eq!(read(name, file), read("rust", file), "examples/plugins/{name}/{file}");
        }
    }
}
