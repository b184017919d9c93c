//! Triggers of workflows: signals and webhooks (dialect §13.2).

use std::time::Duration;

use crate::plan::{Cel, Template, TemplateMode, ValueTemplate, VerifyStrategy};
use crate::schema::trigger::{DEDUPE, EVENT, TRIGGER, TRIGGER_TYPES, VERIFY, WEBHOOK};
use crate::yaml::Node;

use super::fields::Fields;
use super::reader::{Reader, SiteKind};
use super::scalar::one_or_many;
use super::{Name, SchemaRef};

/// A trigger as written.
#[derive(Debug)]
pub(crate) enum Trigger {
    /// A signal of this name.
    Signal { name: Name, schema: Option<SchemaRef> },
    /// A webhook.
    Webhook(Box<Webhook>),
}

/// A webhook as written.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) slug: Name,
    /// `None`: the project's default.
    pub(crate) method: Option<&'static str>,
    pub(crate) verify: Option<Verify>,
    /// `None`: nothing is said about it.
    pub(crate) dedupe: Option<Dedupe>,
    pub(crate) events: Vec<Event>,
}

/// `verify` of a webhook.
#[derive(Debug)]
pub(crate) struct Verify {
    pub(crate) strategy: VerifyStrategy,
    pub(crate) secret: Template,
    pub(crate) header: Option<String>,
    /// `None`: the project's default.
    pub(crate) skew: Option<Duration>,
}

/// `dedupe` of a webhook.
#[derive(Debug)]
pub(crate) struct Dedupe {
    pub(crate) enabled: bool,
    /// `None`: the project's default.
    pub(crate) ttl: Option<Duration>,
    pub(crate) key: Option<Template>,
}

/// An event of a webhook.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: Name,
    pub(crate) filter: Cel,
    pub(crate) input: ValueTemplate,
    pub(crate) schema: Option<SchemaRef>,
}

impl Reader<'_> {
    /// `triggers` of a workflow. Variables that are missing matter once webhooks are served.
    pub(crate) fn triggers(&mut self, fields: &Fields<'_>) -> Vec<Trigger> {
        let nodes = fields.get("triggers").map(one_or_many).unwrap_or_default();
        let mut found = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            found.extend(self.trigger(node, &format!("triggers.{index}")));
        }
        found
    }

    fn trigger(&mut self, node: &Node, path: &str) -> Option<Trigger> {
        if node.entries().is_none() {
            self.expected(node, path, "a map");
            return None;
        }
        let kind = match node.get("type").filter(|kind| !kind.is_null()) {
            Some(kind) => self.choice_of(kind, &format!("{path}.type"), TRIGGER_TYPES)?,
            None if node.get("webhook").is_some() => "webhook",
            None => {
                let message = format!("{path}.type: expected one of {}, got nothing", TRIGGER_TYPES.join(", "));
                self.report(
                    node.diagnostic("CZ0110", message).length(1).path(path).help("add type: signal or webhook"),
                );
                return None;
            }
        };
        let fields = self.fields_of(node, &TRIGGER, path, Some(kind))?;
        if kind == "webhook" {
            let Some(node) = fields.get("webhook") else {
                self.incomplete(node, "", "'webhook' is missing");
                return None;
            };
            return self.webhook(node, &fields.at("webhook")).map(|webhook| Trigger::Webhook(Box::new(webhook)));
        }
        let schema = self.schema(&fields, "schema");
        match self.name(&fields, "name").filter(|name| !name.text.is_empty()) {
            Some(name) => Some(Trigger::Signal { name, schema }),
            None => {
                if fields.get("name").is_none() {
                    let message = format!("{path}.name: expected the name of a signal, got nothing");
                    self.report(node.diagnostic("CZ0110", message).length(1).path(path).help("add it"));
                }
                None
            }
        }
    }

    /// CZ0904: something a webhook needs.
    fn incomplete(&mut self, node: &Node, slug: &str, reason: &str) {
        let length = if node.entries().is_some() { 1 } else { node.length() };
        let problem = node.diagnostic("CZ0904", format!("webhook '{slug}': {reason}"));
        self.report(problem.length(length).help("complete it"));
    }

    fn webhook(&mut self, node: &Node, path: &str) -> Option<Webhook> {
        let fields = self.fields(node, &WEBHOOK, path)?;
        let slug = self.lazily(|reader| reader.name(&fields, "slug"));
        let shown = slug.as_ref().map_or_else(String::new, |slug| slug.text.clone());
        if fields.get("slug").is_none() {
            self.incomplete(node, "", "'slug' is missing");
        }
        if let (Some(slug), Some(node)) = (&slug, fields.get("slug"))
            && !is_slug(&slug.text)
        {
            self.incomplete(node, &slug.text, "a slug is letters, digits, - and _, at most 128");
        }
        let method = self.choice(&fields, "method");
        let verify = self.verify(&fields, &shown);
        let dedupe = self.dedupe(&fields);
        let events = self.events(&fields, &shown);
        Some(Webhook { slug: slug?, method, verify, dedupe, events })
    }

    fn verify(&mut self, fields: &Fields<'_>, slug: &str) -> Option<Verify> {
        let node = fields.get("verify")?;
        let fields = self.fields(node, &VERIFY, &fields.at("verify"))?;
        let strategy = match self.choice(&fields, "strategy") {
            Some("hmac") => VerifyStrategy::Hmac,
            Some("stripe") => VerifyStrategy::Stripe,
            Some("github") => VerifyStrategy::Github,
            _ => return None,
        };
        let header = self.lazily(|reader| reader.text(&fields, "header"));
        if let (Some(header), Some(node)) = (&header, fields.get("header"))
            && !is_header(header)
        {
            self.incomplete(node, slug, "'verify.header' is not the name of a header");
        }
        let skew = self.duration(&fields, "skew");
        let Some(secret) = fields.get("secret") else {
            self.incomplete(node, slug, "its strategy needs 'verify.secret'");
            return None;
        };
        // Its variables stay open: the secret is never part of the plan.
        let secret = self.template(secret, &fields.at("secret"), TemplateMode::Text)?;
        Some(Verify { strategy, secret, header, skew })
    }

    fn dedupe(&mut self, fields: &Fields<'_>) -> Option<Dedupe> {
        let node = fields.get("dedupe")?;
        let fields = self.fields(node, &DEDUPE, &fields.at("dedupe"))?;
        let ttl = self.duration(&fields, "ttl");
        let key = fields.get("key").and_then(|node| {
            self.at(SiteKind::Request, |reader| reader.template(node, &fields.at("key"), TemplateMode::Text))
        });
        let enabled = self.bool(&fields, "enabled").unwrap_or(true);
        Some(Dedupe { enabled, ttl, key })
    }

    fn events(&mut self, fields: &Fields<'_>, slug: &str) -> Vec<Event> {
        let path = fields.at("events");
        let nodes = fields.get("events").map(one_or_many).unwrap_or_default();
        if nodes.is_empty() {
            self.incomplete(fields.node, slug, "it has no 'events'");
        }
        let mut found = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let Some(fields) = self.fields(node, &EVENT, &format!("{path}.{index}")) else { continue };
            let missing: Vec<&str> =
                ["name", "filter", "input"].into_iter().filter(|key| fields.get(key).is_none()).collect();
            for key in &missing {
                self.incomplete(node, slug, &format!("an event needs '{key}'"));
            }
            let name = self.name(&fields, "name");
            let filter = fields.get("filter").and_then(|node| self.filter(node, &fields.at("filter")));
            let input = fields.get("input").map(|node| {
                self.at(SiteKind::Request, |reader| reader.templates(node, &fields.at("input"), TemplateMode::Value))
            });
            let schema = self.schema(&fields, "schema");
            if let (Some(name), Some(filter), Some(input)) = (name, filter, input) {
                found.push(Event { name, filter, input, schema });
            }
        }
        found
    }

    /// The filter of an event: always CEL. It stands in no task, so no task can be named.
    fn filter(&mut self, node: &Node, path: &str) -> Option<Cel> {
        let workflow = self.site.workflow.take();
        let filter = self.cel(node, path).map(|(cel, _)| cel);
        self.site.workflow = workflow;
        filter
    }
}

fn is_slug(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
}

fn is_header(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter))
}
