-- Who goes first: turns of workflows in the queue, and concurrency keys.

-- Most runs of this run's concurrency key that may be under way at once.
ALTER TABLE executions ADD COLUMN concurrency_limit INTEGER CHECK (concurrency_limit > 0);

ALTER TABLE ready ADD COLUMN workflow_id TEXT NOT NULL DEFAULT '';
ALTER TABLE ready ADD COLUMN concurrency_limit INTEGER;
-- The run waits for its concurrency key and may not be claimed.
ALTER TABLE ready ADD COLUMN gated INTEGER NOT NULL DEFAULT 0 CHECK (gated IN (0, 1));

UPDATE ready SET workflow_id = (SELECT e.workflow_id FROM executions AS e WHERE e.exec_id = ready.exec_id);

DROP INDEX ready_order;
CREATE INDEX ready_turn ON ready (priority DESC, workflow_id, not_before, exec_id) WHERE gated = 0;
CREATE INDEX ready_age ON ready (not_before, exec_id) WHERE gated = 0;
CREATE INDEX ready_gate ON ready (concurrency_key, priority DESC, not_before, exec_id) WHERE gated = 1;
CREATE INDEX ready_gate_age ON ready (concurrency_key, not_before, exec_id) WHERE gated = 1;

-- Runs that hold their concurrency key: from when they may be claimed until they end.
CREATE TABLE concurrency_holders (
    exec_id TEXT NOT NULL PRIMARY KEY,
    concurrency_key TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX concurrency_holders_key ON concurrency_holders (concurrency_key);
