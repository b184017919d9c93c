//! How the runs that are driven here are told something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::driver::Control;
use super::lease::Standing;
use crate::id::ExecId;

/// Whoever drives runs here.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reach(Arc<Mutex<Runs>>);

#[derive(Debug, Default)]
struct Runs {
    last: u64,
    lines: HashMap<ExecId, (u64, mpsc::UnboundedSender<Control>)>,
}

/// What one driver hears. When it is dropped, the run is no longer driven by its holder.
#[derive(Debug)]
pub(crate) struct Line {
    reach: Reach,
    exec_id: ExecId,
    number: u64,
    receiver: mpsc::UnboundedReceiver<Control>,
    /// Since when the node must have held its lease for the run to be its own.
    pub(crate) standing: Standing,
}

impl Reach {
    /// Makes a run reachable. `also` is asked while nobody else can look; what it gives is heard first.
    pub(crate) fn open(&self, exec_id: &ExecId, standing: Standing, also: impl FnOnce() -> Option<Control>) -> Line {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut runs = self.runs();
        if let Some(control) = also() {
            drop(sender.send(control));
        }
        runs.last += 1;
        let number = runs.last;
        runs.lines.insert(exec_id.clone(), (number, sender));
        drop(runs);
        Line { reach: self.clone(), exec_id: exec_id.clone(), number, receiver, standing }
    }

    /// Whether somebody here drives the run.
    pub(crate) fn has(&self, exec_id: &ExecId) -> bool {
        self.runs().lines.contains_key(exec_id)
    }

    /// Tells one; false when nobody here drives it.
    pub(crate) fn tell(&self, exec_id: &ExecId, control: Control) -> bool {
        self.runs().lines.get(exec_id).is_some_and(|(_, line)| line.send(control).is_ok())
    }

    /// Tells every one.
    pub(crate) fn tell_all(&self, control: impl Fn() -> Control) {
        // A driver that has just ended does not hear it, and need not.
        self.runs().lines.values().for_each(|(_, line)| drop(line.send(control())));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.runs().lines.len()
    }

    /// These sections only insert, remove and look up; a panic in one of them leaves nothing half done.
    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// What is said next; `None`: somebody else drives the run here.
    pub(crate) async fn recv(&mut self) -> Option<Control> {
        self.receiver.recv().await
    }

    /// What was said already.
    pub(crate) fn try_recv(&mut self) -> Option<Control> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut runs = self.reach.runs();
        // Another line may have taken its place.
        if runs.lines.get(&self.exec_id).is_some_and(|(number, _)| *number == self.number) {
            runs.lines.remove(&self.exec_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, Reach, Standing};

    #[test]
    fn an_old_line_takes_no_new_one_with_it() {
        let (reach, run) = (Reach::default(), "run".into());
        let mut old = reach.open(&run, Standing::default(), || None);
        let mut new = reach.open(&run, Standing::default(), || Some(Control::Drain));
        assert!(reach.tell(&run, Control::Look));
        assert!(old.try_recv().is_none(), "one more was opened");
        drop(old);
        assert!(reach.has(&run));
        assert!(matches!(new.try_recv(), Some(Control::Drain)));
        assert!(matches!(new.try_recv(), Some(Control::Look)));
        drop(new);
        assert!(!reach.tell(&run, Control::Look) && reach.len() == 0);
    }
}
