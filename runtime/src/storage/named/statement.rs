//! Which statements a plugin may run: one at a time, and none that reaches beyond its database or outlives its call.

/// First words of statements that run.
const ALLOWED: [&str; 12] = [
    "SELECT", "VALUES", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "EXPLAIN",
    "REINDEX",
];

/// Refuses more than one statement and every kind that is not in the list: `ATTACH` would open other files, `PRAGMA`
/// undo the safety settings, `VACUUM INTO` write files, `BEGIN` belongs to the host. A trigger holds statements of its own
/// and is refused with them.
pub(super) fn allowed(sql: &str) -> Result<(), String> {
    if sql.contains('\0') {
        return Err("a statement holds no NUL".to_owned());
    }
    let start = skip_blank(sql);
    let word = first_word(start).to_ascii_uppercase();
    if word.is_empty() {
        return Err("the statement is empty".to_owned());
    }
    if !ALLOWED.contains(&word.as_str()) {
        return Err(format!("{word} statements are not allowed"));
    }
    // `SELECT file FROM pragma_database_list` tells where the file lies. A text is bound, so none is refused for its words.
    if sql.to_ascii_lowercase().contains("pragma_") {
        return Err("pragma functions are not allowed".to_owned());
    }
    match after_statement(start) {
        Some(rest) if !skip_blank(rest).is_empty() => Err("only one statement at a time".to_owned()),
        _ => Ok(()),
    }
}

/// Whether a statement changes rows, so that SQLite's count of changes is its own.
pub(super) fn changes_rows(sql: &str) -> bool {
    let word = first_word(skip_blank(sql)).to_ascii_uppercase();
    matches!(word.as_str(), "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "WITH")
}

fn first_word(sql: &str) -> &str {
    sql.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default()
}

/// `sql` without blanks and comments at its start.
fn skip_blank(mut sql: &str) -> &str {
    loop {
        // A byte order mark is skipped by SQLite too.
        sql = sql.trim_start_matches(|character: char| character.is_ascii_whitespace() || character == '\u{feff}');
        let Some(rest) = skip_comment(sql) else { return sql };
        sql = rest;
    }
}

/// What follows the comment that `sql` starts with.
fn skip_comment(sql: &str) -> Option<&str> {
    if let Some(rest) = sql.strip_prefix("--") {
        return Some(rest.split_once('\n').map_or("", |(_, rest)| rest));
    }
    let rest = sql.strip_prefix("/*")?;
    Some(rest.split_once("*/").map_or("", |(_, rest)| rest))
}

/// What follows the first `;` outside quotes and comments; `None` if there is none.
fn after_statement(mut sql: &str) -> Option<&str> {
    while let Some(character) = sql.chars().next() {
        let close = match character {
            ';' => return sql.get(1..),
            '\'' | '"' | '`' => Some(character),
            '[' => Some(']'),
            _ => None,
        };
        if let Some(rest) = skip_comment(sql) {
            sql = rest;
            continue;
        }
        sql = sql.get(character.len_utf8()..).unwrap_or_default();
        if let Some(close) = close {
            // A doubled quote inside begins a new quoted part, which comes to the same.
            sql = sql.split_once(close).map_or("", |(_, rest)| rest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn single_statements_of_rows_and_tables_run() {
        for sql in [
            "SELECT 1",
            " -- why\n /* and */ select ';' ;  -- end",
            "WITH a AS (VALUES (1)) SELECT * FROM a",
            "INSERT INTO t VALUES ('it''s; fine', \"a;b\", [c;d], `e;f`)",
            "CREATE TABLE t (a TEXT); ",
        ] {
            assert_eq!(allowed(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (sql, expected) in [
            ("", "the statement is empty"),
            ("-- only", "the statement is empty"),
            ("ATTACH 'x' AS y", "ATTACH statements are not allowed"),
            ("/**/pragma query_only=0", "PRAGMA statements are not allowed"),
            ("VACUUM INTO '/tmp/x'", "VACUUM statements are not allowed"),
            ("BEGIN", "BEGIN statements are not allowed"),
            ("COMMIT", "COMMIT statements are not allowed"),
            ("SAVEPOINT a", "SAVEPOINT statements are not allowed"),
            ("SELECT 1; ATTACH 'x' AS y", "only one statement at a time"),
            ("SELECT 'a''b'; PRAGMA x", "only one statement at a time"),
            ("SELECT 1 /* ; */ ; -- c\n DROP TABLE t", "only one statement at a time"),
            ("SELECT 1;;ATTACH 'x' AS y", "only one statement at a time"),
            ("SELECT file FROM Pragma_database_list", "pragma functions are not allowed"),
            ("SELECT * FROM [pragma_table_info]('t')", "pragma functions are not allowed"),
            ("SELECT 1\0", "a statement holds no NUL"),
            ("CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; END", "only one statement at a time"),
        ] {
            assert_eq!(allowed(sql), Err(expected.to_owned()), "{sql}");
        }
    }
}
