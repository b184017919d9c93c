-- Runs, their steps and journal, the queue, timers, and what belongs to them.
-- Times are microseconds UTC, JSON is text. A JSON column whose text would be longer than 8 KiB holds `@sha256:<hex>`,
-- a key of `payloads`; JSON text never starts with `@`.

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    node_id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('server', 'embedded')),
    version TEXT NOT NULL,
    pid INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    draining INTEGER NOT NULL DEFAULT 0 CHECK (draining IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE definitions (
    digest TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE definition_heads (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT 'file' CHECK (source IN ('file', 'api')),
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Rows are found by `exec_id` but lie in the order of their creation, so that the runs in flight share pages.
CREATE TABLE executions (
    exec_id TEXT NOT NULL PRIMARY KEY,
    component TEXT NOT NULL CHECK (component IN ('workflow', 'agent', 'task')),
    workflow_id TEXT NOT NULL,
    definition_digest TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')),
    reason TEXT,
    input TEXT NOT NULL,
    output TEXT,
    error TEXT,
    "trigger" TEXT NOT NULL,
    tags TEXT NOT NULL,
    parent_exec_id TEXT,
    root_exec_id TEXT NOT NULL,
    forked_from TEXT,
    durability TEXT NOT NULL CHECK (durability IN ('memory', 'normal', 'full')),
    priority INTEGER NOT NULL,
    concurrency_key TEXT,
    deadline INTEGER,
    state TEXT NOT NULL,
    owner_node TEXT,
    affinity_node TEXT,
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    last_seq INTEGER NOT NULL CHECK (last_seq >= 0),
    cancel_request TEXT,
    pause_request TEXT,
    import_id TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE INDEX executions_created ON executions (created_at, exec_id);
CREATE INDEX executions_workflow ON executions (workflow_id, created_at, exec_id);
CREATE INDEX executions_status ON executions (status, created_at, exec_id);
CREATE INDEX executions_owner ON executions (owner_node) WHERE owner_node IS NOT NULL;
CREATE INDEX executions_affinity ON executions (affinity_node) WHERE affinity_node IS NOT NULL;
CREATE INDEX executions_parent ON executions (parent_exec_id, created_at, exec_id) WHERE parent_exec_id IS NOT NULL;

-- How many runs each workflow has: counting a million index entries is not a list anybody waits for.
CREATE TABLE workflow_runs (
    workflow_id TEXT NOT NULL PRIMARY KEY,
    runs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    exec_id TEXT NOT NULL,
    step_key TEXT NOT NULL,
    task_exec_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')),
    attempt INTEGER NOT NULL,
    parent TEXT,
    position INTEGER NOT NULL,
    input TEXT,
    output TEXT,
    error TEXT,
    waiting_for TEXT,
    state TEXT NOT NULL,
    result_seq INTEGER,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (exec_id, step_key)
) STRICT;

CREATE TABLE attempts (
    task_exec_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    node TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN
        ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')),
    error TEXT,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    PRIMARY KEY (task_exec_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    exec_id TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    task_id TEXT,
    data TEXT NOT NULL,
    PRIMARY KEY (exec_id, seq)
) STRICT;

CREATE TABLE ready (
    exec_id TEXT NOT NULL PRIMARY KEY,
    not_before INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    concurrency_key TEXT,
    affinity_node TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX ready_order ON ready (priority DESC, not_before, exec_id);

CREATE TABLE timers (
    exec_id TEXT NOT NULL,
    timer_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    step_key TEXT,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (exec_id, timer_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX timers_due ON timers (due_at);

CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    exec_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    exec_id TEXT NOT NULL,
    step_key TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (exec_id, step_key, provider, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE payloads (
    hash TEXT NOT NULL PRIMARY KEY,
    data BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE kv (
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;

CREATE VIEW v_executions AS SELECT
    exec_id, component, workflow_id, definition_digest, status, reason, input, output, error, "trigger", tags,
    parent_exec_id, root_exec_id, forked_from, durability, priority, owner_node, epoch, last_seq, cancel_request,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', started_at / 1000000, 'unixepoch') || printf('.%06dZ', started_at % 1000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', updated_at / 1000000, 'unixepoch') || printf('.%06dZ', updated_at % 1000000) AS updated_at,
    strftime('%Y-%m-%dT%H:%M:%S', finished_at / 1000000, 'unixepoch') || printf('.%06dZ', finished_at % 1000000) AS finished_at
FROM executions;

CREATE VIEW v_steps AS SELECT
    exec_id, step_key, task_exec_id, task_id, kind, status, attempt, parent, position, input, output, error, waiting_for,
    result_seq,
    strftime('%Y-%m-%dT%H:%M:%S', started_at / 1000000, 'unixepoch') || printf('.%06dZ', started_at % 1000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', finished_at / 1000000, 'unixepoch') || printf('.%06dZ', finished_at % 1000000) AS finished_at
FROM steps;

CREATE VIEW v_journal AS SELECT
    exec_id, seq, event, task_id, data,
    strftime('%Y-%m-%dT%H:%M:%S', at / 1000000, 'unixepoch') || printf('.%06dZ', at % 1000000) AS at
FROM journal;

CREATE VIEW v_timers AS SELECT
    exec_id, timer_id, kind, step_key,
    strftime('%Y-%m-%dT%H:%M:%S', due_at / 1000000, 'unixepoch') || printf('.%06dZ', due_at % 1000000) AS due_at
FROM timers;

CREATE VIEW v_nodes AS SELECT
    node_id, kind, version, pid, draining,
    strftime('%Y-%m-%dT%H:%M:%S', lease_until / 1000000, 'unixepoch') || printf('.%06dZ', lease_until % 1000000) AS lease_until
FROM nodes;
