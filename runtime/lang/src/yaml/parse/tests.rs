//! Tables over the rules of dialect §1.2.

use super::*;
use crate::source::Origin;

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let source = Arc::new(Source::new("f", Origin::File, text.into()));
    let (node, problems) = parse(source, &Limits::default());
    (node, problems.iter().map(|problem| format!("{} {}: {}", problem.code, problem.place, problem.message)).collect())
}

/// The tree as one line, scalars as written.
fn show(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|entry| format!("{}: {}", entry.key, show(&entry.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[test]
fn documents_become_trees() {
    for (text, tree) in [
        ("", "{}"),
        ("# nothing\n", "{}"),
        ("--- \na: 1\n...\n", "{a: 1}"),
        ("1: a\ntrue: b\nnull: c", "{1: a, true: b, null: c}"),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", "{a: {b: 1, c: 2}, d: {c: 3, b: 1}}"),
        ("a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}", "{a: {b: 1}, c: {b: 2, d: 3}, e: {b: 1, d: 3}}"),
        ("a: {\"<<\": 1}", "{a: {<<: 1}}"),
        ("a: &x 1\nb: *x", "{a: 1, b: 1}"),
        ("a: !!str 1\nb: ! 2", "{a: 1, b: 2}"),
    ] {
        let (node, problems) = read(text);
        assert_eq!((node.as_ref().map(show).as_deref(), problems), (Some(tree), vec![]), "{text:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, problem) in [
        ("a: 1\na: 2", "CZ0106 f:2:1: duplicate key 'a' (first at line 1)"),
        ("a: 1\n---\nb: 2", "CZ0117 f:2:1: more than one YAML document in f"),
        ("a: !ruby 1", "CZ0105 f:1:4: invalid YAML: the tag '!ruby' is not supported"),
        ("a: !!binary aGk=", "CZ0105 f:1:4: invalid YAML: the tag 'tag:yaml.org,2002:!binary' is not supported"),
        ("a: {{ .x }}", "CZ0105 f:1:5: invalid YAML: a map or list cannot be a key"),
        ("a: &x [*x]", "CZ0105 f:1:8: invalid YAML: an alias inside the value it stands for"),
        ("a: {<<: 1}", "CZ0105 f:1:9: invalid YAML: '<<' takes a map or a list of maps, not '1'"),
        ("a: \0", "CZ0105 f:1:4: invalid YAML: it holds a NUL byte"),
    ] {
        assert_eq!(read(text).1, [problem], "{text:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(read(&deep(100)).1, Vec::<String>::new());
    assert_eq!(read(&deep(101)).1, ["CZ0104 f:1:101: nesting deeper than 100 levels"]);
    // Far beyond what the scanner counts: the same code and the same limit.
    for open in ["[", "{a: "] {
        let problems = read(&open.repeat(50_000)).1;
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(problem.starts_with("CZ0104 ") && problem.ends_with(": nesting deeper than 100 levels"), "{problem}");
    }
    let hidden = format!("a: &x {}\nb: {}*x{}", deep(90), "[".repeat(20), "]".repeat(20));
    assert_eq!(read(&hidden).1, ["CZ0104 f:2:24: nesting deeper than 100 levels"]);
}

#[test]
fn aliases_are_counted_before_they_are_built() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let inner = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![inner; 10].join(", ")));
    }
    assert_eq!(read(&bomb).1, ["CZ0114 f:5:45: alias expansion exceeds 100000 nodes"]);
    let mut chain = String::from("a0: &a0 x\n");
    for level in 1..30 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(read(&chain).1, ["CZ0114 f:22:12: alias expansion exceeds 20 levels of alias in alias"]);
}

#[test]
fn anchors_inside_each_other_cost_nothing() {
    let text = format!(
        "{}{}{}",
        (0..99).map(|n| format!("&a{n} [")).collect::<String>(),
        "x, ".repeat(100_000),
        "]".repeat(99)
    );
    assert_eq!(read(&text).1, Vec::<String>::new());
}
