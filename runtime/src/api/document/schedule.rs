//! Schedules of the project, with what was set at run time and what became of them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{self, Overlap, Project};
use serde::{Deserialize, Serialize};

use super::{Page, maybe_time};
use crate::api::code;
use crate::api::error::Problem;
use crate::id::ExecId;
use crate::node::schedules::{self, Effective, Override};
use crate::storage::row::{Run, Schedule};
use crate::storage::{Error, Storage};

/// A schedule as it counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScheduleDocument {
    /// `<workflow>`, or `<workflow>/<number>` where the workflow has several.
    pub id: String,
    /// Which workflow it starts.
    pub workflow_id: String,
    /// Its expression.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// Switched on.
    pub enabled: bool,
    /// Longest delay of a fire.
    pub jitter_ms: u64,
    /// Not before.
    pub start_at: Option<String>,
    /// Not after.
    pub end_at: Option<String>,
    /// `skip`, `allow`, `buffer_one` or `cancel_other`.
    pub overlap_policy: Overlap,
    /// How late a time that was missed may still run.
    pub catch_up_ms: u64,
    /// Something differs from what the project says.
    pub is_override: bool,
    /// What was set at run time.
    #[serde(rename = "override")]
    pub overriding: Override,
    /// When its next run starts, `null` when none will.
    pub next_run_time: Option<String>,
    /// When its last run was started.
    pub last_run_time: Option<String>,
    /// Status of that run.
    pub last_run_status: Option<String>,
    /// That run.
    pub last_exec_id: Option<ExecId>,
    /// What became of its latest time.
    pub last_fire: Option<LastFire>,
    /// The time that waits for the end of that run.
    pub buffered_at: Option<String>,
    /// Why it cannot fire, where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its next runs, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_times: Option<Vec<String>>,
}

/// A schedule in the document of its workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Brief {
    /// `<workflow>`, or `<workflow>/<number>`.
    pub id: String,
    /// Its expression.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// Switched on.
    pub enabled: bool,
    /// Something differs from what the project says.
    pub is_override: bool,
}

/// What became of a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastFire {
    /// Which time.
    pub time: String,
    /// `started`, `skipped`, `buffered` or `failed`.
    pub state: String,
}

/// A page of schedules.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScheduleList {
    /// Entries by id.
    pub schedules: Vec<ScheduleDocument>,
    /// Where the page stands; `total` is always there.
    pub page: Page,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ScheduleFilter {
    /// Only those of this workflow.
    pub workflow_id: Option<String>,
    /// 1 to 500.
    pub limit: u32,
    /// Cursor of an earlier page.
    pub cursor: Option<String>,
}

/// Where a page begins or ends; what a cursor holds.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    list: String,
    id: String,
    /// The page ends before this entry instead of beginning after it.
    before: bool,
}

/// Reads the schedules of `project`.
///
/// # Errors
/// `invalid_cursor`, and those of the storage.
pub async fn list(
    storage: &dyn Storage,
    project: &Project,
    filter: &ScheduleFilter,
    now: Timestamp,
) -> Result<ScheduleList, Problem> {
    let wanted = |schedule: &&plan::Schedule| {
        filter.workflow_id.as_ref().is_none_or(|workflow| schedules::workflow_of(&schedule.id) == workflow)
    };
    let mut all: Vec<&plan::Schedule> = schedules::of(project).filter(wanted).collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    let (page, shown) = filter.page(&all)?;
    let rows = storage.schedules().await?;
    let rows: HashMap<&str, &Schedule> = rows.iter().map(|row| (row.schedule_id.as_str(), row)).collect();
    let mut entries = Vec::with_capacity(shown.len());
    for declared in shown {
        entries.push(document(storage, declared, rows.get(declared.id.as_str()).copied(), None, now).await?);
    }
    Ok(ScheduleList { schedules: entries, page })
}

/// Reads one schedule of the project, with its next `times` runs if asked for.
///
/// # Errors
/// `schedule_not_found`, and those of the storage.
pub async fn load(
    storage: &dyn Storage,
    project: &Project,
    id: &str,
    times: Option<u32>,
    now: Timestamp,
) -> Result<ScheduleDocument, Problem> {
    let declared = schedules::find(project, id)?;
    let rows = storage.schedules().await?;
    let row = rows.iter().find(|row| row.schedule_id == id);
    Ok(document(storage, declared, row, times, now).await?)
}

/// The schedules of a workflow in short, with what was set at run time.
///
/// # Errors
/// Those of the storage.
pub async fn brief(storage: &dyn Storage, declared: &[plan::Schedule]) -> Result<Vec<Brief>, Error> {
    if declared.is_empty() {
        return Ok(Vec::new());
    }
    let rows = storage.schedules().await?;
    let brief = |schedule: &plan::Schedule| {
        let row = rows.iter().find(|row| row.schedule_id == schedule.id);
        let set = Override::read(row.and_then(|row| row.overriding.as_deref()));
        Brief {
            id: schedule.id.clone(),
            is_override: set != Override::default(),
            cron: set.cron.unwrap_or_else(|| schedule.cron.clone()),
            timezone: set.timezone.unwrap_or_else(|| schedule.timezone.clone()),
            enabled: set.enabled.unwrap_or(schedule.enabled),
        }
    };
    Ok(declared.iter().map(brief).collect())
}

async fn document(
    storage: &dyn Storage,
    declared: &plan::Schedule,
    row: Option<&Schedule>,
    times: Option<u32>,
    now: Timestamp,
) -> Result<ScheduleDocument, Error> {
    let run = match row.and_then(|row| row.last_exec_id.as_ref()) {
        Some(exec_id) => storage.run(exec_id).await?,
        None => None,
    };
    Ok(describe(declared, row, run.as_ref(), times, now))
}

fn describe(
    declared: &plan::Schedule,
    row: Option<&Schedule>,
    run: Option<&Run>,
    times: Option<u32>,
    now: Timestamp,
) -> ScheduleDocument {
    let set = Override::read(row.and_then(|row| row.overriding.as_deref()));
    let effective = Effective::new(declared, &set);
    let planned = row.and_then(|row| row.next_fire_at);
    let next = effective.as_ref().ok().and_then(|effective| {
        // A plan that is past, or of another revision, is not what comes next.
        let planned = planned.filter(|time| effective.enabled && effective.has(*time) && effective.due(*time) >= now);
        Some((effective, planned.or_else(|| effective.planned(now))?))
    });
    let upcoming = |count: u32| {
        let times = next.into_iter().flat_map(|(effective, first)| {
            let times = std::iter::successors(Some(first), |time| effective.next(*time));
            times.map(|time| effective.due(time).to_rfc3339())
        });
        times.take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
    };
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let problem = effective.as_ref().err().map(|invalid| {
        let reasons: Vec<&str> = invalid.iter().map(|invalid| invalid.message.as_str()).collect();
        reasons.join("; ")
    });
    let (cron, timezone) = match &effective {
        Ok(effective) => (&effective.cron, &effective.timezone),
        Err(_) => (set.cron.as_ref().unwrap_or(&declared.cron), set.timezone.as_ref().unwrap_or(&declared.timezone)),
    };
    ScheduleDocument {
        id: declared.id.clone(),
        workflow_id: schedules::workflow_of(&declared.id).to_owned(),
        cron: cron.clone(),
        timezone: timezone.clone(),
        enabled: set.enabled.unwrap_or(declared.enabled),
        jitter_ms: millis(declared.jitter),
        start_at: maybe_time(declared.start_at.map(Timestamp)),
        end_at: maybe_time(declared.end_at.map(Timestamp)),
        overlap_policy: declared.overlap,
        catch_up_ms: millis(declared.catch_up),
        is_override: set != Override::default(),
        overriding: set.clone(),
        next_run_time: maybe_time(next.map(|(effective, time)| effective.due(time))),
        last_run_time: maybe_time(run.map(|run| run.created_at).or(row.and_then(|row| row.last_fire_at))),
        last_run_status: run.map(|run| run.status.clone()),
        last_exec_id: row.and_then(|row| row.last_exec_id.clone()),
        last_fire: row
            .and_then(|row| row.last.as_ref())
            .map(|(time, state)| LastFire { time: time.to_rfc3339(), state: state.clone() }),
        buffered_at: maybe_time(row.and_then(|row| row.buffered_at)),
        problem,
        next_run_times: times.map(upcoming),
    }
}

impl ScheduleFilter {
    fn page<'s>(&self, all: &[&'s plan::Schedule]) -> Result<(Page, Vec<&'s plan::Schedule>), Problem> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let range = match self.cursor.as_deref().map(Mark::read).transpose()? {
            None => 0..limit.min(all.len()),
            Some(mark) if mark.before => {
                let end = all.partition_point(|schedule| schedule.id < mark.id);
                end.saturating_sub(limit)..end
            }
            Some(mark) => {
                let start = all.partition_point(|schedule| schedule.id <= mark.id);
                start..start.saturating_add(limit).min(all.len())
            }
        };
        let shown = all.get(range.clone()).unwrap_or_default().to_vec();
        let page = Page {
            limit: self.limit,
            next_cursor: shown.last().filter(|_| range.end < all.len()).map(|last| Mark::cursor(&last.id, false)),
            prev_cursor: shown.first().filter(|_| range.start > 0).map(|first| Mark::cursor(&first.id, true)),
            total: u64::try_from(all.len()).ok(),
        };
        Ok((page, shown))
    }
}

impl Mark {
    fn cursor(id: &str, before: bool) -> String {
        let mark = Self { list: "schedules".into(), id: id.to_owned(), before };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&mark).unwrap_or_default())
    }

    fn read(cursor: &str) -> Result<Self, Problem> {
        URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|mark| mark.list == "schedules")
            .ok_or_else(|| Problem::new(code::INVALID_CURSOR, "the cursor does not belong to this list"))
    }
}
