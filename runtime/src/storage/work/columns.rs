//! Rows as values: what a query of either driver gave, read from left to right.

use compozy_engine::time::Timestamp;

use super::super::Error;
use super::super::row::{
    Concurrency, Durability, Journal, MemoryMessage, MemoryState, MemoryTotals, Run, Schedule, Signal, Step, Timer,
    Usage,
};
use super::super::transfer::Progress;
use crate::id::NodeId;

/// A row of a driver.
pub(in crate::storage) trait Cells {
    /// The text at `index`; `None` where it is null.
    fn text_at(&self, index: usize) -> Result<Option<String>, Error>;
    /// The number at `index`.
    fn number_at(&self, index: usize) -> Result<Option<i64>, Error>;
    /// The truth value at `index`, however the driver keeps one.
    fn flag_at(&self, index: usize) -> Result<Option<bool>, Error>;
}

/// Reads a row from left to right.
pub(in crate::storage) struct Columns<'r, R> {
    row: &'r R,
    next: usize,
}

impl<'r, R: Cells> Columns<'r, R> {
    /// From the first column on.
    pub(in crate::storage) fn of(row: &'r R) -> Self {
        Self { row, next: 0 }
    }

    fn index(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    pub(in crate::storage) fn text(&mut self) -> Result<String, Error> {
        let text = self.text_option()?;
        text.ok_or_else(|| Error::Unusable(format!("column {} holds nothing or misses its payload", self.next)))
    }

    pub(in crate::storage) fn text_option(&mut self) -> Result<Option<String>, Error> {
        let index = self.index();
        self.row.text_at(index)
    }

    pub(in crate::storage) fn number(&mut self) -> Result<i64, Error> {
        let number = self.number_option()?;
        number.ok_or_else(|| Error::Unusable(format!("column {} holds no number", self.next)))
    }

    pub(in crate::storage) fn number_option(&mut self) -> Result<Option<i64>, Error> {
        let index = self.index();
        self.row.number_at(index)
    }

    /// A number of things; none where a sum has fallen below zero.
    pub(in crate::storage) fn count(&mut self) -> Result<u64, Error> {
        Ok(u64::try_from(self.number()?).unwrap_or(0))
    }

    pub(in crate::storage) fn flag(&mut self) -> Result<bool, Error> {
        let index = self.index();
        let flag = self.row.flag_at(index)?;
        flag.ok_or_else(|| Error::Unusable(format!("column {} holds no truth value", self.next)))
    }

    pub(in crate::storage) fn time(&mut self) -> Result<Timestamp, Error> {
        self.number().map(Timestamp)
    }

    pub(in crate::storage) fn time_option(&mut self) -> Result<Option<Timestamp>, Error> {
        Ok(self.number_option()?.map(Timestamp))
    }
}

/// A run of the columns `RUN` of a driver.
pub(in crate::storage) fn run(row: &impl Cells) -> Result<Run, Error> {
    let mut columns = Columns::of(row);
    let mut run = Run {
        exec_id: columns.text()?.into(),
        component: columns.text()?,
        workflow_id: columns.text()?,
        definition_digest: columns.text()?,
        status: columns.text()?,
        reason: columns.text_option()?,
        input: columns.text()?,
        output: columns.text_option()?,
        error: columns.text_option()?,
        trigger: columns.text()?,
        tags: columns.text()?,
        parent_exec_id: columns.text_option()?.map(Into::into),
        root_exec_id: columns.text()?.into(),
        forked_from: columns.text_option()?.map(Into::into),
        durability: match columns.text()?.as_str() {
            "memory" => Durability::Memory,
            "normal" => Durability::Normal,
            _ => Durability::Full,
        },
        priority: columns.number()?,
        concurrency: None,
        deadline: columns.time_option()?,
        state: columns.text()?,
        owner_node: columns.text_option()?.map(NodeId::from),
        affinity_node: columns.text_option()?.map(NodeId::from),
        epoch: columns.number()?,
        last_seq: columns.number()?,
        cancel_request: columns.text_option()?,
        pause_request: columns.text_option()?,
        created_at: columns.time()?,
        started_at: columns.time_option()?,
        updated_at: columns.time()?,
        finished_at: columns.time_option()?,
        gated: false,
        attended: false,
    };
    let (key, limit) = (columns.text_option()?, columns.number_option()?);
    let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(1);
    run.concurrency = key.map(|key| Concurrency { key, limit });
    (run.gated, run.attended) = (columns.flag()?, columns.flag()?);
    Ok(run)
}

/// Tokens of a step.
pub(in crate::storage) fn usage(row: &impl Cells) -> Result<Usage, Error> {
    let mut columns = Columns::of(row);
    Ok(Usage {
        step_key: columns.text()?,
        provider: columns.text()?,
        model: columns.text()?,
        prompt_tokens: columns.number()?,
        completion_tokens: columns.number()?,
    })
}

/// A step of the columns `STEP` of a driver.
pub(in crate::storage) fn step(row: &impl Cells) -> Result<Step, Error> {
    let mut columns = Columns::of(row);
    Ok(Step {
        step_key: columns.text()?,
        task_exec_id: columns.text()?,
        task_id: columns.text()?,
        kind: columns.text()?,
        status: columns.text()?,
        attempt: columns.number()?,
        parent: columns.text_option()?,
        position: columns.number()?,
        input: columns.text_option()?,
        output: columns.text_option()?,
        error: columns.text_option()?,
        waiting_for: columns.text_option()?,
        state: columns.text()?,
        result_seq: columns.number_option()?,
        started_at: columns.time()?,
        finished_at: columns.time_option()?,
    })
}

/// An event of the columns `JOURNAL` of a driver.
pub(in crate::storage) fn journal(row: &impl Cells) -> Result<Journal, Error> {
    let mut columns = Columns::of(row);
    Ok(Journal {
        seq: columns.number()?,
        at: columns.time()?,
        event: columns.text()?,
        task_id: columns.text_option()?,
        data: columns.text()?,
    })
}

/// A signal of the columns `SIGNAL` of a driver.
pub(in crate::storage) fn signal(row: &impl Cells) -> Result<Signal, Error> {
    let mut columns = Columns::of(row);
    Ok(Signal {
        position: columns.number()?,
        signal_id: columns.text()?,
        name: columns.text()?,
        payload: columns.text()?,
        metadata: columns.text()?,
        state: columns.text()?,
        noted: columns.flag()?,
        consumed_by: columns.text_option()?,
        received_at: columns.time()?,
    })
}

/// A timer: id, kind, step, due time.
pub(in crate::storage) fn timer(row: &impl Cells) -> Result<Timer, Error> {
    let mut columns = Columns::of(row);
    Ok(Timer {
        timer_id: columns.text()?,
        kind: columns.text()?,
        step_key: columns.text_option()?,
        due_at: columns.time()?,
    })
}

/// A schedule with the time that is kept for it and the last one.
pub(in crate::storage) fn schedule(row: &impl Cells) -> Result<Schedule, Error> {
    let mut columns = Columns::of(row);
    Ok(Schedule {
        schedule_id: columns.text()?,
        workflow_id: columns.text()?,
        declared: columns.text_option()?,
        overriding: columns.text_option()?,
        next_fire_at: columns.time_option()?,
        last_fire_at: columns.time_option()?,
        last_exec_id: columns.text_option()?.map(Into::into),
        buffered_at: columns.time_option()?,
        last: columns.time_option()?.zip(columns.text_option()?),
    })
}

/// A memory under a key of its rows, one for each message; one without a message for a key that has none.
pub(in crate::storage) fn memory(rows: &[impl Cells]) -> Result<Option<MemoryState>, Error> {
    let mut state = None;
    for row in rows {
        let mut columns = Columns::of(row);
        let (version, expires_at, backup) = (columns.number()?, columns.time_option()?, columns.flag()?);
        let state = state.get_or_insert(MemoryState { version, expires_at, backup, messages: Vec::new() });
        if let Some(seq) = columns.number_option()? {
            state.messages.push(MemoryMessage {
                seq,
                role: columns.text()?,
                content: columns.text()?,
                bytes: columns.count()?,
                tokens: columns.count()?,
                summary: columns.flag()?,
                used_at: columns.number()?,
            });
        }
    }
    Ok(state)
}

/// What the keys of a memory hold together.
pub(in crate::storage) fn memory_totals(row: &impl Cells) -> Result<MemoryTotals, Error> {
    let mut columns = Columns::of(row);
    Ok(MemoryTotals {
        memory: columns.text()?,
        keys: columns.count()?,
        messages: columns.count()?,
        tokens: columns.count()?,
    })
}

/// How far an import has come with a table.
pub(in crate::storage) fn progress(row: &impl Cells) -> Result<Progress, Error> {
    let mut columns = Columns::of(row);
    Ok(Progress {
        export_id: columns.text()?,
        table: columns.text()?,
        taken: columns.number()?,
        skipped: columns.number()?,
        sha256: columns.text()?,
        written: columns.text()?,
        options: columns.text_option()?,
        closed: columns.text()? == "closed",
        updated_at: columns.time()?,
    })
}
