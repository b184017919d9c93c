//! Hostile files: nothing panics, nothing takes long, limits hold.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Memory, Options, ROOT, load, load_files};

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap()
    }
}

const CONFIG: &str = "name: p\nmode: memory\nserver: {port: \"${PORT:-80}\", auth: {enabled: true}}\nllm:\n  providers:\n    - &p {id: a, type: openai, api_key: ${K}, params: {temperature: 0.5}}\n    - {<<: *p, id: b}\nplugins: [{id: t, source: ./t.wasm, permissions: {http: [a], sql: [own], kv: true}}]\ntools: [{id: u, plugin: t, with: {x: 1}}]\nschemas: [{id: s, type: object}]\nknowledge: {vector_dbs: [{id: v, provider: qdrant}]}\nconfig: {on_error: e, retries: 2}\n";
const WORKFLOW: &str = "id: w\nconfig: {input: s, timeout: 1h}\ntasks:\n  - id: é\n    prompt: |\n      Hi {{ .input.name }} ${X:-{{ .y }}} $${Z}\n    agent: {llm: a, instructions: 'it''s {{ .tasks.é }}'}\n    on_success: {next: t, with: {a: [1, \"{{ .output }}\", {b: ~}]}}\n    retry_policy: {maximum_attempts: 2, initial_interval: 1s}\n  - {id: t, tool: u, sleep: 1m30s, final: true, condition: \"{{ true }}\"}\n  - {id: e, tool: u}\n  - {id: r, type: router, condition: 'input.é > 1 ? \"x\" : \"y\"', routes: {x: t, y: {prompt: z}, default: null}}\n  - {id: p, type: parallel, tasks: [{id: q, type: collection, items: [1], item_var: w, filter: '{{ .w }}', task: {id: 'x{{ .index }}', prompt: a}}, {id: o, type: composite, tasks: [{id: n, type: wait, wait_for: s, timeout: 1h, processor: {prompt: b}}]}]}\n  - {id: m, type: workflow, workflow: w}\n  - {id: k, type: memory, operation: read, memory_ref: z, key: a}\nschedule: {cron: '*/5 * * * MON', timezone: Europe/Lisbon, start_at: 2026-01-01}\ntriggers: [{type: webhook, webhook: {slug: a, verify: {strategy: hmac, secret: x}, events: [{name: b, filter: payload.a == 1, input: {c: '{{ .payload }}'}}]}}]\noutput: {x: \"{{ .tasks.t.output }}\"}\n";

#[test]
fn mutated_files_never_panic() {
    let pieces = [
        "${", "}", "{{", "}}", "\"", "'", ":", "-", "[", "]", "{", "\n", "\t", "&a ", "*a", "!!int ", "<<: ", "|", ">",
        "#", "%", "\u{feff}", "é", "0x", "~", "?", "$${", ": : ", "\r", "\u{85}", "\u{2028}",
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 4_000 && started.elapsed() < Duration::from_secs(20) {
        rounds += 1;
        let mut texts = [CONFIG.to_owned(), WORKFLOW.to_owned()];
        let text = &mut texts[random.below(2)];
        for _ in 0..=random.below(4) {
            let mut at = random.below(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match random.below(3) {
                0 => text.insert_str(at, pieces[random.below(pieces.len())]),
                1 => text.truncate(at),
                _ => {
                    let mut end = (at + random.below(12)).min(text.len());
                    while !text.is_char_boundary(end) {
                        end -= 1;
                    }
                    text.replace_range(at..end.max(at), "");
                }
            }
        }
        let [config, workflow] = texts;
        let checked = load_files(
            &[("compozy.yaml", &config), ("workflows/w.yaml", &workflow), (".env", &workflow)],
            &Options::default(),
        );
        for problem in &checked.diagnostics {
            assert!(!problem.message.is_empty() && problem.span_len > 0, "{problem}\n{config}\n{workflow}");
        }
    }
    assert!(rounds > 200, "only {rounds} rounds");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut files = Memory::of(&[("workflows/w.yaml", "tasks: [")]);
    files.0.insert(Path::new(ROOT).join("compozy.yaml"), vec![b'a', b':', b' ', 0xff, 0xfe]);
    let checked = load(&files, Path::new(ROOT), &Options::default());
    assert_eq!(
        checked.diagnostics[0].to_string(),
        "error[CZ0105]: invalid YAML: it is not UTF-8\n  --> compozy.yaml:1:1"
    );
}

#[test]
fn a_byte_order_mark_and_crlf_are_fine() {
    let checked = load_files(&[("compozy.yaml", "\u{feff}name: p\r\nserver:\r\n  port: 81\r\n")], &Options::default());
    assert_eq!(checked.diagnostics, vec![]);
    assert_eq!(checked.project.unwrap().settings.server.port, 81);
}

#[test]
fn large_files_are_refused_before_they_are_read() {
    let text = format!("name: {}", "x".repeat(10 << 20));
    let checked = load_files(&[("compozy.yaml", &text)], &Options::default());
    assert_eq!(checked.diagnostics[0].code, "CZ0103");
    let small = "limits: {max_config_file_size: 64}";
    let checked = load_files(&[("compozy.yaml", small), ("workflows/w.yaml", &"#".repeat(100))], &Options::default());
    assert_eq!(checked.diagnostics[0].message, "workflows/w.yaml is more than 64 bytes; the limit is 64");
}

/// Each problem costs a search for the nearest name, so their number is bounded however many there are.
#[test]
fn problems_are_counted_up_to_a_bound() {
    use compozy_lang::diagnostic::{COUNTED, REPORTED};
    let unknown: String = (0..700_000).map(|n| format!("k{n}: 1\n")).collect();
    let duplicate = "name: a\n".repeat(700_000);
    for (text, code) in [(unknown, "CZ0108"), (duplicate, "CZ0106")] {
        let strict = Options { strict: true, ..Options::default() };
        let checked = load_files(&[("compozy.yaml", &text)], &strict);
        assert_eq!(checked.diagnostics.len(), REPORTED);
        assert!(checked.diagnostics.iter().all(|problem| problem.code == code), "{:?}", checked.diagnostics);
        assert!((COUNTED..=1_000).contains(&checked.omitted), "{code}: {}", checked.omitted);
    }
    let few: String = (0..60).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(load_files(&[("compozy.yaml", &few)], &Options::default()).omitted, 10);
}

#[test]
fn work_grows_with_the_file_not_with_its_square() {
    let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    let variables = format!("name: \"{}\"\n", "${A:-${B:-é}}{{".repeat(20_000));
    let tasks: String = (0..5_000).map(|n| format!("  - {{id: t{n}, prompt: x}}\n")).collect();
    let tasks = format!("tasks:\n{tasks}");
    let dollars = format!("name: \"{}\"", "${".repeat(200_000));
    for (config, workflow) in [
        (keys.as_str(), "tasks: []"),
        (&variables, "tasks: []"),
        ("llm: {providers: [{id: m, type: mock}]}", &tasks),
        (&dollars, ""),
    ] {
        let started = Instant::now();
        load_files(&[("compozy.yaml", config), ("workflows/w.yaml", workflow)], &Options::default());
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?} for {}…",
            started.elapsed(),
            &config[..30.min(config.len())]
        );
    }
}

#[test]
fn tasks_nest_as_deep_as_files_do() {
    for (open, close) in [
        ("{id: a, type: composite, tasks: [", "]}"),
        ("{id: a, type: parallel, tasks: [", "]}"),
        ("{id: a, type: collection, items: [1], task: ", "}"),
        ("{id: a, type: router, condition: x, routes: {x: ", "}}"),
        ("{id: a, type: wait, wait_for: s, timeout: 1h, processor: ", "}"),
    ] {
        let levels = if open.ends_with("task: ") || open.ends_with("processor: ") { 96 } else { 48 };
        let tasks = format!("tasks: [{}{{id: z, prompt: x}}{}]", open.repeat(levels), close.repeat(levels));
        let config = "limits: {max_nesting_depth: 32}\nllm: {providers: [{id: m, type: mock}]}";
        for config in [config, "llm: {providers: [{id: m, type: mock}]}"] {
            load_files(&[("compozy.yaml", config), ("workflows/w.yaml", &tasks)], &Options::default());
        }
        // What loads can be read back from the text it is stored as.
        for levels in [10, 28, 31] {
            let tasks = format!("tasks: [{}{{id: z, prompt: x}}{}]", open.repeat(levels), close.repeat(levels));
            let checked = load_files(&[("compozy.yaml", config), ("workflows/w.yaml", &tasks)], &Options::default());
            let Some(project) = checked.project else { continue };
            let text = serde_json::to_string(&*project.workflows["w"]).unwrap();
            serde_json::from_str::<compozy_lang::plan::Workflow>(&text).unwrap();
        }
    }
}

#[test]
fn long_chains_of_workflows_are_followed_without_the_stack() {
    let count = 1_500;
    let mut files: Vec<(String, String)> = (0..count)
        .map(|n| {
            let next = (n + 1) % count;
            (format!("workflows/w{n}.yaml"), format!("id: w{n}\ntasks: [{{id: t, type: workflow, workflow: w{next}}}]"))
        })
        .collect();
    files.push(("compozy.yaml".into(), String::new()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let checked = load_files(&files, &Options::default());
    let codes: Vec<&str> = checked.diagnostics.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["CZ0313", "CZ0313"]);
}

#[test]
fn values_too_deep_to_be_stored_are_refused() {
    let tasks = |levels: usize| {
        format!(
            "tasks: [{{id: a, prompt: x, with: {}\"{{{{ .input }}}}\"{}}}]",
            "{a: ".repeat(levels),
            "}".repeat(levels)
        )
    };
    let config = "llm: {providers: [{id: m, type: mock}]}";
    let load =
        |levels| load_files(&[("compozy.yaml", config), ("workflows/w.yaml", &tasks(levels))], &Options::default());
    assert!(load(20).project.is_some());
    let checked = load(60);
    let found = checked.diagnostics.iter().find(|problem| problem.code == "CZ0104").unwrap();
    assert_eq!(found.message, "workflow 'w': nesting deeper than 110 levels");
}
