//! What `check` says a template refers to.

use template_go::{Leniency, Limits, Source, check};

/// Template, and its references as `path`, with `?` if guarded, `@` and the place.
const TABLE: &[(&str, &str)] = &[
    ("plain", ""),
    ("{{ .input.n }}", "input.n@3..11"),
    ("{{ .tasks.x.output.text | upper }}", "tasks.x.output.text@3..23"),
    ("{{ .input.a.b-c | default .input.d }}", "input.a.b-c?@3..15 input.d?@26..34"),
    ("{{ upper .input.a | default 1 }}", "input.a?@9..17"),
    ("{{ if .input.a }}{{ .input.b }}{{ end }}", "input.a?@6..14 input.b@20..28"),
    ("{{ if .a }}{{ else if .b }}{{ else }}{{ .c }}{{ end }}", "a?@6..8 b?@22..24 c@40..42"),
    ("{{ with .input }}{{ .n }}{{ $.env.K }}{{ else }}{{ .index }}{{ end }}", "input?@8..14 env.K@28..35 index@51..57"),
    ("{{ range .input.list }}{{ . }}{{ .x }}{{ $.item.id }}{{ end }}", "input.list@9..20 item.id@41..50"),
    ("{{ range $i, $x := .input.list }}{{ $x.y }}{{ end }}", "input.list@19..30"),
    ("{{ $x := .input.obj }}{{ $x.k }}", "input.obj@9..19"),
    ("{{ toJson . }}", "@10..11"),
    ("{{ $ }}", "@3..4"),
    ("{{ $.input.n }}", "input.n@3..12"),
    ("{{ index .tasks \"a.b\" }}", "tasks.a.b@9..15"),
    ("{{ (index .tasks \"a.b\").output.text }}", "tasks.a.b.output.text@3..35"),
    ("{{ index .tasks .input.id }}", "tasks@9..15 input.id@16..25"),
    ("{{ get .input \"k\" }}", "input.k?@7..13"),
    ("{{ (.input).n }}", "input.n@3..13"),
    ("{{ define \"t\" }}{{ .x }}{{ $.y }}{{ end }}{{ template \"t\" .input }}", "input@58..64"),
    ("{{ block \"t\" . }}{{ .x }}{{ end }}", "@13..14"),
    ("{{ default(.a, .b) }}", "a?@11..13 b?@15..17"),
];

fn references(source: &Source) -> String {
    let report = check(source, &Limits::default());
    assert_eq!(report.problems, [], "{}", source.text);
    let written = report.references.iter().map(|reference| {
        assert!(reference.whole);
        let guarded = if reference.guarded { "?" } else { "" };
        let (start, end) = (reference.span.start, reference.span.end);
        format!("{}{guarded}@{start}..{end}", reference.path.join("."))
    });
    written.collect::<Vec<_>>().join(" ")
}

fn source(text: &str) -> Source {
    Source { text: text.into(), ..Source::default() }
}

#[test]
fn references_are_reported() {
    for (template, expected) in TABLE {
        assert_eq!(references(&source(template)), *expected, "{template}");
    }
}

#[test]
fn a_guard_template_guards_all() {
    let guard = Source { leniency: Leniency { guard: true, ..Leniency::default() }, ..source("{{ .a }}{{ .b }}") };
    assert_eq!(references(&guard), "a?@3..5 b?@11..13");
}

#[test]
fn is_template_tells_plain_text() {
    let limits = Limits::default();
    for (text, expected) in [("plain", false), ("{% x %}", false), ("{{ 1 }}", true), ("{{/* c */}}", true)] {
        assert_eq!(check(&source(text), &limits).is_template, expected, "{text}");
    }
}

#[test]
fn jinja_delimiters_are_warned_of() {
    let report = check(&source("a {% if x %} {{ .b }} {{ \"{%\" }}"), &Limits::default());
    let found: Vec<_> = report.problems.iter().map(|p| (p.code, p.span.start, p.warning)).collect();
    assert_eq!(found, [("CZ0412", 2, true)]);
}

#[test]
fn all_unknown_functions_are_reported_at_once() {
    let report = check(&source("{{ foo 1 }}{{ .a }}{{ if bar }}{{ end }}"), &Limits::default());
    let found: Vec<_> = report.problems.iter().map(|p| (p.code, p.span.start, p.span.end)).collect();
    assert_eq!(found, [("CZ0406", 3, 6), ("CZ0406", 25, 28)]);
    assert_eq!(report.references.len(), 1);
}
