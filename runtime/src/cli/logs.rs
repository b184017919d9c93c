//! Logs: one line per record on stderr, text or JSON, secrets masked.

use std::fmt;
use std::io::Write;
use std::sync::{OnceLock, PoisonError, RwLock};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::failure::Failure;
use super::output::{Paint, escaped, painted};
use super::session::{LogFormat, Session};
use crate::clock::Clock;
use crate::plugin::secret::Mask;

/// Values that no line may show. Filled once the project's `.env` is read.
static MASKS: OnceLock<RwLock<Masks>> = OnceLock::new();

/// The values, and what strikes them out in all their forms.
#[derive(Default)]
struct Masks {
    values: Vec<String>,
    mask: Mask,
}

/// Adds values that no line may show.
pub fn mask(values: impl IntoIterator<Item = String>) {
    let masks = MASKS.get_or_init(RwLock::default);
    let mut masks = masks.write().unwrap_or_else(PoisonError::into_inner);
    let before = masks.values.len();
    for value in values {
        if !masks.values.contains(&value) {
            masks.values.push(value);
        }
    }
    if masks.values.len() > before {
        masks.mask = Mask::new(masks.values.iter().map(String::as_str));
    }
}

/// `text` with every masked value as `***`.
#[must_use]
pub fn masked(text: &str) -> String {
    let Some(masks) = MASKS.get() else { return text.to_owned() };
    let masks = masks.read().unwrap_or_else(PoisonError::into_inner);
    masks.mask.apply(text).into_owned()
}

/// Starts logging for this process at the level of `--log-level`, else `default`.
///
/// # Errors
/// Usage: a level that is none.
pub fn install(session: &Session, default: &str) -> Result<(), Failure> {
    let level = session.log_level.as_deref().unwrap_or(match (session.output.verbose, default) {
        (0, default) => default,
        (1, _) => "info",
        _ => "debug",
    });
    let directives = directives(level).ok_or_else(|| {
        Failure::usage(format!("unknown log level '{level}'")).hint("one of trace, debug, info, warn, error, off")
    })?;
    let filter =
        EnvFilter::try_new(&directives).map_err(|error| Failure::usage(format!("log level '{level}': {error}")))?;
    let format = Lines { format: session.log_format, color: session.output.color_err, clock: session.clock.clone() };
    // A second call in one process (tests) keeps the first subscriber.
    let _already_set =
        tracing_subscriber::fmt().with_env_filter(filter).event_format(format).with_writer(Masked::stderr).try_init();
    Ok(())
}

/// `info,engine=debug` as the filter's words: our own crates get the level, other crates only warnings.
fn directives(level: &str) -> Option<String> {
    let mut words = vec!["warn".to_owned()];
    for part in level.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) =
            part.split_once('=').map_or((None, part), |(target, level)| (Some(target.trim()), level.trim()));
        let level = level.to_ascii_lowercase();
        if !["trace", "debug", "info", "warn", "error", "off"].contains(&level.as_str()) {
            return None;
        }
        match target {
            None => {
                if matches!(level.as_str(), "error" | "off") {
                    words = vec![level.clone()];
                }
                words.extend(["compozy", "compozy_engine", "compozy_lang"].map(|name| format!("{name}={level}")));
            }
            Some("engine") => words.push(format!("compozy_engine={level}")),
            Some("lang") => words.push(format!("compozy_lang={level}")),
            Some(module @ ("storage" | "plugin" | "provider" | "node" | "api" | "cli")) => {
                words.push(format!("compozy::{module}={level}"));
            }
            Some(other) => words.push(format!("{other}={level}")),
        }
    }
    Some(words.join(","))
}

/// Stderr with masks laid over each record.
#[derive(Debug)]
struct Masked;

impl Masked {
    fn stderr() -> Self {
        Self
    }
}

impl Write for Masked {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().lock().write_all(masked(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

/// The form of a record: `ts level target msg` and its fields.
struct Lines {
    format: LogFormat,
    color: bool,
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = self.clock.now().to_rfc3339();
        let (level, target) = (event.metadata().level(), event.metadata().target());
        match self.format {
            LogFormat::Json => {
                let mut record = Map::new();
                record.insert("ts".to_owned(), time.into());
                record.insert("level".to_owned(), level.as_str().to_ascii_lowercase().into());
                record.insert("target".to_owned(), target.into());
                record.insert("msg".to_owned(), fields.message.into());
                record.extend(fields.others);
                writeln!(writer, "{}", Value::Object(record))
            }
            LogFormat::Text => {
                let paint = match *level {
                    tracing::Level::ERROR => Paint::Red,
                    tracing::Level::WARN => Paint::Yellow,
                    tracing::Level::INFO => Paint::Green,
                    _ => Paint::Dim,
                };
                let word = painted(&format!("{:5}", level.as_str()), paint, self.color);
                let message = escaped(&fields.message).replace('\n', "\\n");
                write!(writer, "{time} {word} {target}: {message}")?;
                for (name, value) in &fields.others {
                    let text =
                        value.as_str().map_or_else(|| value.to_string(), |text| escaped(text).replace('\n', "\\n"));
                    write!(writer, " {name}={text}")?;
                }
                writeln!(writer)
            }
        }
    }
}

/// The fields of a record.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            name => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_directives() {
        for (level, expected) in [
            ("info", Some("warn,compozy=info,compozy_engine=info,compozy_lang=info")),
            ("error", Some("error,compozy=error,compozy_engine=error,compozy_lang=error")),
            (
                "WARN, engine=debug,node=trace",
                Some(
                    "warn,compozy=warn,compozy_engine=warn,compozy_lang=warn,compozy_engine=debug,compozy::node=trace",
                ),
            ),
            ("loud", None),
            ("info,node=loud", None),
        ] {
            assert_eq!(directives(level).as_deref(), expected, "{level}");
        }
    }

    #[test]
    fn secrets_are_masked_longest_first() {
        mask(["canary-1".to_owned(), "canary-1-long".to_owned(), "ab".to_owned()]);
        assert_eq!(masked("x canary-1-long canary-1 ab"), "x *** *** ab");
    }
}
