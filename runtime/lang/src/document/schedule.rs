//! Schedules of workflows (dialect §13.2).

use std::time::Duration;

use crate::cron;
use crate::diagnostic::Diagnostic;
use crate::plan::Overlap;
use crate::schema::trigger::SCHEDULE;
use crate::yaml::Node;

use super::fields::Fields;
use super::reader::Reader;
use super::scalar::one_or_many;

/// Longest jitter: a fire must not be taken for one of the next day.
const LONGEST_JITTER: Duration = Duration::from_secs(24 * 3600);

/// A schedule as written, checked.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) cron: String,
    pub(crate) timezone: String,
    pub(crate) enabled: bool,
    pub(crate) jitter: Duration,
    pub(crate) start_at: Option<i64>,
    pub(crate) end_at: Option<i64>,
    pub(crate) input: serde_json::Value,
    pub(crate) overlap: Overlap,
    pub(crate) catch_up: Duration,
}

impl Reader<'_> {
    /// `schedule` of a workflow. Variables that are missing matter once schedules are served.
    pub(crate) fn schedules(&mut self, fields: &Fields<'_>) -> Vec<Schedule> {
        let Some(node) = fields.get("schedule") else { return Vec::new() };
        let is_list = node.items().is_some();
        let mut found = Vec::new();
        for (index, node) in one_or_many(node).iter().enumerate() {
            let path = if is_list { format!("schedule.{index}") } else { "schedule".to_owned() };
            found.extend(self.lazily(|reader| reader.schedule(node, &path)));
        }
        found
    }

    fn schedule(&mut self, node: &Node, path: &str) -> Option<Schedule> {
        let fields = self.fields(node, &SCHEDULE, path)?;
        let cron = self.cron(&fields);
        let (timezone, zone) = self.zone(&fields);
        let start_at = self.instant(&fields, "start_at", zone);
        let end_at = self.instant(&fields, "end_at", zone);
        if let (Some(start), Some(end)) = (start_at, end_at)
            && end <= start
        {
            self.bad_schedule(&fields, "end_at", "end_at is not after start_at");
        }
        let jitter = match fields.get("jitter") {
            Some(node) => self.jitter(&fields, node),
            None => Duration::ZERO,
        };
        Some(Schedule {
            cron: cron?,
            timezone,
            enabled: self.bool(&fields, "enabled").unwrap_or(true),
            jitter,
            start_at,
            end_at,
            input: fields.get("input").map_or(serde_json::Value::Null, |node| self.value(node, &fields.at("input"))),
            overlap: match self.choice(&fields, "overlap_policy") {
                Some("allow") => Overlap::Allow,
                Some("buffer_one") => Overlap::BufferOne,
                Some("cancel_other") => Overlap::CancelOther,
                _ => Overlap::Skip,
            },
            catch_up: self.duration(&fields, "catch_up").unwrap_or_default(),
        })
    }

    /// CZ0901, or CZ0902 for all keys but `cron`.
    fn bad_schedule(&mut self, fields: &Fields<'_>, key: &str, reason: &str) {
        let node = fields.get(key).unwrap_or(fields.node);
        let problem: Diagnostic = node.diagnostic("CZ0902", format!("schedule {key}: {reason}"));
        self.report(problem.path(fields.at(key)).help("fix the schedule"));
    }

    fn cron(&mut self, fields: &Fields<'_>) -> Option<String> {
        let Some(node) = fields.get("cron") else {
            let problem = fields.node.diagnostic("CZ0901", "schedule '': 'cron' is missing").length(1);
            self.report(problem.path(&fields.path).help("add it, for example cron: \"0 8 * * MON-FRI\""));
            return None;
        };
        let text = self.text_of(node, &fields.at("cron"))?;
        match cron::parse(&text) {
            Ok(_) => Some(text),
            Err(reason) => {
                let shown = crate::yaml::describe_text(&text);
                let shown = shown.trim_matches('\'');
                let problem = node.diagnostic("CZ0901", format!("schedule '{shown}': {reason}"));
                self.report(problem.path(fields.at("cron")).help("fix the schedule"));
                None
            }
        }
    }

    fn zone(&mut self, fields: &Fields<'_>) -> (String, chrono_tz::Tz) {
        let name = self.text(fields, "timezone").unwrap_or_else(|| "UTC".into());
        match cron::zone(name.trim()) {
            Ok(zone) => (zone.name().to_owned(), zone),
            Err(reason) => {
                self.bad_schedule(fields, "timezone", &reason);
                (name, chrono_tz::Tz::UTC)
            }
        }
    }

    fn instant(&mut self, fields: &Fields<'_>, key: &str, zone: chrono_tz::Tz) -> Option<i64> {
        let text = self.text_of(fields.get(key)?, &fields.at(key))?;
        match cron::instant(&text, zone) {
            Ok(time) => Some(time),
            Err(reason) => {
                self.bad_schedule(fields, key, &reason);
                None
            }
        }
    }

    fn jitter(&mut self, fields: &Fields<'_>, node: &Node) -> Duration {
        let Some(filled) = self.fill(node, &fields.at("jitter")) else { return Duration::ZERO };
        match crate::duration::parse(&filled.text, crate::duration::Bare::Refused) {
            Some(jitter) if jitter <= LONGEST_JITTER => jitter,
            Some(_) => {
                self.bad_schedule(fields, "jitter", "it is longer than one day");
                Duration::ZERO
            }
            None => {
                let shown = crate::yaml::describe_text(&filled.text);
                self.bad_schedule(
                    fields,
                    "jitter",
                    &format!("{shown} is not a duration; write a unit, for example 30s"),
                );
                Duration::ZERO
            }
        }
    }
}
