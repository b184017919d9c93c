//! The event loop: microtasks, timers and requests under way.
//!
//! The loop itself is in [`crate::engine::Engine::settle`]: it runs the microtasks, and when none is left it waits here for
//! the next timer or answer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use boa_engine::builtins::promise::{PromiseState, ResolvingFunctions};
use boa_engine::job::{Job, JobExecutor};
use boa_engine::object::JsObject;
use boa_engine::object::builtins::{JsFunction, JsPromise};
use boa_engine::{Context, JsError, JsNativeError, JsResult, JsValue};
use compozy_plugin::{clock, http};

use crate::lent;

/// What is yet to happen in one context.
#[derive(Default)]
pub(crate) struct Events {
    jobs: RefCell<VecDeque<Job>>,
    /// By the time they are due and their id, so that equal times keep their order.
    timers: RefCell<BTreeMap<(Duration, u32), Timer>>,
    last_id: Cell<u32>,
    requests: RefCell<Vec<Asked>>,
    /// Promises that were rejected and that nobody has looked at yet.
    unhandled: RefCell<Vec<JsObject>>,
    /// What natives keep between their calls.
    pub(crate) kept: lent::Kept,
}

struct Timer {
    callback: JsFunction,
    arguments: Vec<JsValue>,
    /// Time between two calls of an interval.
    every: Option<Duration>,
}

struct Asked {
    pending: http::Pending,
    functions: ResolvingFunctions,
}

impl Events {
    /// Those of this context.
    pub(crate) fn of(context: &Context) -> JsResult<Rc<Self>> {
        let gone = || JsNativeError::error().with_message("the event loop is gone").into();
        context.downcast_job_executor::<Self>().ok_or_else(gone)
    }

    /// A number that no other timer or kept thing of this call has.
    pub(crate) fn next_id(&self) -> u32 {
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        id
    }

    /// Calls `callback` after `delay`, again and again if `repeats`.
    pub(crate) fn set_timer(
        &self,
        callback: JsFunction,
        arguments: Vec<JsValue>,
        delay: Duration,
        repeats: bool,
    ) -> u32 {
        let id = self.next_id();
        // An interval of nothing would leave no time for anything else.
        let every = repeats.then(|| delay.max(Duration::from_millis(1)));
        let due = clock::elapsed().saturating_add(delay);
        self.timers.borrow_mut().insert((due, id), Timer { callback, arguments, every });
        id
    }

    /// Forgets a timer, if there is one of this id.
    pub(crate) fn clear_timer(&self, id: u32) {
        self.timers.borrow_mut().retain(|(_, known), _| *known != id);
    }

    /// Resolves or rejects a promise once the answer is there.
    pub(crate) fn await_answer(&self, pending: http::Pending, functions: ResolvingFunctions) {
        self.requests.borrow_mut().push(Asked { pending, functions });
    }

    pub(crate) fn rejected(&self, promise: JsObject) {
        self.unhandled.borrow_mut().push(promise);
    }

    pub(crate) fn handled(&self, promise: &JsObject) {
        self.unhandled.borrow_mut().retain(|known| !JsObject::equals(known, promise));
    }

    /// Why promises that nobody looked at were rejected.
    pub(crate) fn rejections(&self) -> Vec<JsError> {
        let unhandled = self.unhandled.borrow();
        let state = |promise: &JsObject| JsPromise::from_object(promise.clone()).ok().map(|promise| promise.state());
        let reason = |promise: &JsObject| match state(promise) {
            Some(PromiseState::Rejected(reason)) => Some(JsError::from_opaque(reason)),
            _ => None,
        };
        unhandled.iter().filter_map(reason).collect()
    }

    pub(crate) fn first_rejection(&self) -> Option<JsError> {
        self.rejections().into_iter().next()
    }

    /// Waits for the next timer or answer; false when there is nothing to wait for.
    pub(crate) fn wait(&self) -> bool {
        let due = self.timers.borrow().keys().next().map(|(due, _)| *due);
        let left = due.map(|due| due.saturating_sub(clock::elapsed()));
        let requests = self.requests.borrow();
        match (left, requests.is_empty()) {
            (None, true) => return false,
            (Some(left), true) if !left.is_zero() => clock::sleep(left),
            (Some(_), true) => {}
            (left, false) => http::wait_any(requests.iter().map(|asked| &asked.pending), left),
        }
        true
    }

    /// Hands over the answers that are there, or else calls the next timer that is due.
    pub(crate) fn fire(&self, context: &mut Context) -> JsResult<()> {
        // Taken out first: what is called may ask for more.
        let asked = std::mem::take(&mut *self.requests.borrow_mut());
        let mut answered = Vec::new();
        let mut waiting = Vec::new();
        for asked in asked {
            match asked.pending.take() {
                Some(answer) => answered.push((answer, asked.functions)),
                None => waiting.push(asked),
            }
        }
        self.requests.borrow_mut().append(&mut waiting);
        if answered.is_empty() {
            return self.fire_timer(context);
        }
        for (answer, functions) in answered {
            lent::http::settle(answer, &functions, context)?;
        }
        Ok(())
    }

    /// One timer at a time: the microtasks it begets come before the next.
    fn fire_timer(&self, context: &mut Context) -> JsResult<()> {
        let now = clock::elapsed();
        let Some((key, timer)) = self.timers.borrow_mut().pop_first() else { return Ok(()) };
        if key.0 > now {
            self.timers.borrow_mut().insert(key, timer);
            return Ok(());
        }
        let Timer { callback, arguments, every } = timer;
        if let Some(every) = every {
            let again = Timer { callback: callback.clone(), arguments: arguments.clone(), every: Some(every) };
            self.timers.borrow_mut().insert((now.saturating_add(every), key.1), again);
        }
        callback.call(&JsValue::undefined(), &arguments, context)?;
        Ok(())
    }
}

impl JobExecutor for Events {
    fn enqueue_job(self: Rc<Self>, job: Job, _context: &mut Context) {
        self.jobs.borrow_mut().push_back(job);
    }

    fn run_jobs(self: Rc<Self>, context: &mut Context) -> JsResult<()> {
        loop {
            let Some(job) = self.jobs.borrow_mut().pop_front() else { break };
            match job {
                Job::PromiseJob(job) => drop(job.call(context)?),
                Job::GenericJob(job) => drop(job.call(context)?),
                Job::AsyncJob(job) => {
                    let context = RefCell::new(&mut *context);
                    let work = pin!(job.call(&context));
                    // The only ones here are reads of modules, which are all in memory.
                    match work.poll(&mut TaskContext::from_waker(Waker::noop())) {
                        Poll::Ready(done) => drop(done?),
                        Poll::Pending => {
                            return Err(JsNativeError::error().with_message("waiting is not possible here").into());
                        }
                    }
                }
                // Timers are ours; finalizers of garbage have no time to run in.
                _ => {}
            }
        }
        context.clear_kept_objects();
        Ok(())
    }
}
