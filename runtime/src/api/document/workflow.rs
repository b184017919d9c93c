//! Workflows: definitions of the project joined with their latest run.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compozy_lang::plan::{Next, Project, Task, TaskKind, Transition, Typed, Workflow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Page;
use super::execution::{Expand, Summary, Viewer, summary};
use super::schedule::{self, Brief};
use crate::api::code;
use crate::api::error::Problem;
use crate::storage::row::{Run, WorkflowSummary};
use crate::storage::{Error, Storage};

/// An entry of the list of workflows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkflowEntry {
    /// Id.
    pub id: String,
    /// Name, or empty.
    pub name: String,
    /// Version, or empty.
    pub version: String,
    /// Description, or empty.
    pub description: String,
    /// Status of the latest run, `null` when it never ran.
    pub status: Option<String>,
    /// False for a workflow known only from stored runs.
    pub in_project: bool,
    /// `file`, or `null` when it is not in the project.
    pub source: Option<String>,
    /// File it was read from, relative to the project folder.
    pub file: Option<String>,
    /// Strong ETag of its definition.
    pub etag: Option<String>,
    /// Stored runs.
    pub runs: u64,
    /// The newest run.
    pub latest_execution: Option<Summary>,
}

/// A page of workflows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkflowList {
    /// Entries in order.
    pub workflows: Vec<WorkflowEntry>,
    /// Where the page stands; `total` is always there.
    pub page: Page,
}

/// One workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkflowDocument {
    /// Id.
    pub id: String,
    /// Name, or empty.
    pub name: String,
    /// Version, or empty.
    pub version: String,
    /// Description, or empty.
    pub description: String,
    /// `file`.
    pub source: String,
    /// File it was read from, relative to the project folder.
    pub file: String,
    /// SHA-256 (hex) of the definition; runs are pinned to it.
    pub digest: String,
    /// Strong ETag.
    pub etag: String,
    /// JSON Schema of the input.
    pub input_schema: Option<Value>,
    /// JSON Schema of the output.
    pub output_schema: Option<Value>,
    /// Limit of a whole run.
    pub timeout_ms: Option<u64>,
    /// When it starts by itself.
    #[serde(default)]
    pub schedules: Vec<Brief>,
    /// Tasks in the order written.
    pub tasks: Vec<TaskDocument>,
    /// Stored runs.
    pub runs: u64,
    /// The newest run.
    pub latest_execution: Option<Summary>,
}

/// A task of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskDocument {
    /// Id.
    pub id: String,
    /// `prompt` or `tool`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Tool it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Provider entry it asks; absent: the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Model it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Task after success; absent: the next in order, or decided by a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// Task after failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<String>,
    /// Limit of one attempt, where it is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Attempts in all.
    pub max_attempts: u32,
    /// Where it is written.
    pub line: u32,
}

/// What to list, and in which order.
#[derive(Debug, Clone, Default)]
pub struct WorkflowFilter {
    /// Prefix of id or name, in any case.
    pub prefix: Option<String>,
    /// Status words of the latest run; empty: all.
    pub statuses: Vec<String>,
    /// The latest run has this tag with this value.
    pub tag: Option<(String, String)>,
    /// Sort key.
    pub sort: Sort,
    /// Last first.
    pub descending: bool,
    /// 1 to 500.
    pub limit: u32,
    /// Entries to skip; not together with a cursor.
    pub offset: usize,
    /// Cursor of an earlier page.
    pub cursor: Option<String>,
}

/// Sort keys of workflows; ties are ordered by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Id.
    #[default]
    Name,
    /// When the latest run was recorded; never run comes first.
    CreatedAt,
    /// When the latest run changed last.
    UpdatedAt,
    /// Status word of the latest run.
    Status,
}

/// Where a page of workflows begins or ends; what a cursor holds.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    list: String,
    sort: Sort,
    key: String,
    id: String,
    /// The page ends before this entry instead of beginning after it.
    before: bool,
}

/// Reads the list of workflows of `project` and of stored runs.
///
/// # Errors
/// `invalid_cursor`, and those of the storage.
pub async fn list(
    storage: &dyn Storage,
    project: &Project,
    filter: &WorkflowFilter,
    viewer: Viewer,
) -> Result<WorkflowList, Problem> {
    let summaries = storage.workflow_summaries().await?;
    let candidates = filter.apply(join(project, &summaries));
    let (page, range) = filter.page(&candidates)?;
    let mut workflows = Vec::with_capacity(range.len());
    for candidate in candidates.get(range).unwrap_or_default() {
        workflows.push(candidate.entry(storage, viewer).await?);
    }
    Ok(WorkflowList { workflows, page })
}

/// Reads one workflow; `None` when the project has none of this id.
///
/// # Errors
/// Those of the storage.
pub async fn load(
    storage: &dyn Storage,
    project: &Project,
    id: &str,
    viewer: Viewer,
) -> Result<Option<WorkflowDocument>, Error> {
    let Some(workflow) = project.workflows.get(id) else { return Ok(None) };
    let found = storage.workflow_summaries().await?.into_iter().find(|summary| summary.workflow_id == id);
    let (runs, latest_execution) = match &found {
        Some(found) => (found.runs, Some(summary(storage, &found.latest, Expand::default(), viewer).await?)),
        None => (0, None),
    };
    Ok(Some(WorkflowDocument {
        id: workflow.id.clone(),
        name: workflow.name.clone(),
        version: workflow.version.clone(),
        description: workflow.description.clone(),
        source: "file".into(),
        file: workflow.file.clone(),
        digest: workflow.digest.clone(),
        etag: etag(&workflow.digest),
        input_schema: workflow.input_schema.clone(),
        output_schema: workflow.output_schema.clone(),
        timeout_ms: workflow.timeout.map(whole_millis),
        schedules: schedule::brief(storage, &workflow.schedules).await?,
        tasks: workflow.tasks.iter().map(|task| TaskDocument::new(task, &workflow.tasks)).collect(),
        runs,
        latest_execution,
    }))
}

/// The project has no workflow `id`; names the nearest ones.
#[must_use]
pub fn not_found(project: &Project, id: &str) -> Problem {
    let suggestions = compozy_lang::suggest::several(id, project.workflows.keys().map(String::as_str));
    crate::node::Error::WorkflowNotFound {
        id: id.to_owned(),
        suggestions: suggestions.into_iter().map(str::to_owned).collect(),
    }
    .into()
}

/// The strong ETag of a digest.
#[must_use]
pub fn etag(digest: &str) -> String {
    format!("\"{digest}\"")
}

impl TaskDocument {
    fn new(task: &Task, siblings: &[Task]) -> Self {
        let (kind, tool, provider, model) = match &task.kind {
            TaskKind::Prompt(prompt) => ("prompt", None, prompt.provider.clone(), prompt.model.clone()),
            TaskKind::Tool(call) => ("tool", Some(call.tool.clone()), None, None),
            _ => (task.kind_word(), None, None, None),
        };
        let target = |transition: &Transition| match &transition.next {
            Some(Next::Task(index)) => siblings.get(*index).map(|task| task.id.clone()),
            Some(Next::Template(_)) | None => None,
        };
        Self {
            id: task.id.clone(),
            kind: kind.into(),
            tool,
            provider,
            model,
            on_success: target(&task.on_success),
            on_error: target(&task.on_error),
            timeout_ms: match &task.timeout {
                Some(Typed::Fixed(timeout)) => Some(whole_millis(*timeout)),
                Some(Typed::Template(_)) | None => None,
            },
            max_attempts: task.retry.maximum_attempts,
            line: task.place.line,
        }
    }
}

fn whole_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A workflow with its runs, before anything more is read for it.
#[derive(Debug)]
struct Candidate<'a> {
    id: &'a str,
    workflow: Option<&'a Workflow>,
    runs: u64,
    latest: Option<&'a Run>,
}

fn join<'a>(project: &'a Project, summaries: &'a [WorkflowSummary]) -> Vec<Candidate<'a>> {
    let stored: HashMap<&str, &WorkflowSummary> =
        summaries.iter().map(|summary| (summary.workflow_id.as_str(), summary)).collect();
    let mut all: BTreeMap<&str, Candidate<'a>> = BTreeMap::new();
    for (id, workflow) in &project.workflows {
        let summary = stored.get(id.as_str());
        let (runs, latest) = summary.map_or((0, None), |summary| (summary.runs, Some(&summary.latest)));
        all.insert(id, Candidate { id, workflow: Some(workflow), runs, latest });
    }
    for summary in summaries {
        let id = summary.workflow_id.as_str();
        all.entry(id).or_insert(Candidate { id, workflow: None, runs: summary.runs, latest: Some(&summary.latest) });
    }
    all.into_values().collect()
}

impl Candidate<'_> {
    /// The text it is sorted by; times as fixed-width numbers.
    fn key(&self, sort: Sort) -> String {
        let time = |time: fn(&Run) -> i64| self.latest.map_or(String::new(), |run| format!("{:020}", time(run).max(0)));
        match sort {
            Sort::Name => String::new(),
            Sort::CreatedAt => time(|run| run.created_at.0),
            Sort::UpdatedAt => time(|run| run.updated_at.0),
            Sort::Status => self.latest.map_or(String::new(), |run| run.status.clone()),
        }
    }

    async fn entry(&self, storage: &dyn Storage, viewer: Viewer) -> Result<WorkflowEntry, Error> {
        let latest_execution = match self.latest {
            Some(run) => Some(summary(storage, run, Expand::default(), viewer).await?),
            None => None,
        };
        let text = |field: fn(&Workflow) -> &String| self.workflow.map(field).cloned();
        Ok(WorkflowEntry {
            id: self.id.to_owned(),
            name: text(|workflow| &workflow.name).unwrap_or_default(),
            version: text(|workflow| &workflow.version).unwrap_or_default(),
            description: text(|workflow| &workflow.description).unwrap_or_default(),
            status: self.latest.map(|run| run.status.clone()),
            in_project: self.workflow.is_some(),
            source: self.workflow.map(|_| "file".to_owned()),
            file: text(|workflow| &workflow.file),
            etag: self.workflow.map(|workflow| etag(&workflow.digest)),
            runs: self.runs,
            latest_execution,
        })
    }
}

impl WorkflowFilter {
    fn apply<'a>(&self, mut candidates: Vec<Candidate<'a>>) -> Vec<Candidate<'a>> {
        candidates.retain(|candidate| self.admits(candidate));
        candidates.sort_by(|a, b| {
            let order = a.key(self.sort).cmp(&b.key(self.sort)).then_with(|| a.id.cmp(b.id));
            if self.descending { order.reverse() } else { order }
        });
        candidates
    }

    fn admits(&self, candidate: &Candidate<'_>) -> bool {
        let starts = |text: &str| {
            self.prefix.as_deref().is_none_or(|prefix| text.to_lowercase().starts_with(&prefix.to_lowercase()))
        };
        let named = starts(candidate.id) || candidate.workflow.is_some_and(|workflow| starts(&workflow.name));
        let status =
            self.statuses.is_empty() || candidate.latest.is_some_and(|run| self.statuses.contains(&run.status));
        let tagged = self
            .tag
            .as_ref()
            .is_none_or(|(name, value)| candidate.latest.is_some_and(|run| has_tag(&run.tags, name, value)));
        named && status && tagged
    }

    /// Which of the sorted candidates the page shows.
    fn page(&self, candidates: &[Candidate<'_>]) -> Result<(Page, std::ops::Range<usize>), Problem> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let range = match &self.cursor {
            None => {
                let start = self.offset.min(candidates.len());
                start..start.saturating_add(limit).min(candidates.len())
            }
            Some(cursor) => {
                let mark = self.mark(cursor)?;
                let order = |candidate: &Candidate<'_>| {
                    let order = (candidate.key(self.sort).as_str(), candidate.id).cmp(&(&mark.key, &mark.id));
                    if self.descending { order.reverse() } else { order }
                };
                if mark.before {
                    let end = candidates.partition_point(|candidate| order(candidate).is_lt());
                    end.saturating_sub(limit)..end
                } else {
                    let start = candidates.partition_point(|candidate| order(candidate).is_le());
                    start..start.saturating_add(limit).min(candidates.len())
                }
            }
        };
        let shown = candidates.get(range.clone()).unwrap_or_default();
        let next = shown.last().filter(|_| range.end < candidates.len()).map(|last| self.cursor(last, false));
        let previous = shown.first().filter(|_| range.start > 0).map(|first| self.cursor(first, true));
        let total = Some(u64::try_from(candidates.len()).unwrap_or(u64::MAX));
        Ok((Page { limit: self.limit, next_cursor: next, prev_cursor: previous, total }, range))
    }

    fn cursor(&self, candidate: &Candidate<'_>, before: bool) -> String {
        let mark = Mark {
            list: "workflows".into(),
            sort: self.sort,
            key: candidate.key(self.sort),
            id: candidate.id.to_owned(),
            before,
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&mark).unwrap_or_default())
    }

    fn mark(&self, cursor: &str) -> Result<Mark, Problem> {
        URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok())
            .filter(|mark| mark.list == "workflows" && mark.sort == self.sort)
            .ok_or_else(|| Problem::new(code::INVALID_CURSOR, "the cursor does not belong to this list"))
    }
}

/// Whether the JSON object `tags` holds `name` with `value`, compared as text.
fn has_tag(tags: &str, name: &str, value: &str) -> bool {
    let Ok(tags) = serde_json::from_str::<serde_json::Map<String, Value>>(tags) else { return false };
    match tags.get(name) {
        Some(Value::String(text)) => text == value,
        Some(other) => format!("{other}") == value,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(ids: &[&'static str]) -> Vec<Candidate<'static>> {
        ids.iter().map(|id| Candidate { id, workflow: None, runs: 0, latest: None }).collect()
    }

    fn ids(filter: &WorkflowFilter, all: &[&'static str]) -> (Vec<String>, Page) {
        let candidates = filter.apply(candidates(all));
        let (page, range) = filter.page(&candidates).unwrap();
        (candidates[range].iter().map(|candidate| candidate.id.to_owned()).collect(), page)
    }

    #[test]
    fn pages_go_forth_and_back_and_survive_inserts() {
        for descending in [false, true] {
            let all = if descending { ["e", "d", "c", "b", "a"] } else { ["a", "b", "c", "d", "e"] };
            let first = WorkflowFilter { limit: 2, descending, ..WorkflowFilter::default() };
            let (shown, page) = ids(&first, &all);
            assert_eq!((shown, page.prev_cursor, page.total), (vec![all[0].into(), all[1].into()], None, Some(5)));
            let second = WorkflowFilter { cursor: page.next_cursor, ..first.clone() };
            // What the first page ended with has vanished; the second still begins after it.
            let left: Vec<&'static str> = all.into_iter().filter(|id| *id != all[1]).collect();
            let (shown, page) = ids(&second, &left);
            assert_eq!(shown, [all[2], all[3]]);
            let back = WorkflowFilter { cursor: page.prev_cursor, ..first.clone() };
            assert_eq!(ids(&back, &all).0, [all[0], all[1]]);
        }
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for cursor in [
            "###".to_owned(),
            encode("{}"),
            encode(r#"{"list":"runs","sort":"name","key":"","id":"a","before":false}"#),
            encode(r#"{"list":"workflows","sort":"status","key":"","id":"a","before":false}"#),
        ] {
            let filter = WorkflowFilter { limit: 2, cursor: Some(cursor), ..WorkflowFilter::default() };
            assert_eq!(filter.page(&candidates(&["a"])).unwrap_err().code().word, "invalid_cursor");
        }
    }

    #[test]
    fn filters_and_offset() {
        let prefix = WorkflowFilter { prefix: Some("He".into()), limit: 9, ..WorkflowFilter::default() };
        assert_eq!(ids(&prefix, &["hello", "help", "other"]).0, ["hello", "help"]);
        let status = WorkflowFilter { statuses: vec!["SUCCESS".into()], limit: 9, ..WorkflowFilter::default() };
        assert!(ids(&status, &["hello"]).0.is_empty());
        let offset = WorkflowFilter { offset: 2, limit: 9, ..WorkflowFilter::default() };
        assert_eq!(ids(&offset, &["a", "b", "c"]).0, ["c"]);
        assert!(has_tag(r#"{"env":"prod","n":3}"#, "env", "prod") && has_tag(r#"{"n":3}"#, "n", "3"));
        assert!(!has_tag("broken", "env", "prod"));
    }
}
