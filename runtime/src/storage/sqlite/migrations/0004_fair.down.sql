-- Back to 0003.
DROP TABLE concurrency_holders;
DROP INDEX ready_turn;
DROP INDEX ready_age;
DROP INDEX ready_gate;
DROP INDEX ready_gate_age;
ALTER TABLE ready DROP COLUMN gated;
ALTER TABLE ready DROP COLUMN concurrency_limit;
ALTER TABLE ready DROP COLUMN workflow_id;
ALTER TABLE executions DROP COLUMN concurrency_limit;
CREATE INDEX ready_order ON ready (priority DESC, not_before, exec_id);
