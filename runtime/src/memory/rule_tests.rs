//! What a memory holds after changes, as tables of sizes.

use std::time::Duration;

use compozy_lang::plan::{Flushing, MemoryKind, Privacy};
use serde_json::json;

use super::*;

fn memory(change: impl FnOnce(&mut MemoryDefinition)) -> MemoryDefinition {
    let mut memory = MemoryDefinition {
        id: "m".into(),
        kind: MemoryKind::Buffer,
        description: String::new(),
        max_tokens: None,
        max_messages: None,
        max_context_ratio: None,
        token_allocation: Value::Null,
        flushing: Flushing::default(),
        in_memory: false,
        ttl: Some(Duration::from_secs(1)),
        privacy: Privacy::default(),
        default_key: None,
        place: Default::default(),
    };
    change(&mut memory);
    memory
}

const LIMITS: Limits = Limits { max_message_bytes: 1_000, max_memory_bytes: 4_000 };

fn rule(change: impl FnOnce(&mut MemoryDefinition)) -> Rule {
    Rule::of(&memory(change), LIMITS)
}

/// Stored messages of so many tokens, seqs from 1, used at these times.
fn stored(sizes: &[(u64, i64)]) -> Vec<MemoryMessage> {
    let one = |(index, (tokens, used_at)): (usize, &(u64, i64))| MemoryMessage {
        seq: index as i64 + 1,
        role: "user".into(),
        content: "x".repeat(*tokens as usize * 4),
        bytes: tokens * 4,
        tokens: *tokens,
        summary: false,
        used_at: *used_at,
    };
    sizes.iter().enumerate().map(one).collect()
}

fn said(tokens: &[usize]) -> Vec<Message> {
    tokens.iter().map(|tokens| Message::new("user", "y".repeat(tokens * 4))).collect()
}

fn ready(draft: Draft) -> Outcome {
    match draft {
        Draft::Ready(outcome) => outcome,
        Draft::Summarise(of) => panic!("a summary of {of:?} is asked for"),
    }
}

/// Which stored messages go, how many come, and what is there then.
fn kept(rule: &Rule, present: &[MemoryMessage], added: &[usize], goal: Goal) -> (Vec<i64>, usize, u64, u64) {
    let outcome = ready(rule.draft(present, &said(added), goal, Summaries::Without));
    assert_eq!(outcome.flushed, outcome.dropped.len() + added.len() > outcome.added.len(), "{outcome:?}");
    (outcome.dropped, outcome.added.len(), outcome.count, outcome.tokens)
}

#[test]
fn the_strategy_says_what_goes() {
    use FlushingKind::{Lru, SimpleFifo, TokenAwareLru};
    // The second was not used since, the first and third at the same time.
    let present = stored(&[(5, 9), (2, 1), (7, 9), (3, 9)]);
    for (strategy, max_messages, max_tokens, gone) in [
        (SimpleFifo, Some(5), None, &[][..]),
        (SimpleFifo, Some(4), None, &[1]),
        (SimpleFifo, Some(2), None, &[1, 2, 3]),
        (Lru, Some(4), None, &[2]),
        (Lru, Some(3), None, &[1, 2]),
        (TokenAwareLru, Some(3), None, &[2, 3]),
        (SimpleFifo, None, Some(18), &[]),
        (SimpleFifo, None, Some(17), &[1]),
        (Lru, None, Some(17), &[2]),
        (Lru, None, Some(12), &[1, 2]),
        (TokenAwareLru, None, Some(12), &[2, 3]),
        (SimpleFifo, Some(4), Some(1), &[1, 2, 3, 4]),
    ] {
        let rule = rule(|memory| {
            (memory.max_messages, memory.max_tokens, memory.flushing.kind) = (max_messages, max_tokens, strategy);
        });
        let (dropped, added, ..) = kept(&rule, &present, &[1], Goal::Keep);
        assert_eq!((dropped.as_slice(), added), (gone, 1), "{strategy:?} {max_messages:?} {max_tokens:?}");
    }
}

#[test]
fn a_threshold_lowers_the_limit_and_bytes_always_count() {
    let rule_at = |share| rule(|memory| (memory.max_messages, memory.flushing.summarize_threshold) = (Some(10), share));
    let eight = stored(&[(1, 0); 8]);
    assert_eq!(kept(&rule_at(Some(0.8)), &eight, &[1], Goal::Keep), (vec![1], 1, 8, 8));
    assert_eq!(kept(&rule_at(None), &eight, &[1, 1], Goal::Keep), (vec![], 2, 10, 10));
    // 4,000 bytes are 1,000 tokens.
    let large = stored(&[(240, 0), (240, 0), (240, 0), (240, 0)]);
    assert_eq!(kept(&rule(|_| {}), &large, &[41], Goal::Keep), (vec![1], 1, 4, 761));
    let many = stored(&vec![(0, 0); MOST_MESSAGES as usize]);
    assert_eq!(kept(&rule(|_| {}), &many, &[0, 0], Goal::Keep).0, [1, 2]);
    // What is written may be more than is kept.
    let two = rule(|memory| memory.max_messages = Some(2));
    assert_eq!(kept(&two, &[], &[1, 2, 3], Goal::Keep), (vec![], 2, 2, 5));
}

#[test]
fn a_share_of_the_context_is_a_limit() {
    let of = |ratio, most| rule(|memory| (memory.max_context_ratio, memory.max_tokens) = (ratio, most)).max_tokens;
    assert_eq!(of(Some(0.5), None), Some(64_000));
    assert_eq!(of(Some(0.5), Some(100)), Some(100));
    assert_eq!(of(Some(0.0001), Some(100)), Some(12));
    assert_eq!(of(None, None), None);
}

#[test]
fn kinds_of_messages_have_shares() {
    let rule = rule(|memory| {
        memory.max_tokens = Some(100);
        memory.token_allocation = json!({"short_term": 0.5, "system": 0.1, "user_defined": {"tool": 0.2}});
    });
    let mut present = stored(&[(10, 0), (10, 0), (30, 0), (20, 0), (20, 0)]);
    present[0].role = "system".into();
    present[1].role = "system".into();
    present[2].role = "tool".into();
    // One system message too many, the tool's is too long, and 60 tokens of the rest are ten too many.
    assert_eq!(kept(&rule, &present, &[20], Goal::Keep), (vec![1, 3, 4], 1, 3, 50));
}

#[test]
fn a_flush_makes_room() {
    let eight = stored(&[(10, 0); 8]);
    let with =
        |max_messages, max_tokens| rule(|memory| (memory.max_messages, memory.max_tokens) = (max_messages, max_tokens));
    for (rule, threshold, left) in [
        (with(Some(10), None), None, 5),
        (with(None, Some(100)), None, 5),
        (with(Some(10), Some(60)), None, 3),
        (with(Some(20), None), None, 8),
        (with(None, None), None, 6),
        (with(Some(10), None), Some(0.8), 5),
        (with(Some(10), None), Some(0.9), 8),
        (with(None, None), Some(0.5), 8),
    ] {
        assert_eq!(kept(&rule, &eight, &[], Goal::Flush(threshold)).2, left, "{rule:?} {threshold:?}");
    }
    let nothing = ready(with(Some(1), None).draft(&[], &[], Goal::Flush(None), Summaries::Ask));
    assert!(nothing.is_nothing() && !nothing.flushed);
}

#[test]
fn the_oldest_become_a_summary() {
    let rule = rule(|memory| {
        memory.max_messages = Some(4);
        memory.flushing = Flushing {
            kind: FlushingKind::HybridSummary,
            summary_tokens: Some(3),
            summarize_oldest_percent: Some(50.0),
            ..Flushing::default()
        };
    });
    let present = stored(&[(1, 0), (1, 0), (1, 0), (1, 0)]);
    let added = said(&[1]);
    let of: Vec<Origin> = (1..=3).map(Origin::Stored).collect();
    assert_eq!(rule.draft(&present, &added, Goal::Keep, Summaries::Ask), Draft::Summarise(of.clone()));
    let summary = Summary { of, text: "all that was said before".into() };
    let outcome = ready(rule.draft(&present, &added, Goal::Keep, Summaries::Given(&summary)));
    let first = &outcome.added[0];
    assert_eq!((first.seq, first.content.as_str(), first.summary), (Some(3), "all that was", true));
    assert_eq!((outcome.dropped, outcome.count, outcome.tokens, outcome.summarised), (vec![1, 2, 3], 3, 5, true));
    // It stands for messages that another has flushed meanwhile.
    let late = rule.draft(&present[1..], &said(&[1, 1]), Goal::Keep, Summaries::Given(&summary));
    assert_eq!(late, Draft::Summarise(vec![Origin::Stored(2), Origin::Stored(3), Origin::Stored(4)]));
    // Messages that came meanwhile do no harm.
    let more = ready(rule.draft(&present, &said(&[1, 1]), Goal::Keep, Summaries::Given(&summary)));
    assert_eq!((more.count, more.summarised), (4, true));
    // What one summary cannot make room for goes all the same; the summary goes last.
    let many = ready(rule.draft(&present, &said(&[1; 7]), Goal::Keep, Summaries::Given(&summary)));
    assert_eq!((many.dropped.len(), many.added.len(), many.count), (4, 4, 4));
    assert!(many.added[0].summary);
    let without = ready(rule.draft(&present, &added, Goal::Keep, Summaries::Without));
    assert_eq!((without.dropped, without.summarised), (vec![1], false));
    // A summary of nothing but a summary would say nothing new.
    let mut again = stored(&[(1, 0), (1, 0)]);
    again[0].summary = true;
    let draft = rule.draft(&again, &[], Goal::Flush(None), Summaries::Ask);
    assert_eq!(draft, Draft::Summarise(vec![Origin::Stored(1), Origin::Stored(2)]));
}

#[test]
fn what_is_too_large_is_refused_before() {
    let rule = rule(|memory| memory.max_tokens = Some(200));
    let check = |messages: &[Message]| rule.check(messages).map_err(|error| error.to_string());
    assert_eq!(check(&said(&[200; 5])), Ok(()));
    for (messages, reason) in [
        (said(&[1, 251]), "message 2 is 1004 bytes; limits.max_message_content is 1000"),
        (said(&[201]), "message 1 is 201 tokens; the memory holds 200"),
        (said(&[200; 6]), "the messages are 4800 bytes; limits.max_total_content_size is 4000"),
        (said(&[0; 10_001]), "10001 messages at once; a key holds 10000"),
    ] {
        assert_eq!(check(&messages), Err(reason.to_owned()));
    }
    assert_eq!(rule.cut(&"é".repeat(700)).chars().count(), 500, "bytes count first, and no letter is cut in two");
    assert_eq!(rule.cut(&"x".repeat(900)).len(), 800, "then tokens");
}

/// Whatever comes, what is kept is within the limits and in order.
#[test]
fn limits_hold_for_anything() {
    let mut seed = 7_u64;
    let mut random = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % most
    };
    for round in 0..2_000 {
        let kinds =
            [FlushingKind::SimpleFifo, FlushingKind::Lru, FlushingKind::TokenAwareLru, FlushingKind::HybridSummary];
        let kind = kinds[random(4) as usize];
        let (max_messages, max_tokens) = (random(2) * (1 + random(9)), random(2) * (1 + random(60)));
        let rule = rule(|memory| {
            memory.max_messages = Some(max_messages).filter(|most| *most > 0);
            memory.max_tokens = Some(max_tokens).filter(|most| *most > 0);
            memory.flushing.kind = kind;
        });
        let present: Vec<(u64, i64)> = (0..random(12)).map(|_| (random(40), random(5) as i64)).collect();
        let present = stored(&present);
        let added: Vec<usize> = (0..random(5)).map(|_| random(40) as usize).collect();
        let added = said(&added);
        let outcome = match rule.draft(&present, &added, Goal::Keep, Summaries::Ask) {
            Draft::Ready(outcome) => outcome,
            Draft::Summarise(of) => {
                let summary = Summary { of, text: "s".repeat(random(400) as usize) };
                ready(rule.draft(&present, &added, Goal::Keep, Summaries::Given(&summary)))
            }
        };
        let stays =
            present.iter().filter(|message| !outcome.dropped.contains(&message.seq)).map(|message| message.tokens);
        let tokens: Vec<u64> = stays.chain(outcome.added.iter().map(|message| message.tokens)).collect();
        assert_eq!((tokens.len() as u64, tokens.iter().sum::<u64>()), (outcome.count, outcome.tokens), "round {round}");
        let over = |most: u64, is: u64| most > 0 && is > most;
        assert!(
            !over(max_messages, outcome.count) && !over(max_tokens, outcome.tokens),
            "round {round}: {rule:?} {outcome:?}"
        );
    }
}
