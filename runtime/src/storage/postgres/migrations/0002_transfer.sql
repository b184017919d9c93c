-- Export and import. Times are microseconds UTC, JSON is text.

-- SHA-256 of the row of an export that a run was imported from; `import_id` says which export.
ALTER TABLE executions ADD COLUMN import_hash text COLLATE "C";

-- Runs inside of others, by the outermost one.
CREATE INDEX executions_root ON executions (root_exec_id, exec_id) WHERE root_exec_id <> exec_id;

-- How far each table of a file has come; the row without a table stands for the file.
CREATE TABLE import_progress (
    export_id text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    taken bigint NOT NULL,
    skipped bigint NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    written text COLLATE "C" NOT NULL,
    options text,
    state text COLLATE "C" NOT NULL CHECK (state IN ('open', 'closed')),
    updated_at bigint NOT NULL,
    PRIMARY KEY (export_id, table_name)
);

-- What waits for the end of an import: runs, and rows that belong to none. Until then no list, claim or count sees it.
-- The rows of a run that is to be inserted are in their tables already, where nobody looks without the run.
CREATE TABLE import_rows (
    export_id text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    -- The run, or the digest of a definition; else empty.
    name text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    act text COLLATE "C" NOT NULL CHECK (act IN ('insert', 'replace', 'same', 'known', 'left')),
    content text,
    PRIMARY KEY (export_id, table_name, name, position)
);
