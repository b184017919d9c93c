//! What the global flags mean once the environment is laid under them.

use std::path::{Path, PathBuf};

use super::args::GlobalArgs;
use super::failure::Failure;
use super::output::{ColorSources, Format, Output};
use crate::clock::Clock;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What every command starts from.
#[derive(Debug, Clone)]
pub struct Session {
    /// Where it writes.
    pub output: Output,
    /// Time and ids.
    pub clock: Clock,
    /// `--config` or its variable; `None`: the default names.
    pub config: Option<PathBuf>,
    /// `--env-file` or its variable.
    pub env_file: Option<PathBuf>,
    /// How logs are written.
    pub log_format: LogFormat,
    /// `--log-level` or its variable, as written.
    pub log_level: Option<String>,
    /// Which server, if one is named.
    pub server: Option<String>,
    /// Never contact a server.
    pub local: bool,
    /// Key for the server.
    pub api_key: Option<String>,
    /// The key may go over plain http to another machine.
    pub insecure: bool,
    /// Overrides of the project file, lowest first: `--set`, then the shorthands.
    pub overrides: Vec<(String, String)>,
    /// Every model is the mock.
    pub mock_llm: bool,
    /// No confirmation.
    pub yes: bool,
}

/// Looks up a variable of the process environment.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Session {
    /// Lays flags over the environment.
    ///
    /// # Errors
    /// Usage, exit 2.
    pub fn new(args: GlobalArgs, variables: Variables<'_>) -> Result<Self, Failure> {
        let first = |names: &[&str]| names.iter().find_map(|name| variables(name).filter(|value| !value.is_empty()));
        let switch = |flag: bool, name: &str| -> Result<bool, Failure> {
            if flag { Ok(true) } else { variables(name).map_or(Ok(false), |value| boolean(name, &value)) }
        };
        let output = output(&args, variables)?;
        let server = args.server.clone().or_else(|| first(&["COMPOZY_SERVER", "COMPOZY_BASE_URL"]));
        // A flag beats the other's variable; two flags contradict each other.
        let local = match (args.local, args.server.is_some()) {
            (true, true) => return Err(Failure::usage("--local and --server contradict each other")),
            (true, false) => true,
            (false, true) => false,
            (false, false) => switch(false, "COMPOZY_LOCAL")?,
        };
        let contradiction = local && !args.local && server.is_some();
        if contradiction {
            return Err(Failure::usage("COMPOZY_LOCAL and COMPOZY_SERVER contradict each other"));
        }
        let mut overrides = args.set.iter().map(|text| override_of(text)).collect::<Result<Vec<_>, _>>()?;
        overrides.extend(args.shorthand.overrides());
        let log_format = args.log_format.clone().or_else(|| first(&["COMPOZY_LOG_FORMAT"]));
        Ok(Self {
            output,
            clock: Clock::system(),
            config: args.config.or_else(|| first(&["COMPOZY_CONFIG", "COMPOZY_CONFIG_FILE"]).map(PathBuf::from)),
            env_file: args.env_file.or_else(|| first(&["COMPOZY_ENV_FILE"]).map(PathBuf::from)),
            log_format: log_format.map_or(Ok(LogFormat::Text), |word| log_format_of(&word))?,
            log_level: args.log_level.or_else(|| first(&["RUNTIME_LOG_LEVEL"])),
            server: if local { None } else { server },
            local,
            api_key: args.api_key.or_else(|| first(&["COMPOZY_API_KEY"])).map(api_key).transpose()?,
            insecure: args.insecure,
            overrides,
            mock_llm: switch(args.mock_llm, "COMPOZY_MOCK_LLM")?,
            yes: switch(args.yes, "COMPOZY_YES")?,
        })
    }

    /// The project file: the one named, else `compozy.yaml`, else `compozy.yml` in the working directory. `None`: none
    /// was named and none exists here. What is there and is no file is for its reader to refuse.
    #[must_use]
    pub fn config_file(&self) -> Option<PathBuf> {
        match &self.config {
            Some(path) => Some(absolute(path)),
            None => ["compozy.yaml", "compozy.yml"]
                .map(|name| absolute(Path::new(name)))
                .into_iter()
                .find(|path| path.symlink_metadata().is_ok()),
        }
    }
}

/// `path` seen from the working directory, without a look at the disk.
#[must_use]
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn output(args: &GlobalArgs, variables: Variables<'_>) -> Result<Output, Failure> {
    let word = |word: &str| {
        Format::parse(word).ok_or_else(|| {
            Failure::usage(format!("unknown output format '{word}'")).hint("one of table, json, yaml, ndjson")
        })
    };
    let named = match (&args.output, &args.format) {
        (Some(one), Some(other)) if word(one)? != word(other)? => {
            return Err(Failure::usage(format!("--output {one} and --format {other} contradict each other")));
        }
        (Some(one), _) | (None, Some(one)) => Some(one.clone()),
        (None, None) => ["COMPOZY_OUTPUT", "COMPOZY_DEFAULT_FORMAT"]
            .iter()
            .find_map(|name| variables(name).filter(|value| !value.is_empty())),
    };
    let format = named.map_or(Ok(Format::Table), |name| word(&name))?;
    let quiet = args.quiet || variables("COMPOZY_QUIET").map_or(Ok(false), |value| boolean("COMPOZY_QUIET", &value))?;
    let verbose = match (args.debug, args.verbose, variables("COMPOZY_VERBOSE")) {
        (true, _, _) => 2,
        (false, 0, Some(value)) => verbosity(&value)?,
        (false, count, _) => count.min(2),
    };
    let (no_color, force, term) = (variables("NO_COLOR"), variables("CLICOLOR_FORCE"), variables("TERM"));
    let flag = match (args.no_color, args.color.as_deref()) {
        (true, _) => Some(Some(false)),
        (false, None) => None,
        (false, Some("auto")) => Some(None),
        (false, Some("always" | "on")) => Some(Some(true)),
        (false, Some("never" | "off")) => Some(Some(false)),
        (false, Some(other)) => {
            return Err(Failure::usage(format!("unknown colour choice '{other}'")).hint("one of auto, always, never"));
        }
    };
    let colors = ColorSources { flag, no_color: no_color.as_deref(), force: force.as_deref(), term: term.as_deref() };
    Ok(Output::new(format, quiet, verbose, colors))
}

fn verbosity(text: &str) -> Result<u8, Failure> {
    match text.parse::<u8>() {
        Ok(count) => Ok(count.min(2)),
        Err(_) => boolean("COMPOZY_VERBOSE", text).map(u8::from),
    }
}

fn boolean(name: &str, text: &str) -> Result<bool, Failure> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Failure::usage(format!("{name} is '{text}'; write 1 or 0"))),
    }
}

/// A key that a header can carry. The message never repeats it.
fn api_key(key: String) -> Result<String, Failure> {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key);
    }
    Err(Failure::usage("the API key is empty or holds spaces, control or non-ASCII characters")
        .hint("check --api-key or COMPOZY_API_KEY; a line end at its end counts too"))
}

fn log_format_of(word: &str) -> Result<LogFormat, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Failure::usage(format!("unknown log format '{word}'")).hint("one of text, json")),
    }
}

fn override_of(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => Ok((path.trim().to_owned(), value.to_owned())),
        _ => {
            Err(Failure::usage(format!("--set {text}: expected PATH=VALUE")).hint("for example --set server.port=9000"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::cli::args;

    fn session(line: &str, variables: &[(&str, &str)]) -> Result<Session, Failure> {
        let map: HashMap<&str, &str> = variables.iter().copied().collect();
        let cli = args::parse(line.split(' ').map(Into::into)).unwrap_or_else(|error| panic!("{error}"));
        Session::new(cli.global, &|name| map.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn flags_beat_variables_and_first_names_beat_second_ones() {
        let session = session(
            "compozy version --config a.yaml -o yaml",
            &[
                ("COMPOZY_CONFIG", "b.yaml"),
                ("COMPOZY_OUTPUT", "json"),
                ("COMPOZY_SERVER", "http://a"),
                ("COMPOZY_BASE_URL", "http://b"),
                ("COMPOZY_MOCK_LLM", "1"),
                ("RUNTIME_LOG_LEVEL", "debug"),
                ("MODE", "prod"),
            ],
        )
        .unwrap();
        assert_eq!(session.config.as_deref(), Some(Path::new("a.yaml")));
        assert_eq!(session.output.format, Format::Yaml);
        assert_eq!(session.server.as_deref(), Some("http://a"));
        assert!(session.mock_llm);
        assert_eq!(session.log_level.as_deref(), Some("debug"));
        assert!(session.overrides.is_empty());
    }

    #[test]
    fn second_names_of_variables_work() {
        let session = session(
            "compozy version",
            &[("COMPOZY_CONFIG_FILE", "b.yaml"), ("COMPOZY_DEFAULT_FORMAT", "json"), ("COMPOZY_BASE_URL", "http://b")],
        )
        .unwrap();
        assert_eq!(session.config.as_deref(), Some(Path::new("b.yaml")));
        assert_eq!(session.output.format, Format::Json);
        assert_eq!(session.server.as_deref(), Some("http://b"));
    }

    #[test]
    fn an_api_key_fits_a_header_and_is_not_repeated() {
        assert_eq!(api_key("cpzy_A-1~".into()).unwrap(), "cpzy_A-1~");
        for bad in ["", "hunter2\n", "hunter2\u{1b}[0m", "hunter2 x", "hunter2\u{e9}"] {
            let failure = api_key(bad.into()).unwrap_err();
            assert_eq!(failure.exit(), 2, "{bad:?}");
            assert!(!failure.document().to_string().contains("hunter2"), "{bad:?}");
        }
    }

    #[test]
    fn contradictions_and_bad_words_are_usage_errors() {
        for (line, variables) in [
            ("compozy version --output json --format yaml", &[][..]),
            ("compozy version -o xml", &[]),
            ("compozy version --local --server http://a", &[]),
            ("compozy version", &[("COMPOZY_LOCAL", "1"), ("COMPOZY_SERVER", "http://a")]),
            ("compozy version --color purple", &[]),
            ("compozy version --set nonsense", &[]),
            ("compozy version --log-format xml", &[]),
            ("compozy version", &[("COMPOZY_MOCK_LLM", "perhaps")]),
        ] {
            assert_eq!(session(line, variables).map_err(|failure| failure.exit()).err(), Some(2), "{line}");
        }
        assert!(session("compozy version --output json --format JSON", &[]).is_ok());
        // A flag says what this call wants; the variable is for all the others.
        assert_eq!(session("compozy version --local", &[("COMPOZY_SERVER", "http://a")]).unwrap().server, None);
    }
}
