//! What arrives where it shall, once, and unseen until it is whole.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_trips_give_equal_hashes() {
    for driver in Driver::all() {
        let (source, runs) = populated(driver.open().await).await;
        let first = exported(&source.storage).await;
        assert!(!first.contains("kept-here") && !first.contains(source.node.as_str()), "{first}");
        let tables = hashes(&first);
        assert_eq!(tables.len(), 16, "{tables:?}");
        let empty = tables.values().filter(|hash| hash.starts_with("e3b0c442")).count();
        assert_eq!(empty, 1, "all but fires of schedules: {tables:?}");
        // What goes on is paused on the first journey, and is as it was on all that follow.
        let second = driver.open().await;
        imported(&second, first.as_bytes()).await.unwrap();
        sound(&second).await;
        let mut from = second;
        let moved = exported(&from).await;
        let through = [driver.open().await, memory().await, driver.open().await];
        let forms = [(Form::Document, false), (Form::Ndjson, true), (Form::Document, true)];
        for (next, (form, zstd)) in through.into_iter().zip(forms) {
            let bytes = exported_as(&from, form, zstd, RunChoice::default()).await;
            let report = imported(&next, &bytes).await.unwrap();
            assert!(report.finished);
            let compared = report.verified.clone().unwrap();
            let found: Vec<_> = compared.iter().map(|table| (table.table, &table.sha256)).collect();
            let stated: Vec<_> = hashes(&moved).into_iter().filter(|(_, hash)| !hash.starts_with("e3b0c442")).collect();
            assert_eq!(found.len(), stated.len(), "{found:?}");
            assert!(
                found.iter().all(|(table, hash)| stated.iter().any(|(name, stated)| name == table && stated == *hash))
            );
            assert!(compared.iter().all(|table| table.rows == table.equal), "{compared:?}");
            assert_eq!(report.tables.iter().map(|table| table.skipped).sum::<u64>(), 0, "{report:?}");
            sound(&next).await;
            assert_eq!(hashes(&exported(&next).await), hashes(&moved));
            from = next;
        }
        let run = from.run(&runs.ended).await.unwrap().unwrap();
        assert_eq!(run.input.len(), 10_000 + r#"{"text":"","n":1.0}"#.len());
        let ids: Vec<_> =
            from.signals(&runs.under_way, true).await.unwrap().into_iter().map(|signal| signal.signal_id).collect();
        assert_eq!(ids, ["z", "y", "x"], "their order is kept");
        let held = from.memory("chat", "k", true).await.unwrap().unwrap();
        assert_eq!(held.messages[0].content, "hi €");
        assert_eq!(from.kv_get("p", "token", Timestamp(0)).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_seen_before_the_end() {
    for driver in Driver::all() {
        let (source, runs) = populated(driver.open().await).await;
        let text = exported(&source.storage).await;
        let (before, end) = text.trim_end().rsplit_once('\n').unwrap();
        let target = driver.open().await;
        let (before, end) = (Bytes::from(format!("{before}\n")), Bytes::from(format!("{end}\n")));
        let (looked, looker) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), Arc::clone(&target));
        let seen = Arc::clone(&looked);
        let last = futures_util::stream::once(async move {
            looks_empty(&looker).await;
            // A run that is half there is nothing to worry about.
            sound(&looker).await;
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
            Ok(end)
        });
        let chunks = futures_util::stream::once(async move { Ok(before) }).chain(last).boxed();
        let how = how(OnConflict::Fail, InFlight::Pause);
        let report = import(&*target, None, chunks, &how, &mut |_, _| {}).await.unwrap();
        assert!(looked.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(report.of("executions"), (5, 0));
        assert!(target.run(&runs.ended).await.unwrap().is_some());
        // Again: nothing changes.
        let hashed = hashes(&exported(&target).await);
        for way in [text.clone(), exported(&source.storage).await] {
            let report = imported(&target, way.as_bytes()).await.unwrap();
            assert_eq!(report.of("executions"), (0, 5));
            assert_eq!(hashes(&exported(&target).await), hashed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_under_way_wait_or_go_on() {
    for driver in Driver::all() {
        let (source, runs) = populated(driver.open().await).await;
        let text = exported(&source.storage).await;
        for (in_flight, statuses, ready) in [
            (InFlight::Pause, ["PAUSED", "PAUSED", "PAUSED"], (0, 0)),
            (InFlight::Resume, ["RUNNING", "PENDING", "PENDING"], (2, 1)),
        ] {
            let target = driver.open().await;
            imported_how(&target, text.as_bytes(), OnConflict::Fail, in_flight).await.unwrap();
            sound(&target).await;
            let under_way = [&runs.under_way, &runs.queued[0], &runs.queued[1]];
            for (exec_id, status) in under_way.into_iter().zip(statuses) {
                let run = target.run(exec_id).await.unwrap().unwrap();
                assert_eq!((run.status.as_str(), run.owner_node), (status, None));
                let reason = (in_flight == InFlight::Pause).then_some("imported");
                assert_eq!(run.reason.as_deref(), reason);
            }
            let length = target.queue_length().await.unwrap();
            assert_eq!((length.claimable, length.gated), ready, "{in_flight:?}");
            let loaded = target.load(&runs.under_way).await.unwrap().unwrap();
            assert_eq!(loaded.timers[0].due_at, Timestamp(77), "timers keep their time");
            let (node, now) = ("n".into(), Timestamp(i64::MAX / 2));
            let claimed = target.claim(&node, 10, now).await.unwrap();
            assert_eq!(claimed.len() as u64, ready.0);
            assert!(claimed.iter().all(|run| run.epoch == 2), "a fresh epoch");
        }
        let target = driver.open().await;
        let error = imported_how(&target, text.as_bytes(), OnConflict::Fail, InFlight::Fail).await.unwrap_err();
        assert!(matches!(&error, Error::Conflict(text) if text.contains("is under way")), "{error}");
        looks_empty(&target).await;
        let report = imported_how(&target, text.as_bytes(), OnConflict::Fail, InFlight::Skip).await.unwrap();
        assert_eq!(report.of("executions"), (1, 4), "with what is inside of them");
        assert!(target.run(&runs.inner).await.unwrap().is_none());
        sound(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_refused_skipped_or_replaced() {
    for driver in Driver::all() {
        let (source, runs) = populated(driver.open().await).await;
        let early = exported(&source.storage).await;
        let target = driver.open().await;
        imported_how(&target, early.as_bytes(), OnConflict::Fail, InFlight::Resume).await.unwrap();
        goes_on(&source, &runs.under_way, 3).await;
        let late = exported(&source.storage).await;
        let before = hashes(&exported(&target).await);
        let error = imported(&target, late.as_bytes()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Conflict(_)) && text.contains("is there with other content"), "{text}");
        assert_eq!(hashes(&exported(&target).await), before, "nothing was kept");
        let report = imported_how(&target, late.as_bytes(), OnConflict::Skip, InFlight::Resume).await.unwrap();
        assert_eq!(report.of("executions"), (0, 5));
        assert_eq!(hashes(&exported(&target).await), before);
        // A run that has gone further takes the place of the other, which nobody can write to any more.
        let (node, now) = ("n".into(), Timestamp(i64::MAX / 2));
        let claimed = target.claim(&node, 10, now).await.unwrap();
        let old = claimed.iter().find(|run| run.exec_id == runs.under_way).unwrap().clone();
        let report = imported_how(&target, late.as_bytes(), OnConflict::Replace, InFlight::Resume).await.unwrap();
        assert_eq!(report.of("executions"), (1, 4));
        sound(&target).await;
        let run = target.run(&runs.under_way).await.unwrap().unwrap();
        assert_eq!((run.status.as_str(), run.last_seq, run.owner_node), ("WAITING", 3, None));
        assert!(run.epoch > old.epoch);
        let stale = Changes { journal: vec![event(4, "workflow_status", "{}")], ..Changes::default() };
        let fenced = target.commit(&runs.under_way, &node, old.epoch, &stale).await;
        assert!(matches!(fenced, Err(crate::storage::Error::Fenced)), "{fenced:?}");
        let error = imported_how(&target, early.as_bytes(), OnConflict::Replace, InFlight::Resume).await;
        assert!(error.is_err() || hashes(&exported(&target).await)["journal"] == hashes(&late)["journal"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_import_goes_on() {
    for driver in Driver::all() {
        let (source, _) = populated(driver.open().await).await;
        let text = exported(&source.storage).await;
        let target = driver.open().await;
        let lines = text.lines().count();
        for cut in (1..lines).step_by(7) {
            let bytes: String = text.lines().take(cut).map(|line| format!("{line}\n")).collect();
            let broken = futures_util::stream::once(async { Err(std::io::Error::other("the power is gone")) });
            let chunks = chunks(bytes.as_bytes(), 100).chain(broken).boxed();
            let how = how(OnConflict::Fail, InFlight::Pause);
            let error = import(&*target, None, chunks, &how, &mut |_, _| {}).await.unwrap_err();
            assert!(matches!(error, Error::Io(_)), "{error}");
            looks_empty(&target).await;
        }
        assert!(!target.transfer().unwrap().imports().await.unwrap().is_empty(), "what was done is kept");
        // Another file of the same name does not pass for it.
        let other = text.replacen("\"agent\"", "\"workflow\"", 0).replacen("hi €", "ho €", 1);
        assert!(imported(&target, other.as_bytes()).await.is_err());
        let report = imported(&target, text.as_bytes()).await.unwrap();
        assert_eq!(report.of("executions"), (5, 0));
        sound(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_writes_nothing() {
    for driver in Driver::all() {
        let (source, _) = populated(driver.open().await).await;
        let text = exported(&source.storage).await;
        let target = driver.open().await;
        let scratch = Scratch::new(&Clock::system()).await.unwrap();
        let how = how(OnConflict::Fail, InFlight::Pause);
        let input = chunks(text.as_bytes(), 1_000);
        let report = import(&*target, Some(scratch.storage()), input, &how, &mut |_, _| {}).await.unwrap();
        scratch.remove().await;
        assert_eq!((report.of("executions"), report.finished), ((5, 0), false));
        looks_empty(&target).await;
        assert!(target.transfer().unwrap().imports().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_runs_bring_their_trees() {
    for driver in Driver::all() {
        let (source, runs) = populated(driver.open().await).await;
        let choice = |exec_id: &ExecId| RunChoice { exec_id: Some(exec_id.to_string()), ..RunChoice::default() };
        for (choice, expected) in [
            (choice(&runs.inner), 2),
            (choice(&runs.under_way), 2),
            (choice(&runs.ended), 1),
            (RunChoice { statuses: vec!["SUCCESS".into()], ..RunChoice::default() }, 3),
            (RunChoice { workflow_id: Some("nobody".into()), ..RunChoice::default() }, 0),
            (RunChoice { since: Some(Timestamp(0)), ..RunChoice::default() }, 5),
        ] {
            let bytes = exported_as(&source.storage, Form::Ndjson, false, choice.clone()).await;
            let target = memory().await;
            let report = imported(&target, &bytes).await.unwrap();
            assert_eq!(report.of("executions"), (expected, 0), "{choice:?}");
            sound(&target).await;
        }
    }
}
