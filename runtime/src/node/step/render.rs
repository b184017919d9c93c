//! Templates of one stage of a step, rendered in one call of the template plugin.

use std::collections::BTreeMap;

use compozy_engine::context::{self, Site};
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::time::Timestamp;
use compozy_lang::environment::Environment;
use compozy_lang::interpolate::MissingVariable;
use compozy_lang::plan::{Reference, Segment, Template, TemplateLimits, ValueTemplate};
use serde_json::Value;

use super::super::project::reading;
use crate::plugin::template::{Ambient, Failure, Leniency, Limits, RenderError, Renderer, Source, Span};

/// A value whose rendered parts are still to be put in.
#[derive(Debug)]
pub(crate) enum Shape {
    Ready(Value),
    Rendered(usize),
    List(Vec<Shape>),
    Map(Vec<(String, Shape)>),
}

/// Templates to render together, all against one context.
pub(crate) struct Batch<'a> {
    environment: &'a dyn Environment,
    templates: Vec<&'a Template>,
    sources: Vec<Source>,
    /// On top of what each template's mode forgives.
    leniency: Leniency,
}

/// Whether a value may hold what comes from the environment.
pub(crate) fn reads_environment(value: &ValueTemplate) -> bool {
    match value {
        ValueTemplate::Fixed(_) => false,
        ValueTemplate::Template(template) => {
            let named = |reference: &Reference| reference.path.first().is_none_or(|root| root == "env");
            template.segments.iter().any(|segment| matches!(segment, Segment::Variable { .. }))
                || template.references.iter().any(named)
        }
        ValueTemplate::List(items) => items.iter().any(reads_environment),
        ValueTemplate::Map(members) => members.iter().any(|(_, value)| reads_environment(value)),
    }
}

/// The rendered values of a [`Batch`].
#[derive(Debug, Default)]
pub(crate) struct Values(Vec<Value>);

impl<'a> Batch<'a> {
    pub(crate) fn new(environment: &'a dyn Environment) -> Self {
        Self { environment, templates: Vec::new(), sources: Vec::new(), leniency: Leniency::empty() }
    }

    /// For templates over a request: what is missing in it is null (dialect §6.3).
    pub(crate) fn of_request(environment: &'a dyn Environment) -> Self {
        Self { leniency: Leniency::REQUEST_IS_NULL, ..Self::new(environment) }
    }

    /// Adds one scalar.
    pub(crate) fn scalar(&mut self, template: &'a Template) -> Result<Shape, StepError> {
        let resolved = template.resolve(self.environment).map_err(|missing| missing_variable(&missing))?;
        if !template.is_template {
            return Ok(Shape::Ready(template.value_of_plain(&resolved.text)));
        }
        let (mode, leniency) = reading(template.mode);
        let inert = resolved.inert.into_iter().map(|(start, end)| Span { start, end }).collect();
        self.sources.push(Source { text: resolved.text, inert, mode, leniency: leniency | self.leniency });
        self.templates.push(template);
        Ok(Shape::Rendered(self.templates.len() - 1))
    }

    /// Adds a tree of scalars.
    pub(crate) fn value(&mut self, value: &'a ValueTemplate) -> Result<Shape, StepError> {
        match value {
            ValueTemplate::Fixed(value) => Ok(Shape::Ready(value.clone())),
            ValueTemplate::Template(template) => self.scalar(template),
            ValueTemplate::List(items) => {
                items.iter().map(|item| self.value(item)).collect::<Result<_, _>>().map(Shape::List)
            }
            ValueTemplate::Map(members) => {
                let members = members.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?)));
                members.collect::<Result<_, StepError>>().map(Shape::Map)
            }
        }
    }

    /// Nothing has to be rendered.
    pub(crate) fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// Fixes what the templates see. Time passes only after it.
    pub(crate) fn prepare(
        self,
        site: Site<'_>,
        env: &EnvLayers<'_>,
        ambient: Ambient,
    ) -> Result<Prepared<'a>, StepError> {
        let env = env.values(self.references(), self.environment)?;
        let context = context::build(&Site { env: &env, ..site }, self.references());
        Ok(self.against(context, ambient))
    }

    /// What the templates refer to.
    pub(crate) fn references(&self) -> impl Iterator<Item = &'a Reference> {
        self.templates.iter().flat_map(|template| &template.references)
    }

    /// Fixes what the templates see, a JSON object as text.
    pub(crate) fn against(self, context: String, ambient: Ambient) -> Prepared<'a> {
        Prepared { templates: self.templates, sources: self.sources, context, ambient }
    }
}

/// Templates with the context they are rendered in.
pub(crate) struct Prepared<'a> {
    templates: Vec<&'a Template>,
    sources: Vec<Source>,
    context: String,
    ambient: Ambient,
}

impl Prepared<'_> {
    /// Renders everything that was added. Without templates nothing is called.
    pub(crate) async fn render(self, renderer: &Renderer, limits: &TemplateLimits) -> Result<Values, StepError> {
        if self.templates.is_empty() {
            return Ok(Values::default());
        }
        let rendered = renderer.render(&self.sources, &self.context, self.ambient, limits_of(limits)).await;
        let texts = rendered.map_err(|error| match error {
            RenderError::Template(failure) => {
                let template = usize::try_from(failure.source).ok().and_then(|index| self.templates.get(index));
                render_error(failure, template.copied())
            }
            RenderError::Call(error) => StepError { kind: ErrorKind::Template, ..super::tool::call_error(error) },
        })?;
        let values = texts.iter().map(|text| serde_json::from_str(text));
        values.collect::<Result<_, _>>().map(Values).map_err(|error| {
            StepError::new("CZ0401", ErrorKind::Template, format!("the template plugin gave no JSON: {error}"))
        })
    }
}

impl Values {
    /// Puts the rendered parts into `shape`.
    pub(crate) fn fill(&self, shape: Shape) -> Value {
        match shape {
            Shape::Ready(value) => value,
            Shape::Rendered(index) => self.0.get(index).cloned().unwrap_or_default(),
            Shape::List(items) => items.into_iter().map(|item| self.fill(item)).collect(),
            Shape::Map(members) => {
                Value::Object(members.into_iter().map(|(key, shape)| (key, self.fill(shape))).collect())
            }
        }
    }

    /// The text of a scalar in text mode.
    pub(crate) fn text(&self, shape: Shape) -> String {
        match self.fill(shape) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }
}

/// `env:` maps, narrowest first. Names in none of them come from the environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnvLayers<'a>(pub(crate) &'a [&'a BTreeMap<String, Template>]);

impl EnvLayers<'_> {
    /// The values of the names that are referred to. Only a name that is written out reaches the environment; one that
    /// is set nowhere is left out, and the template language says so where it is used.
    pub(crate) fn values<'r>(
        &self,
        references: impl Iterator<Item = &'r Reference>,
        environment: &dyn Environment,
    ) -> Result<BTreeMap<String, String>, StepError> {
        let mut values = BTreeMap::new();
        for reference in references.filter(|reference| reference.path.first().is_some_and(|root| root == "env")) {
            match reference.path.get(1) {
                Some(name) => {
                    if let Some(value) = self.value(name, environment)? {
                        values.insert(name.clone(), value);
                    }
                }
                None => {
                    for name in self.0.iter().flat_map(|layer| layer.keys()) {
                        if let Some(value) = self.value(name, environment)? {
                            values.insert(name.clone(), value);
                        }
                    }
                }
            }
        }
        Ok(values)
    }

    fn value(&self, name: &str, environment: &dyn Environment) -> Result<Option<String>, StepError> {
        let declared = self.0.iter().find_map(|layer| layer.get(name));
        match declared {
            Some(template) => {
                let resolved = template.resolve(environment).map_err(|missing| missing_variable(&missing))?;
                Ok(Some(resolved.text))
            }
            None => Ok(environment.lookup(name)),
        }
    }
}

/// CZ0113 as a step's error.
pub(super) fn missing_variable(missing: &MissingVariable) -> StepError {
    let mut error = StepError::new("CZ0113", ErrorKind::Template, missing.to_string());
    error.place = Some(missing.place.to_string());
    error.help = Some(format!("set it, for example in .env, or write ${{{}:-…}}", missing.name));
    error
}

fn render_error(failure: Failure, template: Option<&Template>) -> StepError {
    let mut error = StepError::new(failure.problem.code, ErrorKind::Template, failure.problem.message);
    error.help = failure.problem.help;
    error.place = template.map(|template| template.place.to_string());
    error
}

/// The plan's limits as the template plugin takes them.
pub(crate) fn limits_of(limits: &TemplateLimits) -> Limits {
    Limits {
        max_source: limits.max_source_bytes,
        max_depth: limits.max_depth,
        max_steps: limits.max_steps,
        max_output: limits.max_output_bytes,
    }
}

/// Time and randomness of a step's templates. They come from the step's record, so that every attempt, also one after a
/// crash, renders the same values.
pub(crate) fn ambient(started_at: Timestamp, step_id: &str) -> Ambient {
    // FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/): a seed need not be secret, only stable.
    let seed = step_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Ambient { now_unix_us: started_at.0, seed }
}
