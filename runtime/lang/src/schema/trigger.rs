//! Keys of triggers and schedules.

use super::{Kind, SPAN, Table, key};

/// Kinds of triggers.
pub const TRIGGER_TYPES: &[&str] = &["signal", "webhook"];

/// An entry of `triggers`.
pub static TRIGGER: Table = Table {
    name: "trigger",
    is_settings: false,
    keys: &[
        key("type", Kind::Choice(TRIGGER_TYPES), "What starts the workflow."),
        key("name", Kind::Text, "Name of the signal.").only(&["signal"]),
        key("schema", Kind::Schema, "JSON Schema of the signal's payload.").only(&["signal"]),
        key("webhook", Kind::Map(&WEBHOOK), "The webhook.").only(&["webhook"]),
    ],
};

/// `webhook` of a trigger.
pub static WEBHOOK: Table = Table {
    name: "webhook",
    is_settings: false,
    keys: &[
        key("slug", Kind::Text, "Last segment of its path."),
        key("method", Kind::Choice(&["POST", "PUT", "PATCH"]), "Method; absent: webhooks.default_method."),
        key("verify", Kind::Map(&VERIFY), "How a delivery proves where it comes from."),
        key("dedupe", Kind::Map(&DEDUPE), "Deliveries of one key start one run."),
        key("events", Kind::List(&Kind::Map(&EVENT)), "The first whose filter is true starts the workflow."),
    ],
};

/// `verify` of a webhook.
pub static VERIFY: Table = Table {
    name: "verify",
    is_settings: false,
    keys: &[
        key("strategy", Kind::Choice(&["none", "hmac", "stripe", "github"]), "Scheme of the signature.")
            .default("none"),
        key("secret", Kind::Text, "The shared secret.").secret(),
        key("header", Kind::Text, "Header that holds the signature; absent: the scheme's."),
        key("skew", SPAN, "Largest age of a signed time; absent: webhooks.stripe_skew."),
    ],
};

/// `dedupe` of a webhook.
pub static DEDUPE: Table = Table {
    name: "dedupe",
    is_settings: false,
    keys: &[
        key("enabled", Kind::Bool, "Whether repeats are dropped.").default("true"),
        key("ttl", SPAN, "How long a key is remembered; absent: webhooks.default_dedupe_ttl."),
        key("key", Kind::Template, "The key; absent: the sender's idempotency key, else the body."),
    ],
};

/// An entry of `events`.
pub static EVENT: Table = Table {
    name: "event",
    is_settings: false,
    keys: &[
        key("name", Kind::Text, "Name of the event."),
        key("filter", Kind::Text, "CEL over payload, headers and query."),
        key("input", Kind::Templates, "Input of the run."),
        key("schema", Kind::Schema, "JSON Schema of the input."),
    ],
};

/// An entry of `schedule`.
pub static SCHEDULE: Table = Table {
    name: "schedule",
    is_settings: false,
    keys: &[
        key("cron", Kind::Text, "5, 6 or 7 fields, a macro, or @every."),
        key("timezone", Kind::Text, "IANA name of the time zone.").default("UTC"),
        key("enabled", Kind::Bool, "Whether it fires.").default("true"),
        key("jitter", SPAN, "Random delay of each fire, at most."),
        key("start_at", Kind::Text, "Not before this date."),
        key("end_at", Kind::Text, "Not after this date."),
        key("input", Kind::Any, "Input of the runs."),
        key(
            "overlap_policy",
            Kind::Choice(&["skip", "allow", "buffer_one", "cancel_other"]),
            "What happens while the former run still runs.",
        )
        .default("skip"),
        key("catch_up", SPAN, "The latest time missed within this span runs once.").default("0"),
    ],
};
