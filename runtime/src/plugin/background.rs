//! Calls that compute for long step aside, so that they are not felt by those that do not.
//!
//! A guest that is still computing when its epoch ends gives way ([`gave_way`]). Polled again on the same thread it
//! would have it for every other epoch, and with as many such guests as there are threads every other run waits for
//! them. So the whole call goes to threads of low priority, which the operating system lets run when nobody else wants
//! to, and comes back as soon as it waits for something. Where others always want to, one thread of usual priority sees
//! to it that long calls end nevertheless.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

thread_local! {
    /// Whether the poll under way on this thread ended because a guest's epoch did.
    static GAVE_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a guest was interrupted while it computed. Called from the epoch's callback, inside the poll of its call.
pub(crate) fn gave_way() {
    GAVE_WAY.set(true);
}

/// Sends the call that awaits this to the background before it computes anything.
pub(crate) async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        gave_way();
        // Where nobody takes it away it simply goes on.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What the latest calls of a plugin have been like: one whose calls always compute for longer than an epoch takes the
/// threads of others for an epoch each time, unless it begins in the background.
#[derive(Debug, Default)]
pub(crate) struct Habit(AtomicU8);

impl Habit {
    /// Where the next call is better off in the background.
    const LONG: u8 = 6;
    const MOST: u8 = 12;

    /// Notes how a call was. Long ones count twice, so that a plugin with one long call in three is sent away.
    pub(crate) fn note(&self, long: bool) {
        let next = |now: u8| Some(if long { now.saturating_add(2).min(Self::MOST) } else { now.saturating_sub(1) });
        let _always_some = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    pub(crate) fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::LONG
    }
}

/// A call that goes to the background whenever it computes for longer than an epoch.
pub(crate) struct Courteous<T> {
    place: Place<T>,
}

enum Place<T> {
    Here(Work<T>),
    Away(Arc<Away<T>>),
    Ended,
}

impl<T: Send + 'static> Courteous<T> {
    /// A call of plugins, and whatever belongs to it.
    pub(crate) fn new(call: impl Future<Output = T> + Send + 'static) -> Self {
        Self { place: Place::Here(Box::pin(call)) }
    }

    fn poll_here(&mut self, mut work: Work<T>, context: &mut Context<'_>) -> Poll<T> {
        GAVE_WAY.set(false);
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            let background = || Some((Lane::of_process()?, Handle::try_current().ok()?));
            self.place = match GAVE_WAY.get().then(background).flatten() {
                Some((lane, runtime)) => Place::Away(lane.take(work, runtime, context.waker())),
                None => Place::Here(work),
            };
        }
        polled
    }
}

impl<T: Send + 'static> Future for Courteous<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match std::mem::replace(&mut self.place, Place::Ended) {
            Place::Here(work) => self.poll_here(work, context),
            Place::Away(away) => {
                let mut state = away.lock();
                match std::mem::replace(&mut state.stage, Stage::Computing) {
                    Stage::Computing => {
                        state.waker.clone_from(context.waker());
                        drop(state);
                        self.place = Place::Away(away);
                        Poll::Pending
                    }
                    Stage::Waits(work) => {
                        drop(state);
                        self.poll_here(work, context)
                    }
                    Stage::Ended(Ok(output)) => Poll::Ready(output),
                    Stage::Ended(Err(panic)) => {
                        drop(state);
                        std::panic::resume_unwind(panic)
                    }
                }
            }
            // As every future: nobody polls it after its end.
            Place::Ended => Poll::Pending,
        }
    }
}

/// A call in the background as its owner sees it. Once the owner has let go of it, the call is dropped at its next turn.
struct Away<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    stage: Stage<T>,
    /// Whom to tell that it is no longer computing.
    waker: Waker,
}

enum Stage<T> {
    Computing,
    /// It waits for something, which it is to be told of where it came from.
    Waits(Work<T>),
    Ended(Result<T, Box<dyn Any + Send>>),
}

impl<T> Away<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, stage: Stage<T>) {
        let mut state = self.lock();
        state.stage = stage;
        state.waker.wake_by_ref();
    }
}

/// Something that computes in turns.
trait Turn: Send {
    /// Computes for one epoch; gives itself back if there is more to do.
    fn compute(self: Box<Self>) -> Option<Box<dyn Turn>>;
}

struct Computing<T> {
    work: Work<T>,
    away: Arc<Away<T>>,
    /// Where the call came from: its timers and sockets stay there.
    runtime: Handle,
}

impl<T: Send + 'static> Turn for Computing<T> {
    fn compute(mut self: Box<Self>) -> Option<Box<dyn Turn>> {
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        if Arc::strong_count(&self.away) == 1 {
            return None;
        }
        GAVE_WAY.set(false);
        // Nobody needs to be told of anything here: a call that is not computing is polled again by its owner.
        let context = &mut Context::from_waker(Waker::noop());
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.work.as_mut().poll(context)));
        let stage = match polled {
            Ok(Poll::Pending) if GAVE_WAY.get() => return Some(self),
            Ok(Poll::Pending) => Stage::Waits(self.work),
            Ok(Poll::Ready(output)) => Stage::Ended(Ok(output)),
            Err(panic) => Stage::Ended(Err(panic)),
        };
        self.away.tell(stage);
        None
    }
}

/// How long a turn waits before a thread of usual priority takes it, and how often that thread takes one: with turns of
/// an epoch, a tenth of one core is left to long calls on a machine that is busy with short ones.
const PATIENCE: Duration = Duration::from_millis(20);

/// The calls in the background, and the threads that compute them in turns.
struct Lane {
    turns: Mutex<VecDeque<(Instant, Box<dyn Turn>)>>,
    /// For the threads that take whatever there is.
    more: Condvar,
    /// For the one that takes what has waited for long.
    any: Condvar,
}

impl Lane {
    /// The lane of this process, whose threads begin with the first call that needs them; `None` if none can be had.
    fn of_process() -> Option<&'static Self> {
        static LANE: Lane = Lane { turns: Mutex::new(VecDeque::new()), more: Condvar::new(), any: Condvar::new() };
        static THREADS: OnceLock<usize> = OnceLock::new();
        let start = |work: fn()| std::thread::Builder::new().name("compozy-compute".into()).spawn(work).is_ok();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let started = || {
            let threads = (0..cores).filter(|_| start(|| LANE.work())).count();
            threads + usize::from(start(|| LANE.take_the_starved()))
        };
        (*THREADS.get_or_init(started) > 0).then_some(&LANE)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Box<dyn Turn>)>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes `work` from now on, until it waits for something.
    fn take<T: Send + 'static>(&self, work: Work<T>, runtime: Handle, waker: &Waker) -> Arc<Away<T>> {
        let state = State { stage: Stage::Computing, waker: waker.clone() };
        let away = Arc::new(Away { state: Mutex::new(state) });
        self.push(Box::new(Computing { work, away: Arc::clone(&away), runtime }));
        self.more.notify_one();
        self.any.notify_one();
        away
    }

    fn push(&self, turn: Box<dyn Turn>) {
        self.lock().push_back((Instant::now(), turn));
    }

    fn work(&self) {
        give_precedence_to_others();
        loop {
            let turns = self.lock();
            let turn = self
                .more
                .wait_while(turns, |turns| turns.is_empty())
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            if let Some(more) = turn.and_then(|(_, turn)| turn.compute()) {
                self.push(more);
            }
        }
    }

    fn take_the_starved(&self) {
        let starved = |(since, _): &mut (Instant, Box<dyn Turn>)| since.elapsed() >= PATIENCE;
        loop {
            let turns = self.lock();
            drop(self.any.wait_while(turns, |turns| turns.is_empty()).unwrap_or_else(PoisonError::into_inner));
            std::thread::sleep(PATIENCE);
            let turn = self.lock().pop_front_if(starved);
            if let Some(more) = turn.and_then(|(_, turn)| turn.compute()) {
                self.push(more);
                self.more.notify_one();
            }
        }
    }
}

/// Lets this thread run only when no other wants to. On Linux that is a property of a thread; elsewhere the system's
/// own scheduling is left as it is.
fn give_precedence_to_others() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
        let (thread, idle) = (thread_priority::thread_native_id(), NormalThreadSchedulePolicy::Idle);
        let policy = ThreadSchedulePolicy::Normal(idle);
        if let Err(error) = thread_priority::set_thread_priority_and_policy(thread, ThreadPriority::Min, policy) {
            tracing::debug!("calls that compute for long keep their priority: {error:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::{Courteous, Habit, give_way};
    use crate::clock::Clock;

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_call_computes_in_the_background_and_waits_where_it_came_from() {
        let home = thread();
        let call = Courteous::new(async move {
            let mut places = vec![thread()];
            for _ in 0..3 {
                give_way().await;
                places.push(thread());
            }
            // A timer of the runtime the call came from.
            Clock::system().sleep(Duration::from_millis(200)).await;
            places.push(thread());
            tokio::task::yield_now().await;
            places.push(thread());
            places
        });
        let away = "compozy-compute".to_owned();
        assert_eq!(call.await, [home.clone(), away.clone(), away.clone(), away, home.clone(), home]);
    }

    #[tokio::test]
    async fn many_calls_take_turns() {
        let calls = (0..100_u32).map(|number| {
            tokio::spawn(Courteous::new(async move {
                for _ in 0..50 {
                    give_way().await;
                }
                number
            }))
        });
        let mut ended = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            ended.push(call.await.unwrap());
        }
        assert_eq!(ended, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_panic_is_the_callers() {
        let call = Courteous::new(async {
            give_way().await;
            panic!("in the background");
        });
        let error = tokio::spawn(call).await.unwrap_err();
        assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "in the background");
    }

    #[tokio::test]
    async fn a_call_that_nobody_awaits_any_more_is_dropped() {
        struct Gone(Arc<AtomicBool>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let gone = Arc::new(AtomicBool::new(false));
        let mark = Gone(Arc::clone(&gone));
        let endless = tokio::spawn(Courteous::new(async move {
            let _mark = mark;
            loop {
                give_way().await;
            }
        }));
        Clock::system().sleep(Duration::from_millis(5)).await;
        assert!(!gone.load(Ordering::SeqCst));
        endless.abort();
        for _ in 0..1_000 {
            if gone.load(Ordering::SeqCst) {
                return;
            }
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
        panic!("it computes for nobody");
    }

    #[test]
    fn a_habit_is_made_and_lost() {
        let habit = Habit::default();
        for (long, expected) in
            [(true, false), (true, false), (true, true), (false, false), (true, true), (false, true)]
        {
            habit.note(long);
            assert_eq!(habit.is_long(), expected);
        }
        (0..99).for_each(|_| habit.note(true));
        (0..7).for_each(|_| habit.note(false));
        assert!(!habit.is_long(), "what was long for long is forgiven soon");
    }
}
