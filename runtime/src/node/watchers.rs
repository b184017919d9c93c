//! Who listens to which run in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use super::Notice;
use super::secrets::Secrets;
use crate::id::ExecId;
use crate::storage::row::Journal;

/// Notices a slow listener may fall behind before it loses some and has to read the journal. The room for them is
/// taken with the first listener, and ten thousand runs may have one each.
const BACKLOG: usize = 128;

/// Listeners by run. A run nobody listens to costs one look into an empty map.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    channels: Mutex<HashMap<ExecId, Channel>>,
    /// What no listener may see.
    secrets: Mutex<Arc<Secrets>>,
}

#[derive(Debug)]
struct Channel {
    sender: broadcast::Sender<Notice>,
    /// Last journal seq and the number of the last chunk after it.
    chunk: (i64, u64),
}

impl Watchers {
    /// What neither listeners nor the database may see.
    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts from now on.
    pub(crate) fn replace_secrets(&self, secrets: Secrets) {
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
    }

    /// Notices of `exec_id` from now on.
    pub(crate) fn subscribe(&self, exec_id: &ExecId) -> broadcast::Receiver<Notice> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        // Those whose listeners have gone, now and then: looking at all of them each time would cost more than they do.
        if channels.len() == channels.capacity() {
            channels.retain(|_, channel| channel.sender.receiver_count() > 0);
        }
        let channel = channels
            .entry(exec_id.clone())
            .or_insert_with(|| Channel { sender: broadcast::channel(BACKLOG).0, chunk: (0, 0) });
        channel.sender.subscribe()
    }

    /// Tells listeners about committed events.
    pub(crate) fn committed(&self, exec_id: &ExecId, events: Vec<Journal>) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get_mut(exec_id) {
            if let Some(last) = events.last() {
                channel.chunk = (last.seq, 0);
            }
            // Nobody left to hear is no error.
            let _ = channel.sender.send(Notice::Events(events.into()));
        }
    }

    /// Tells listeners about a piece of a model's answer, if there is anything in it.
    pub(crate) fn chunk(&self, exec_id: &ExecId, seq: i64, task_id: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let task_id = task_id.to_owned();
        self.numbered(exec_id, seq, |(seq, number)| Notice::Chunk { seq, number, task_id, text: text.to_owned() });
    }

    /// Tells listeners about something inside a step, a notice with the seq and the number it is given: it stands behind
    /// what they were told last, else behind `seq`. Steps side by side see the run at different times, and an id that
    /// went back would be taken for one that was heard.
    pub(crate) fn numbered(&self, exec_id: &ExecId, seq: i64, notice: impl FnOnce((i64, u64)) -> Notice) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get_mut(exec_id) {
            let (seq, number) = match channel.chunk {
                (0, _) => (seq, 1),
                (told, number) => (told, number + 1),
            };
            channel.chunk = (seq, number);
            let _ = channel.sender.send(notice((seq, number)));
        }
    }

    /// Whether anyone listens to `exec_id`.
    pub(crate) fn any(&self, exec_id: &ExecId) -> bool {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).contains_key(exec_id)
    }
}
