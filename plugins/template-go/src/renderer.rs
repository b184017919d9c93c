//! The two operations, and the memory of parsed templates that makes the second render of one cheap.

use std::{collections::VecDeque, rc::Rc};

use crate::{
    eval::{self, Setting},
    parser::{self, Parsed},
    problem::{Problem, Span},
    references,
    source::{Ambient, Limits, Report, Source},
    value::Value,
};

/// Parsed templates kept.
const KEPT: usize = 256;
/// Bytes of source text kept with them.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Checks and renders, and remembers what it has parsed.
#[derive(Debug, Default)]
pub struct Renderer {
    kept: VecDeque<Entry>,
    kept_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    text: Box<str>,
    inert: Box<[Span]>,
    /// The limits that parsing depends on.
    limits: (usize, usize),
    parsed: Rc<Parsed>,
}

impl Renderer {
    /// Parses `source` and reports problems and references.
    pub fn check(&mut self, source: &Source, limits: &Limits) -> Report {
        let parsed = self.parsed(source, limits);
        let references = parsed.template.as_ref().map(|template| references::collect(template, source.leniency.guard));
        Report {
            is_template: parsed.template.as_ref().is_none_or(|template| template.is_template),
            references: references.unwrap_or_default(),
            problems: parsed.problems.clone(),
        }
    }

    /// Renders `source` with `context`, a map.
    ///
    /// # Errors
    /// The first problem, from parsing or rendering; warnings are none.
    pub fn render(
        &mut self,
        source: &Source,
        context: &Value,
        ambient: &Ambient,
        limits: &Limits,
    ) -> Result<Value, Problem> {
        let parsed = self.parsed(source, limits);
        if let Some(problem) = parsed.problems.iter().find(|problem| !problem.warning) {
            return Err(problem.clone());
        }
        let Some(template) = &parsed.template else {
            return Ok(Value::string(source.text.as_str()));
        };
        let setting =
            Setting { context, mode: source.mode, leniency: source.leniency, ambient: *ambient, limits: *limits };
        eval::render(template, &setting)
    }

    fn parsed(&mut self, source: &Source, limits: &Limits) -> Rc<Parsed> {
        let hash = hash(source.text.as_bytes());
        let bounds = (limits.max_source, limits.max_depth);
        let known = self.kept.iter().find(|entry| {
            entry.hash == hash && *entry.text == *source.text && *entry.inert == *source.inert && entry.limits == bounds
        });
        if let Some(entry) = known {
            return entry.parsed.clone();
        }
        let parsed = Rc::new(parser::parse(&source.text, &source.inert, limits));
        self.keep(Entry {
            hash,
            text: source.text.as_str().into(),
            inert: source.inert.as_slice().into(),
            limits: bounds,
            parsed: parsed.clone(),
        });
        parsed
    }

    /// Keeps `entry`, letting go of the oldest ones.
    fn keep(&mut self, entry: Entry) {
        self.kept_bytes += entry.text.len();
        self.kept.push_back(entry);
        while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.text.len();
        }
    }
}

/// Tells templates apart quickly; equality is checked on the text (FNV-1a over words, <http://www.isthe.com/chongo/tech/comp/fnv/>).
fn hash(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01B3;
    let mut hash = 0xCBF2_9CE4_8422_2325_u64 ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = <[u8; 8]>::try_from(word).map_or(0, u64::from_le_bytes);
        hash = (hash ^ word).wrapping_mul(PRIME).rotate_left(29);
    }
    for byte in words.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    hash
}

/// [`Renderer::check`] without a memory.
pub fn check(source: &Source, limits: &Limits) -> Report {
    Renderer::default().check(source, limits)
}

/// [`Renderer::render`] without a memory.
///
/// # Errors
/// The first problem, from parsing or rendering; warnings are none.
pub fn render(source: &Source, context: &Value, ambient: &Ambient, limits: &Limits) -> Result<Value, Problem> {
    Renderer::default().render(source, context, ambient, limits)
}
