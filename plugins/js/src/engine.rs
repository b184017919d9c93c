//! One JavaScript context with everything a script finds in it.

use std::collections::BTreeMap;
use std::rc::Rc;

use boa_engine::builtins::promise::{OperationType, PromiseState};
use boa_engine::context::HostHooks;
use boa_engine::object::JsObject;
use boa_engine::object::builtins::JsPromise;
use boa_engine::vm::RuntimeLimits;
use boa_engine::{Context, JsError, JsResult, JsValue, Module};
use compozy_plugin::log;

use crate::ambient::HostClock;
use crate::events::Events;
use crate::failure::{self, Failure};
use crate::modules::Modules;
use crate::{globals, json};

/// Calls of JavaScript functions inside each other. What recurses through the engine itself (callbacks of `map`, `toString`,
/// getters) meets the end of the stack before, which the host tells.
const RECURSION: usize = 5_000;

/// Values on the engine's own stack.
const STACK: usize = 200_000;

/// The parts of a context that outlive a call into it.
pub(crate) struct Engine {
    events: Rc<Events>,
    modules: Rc<Modules>,
}

impl Engine {
    pub(crate) fn new(modules: &BTreeMap<String, String>) -> Self {
        Self { events: Rc::new(Events::default()), modules: Rc::new(Modules::new(modules)) }
    }

    /// A context with limits and globals.
    pub(crate) fn context(&self) -> JsResult<Context> {
        let mut context = Context::builder()
            .clock(Rc::new(HostClock))
            .host_hooks(Rc::new(Hooks { events: Rc::clone(&self.events) }))
            .job_executor(Rc::clone(&self.events))
            .module_loader(Rc::clone(&self.modules))
            .build()?;
        let mut limits = RuntimeLimits::default();
        limits.set_recursion_limit(RECURSION);
        limits.set_stack_size_limit(STACK);
        context.set_runtime_limits(limits);
        globals::install(&mut context)?;
        Ok(context)
    }

    /// The module that is called.
    pub(crate) fn main(&self, name: &str, context: &mut Context) -> Result<Module, Failure> {
        Ok(self.modules.module(name, context)?)
    }

    /// Runs what is to be run until the promise is settled.
    pub(crate) fn settle(&self, promise: &JsPromise, context: &mut Context) -> Result<JsValue, Failure> {
        loop {
            context.run_jobs()?;
            match promise.state() {
                PromiseState::Fulfilled(value) => return Ok(value),
                PromiseState::Rejected(reason) => return Err(JsError::from_opaque(reason).into()),
                PromiseState::Pending => {}
            }
            if !self.events.wait() {
                // What went wrong beside is most likely why nothing comes any more.
                return Err(self.events.first_rejection().map_or(Failure::Unsettled, Failure::from));
            }
            self.events.fire(context)?;
        }
    }

    /// Tells the log of promises that were rejected and that nobody waited for.
    pub(crate) fn warn_of_rejections(&self, context: &mut Context) {
        for error in self.events.rejections() {
            let reason = failure::describe(&error, context);
            log::warn(&format!("a promise was rejected and nobody awaited it: {reason}"));
        }
    }

    /// The answer as JSON text.
    pub(crate) fn write(&self, answer: &JsValue, context: &mut Context) -> Result<String, Failure> {
        if answer.is_undefined() {
            return Ok("{}".to_owned());
        }
        if answer.is_callable() || answer.is_symbol() {
            return Err(Failure::NotJson(format!("it is a {}", answer.type_of())));
        }
        match json::stringify(answer, context) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Ok("{}".to_owned()),
            // A `toJSON` of the script may throw too, and then the place helps.
            Err(error) => Err(Failure::NotJson(failure::describe(&error, context))),
        }
    }
}

/// What the engine asks of whoever embeds it.
struct Hooks {
    events: Rc<Events>,
}

impl HostHooks for Hooks {
    fn promise_rejection_tracker(
        &self,
        promise: &JsObject<boa_engine::builtins::promise::Promise>,
        operation: OperationType,
        _context: &mut Context,
    ) {
        let promise = promise.clone().upcast();
        match operation {
            OperationType::Reject => self.events.rejected(promise),
            OperationType::Handle => self.events.handled(&promise),
        }
    }

    /// Dates are in UTC, on every machine.
    fn local_timezone_offset_seconds(&self, _unix_time_seconds: i64) -> i32 {
        0
    }
}
