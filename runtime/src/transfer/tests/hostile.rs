//! Files that lie: each is refused with its place, and leaves nothing behind.

use sha2::{Digest, Sha256};

use super::*;

/// Gives an export right hashes and counts again, after its rows were changed.
fn sealed(text: &str) -> String {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut counts = serde_json::Map::new();
    for end in lines.iter().filter(|line| line["kind"] == "table_end") {
        let table = end["table"].as_str().unwrap();
        let rows = lines.iter().filter(|line| line["kind"] == "row" && line["table"] == table).count();
        counts.insert(table.to_owned(), rows.into());
    }
    let (mut out, mut table) = (String::new(), Sha256::new());
    for mut line in lines {
        match line["kind"].as_str().unwrap() {
            "header" => line["counts"] = Value::Object(counts.clone()),
            "row" => table.update(format!("{line}\n")),
            "table_end" => {
                line["count"] = counts[line["table"].as_str().unwrap()].clone();
                line["sha256"] = line::hex(&table.finalize_reset()).into();
            }
            _ => {
                line["counts"] = Value::Object(counts.clone());
                line["sha256"] = line::sha256(&out).into();
            }
        }
        out.push_str(&format!("{line}\n"));
    }
    out
}

/// The export with one row changed, and made whole again.
fn changed(text: &str, table: &str, column: &str, value: &Value) -> String {
    let mut done = false;
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if !done && line["kind"] == "row" && line["table"] == table {
            line["row"][column] = value.clone();
            done = true;
        }
        format!("{line}\n")
    });
    sealed(&lines.collect::<String>())
}

async fn refused(target: &Arc<dyn Storage>, bytes: &[u8]) -> String {
    let error = imported(target, bytes).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. } | Error::Truncated(_) | Error::TooNew(_)), "{error}");
    looks_empty(target).await;
    assert!(target.transfer().unwrap().imports().await.unwrap().is_empty(), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_none_are_refused() {
    let (source, _) = populated(memory().await).await;
    let text = exported(&source.storage).await;
    assert_eq!(sealed(&text), text);
    let target = memory().await;
    let (no_end, _) = text.trim_end().rsplit_once('\n').unwrap();
    let document = exported_as(&source.storage, Form::Document, false, RunChoice::default()).await;
    for (bytes, wanted) in [
        (b"".to_vec(), "the file is truncated: it has no header"),
        (b"hello".to_vec(), "byte 0: this is no export of compozy"),
        (b"{\"id\":1}".to_vec(), "byte 6: it begins neither"),
        (b"{\"kind\":\"row\"}\n".to_vec(), "line 1: it is not as an export has it: missing field"),
        (no_end.as_bytes().to_vec(), "the file is truncated: its end is missing"),
        (document[..document.len() - 20].to_vec(), "the file is truncated"),
        (text.replace("\"format_version\":1", "\"format_version\":2").into_bytes(), "the file has format 2"),
        (text.replace("\"schema_version\":5", "\"schema_version\":99").into_bytes(), "and schema 99"),
        (text.replace("\"name\":\"ping\"", "\"name\":\"pong\"").into_bytes(), "do not have the sha256 that it says"),
        (text.replace("\"table\":\"events\"", "\"table\":\"kv\"").into_bytes(), "there is no table 'kv'"),
        (text.replace("\"table\":\"events\"", "\"table\":\"steps\"").into_bytes(), "comes twice, or too late"),
        (format!("{text}{{}}\n").into_bytes(), "something follows the end"),
        ([&[0x28, 0xb5, 0x2f, 0xfd][..], b"junk"].concat(), "the file: zstd"),
    ] {
        let error = refused(&target, &bytes).await;
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    // Every cut is found out.
    for cut in (1..text.len()).step_by(701) {
        refused(&target, &text.as_bytes()[..cut]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_are_refused_with_their_place() {
    let (source, runs) = populated(memory().await).await;
    let text = exported(&source.storage).await;
    let target = memory().await;
    let long = "x".repeat(65);
    for (table, column, value, wanted) in [
        ("executions", "status", Value::from("DONE"), "executions.status must be one of PENDING"),
        ("executions", "status", "RUNNING".into(), "is RUNNING, which does not fit its time of end"),
        ("executions", "exec_id", "../../etc".into(), "executions.exec_id is not the id of a run"),
        ("executions", "exec_id", long.as_str().into(), "executions.exec_id is not the id of a run"),
        ("executions", "priority", "high".into(), "executions.priority must be a whole number"),
        ("executions", "priority", 1.5.into(), "executions.priority must be a whole number"),
        ("executions", "input", "{".into(), "executions.input must be JSON as text"),
        ("executions", "owner_node", "me".into(), "executions has no column 'owner_node'"),
        ("executions", "epoch", 7.into(), "executions has no column 'epoch'"),
        ("executions", "created_at", Value::Null, "executions.created_at must be a whole number"),
        ("executions", "definition_digest", "gone".into(), "its definition gone is neither in the file nor stored"),
        ("executions", "input", format!("@sha256:{}", "0".repeat(64)).into(), "is neither in the file nor stored"),
        ("executions", "parent_exec_id", "nobody".into(), "out of order"),
        ("executions", "root_exec_id", "nobody".into(), "a run refers to run nobody, which does not exist"),
        ("executions", "last_seq", 9.into(), "has last_seq 9 but its journal ends at 4"),
        ("executions", "journal_from", 2.into(), "misses event 2 before event 1"),
        ("payloads", "data", "{}".into(), "a payload does not have the hash that it says"),
        ("steps", "exec_id", "00".into(), "run 00 is not in the file"),
        ("steps", "status", "RUNNING".into(), "has ended but step"),
        ("steps", "status", "SLEEPING".into(), "steps.status must be one of"),
        ("steps", "task_exec_id", "other".into(), "belongs to another task execution"),
        ("steps", "result_seq", 99.into(), "that is not in the journal"),
        ("attempts", "attempt", Value::Null, "attempts.attempt must be a whole number"),
        ("journal", "seq", 0.into(), "misses event 1"),
        ("journal", "data", "[".into(), "journal.data must be JSON as text"),
        ("journal", "data", "[]".into(), "holds no JSON object"),
        ("timers", "exec_id", runs.ended.as_str().into(), "has ended but timer"),
        ("signals", "noted", 2.into(), "signals.noted must be 0 or 1"),
        ("signals", "settled_at", 5.into(), "is in a state that does not fit"),
    ] {
        let error = refused(&target, changed(&text, table, column, &value).as_bytes()).await;
        assert!(error.contains(wanted), "{table}.{column} = {value}: {error}");
        assert!(error.starts_with("line ") || error.starts_with("the file: "), "{error}");
    }
    // The same row twice, and a row that is missing.
    let row = text.lines().find(|line| line.contains("\"table\":\"journal\"") && line.contains("\"row\"")).unwrap();
    let twice = sealed(&text.replacen(row, &format!("{row}\n{row}"), 1));
    assert!(refused(&target, twice.as_bytes()).await.contains("comes twice, or out of order"));
    let gap = sealed(&text.replacen(&format!("{row}\n"), "", 1));
    assert!(refused(&target, gap.as_bytes()).await.contains("misses event 1"));
    imported(&target, text.as_bytes()).await.unwrap();
    sound(&target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_grows_too_much_is_refused() {
    let target = memory().await;
    let mut bomb = Vec::new();
    for _ in 0..24 {
        bomb.extend(ruzstd::encoding::compress_to_vec(
            &vec![b' '; 1 << 20][..],
            ruzstd::encoding::CompressionLevel::Fastest,
        ));
    }
    let error = refused(&target, &bomb).await;
    assert!(error.contains("more than 100 times its size"), "{} bytes: {error}", bomb.len());
    // What is written here always passes.
    let packed = zstd::compress(vec![b' '; zstd::FRAME]).await.unwrap();
    assert!(packed.len() * 100 > zstd::FRAME);
    let wide = format!("{{\"kind\":\"header\",\"x\":\"{}", "x".repeat(65 << 20));
    assert!(refused(&target, wide.as_bytes()).await.contains("longer than 64 MiB"));
}
