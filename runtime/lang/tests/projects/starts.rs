//! What starts workflows by itself: triggers and schedules.

use std::time::Duration;

use compozy_lang::plan::{Overlap, Trigger, ValueTemplate, VerifyStrategy, Webhook};
use serde_json::json;

use crate::support::{Options, load_files, plan, variables};

const MOCK: &str = "llm: {providers: [{id: mock, type: mock}]}\n";
const TASKS: &str = "tasks: [{id: t, prompt: x}]\n";

fn webhooks(config: &str, workflow: &str) -> Vec<Webhook> {
    let text = format!("{TASKS}{workflow}");
    let project =
        plan(&[("compozy.yaml", config), ("workflows/w.yaml", &text)], &Options { strict: true, ..Options::default() });
    let triggers = project.workflows["w"].triggers.clone();
    triggers
        .into_iter()
        .filter_map(|trigger| if let Trigger::Webhook(webhook) = trigger { Some(webhook) } else { None })
        .collect()
}

#[test]
fn signals_and_schedules_are_read() {
    let workflow = format!(
        r#"{TASKS}
triggers: [{{type: signal, name: stock-low, schema: {{type: object, required: [sku]}}}}, {{type: signal, name: other}}]
schedule:
  - {{cron: "*/15 8-18 * * MON-FRI", timezone: Europe/Lisbon, input: {{mode: quick}}, jitter: 30s, overlap_policy: Buffer_One, catch_up: 1h}}
  - {{cron: "@every 90s", enabled: false, start_at: 2026-01-01, end_at: 2027-01-01T00:00:00+02:00}}
"#
    );
    let project = plan(&[("compozy.yaml", MOCK), ("workflows/w.yaml", &workflow)], &Options::default());
    let workflow = &project.workflows["w"];
    let Trigger::Signal { name, schema } = &workflow.triggers[0] else { panic!() };
    assert_eq!((name.as_str(), schema), ("stock-low", &Some(json!({"type": "object", "required": ["sku"]}))));
    let [first, second] = workflow.schedules.as_slice() else { panic!() };
    assert_eq!((first.id.as_str(), second.id.as_str()), ("w/1", "w/2"));
    assert_eq!(
        (first.timezone.as_str(), first.enabled, first.jitter),
        ("Europe/Lisbon", true, Duration::from_secs(30))
    );
    assert_eq!(
        (first.overlap, first.catch_up, &first.input),
        (Overlap::BufferOne, Duration::from_secs(3600), &json!({"mode": "quick"}))
    );
    assert_eq!((second.timezone.as_str(), second.enabled, second.overlap), ("UTC", false, Overlap::Skip));
    assert_eq!((second.start_at, second.end_at), (Some(1_767_225_600_000_000), Some(1_798_754_400_000_000)));
    let single = format!("{TASKS}schedule: {{cron: '0 8 * * *'}}");
    let project = plan(&[("compozy.yaml", MOCK), ("workflows/w.yaml", &single)], &Options::default());
    assert_eq!(project.workflows["w"].schedules[0].id, "w");
}

#[test]
fn webhooks_take_their_defaults_from_the_settings() {
    let text = r#"
triggers:
  - type: webhook
    webhook:
      slug: orders
      method: put
      verify: {strategy: hmac, secret: "${HOOK_SECRET}", header: X-Signature}
      dedupe: {ttl: 1h, key: "{{ .payload.id }}-{{ .headers.x-id }}"}
      events:
        - {name: order.paid, filter: 'payload.status == "paid"', input: {id: "{{ .payload.id }}"}, schema: {type: object}}
        - {name: order.any, filter: "true", input: "{{ .payload }}"}
  - {type: webhook, webhook: {slug: plain, verify: {strategy: none}, dedupe: {enabled: false}, events: {name: a, filter: "has(query.x)", input: {}}}}
  - {webhook: {slug: stripe, verify: {strategy: stripe, secret: "${S:-x}", skew: 1m}, dedupe: {}, events: [{name: b, filter: "true", input: {}}]}}
"#;
    let found =
        webhooks(&format!("{MOCK}webhooks: {{default_method: PATCH, stripe_skew: 2m, default_dedupe_ttl: 3m}}"), text);
    let [orders, plain, stripe] = found.as_slice() else { panic!() };
    assert_eq!((orders.slug.as_str(), orders.method.as_str(), plain.method.as_str()), ("orders", "PUT", "PATCH"));
    let verify = orders.verify.as_ref().unwrap();
    assert_eq!(
        (verify.strategy, verify.header.as_deref(), verify.skew),
        (VerifyStrategy::Hmac, Some("X-Signature"), Duration::from_secs(120))
    );
    assert!(verify.secret.resolve(&variables(&[])).is_err());
    assert_eq!(verify.secret.resolve(&variables(&[("HOOK_SECRET", "s3")])).unwrap().text, "s3");
    let dedupe = orders.dedupe.as_ref().unwrap();
    assert_eq!((dedupe.ttl, dedupe.key.as_ref().unwrap().references.len()), (Duration::from_secs(3600), 2));
    let event = &orders.events[0];
    assert_eq!(
        (event.name.as_str(), event.filter.references[0].path.join(".")),
        ("order.paid", "payload.status".into())
    );
    assert!(
        matches!(&event.input, ValueTemplate::Map(members) if matches!(&members[0].1, ValueTemplate::Template(id) if id.is_template))
    );
    assert_eq!((event.schema.clone(), orders.events[1].schema.clone()), (Some(json!({"type": "object"})), None));
    assert!(plain.verify.is_none() && plain.dedupe.is_none());
    assert_eq!(stripe.verify.as_ref().unwrap().skew, Duration::from_secs(60));
    assert_eq!(stripe.dedupe.as_ref().unwrap().ttl, Duration::from_secs(180));
}

/// What is signed and comes again is a repeat, unless it is said otherwise.
#[test]
fn verified_deliveries_are_known_by_their_body() {
    let verify = "verify: {strategy: github, secret: s},";
    for (text, by_body) in [
        ("", Some(false)),
        (verify, Some(true)),
        ("dedupe: {ttl: 1m},", Some(true)),
        ("dedupe: {enabled: false},", None),
        ("verify: {strategy: github, secret: s}, dedupe: {enabled: false},", None),
    ] {
        let events = "events: {name: a, filter: \"true\", input: {}}";
        let text = format!("triggers: [{{webhook: {{slug: hook, {text} {events}}}}}]\n");
        let found = webhooks(MOCK, &text);
        assert_eq!(found[0].dedupe.as_ref().map(|dedupe| dedupe.by_body), by_body, "{text}");
    }
}

#[test]
fn missing_variables_matter_once_they_are_served() {
    let text = format!(
        "{TASKS}schedule: {{cron: \"${{CRON}}\"}}\ntriggers: [{{type: webhook, webhook: {{slug: \"${{SLUG}}\", events: [{{name: a, filter: \"true\", input: {{}}}}]}}}}]\n"
    );
    let files = [("compozy.yaml", MOCK), ("workflows/w.yaml", text.as_str())];
    let checked = load_files(&files, &Options { strict: true, ..Options::default() });
    assert_eq!(checked.missing_variables.len(), 2);
    let project = checked.project.unwrap();
    assert!(project.workflows["w"].triggers.is_empty() && project.workflows["w"].schedules.is_empty());
    assert_eq!(project.settings.require("schedule").unwrap_err()[0].code, "CZ0113");
    assert_eq!(project.settings.require("triggers").unwrap_err()[0].code, "CZ0113");
    let environment = variables(&[("CRON", "@hourly"), ("SLUG", "a")]);
    let project = plan(&files, &Options { environment, ..Options::default() });
    assert_eq!((project.workflows["w"].triggers.len(), project.workflows["w"].schedules.len()), (1, 1));
}
