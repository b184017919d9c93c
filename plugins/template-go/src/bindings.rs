//! The component: the interface `template` of `wit/template.wit` over the native API.

#![expect(unsafe_code, reason = "generated glue of the component model")]
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

use std::cell::RefCell;

use crate::{
    json::{self, Style},
    problem, source,
    value::Value,
};

wit_bindgen::generate!({
    path: "../../wit",
    world: "template-plugin",
});

use exports::compozy::plugin::template::{
    Ambient, Failure, Guest, Leniency, Limits, Mode, Problem, Reference, Report, Source, Span,
};

thread_local! {
    static RENDERER: RefCell<crate::Renderer> = RefCell::default();
}

struct Component;

export!(Component);

impl Guest for Component {
    fn check(sources: Vec<Source>, limits: Limits) -> Vec<Report> {
        let limits = native_limits(limits);
        let check = |source| RENDERER.with_borrow_mut(|renderer| renderer.check(&native(source), &limits));
        sources.into_iter().map(check).map(report).collect()
    }

    fn render(sources: Vec<Source>, context: String, ambient: Ambient, limits: Limits) -> Result<Vec<String>, Failure> {
        let limits = native_limits(limits);
        let context = json::parse(&context).map_err(|reason| failure(0, bad_context(reason)))?;
        let mut results = Vec::with_capacity(sources.len());
        for (index, source) in (0_u32..).zip(sources) {
            let ambient = source::Ambient {
                now_unix_us: ambient.now_unix_us,
                // Sources rendered together must not draw the same numbers.
                seed: ambient.seed.wrapping_add(u64::from(index)),
            };
            let rendered =
                RENDERER.with_borrow_mut(|renderer| renderer.render(&native(source), &context, &ambient, &limits));
            results.push(rendered.and_then(|value| json_text(&value)).map_err(|problem| failure(index, problem))?);
        }
        Ok(results)
    }
}

/// No limit: the value was built within the limits, and JSON is longer than it by a bounded factor.
fn json_text(value: &Value) -> Result<String, problem::Problem> {
    let mut text = String::new();
    json::write(&mut text, value, Style::Faithful, u64::MAX)
        .map_err(|fail| fail.at("the result", problem::Span::default()))?;
    Ok(text)
}

fn bad_context(reason: String) -> problem::Problem {
    problem::Problem::new("CZ0404", format!("context: {reason}"), problem::Span::default())
}

fn failure(source: u32, problem: problem::Problem) -> Failure {
    Failure { source, problem: foreign(problem) }
}

fn native(source: Source) -> source::Source {
    let span = |span: Span| problem::Span::new(span.start as usize, span.end as usize);
    source::Source {
        text: source.text,
        inert: source.inert.into_iter().map(span).collect(),
        mode: match source.mode {
            Mode::Value => source::Mode::Value,
            Mode::Text => source::Mode::Text,
        },
        leniency: source::Leniency {
            guard: source.leniency.contains(Leniency::GUARD),
            not_run_is_null: source.leniency.contains(Leniency::NOT_RUN_IS_NULL),
            request_is_null: source.leniency.contains(Leniency::REQUEST_IS_NULL),
        },
    }
}

fn native_limits(limits: Limits) -> source::Limits {
    source::Limits {
        max_source: limits.max_source as usize,
        max_depth: limits.max_depth as usize,
        max_steps: limits.max_steps,
        max_output: limits.max_output,
    }
}

fn span(span: problem::Span) -> Span {
    Span { start: u32::try_from(span.start).unwrap_or(u32::MAX), end: u32::try_from(span.end).unwrap_or(u32::MAX) }
}

fn foreign(problem: problem::Problem) -> Problem {
    Problem {
        code: problem.code.into(),
        message: problem.message,
        help: problem.help,
        span: span(problem.span),
        warning: problem.warning,
    }
}

fn report(report: source::Report) -> Report {
    let reference = |reference: source::Reference| Reference {
        path: reference.path.iter().map(|segment| segment.to_string()).collect(),
        whole: reference.whole,
        guarded: reference.guarded,
        span: span(reference.span),
    };
    Report {
        is_template: report.is_template,
        references: report.references.into_iter().map(reference).collect(),
        problems: report.problems.into_iter().map(foreign).collect(),
    }
}
