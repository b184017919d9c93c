//! That `--verify` would see what it is for.

use super::*;
use crate::storage::table;
use crate::storage::transfer::{Row, Source};
use crate::transfer::decide;
use crate::transfer::verify::Expected;

/// What a file of the whole database would hold; rows of `loose` may be found otherwise.
async fn expected(storage: &Arc<dyn Storage>, loose: &str, mut tamper: impl FnMut(&str, &mut Row)) -> Expected {
    let selection = Selection { include: usual(false), runs: RunChoice::default() };
    let mut snapshot = storage.transfer().unwrap().export(Source::Selected(selection)).await.unwrap();
    let mut expected = Expected::new(&Clock::system()).unwrap();
    for table in table::travelling() {
        loop {
            let rows = snapshot.next(table, 3).await.unwrap();
            if rows.is_empty() {
                break;
            }
            for mut row in rows {
                tamper(table.name, &mut row);
                expected.add(table, &row, &decide::written(table, &row), table.name != loose).unwrap();
            }
        }
    }
    expected
}

fn nothing(_: &str, _: &mut Row) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_from_the_file_is_told() {
    for driver in Driver::all() {
        let (source, runs) = populated(driver.open().await).await;
        let transfer = source.storage.transfer().unwrap();
        let same = expected(&source.storage, "", nothing).await.compare(transfer).await.unwrap();
        assert!(same.len() > 10 && same.iter().all(|table| table.rows == table.equal), "{same:?}");
        // The hash is that of an export.
        let stated = hashes(&exported(&source.storage).await);
        assert!(same.iter().all(|table| stated[table.table] == table.sha256), "{same:?}");
        // A row with another value, and a row that is not there.
        for (name, place, value) in [("journal", 2, "other"), ("memory_messages", 0, "gone")] {
            let mut once = false;
            let tampered = expected(&source.storage, "", |table, row| {
                if table == name && !std::mem::replace(&mut once, table == name) {
                    let text = row.iter_mut().filter(|cell| cell.text().is_some()).nth(place).unwrap();
                    *text = crate::storage::transfer::Cell::Text(value.into());
                }
            });
            let error = tampered.await.compare(transfer).await.unwrap_err();
            let said = error.to_string();
            assert!(matches!(error, Error::Conflict(_)) && said.contains(&format!("rows of {name} differ")), "{said}");
        }
        // The database has gone on: rows that it has besides are nobody's matter, one that was changed is.
        let (strict, loose) =
            (expected(&source.storage, "", nothing).await, expected(&source.storage, "executions", nothing).await);
        goes_on(&source, &runs.under_way, 3).await;
        let error = strict.compare(transfer).await.unwrap_err().to_string();
        assert!(error.contains("1 of 5 rows of executions"), "{error}");
        let compared = loose.compare(transfer).await.unwrap();
        let one = compared.iter().find(|table| table.table == "executions").unwrap();
        assert_eq!((one.rows, one.equal), (5, 4));
        let empty = driver.open().await;
        let none = expected(&source.storage, "", nothing).await.compare(empty.transfer().unwrap()).await;
        assert!(none.is_err());
    }
}
