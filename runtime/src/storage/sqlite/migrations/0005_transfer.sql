-- Export and import. Times are microseconds UTC, JSON is text.

-- SHA-256 of the row of an export that a run was imported from; `import_id` says which export.
ALTER TABLE executions ADD COLUMN import_hash TEXT;

-- Runs inside of others, by the outermost one.
CREATE INDEX executions_root ON executions (root_exec_id, exec_id) WHERE root_exec_id <> exec_id;

-- How far each table of a file has come; the row without a table stands for the file.
CREATE TABLE import_progress (
    export_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    taken INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    written TEXT NOT NULL,
    options TEXT,
    state TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (export_id, table_name)
) STRICT, WITHOUT ROWID;

-- What waits for the end of an import: runs, and rows that belong to none. Until then no list, claim or count sees it.
-- The rows of a run that is to be inserted are in their tables already, where nobody looks without the run.
CREATE TABLE import_rows (
    export_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    -- The run, or the digest of a definition; else empty.
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    act TEXT NOT NULL CHECK (act IN ('insert', 'replace', 'same', 'known', 'left')),
    content TEXT,
    PRIMARY KEY (export_id, table_name, name, position)
) STRICT, WITHOUT ROWID;
