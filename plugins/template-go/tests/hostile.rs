//! Limits, leniency and hostile input: nothing panics, nothing runs away.

use template_go::{
    Ambient, Leniency, Limits, Mode, Problem, Renderer, Source, Span, Value, check, function_names, json, render,
};

fn source(text: impl Into<String>) -> Source {
    Source { text: text.into(), ..Source::default() }
}

fn try_render(source: &Source, context: &str, limits: &Limits) -> Result<String, Problem> {
    let context = json::parse(context).unwrap();
    let value = render(source, &context, &Ambient::default(), limits)?;
    let mut text = String::new();
    json::write(&mut text, &value, json::Style::Faithful, u64::MAX).unwrap();
    Ok(text)
}

fn code(source: &Source, limits: &Limits) -> &'static str {
    try_render(source, "{}", limits).map_or_else(|problem| problem.code, |_| "none")
}

#[test]
fn limits_hold_at_their_edge() {
    let limits = Limits { max_source: 100, max_depth: 3, max_steps: 50, max_output: 20 };
    let nested = |depth: usize| "{{if 1}}".repeat(depth) + &"{{end}}".repeat(depth);
    let grouped = |depth: usize| format!("{{{{ {}1{} }}}}", "(".repeat(depth), ")".repeat(depth));
    for (text, expected) in [
        ("x".repeat(20) + "{{/* */}}", "none"),
        ("x".repeat(21) + "{{/* */}}", "CZ0410"),
        ("{{/* */}}".to_owned() + &" ".repeat(92), "CZ0410"),
        (nested(3), "none"),
        (nested(4), "CZ0410"),
        (grouped(3), "none"),
        (grouped(4), "CZ0410"),
        ("{{ range 20 }}{{ end }}".into(), "none"),
        ("{{ range 60 }}{{ end }}".into(), "CZ0410"),
        ("{{ until 40 | len }}".into(), "none"),
        ("{{ until 60 | len }}".into(), "CZ0410"),
        ("{{ repeat 20 \"x\" }}".into(), "none"),
        ("{{ repeat 21 \"x\" }}".into(), "CZ0410"),
    ] {
        assert_eq!(code(&source(&*text), &limits), expected, "{text}");
    }
}

#[test]
fn leniency_turns_missing_into_null() {
    let context = r#"{"payload": {}, "input": {}, "tasks": {"t": {"status": "FAILED", "skipped": true}, "d": {"status": "SUCCESS", "output": {}}}}"#;
    let lenient = |guard, not_run_is_null, request_is_null| Leniency { guard, not_run_is_null, request_is_null };
    for (text, leniency, expected) in [
        ("{{ .input.a.b }}", lenient(true, false, false), Ok("null")),
        ("{{ upper .input.a }}", lenient(true, false, false), Ok("null")),
        ("x{{ .input.a }}", lenient(true, false, false), Ok("\"x\"")),
        ("{{ .tasks.t.output.a.b }}", lenient(false, true, false), Ok("null")),
        ("{{ .tasks.d.output.a }}", lenient(false, true, false), Err("CZ0402")),
        ("{{ .tasks.t.output.a }}", lenient(false, false, true), Err("CZ0405")),
        ("{{ .payload.a.b }}", lenient(false, false, true), Ok("null")),
        ("{{ .headers.a }}", lenient(false, false, true), Ok("null")),
        ("{{ .input.a }}", lenient(false, false, true), Err("CZ0402")),
    ] {
        let source = Source { leniency, ..source(text) };
        let found = try_render(&source, context, &Limits::default());
        let found = found.as_deref().map_err(|problem| problem.code);
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn container_outputs_resolve_in_both_shapes() {
    let context = r#"{"tasks": {"p": {"type": "parallel", "status": "SUCCESS", "output": {"a": {"x": 1}},
        "children": {"b": {"output": {"x": 2}}}, "progress_info": {"failed_count": 3}},
        "c": {"type": "collection", "status": "SUCCESS", "output": [1], "progress_info": {"failed_count": 4}},
        "own": {"type": "composite", "status": "SUCCESS", "output": {"progress_info": 5}, "progress_info": {}}}}"#;
    for (text, expected) in [
        ("{{ .tasks.p.output.a.x }}", "1"),
        ("{{ .tasks.p.output.a.output.x }}", "1"),
        ("{{ .tasks.p.output.outputs.a.x }}", "1"),
        ("{{ .tasks.p.output.b.x }}", "2"),
        ("{{ .tasks.p.output }}", r#"{"a":{"x":1}}"#),
        ("{{ .tasks.p.output.progress_info.failed_count }}", "3"),
        ("{{ .tasks.c.output.progress_info.failed_count }}", "4"),
        ("{{ .tasks.own.output.progress_info }}", "5"),
    ] {
        assert_eq!(try_render(&source(text), context, &Limits::default()).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_renderer_gives_the_same_twice() {
    let mut renderer = Renderer::default();
    let context = json::parse(r#"{"a": 1}"#).unwrap();
    let limits = Limits::default();
    for turn in 0..600 {
        // Same text, other inert ranges: another template.
        let plain = source(format!("{{{{ .a }}}}{}", turn % 300));
        let inert = Source { inert: vec![Span::new(0, 8)], ..plain.clone() };
        for (source, expected) in [(plain, format!("1{}", turn % 300)), (inert, format!("{{{{ .a }}}}{}", turn % 300))]
        {
            let found = renderer.render(&source, &context, &Ambient::default(), &limits).unwrap();
            assert!(matches!(&found, Value::String(text) if **text == expected), "{expected}: {found:?}");
        }
    }
}

#[test]
fn deep_and_broken_contexts_are_refused() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(json::parse(&deep).is_err());
    let nested = "[".repeat(250) + &"]".repeat(250);
    assert!(json::parse(&nested).is_ok());
    for text in ["", "{", "{\"a\"}", "[1,]", "01", "1.", "\"\\u12\"", "\"\t\"", "nul", "1 2", "-", "1e999", "{a:1}"] {
        assert!(json::parse(text).is_err(), "{text}");
    }
}

/// Random programs from pieces that matter, over random inert ranges, in both modes: a value or a problem with a
/// place inside the source, never a panic.
#[test]
fn random_templates_never_panic() {
    let mut pieces: Vec<String> = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        "\n",
        ".",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "\"",
        "'",
        "`",
        "\\",
        "/*",
        "*/",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "continue",
        "nil",
        "true",
        ".a",
        ".b-c",
        ".list.0",
        ".tasks.t.output",
        "1",
        "-2",
        "0x1F",
        "1.5",
        "1e400",
        "9223372036854775807",
        "\"s\"",
        "\"é\"",
        "{%",
        "{",
        "[1]",
        "{{ ",
        " }}",
        "{{ if ",
        "{{ end }}",
        "{{ range $i, $x := ",
        "{{ $x := ",
        "{{ else }}",
        "é",
        "\u{0}",
        "..",
        "%d",
        "\"%v%5.2f\"",
        "\"2006-01-02 15:04:05.999 MST\"",
        "\"[a-z\"",
        "\"(a+)+$\"",
        "\"=>1.2 - 3\"",
        "\"http://a:b@[::1]:9/%zz\"",
        "now",
        ".m",
        ".s",
    ]
    .map(String::from)
    .to_vec();
    pieces.extend(function_names().map(|name| format!(" {name} ")));
    let context = json::parse(
        r#"{"a": null, "b-c": "x", "s": "héllo wörld", "list": [1, "b", [2.5]], "m": {"k": {"z": []}}, "tasks": {"t": {"status": "PENDING"}}}"#,
    )
    .unwrap();
    let limits = Limits { max_source: 4096, max_depth: 16, max_steps: 20_000, max_output: 64 * 1024 };
    let mut state = 0x1234_5678_9ABC_DEF0_u64;
    let mut random = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let rounds = if cfg!(debug_assertions) { 60_000 } else { 2_000_000 };
    for _ in 0..rounds {
        let mut text = String::new();
        // Half of them are well-formed calls, so that functions see odd arguments and not only the parser odd text.
        if random(2) == 0 {
            let function = function_names().nth(random(function_names().count())).unwrap();
            text = format!("{{{{ {function}");
            for _ in 0..random(4) {
                let arguments = [
                    ".a",
                    ".b-c",
                    ".s",
                    ".list",
                    ".m",
                    ".m.k",
                    "1",
                    "-1",
                    "9223372036854775807",
                    "1e300",
                    "0",
                    "\"\"",
                    "\"x\"",
                    "now",
                    "\"%v\"",
                    "\"a(b)*|[^c]\"",
                    "\"1.2.3\"",
                    "\"02 Jan\"",
                    "(list .a .s)",
                    "(dict \"a\" .m)",
                    "true",
                    "nil",
                    "3.7",
                ];
                text += " ";
                text += arguments[random(arguments.len())];
            }
            text += " }}";
        } else {
            for _ in 0..random(24) {
                text += &pieces[random(pieces.len())];
            }
        }
        let mut inert = Vec::new();
        for _ in 0..random(5).saturating_sub(2) {
            let start = random(text.len() + 2);
            inert.push(Span::new(start, start + random(6)));
        }
        let source = Source {
            inert,
            mode: if random(2) == 0 { Mode::Text } else { Mode::Value },
            leniency: Leniency { guard: random(2) == 0, ..Leniency::default() },
            text,
        };
        let report = check(&source, &limits);
        let rendered = render(&source, &context, &Ambient::default(), &limits);
        for problem in report.problems.iter().chain(rendered.as_ref().err()) {
            assert!(
                problem.span.start <= problem.span.end && problem.span.end <= source.text.len(),
                "{:?} {problem:?}",
                source.text
            );
        }
    }
}

/// What the component has; frames of a debug build are several times larger.
const STACK: usize = if cfg!(debug_assertions) { 4 * 1024 * 1024 } else { 192 * 1024 };

/// Templates nested as deep as they may, in every way at once.
#[test]
fn deep_nesting_fits_a_small_stack() {
    let limits = Limits::default();
    let mut texts = vec![
        "{{ (".to_owned() + &"add 1 (".repeat(62) + "1" + &")".repeat(63) + " }}",
        "{{if 1}}".repeat(64) + &"{{end}}".repeat(64),
        "{{range 1}}".repeat(64) + &"{{end}}".repeat(64),
        "{{ define \"t\" }}{{ if true }}{{ template \"t\" . }}{{ end }}{{ end }}{{ template \"t\" 1 }}".into(),
        "{{ $x := list }}{{ range until 254 }}{{ $x = list $x }}{{ end }}{{ toPrettyJson $x | len }}{{ eq $x (deepCopy $x) }}{{ $x }}".into(),
    ];
    texts.push("(".repeat(100_000));
    texts.push("{{".to_owned() + &"(".repeat(100_000));
    texts.push("{{if 1}}".repeat(30_000));
    let run = move || {
        for text in &texts {
            let _ = try_render(&source(&**text), "{}", &limits);
        }
    };
    std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap();
}
