//! Loading a project: what `lang` reads, with the template plugin's word on every template.

use compozy_lang::load::{self, Checked, Request, TemplateProblem, TemplateReference, TemplateReport};
use compozy_lang::plan::{TemplateLimits, TemplateMode};

use super::step::render::limits_of;
use crate::plugin::CallError;
use crate::plugin::template::{Leniency, Mode, Renderer, Report, Source, Span};

/// Templates checked in one call, so that a large project does not pass a huge message.
const BATCH: usize = 256;

/// Reads, checks and links a project.
///
/// # Errors
/// The template plugin itself failed; whatever is wrong with the project is among its diagnostics.
pub async fn load(request: &Request<'_>, renderer: &Renderer) -> Result<Checked, CallError> {
    let draft = load::read(request);
    let limits =
        draft.settings().map_or_else(TemplateLimits::default, |settings| settings.limits.engine.template.clone());
    let sources: Vec<Source> = draft.template_sources().into_iter().map(source).collect();
    let mut reports = Vec::with_capacity(sources.len());
    for batch in sources.chunks(BATCH) {
        reports.extend(renderer.check(batch, limits_of(&limits)).await?.into_iter().map(report));
    }
    Ok(draft.link(reports))
}

fn source(source: load::TemplateSource<'_>) -> Source {
    let (mode, leniency) = reading(source.mode);
    Source {
        text: source.text.to_owned(),
        inert: source.inert.iter().map(|(start, end)| Span { start: *start, end: *end }).collect(),
        mode,
        leniency,
    }
}

/// How the template plugin reads a template of this mode.
pub(crate) fn reading(mode: TemplateMode) -> (Mode, Leniency) {
    match mode {
        TemplateMode::Text => (Mode::Text, Leniency::empty()),
        TemplateMode::Value => (Mode::Value, Leniency::empty()),
        TemplateMode::Guard => (Mode::Value, Leniency::GUARD),
        TemplateMode::Outputs => (Mode::Value, Leniency::NOT_RUN_IS_NULL),
    }
}

fn report(report: Report) -> TemplateReport {
    TemplateReport {
        is_template: report.is_template,
        references: report
            .references
            .into_iter()
            .map(|reference| TemplateReference {
                path: reference.path,
                whole: reference.whole,
                guarded: reference.guarded,
                start: reference.span.start,
                end: reference.span.end,
            })
            .collect(),
        problems: report
            .problems
            .into_iter()
            .map(|problem| TemplateProblem {
                code: problem.code,
                message: problem.message,
                help: problem.help,
                start: problem.span.start,
                end: problem.span.end,
                warning: problem.warning,
            })
            .collect(),
    }
}
