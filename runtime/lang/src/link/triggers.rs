//! Triggers and schedules: names and slugs across the project, defaults of the settings.

use crate::document::Name;
use crate::document::schedule::Schedule as ScheduleDocument;
use crate::document::trigger::{Event, Trigger as TriggerDocument, Webhook as WebhookDocument};
use crate::plan::{Dedupe, Schedule, Trigger, Verify, Webhook, WebhookEvent};
use crate::source::Place;

use super::Linker;

/// Where a signal or an event is named.
#[derive(Debug)]
pub(super) struct Named {
    place: Place,
    is_signal: bool,
    workflow: String,
}

impl Linker<'_> {
    /// Links the triggers of a workflow.
    pub(super) fn triggers(&mut self, written: Vec<TriggerDocument>, workflow: &str) -> Vec<Trigger> {
        let mut triggers = Vec::new();
        for trigger in written {
            triggers.push(match trigger {
                TriggerDocument::Signal { name, schema } => {
                    self.event_name(&name, true, workflow);
                    Trigger::Signal { schema: self.schema(schema), name: name.text }
                }
                TriggerDocument::Webhook(webhook) => Trigger::Webhook(self.webhook(*webhook, workflow)),
            });
        }
        triggers
    }

    fn webhook(&mut self, written: WebhookDocument, workflow: &str) -> Webhook {
        self.slug(&written.slug);
        let settings = self.settings.webhooks.clone();
        let skew = settings.stripe_skew;
        let unsaid = Dedupe { ttl: settings.default_dedupe_ttl, key: None, by_body: written.verify.is_some() };
        let dedupe = match written.dedupe {
            None => Some(unsaid),
            Some(said) => {
                let ttl = said.ttl.unwrap_or(unsaid.ttl);
                said.enabled.then_some(Dedupe { ttl, key: said.key, by_body: true })
            }
        };
        Webhook {
            method: written.method.map_or(settings.default_method, str::to_owned),
            verify: written.verify.map(|verify| Verify {
                strategy: verify.strategy,
                secret: verify.secret,
                header: verify.header,
                skew: verify.skew.unwrap_or(skew),
            }),
            dedupe,
            events: written.events.into_iter().map(|event| self.event(event, workflow)).collect(),
            slug: written.slug.text,
        }
    }

    fn event(&mut self, written: Event, workflow: &str) -> WebhookEvent {
        self.event_name(&written.name, false, workflow);
        WebhookEvent {
            name: written.name.text,
            filter: written.filter,
            input: written.input,
            schema: self.schema(written.schema),
        }
    }

    /// CZ0903: slugs are unique over the project.
    fn slug(&mut self, slug: &Name) {
        match self.slugs.get(&slug.text) {
            Some(first) => {
                let problem = slug.diagnostic("CZ0903", format!("webhook slug '{}' is used twice", slug.text));
                let problem = problem.related(first.clone(), "first here").help("rename one");
                self.report(problem);
            }
            None => {
                self.slugs.insert(slug.text.clone(), slug.place.clone());
            }
        }
    }

    /// CZ0908: signals and events share their names. A signal may start several workflows, each of them once.
    fn event_name(&mut self, name: &Name, is_signal: bool, workflow: &str) {
        let known = self.event_names.entry(name.text.clone()).or_default();
        let clash = known.iter().find(|known| !(is_signal && known.is_signal) || known.workflow == workflow);
        let first = clash.map(|known| known.place.clone());
        known.push(Named { place: name.place.clone(), is_signal, workflow: workflow.to_owned() });
        if let Some(first) = first {
            let problem = name.diagnostic("CZ0908", format!("signal or event name '{}' is used twice", name.text));
            self.report(problem.related(first, "first here").help("rename one"));
        }
    }

    /// Names the schedules of a workflow.
    pub(super) fn schedules(&mut self, written: Vec<ScheduleDocument>, workflow: &str) -> Vec<Schedule> {
        let is_one = written.len() == 1;
        let number = |index: usize| if is_one { workflow.to_owned() } else { format!("{workflow}/{}", index + 1) };
        let named = written.into_iter().enumerate().map(|(index, written)| Schedule {
            id: number(index),
            cron: written.cron,
            timezone: written.timezone,
            enabled: written.enabled,
            jitter: written.jitter,
            start_at: written.start_at,
            end_at: written.end_at,
            input: written.input,
            overlap: written.overlap,
            catch_up: written.catch_up,
        });
        named.collect()
    }
}
