-- Every table of runs and what belongs to them.
-- Times are microseconds UTC, JSON is text. A JSON column whose text would be longer than 8 KiB holds `@sha256:<hex>`,
-- a key of `payloads`; JSON text never starts with `@`. Texts that are keys or have an order are compared by their bytes,
-- as SQLite does.

CREATE TABLE meta (
    key text COLLATE "C" NOT NULL PRIMARY KEY,
    value text NOT NULL
);

-- `lease_until` is by the clock of the database.
CREATE TABLE nodes (
    node_id text COLLATE "C" NOT NULL PRIMARY KEY,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('server', 'embedded')),
    version text COLLATE "C" NOT NULL,
    pid bigint NOT NULL,
    lease_until bigint NOT NULL,
    draining smallint NOT NULL DEFAULT 0 CHECK (draining IN (0, 1))
);

CREATE TABLE definitions (
    digest text COLLATE "C" NOT NULL PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    content text NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE definition_heads (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL DEFAULT 'file' CHECK (source IN ('file', 'api')),
    updated_at bigint NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE executions (
    exec_id text COLLATE "C" NOT NULL PRIMARY KEY,
    component text COLLATE "C" NOT NULL CHECK (component IN ('workflow', 'agent', 'task')),
    workflow_id text COLLATE "C" NOT NULL,
    definition_digest text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (status IN
        ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')),
    reason text,
    input text NOT NULL,
    output text,
    error text,
    "trigger" text NOT NULL,
    tags text NOT NULL,
    parent_exec_id text COLLATE "C",
    root_exec_id text COLLATE "C" NOT NULL,
    forked_from text COLLATE "C",
    durability text COLLATE "C" NOT NULL CHECK (durability IN ('memory', 'normal', 'full')),
    priority bigint NOT NULL,
    concurrency_key text COLLATE "C",
    concurrency_limit bigint CHECK (concurrency_limit > 0),
    deadline bigint,
    state text NOT NULL,
    owner_node text COLLATE "C",
    affinity_node text COLLATE "C",
    epoch bigint NOT NULL CHECK (epoch >= 0),
    last_seq bigint NOT NULL CHECK (last_seq >= 0),
    cancel_request text,
    pause_request text,
    import_id text COLLATE "C",
    created_at bigint NOT NULL,
    started_at bigint,
    updated_at bigint NOT NULL,
    finished_at bigint,
    journal_from bigint NOT NULL DEFAULT 1 CHECK (journal_from > 0),
    trimmed_at bigint
);

CREATE INDEX executions_created ON executions (created_at, exec_id);
CREATE INDEX executions_workflow ON executions (workflow_id, created_at, exec_id);
CREATE INDEX executions_status ON executions (status, created_at, exec_id);
CREATE INDEX executions_owner ON executions (owner_node) WHERE owner_node IS NOT NULL;
CREATE INDEX executions_affinity ON executions (affinity_node) WHERE affinity_node IS NOT NULL;
CREATE INDEX executions_parent ON executions (parent_exec_id, created_at, exec_id) WHERE parent_exec_id IS NOT NULL;
CREATE INDEX executions_untrimmed ON executions (finished_at) WHERE finished_at IS NOT NULL AND trimmed_at IS NULL;

-- How many runs each workflow has: counting a million index entries is not a list anybody waits for.
CREATE TABLE workflow_runs (
    workflow_id text COLLATE "C" NOT NULL PRIMARY KEY,
    runs bigint NOT NULL
);

CREATE TABLE steps (
    exec_id text COLLATE "C" NOT NULL,
    step_key text COLLATE "C" NOT NULL,
    task_exec_id text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (status IN
        ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')),
    attempt bigint NOT NULL,
    parent text COLLATE "C",
    position bigint NOT NULL,
    input text,
    output text,
    error text,
    waiting_for text,
    state text NOT NULL,
    result_seq bigint,
    started_at bigint NOT NULL,
    finished_at bigint,
    PRIMARY KEY (exec_id, step_key)
);

-- Who waits for a signal of a name, or for a sub-run.
CREATE INDEX steps_waiting ON steps ((waiting_for::json ->> 'kind'), (waiting_for::json ->> 'detail'), exec_id)
WHERE status = 'WAITING';

CREATE TABLE attempts (
    task_exec_id text COLLATE "C" NOT NULL,
    attempt bigint NOT NULL,
    node text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN
        ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')),
    error text,
    started_at bigint NOT NULL,
    finished_at bigint NOT NULL,
    PRIMARY KEY (task_exec_id, attempt)
);

CREATE TABLE journal (
    exec_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    at bigint NOT NULL,
    event text COLLATE "C" NOT NULL,
    task_id text COLLATE "C",
    data text NOT NULL,
    PRIMARY KEY (exec_id, seq)
);

-- `gated`: the run waits for its concurrency key and may not be claimed.
CREATE TABLE ready (
    exec_id text COLLATE "C" NOT NULL PRIMARY KEY,
    not_before bigint NOT NULL,
    priority bigint NOT NULL,
    concurrency_key text COLLATE "C",
    affinity_node text COLLATE "C",
    workflow_id text COLLATE "C" NOT NULL DEFAULT '',
    concurrency_limit bigint,
    gated smallint NOT NULL DEFAULT 0 CHECK (gated IN (0, 1))
);

CREATE INDEX ready_turn ON ready (priority DESC, workflow_id, not_before, exec_id) WHERE gated = 0;
CREATE INDEX ready_age ON ready (not_before, exec_id) WHERE gated = 0;
CREATE INDEX ready_gate ON ready (concurrency_key, priority DESC, not_before, exec_id) WHERE gated = 1;
CREATE INDEX ready_gate_age ON ready (concurrency_key, not_before, exec_id) WHERE gated = 1;

-- Runs that hold their concurrency key: from when they may be claimed until they end.
CREATE TABLE concurrency_holders (
    exec_id text COLLATE "C" NOT NULL PRIMARY KEY,
    concurrency_key text COLLATE "C" NOT NULL
);

CREATE INDEX concurrency_holders_key ON concurrency_holders (concurrency_key);

CREATE TABLE timers (
    exec_id text COLLATE "C" NOT NULL,
    timer_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    step_key text COLLATE "C",
    due_at bigint NOT NULL,
    PRIMARY KEY (exec_id, timer_id)
);

CREATE INDEX timers_due ON timers (due_at);

-- `answer` is what a request was answered, where that is not a run.
CREATE TABLE idempotency_keys (
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    request_hash text COLLATE "C" NOT NULL,
    exec_id text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    answer text,
    PRIMARY KEY (scope, key)
);

CREATE INDEX idempotency_expiry ON idempotency_keys (expires_at);

CREATE TABLE usage (
    exec_id text COLLATE "C" NOT NULL,
    step_key text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    PRIMARY KEY (exec_id, step_key, provider, model)
);

CREATE TABLE payloads (
    hash text COLLATE "C" NOT NULL PRIMARY KEY,
    data bytea NOT NULL,
    created_at bigint NOT NULL
);

-- Which run needs which payload, so that what nobody needs is found without reading everything.
CREATE TABLE payload_refs (
    hash text COLLATE "C" NOT NULL,
    exec_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (hash, exec_id)
);

CREATE INDEX payload_refs_run ON payload_refs (exec_id);

CREATE TABLE kv (
    space text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    expires_at bigint,
    PRIMARY KEY (space, key)
);

-- Signals by run, in the order they came (`position`). One that was sent to several runs has a row for each.
CREATE TABLE signals (
    position bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    exec_id text COLLATE "C" NOT NULL,
    signal_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    payload text NOT NULL,
    metadata text NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('queued', 'consumed', 'ignored')),
    noted smallint NOT NULL DEFAULT 0 CHECK (noted IN (0, 1)),
    dedupe_key text COLLATE "C",
    consumed_by text COLLATE "C",
    received_at bigint NOT NULL,
    settled_at bigint,
    UNIQUE (exec_id, signal_id)
);

CREATE UNIQUE INDEX signals_dedupe ON signals (exec_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX signals_queued ON signals (exec_id, position) WHERE state = 'queued';

-- What was published, whoever heard it.
CREATE TABLE events (
    event_id text COLLATE "C" NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    payload text NOT NULL,
    source text COLLATE "C" NOT NULL,
    published_at bigint NOT NULL
);

CREATE INDEX events_published ON events (published_at);

-- `declared` is what the project says, null once it says nothing; `override` is what was set at run time.
CREATE TABLE schedules (
    schedule_id text COLLATE "C" NOT NULL PRIMARY KEY,
    workflow_id text COLLATE "C" NOT NULL,
    declared text,
    override text,
    next_fire_at bigint,
    last_fire_at bigint,
    last_exec_id text COLLATE "C",
    updated_at bigint NOT NULL,
    CHECK (declared IS NOT NULL OR override IS NOT NULL)
);

CREATE INDEX schedules_due ON schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;

-- A fire is an insert, so it happens once.
CREATE TABLE schedule_fires (
    schedule_id text COLLATE "C" NOT NULL,
    fire_at bigint NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('started', 'skipped', 'buffered', 'failed')),
    exec_id text COLLATE "C",
    recorded_at bigint NOT NULL,
    PRIMARY KEY (schedule_id, fire_at),
    CHECK ((state = 'started') = (exec_id IS NOT NULL))
);

CREATE INDEX schedule_fires_buffered ON schedule_fires (schedule_id, fire_at) WHERE state = 'buffered';

-- Memories: one row for each key. The counters are those of its messages; `version` never comes twice for a key.
CREATE TABLE memory_instances (
    ref text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    writer text COLLATE "C" NOT NULL,
    next_seq bigint NOT NULL CHECK (next_seq > 0),
    message_count bigint NOT NULL CHECK (message_count >= 0),
    token_count bigint NOT NULL CHECK (token_count >= 0),
    byte_count bigint NOT NULL CHECK (byte_count >= 0),
    backup smallint NOT NULL DEFAULT 0 CHECK (backup IN (0, 1)),
    created_at bigint NOT NULL,
    used_at bigint NOT NULL,
    expires_at bigint,
    PRIMARY KEY (ref, key)
);

CREATE INDEX memory_expiry ON memory_instances (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE memory_messages (
    ref text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    role text COLLATE "C" NOT NULL,
    content text NOT NULL,
    tokens bigint NOT NULL CHECK (tokens >= 0),
    summary smallint NOT NULL DEFAULT 0 CHECK (summary IN (0, 1)),
    created_at bigint NOT NULL,
    used_at bigint NOT NULL,
    PRIMARY KEY (ref, key, seq)
);

-- What people read: the same with readable times.

CREATE VIEW v_executions AS SELECT
    exec_id, component, workflow_id, definition_digest, status, reason, input, output, error, "trigger", tags,
    parent_exec_id, root_exec_id, forked_from, durability, priority, owner_node, epoch, last_seq,
    cancel_request,
    to_char(to_timestamp(created_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(created_at, 1000000), 'FM000000') || 'Z' AS created_at,
    to_char(to_timestamp(started_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(started_at, 1000000), 'FM000000') || 'Z' AS started_at,
    to_char(to_timestamp(updated_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(updated_at, 1000000), 'FM000000') || 'Z' AS updated_at,
    to_char(to_timestamp(finished_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(finished_at, 1000000), 'FM000000') || 'Z' AS finished_at
FROM executions;

CREATE VIEW v_steps AS SELECT
    exec_id, step_key, task_exec_id, task_id, kind, status, attempt, parent, position, input, output, error,
    waiting_for, result_seq,
    to_char(to_timestamp(started_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(started_at, 1000000), 'FM000000') || 'Z' AS started_at,
    to_char(to_timestamp(finished_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(finished_at, 1000000), 'FM000000') || 'Z' AS finished_at
FROM steps;

CREATE VIEW v_journal AS SELECT
    exec_id, seq, event, task_id, data,
    to_char(to_timestamp(at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(at, 1000000), 'FM000000') || 'Z' AS at
FROM journal;

CREATE VIEW v_timers AS SELECT
    exec_id, timer_id, kind, step_key,
    to_char(to_timestamp(due_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(due_at, 1000000), 'FM000000') || 'Z' AS due_at
FROM timers;

CREATE VIEW v_nodes AS SELECT
    node_id, kind, version, pid, draining,
    to_char(to_timestamp(lease_until / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(lease_until, 1000000), 'FM000000') || 'Z' AS lease_until
FROM nodes;

CREATE VIEW v_signals AS SELECT
    exec_id, signal_id, name, payload, metadata, state, dedupe_key, consumed_by,
    to_char(to_timestamp(received_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(received_at, 1000000), 'FM000000') || 'Z' AS received_at,
    to_char(to_timestamp(settled_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(settled_at, 1000000), 'FM000000') || 'Z' AS settled_at
FROM signals;

CREATE VIEW v_schedules AS SELECT
    schedule_id, workflow_id, declared, override, last_exec_id,
    to_char(to_timestamp(next_fire_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(next_fire_at, 1000000), 'FM000000') || 'Z' AS next_fire_at,
    to_char(to_timestamp(last_fire_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(last_fire_at, 1000000), 'FM000000') || 'Z' AS last_fire_at
FROM schedules;

CREATE VIEW v_schedule_fires AS SELECT
    schedule_id, state, exec_id,
    to_char(to_timestamp(fire_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(fire_at, 1000000), 'FM000000') || 'Z' AS fire_at
FROM schedule_fires;

CREATE VIEW v_memory_instances AS SELECT
    ref, key, message_count, token_count, byte_count, backup,
    to_char(to_timestamp(created_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(created_at, 1000000), 'FM000000') || 'Z' AS created_at,
    to_char(to_timestamp(used_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(used_at, 1000000), 'FM000000') || 'Z' AS used_at,
    to_char(to_timestamp(expires_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(expires_at, 1000000), 'FM000000') || 'Z' AS expires_at
FROM memory_instances;

CREATE VIEW v_memory_messages AS SELECT
    ref, key, seq, role, content, tokens, summary,
    to_char(to_timestamp(created_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || to_char(mod(created_at, 1000000), 'FM000000') || 'Z' AS created_at
FROM memory_messages;
