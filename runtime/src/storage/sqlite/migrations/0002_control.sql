-- Signals, schedules, pauses and what retention needs. Times are microseconds UTC, JSON is text.

-- Signals by run, in the order they came (`position`). One that was sent to several runs has a row for each.
CREATE TABLE signals (
    position INTEGER NOT NULL PRIMARY KEY,
    exec_id TEXT NOT NULL,
    signal_id TEXT NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    metadata TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'consumed', 'ignored')),
    -- The run's journal says that it came.
    noted INTEGER NOT NULL DEFAULT 0 CHECK (noted IN (0, 1)),
    dedupe_key TEXT,
    consumed_by TEXT,
    received_at INTEGER NOT NULL,
    settled_at INTEGER,
    UNIQUE (exec_id, signal_id)
) STRICT;

CREATE UNIQUE INDEX signals_dedupe ON signals (exec_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX signals_queued ON signals (exec_id, position) WHERE state = 'queued';

-- Who waits for a signal of a name, or for a sub-run.
CREATE INDEX steps_waiting ON steps (waiting_for ->> '$.kind', waiting_for ->> '$.detail', exec_id)
WHERE status = 'WAITING' AND waiting_for ->> '$.kind' IN ('signal', 'child');

-- What was published, whoever heard it.
CREATE TABLE events (
    event_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    source TEXT NOT NULL,
    published_at INTEGER NOT NULL
) STRICT;

CREATE INDEX events_published ON events (published_at);

-- `declared` is what the project says, null once it says nothing; `override` is what was set at run time.
CREATE TABLE schedules (
    schedule_id TEXT NOT NULL PRIMARY KEY,
    workflow_id TEXT NOT NULL,
    declared TEXT,
    override TEXT,
    next_fire_at INTEGER,
    last_fire_at INTEGER,
    last_exec_id TEXT,
    updated_at INTEGER NOT NULL,
    CHECK (declared IS NOT NULL OR override IS NOT NULL)
) STRICT;

CREATE INDEX schedules_due ON schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;

-- A fire is an insert, so it happens once.
CREATE TABLE schedule_fires (
    schedule_id TEXT NOT NULL,
    fire_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('started', 'skipped', 'buffered', 'failed')),
    exec_id TEXT,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (schedule_id, fire_at),
    CHECK ((state = 'started') = (exec_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX schedule_fires_buffered ON schedule_fires (schedule_id, fire_at) WHERE state = 'buffered';

-- What a request with this key was answered, where that is not a run.
ALTER TABLE idempotency_keys ADD COLUMN answer TEXT;

CREATE INDEX idempotency_expiry ON idempotency_keys (expires_at);

-- Seq of the first event that retention has kept.
ALTER TABLE executions ADD COLUMN journal_from INTEGER NOT NULL DEFAULT 1 CHECK (journal_from > 0);
-- When retention was done with the run's journal.
ALTER TABLE executions ADD COLUMN trimmed_at INTEGER;

CREATE INDEX executions_untrimmed ON executions (finished_at) WHERE finished_at IS NOT NULL AND trimmed_at IS NULL;

-- Which run needs which payload, so that what nobody needs is found without reading everything.
CREATE TABLE payload_refs (
    hash TEXT NOT NULL,
    exec_id TEXT NOT NULL,
    PRIMARY KEY (hash, exec_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX payload_refs_run ON payload_refs (exec_id);

INSERT INTO payload_refs (hash, exec_id)
SELECT substr(input, 9), exec_id FROM executions WHERE input GLOB '@sha256:*'
UNION SELECT substr(output, 9), exec_id FROM executions WHERE output GLOB '@sha256:*'
UNION SELECT substr(error, 9), exec_id FROM executions WHERE error GLOB '@sha256:*'
UNION SELECT substr(input, 9), exec_id FROM steps WHERE input GLOB '@sha256:*'
UNION SELECT substr(output, 9), exec_id FROM steps WHERE output GLOB '@sha256:*'
UNION SELECT substr(error, 9), exec_id FROM steps WHERE error GLOB '@sha256:*'
UNION SELECT substr(a.error, 9), s.exec_id FROM attempts AS a JOIN steps AS s USING (task_exec_id) WHERE a.error GLOB '@sha256:*'
UNION SELECT substr(data, 9), exec_id FROM journal WHERE data GLOB '@sha256:*';

CREATE VIEW v_signals AS SELECT
    exec_id, signal_id, name, payload, metadata, state, dedupe_key, consumed_by,
    strftime('%Y-%m-%dT%H:%M:%S', received_at / 1000000, 'unixepoch') || printf('.%06dZ', received_at % 1000000) AS received_at,
    strftime('%Y-%m-%dT%H:%M:%S', settled_at / 1000000, 'unixepoch') || printf('.%06dZ', settled_at % 1000000) AS settled_at
FROM signals;

CREATE VIEW v_schedules AS SELECT
    schedule_id, workflow_id, declared, override, last_exec_id,
    strftime('%Y-%m-%dT%H:%M:%S', next_fire_at / 1000000, 'unixepoch') || printf('.%06dZ', next_fire_at % 1000000) AS next_fire_at,
    strftime('%Y-%m-%dT%H:%M:%S', last_fire_at / 1000000, 'unixepoch') || printf('.%06dZ', last_fire_at % 1000000) AS last_fire_at
FROM schedules;

CREATE VIEW v_schedule_fires AS SELECT
    schedule_id, state, exec_id,
    strftime('%Y-%m-%dT%H:%M:%S', fire_at / 1000000, 'unixepoch') || printf('.%06dZ', fire_at % 1000000) AS fire_at
FROM schedule_fires;
