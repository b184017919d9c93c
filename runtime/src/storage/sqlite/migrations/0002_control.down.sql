-- Back to 0001.
DROP VIEW v_schedule_fires;
DROP VIEW v_schedules;
DROP VIEW v_signals;
DROP TABLE payload_refs;
DROP INDEX executions_untrimmed;
ALTER TABLE executions DROP COLUMN trimmed_at;
ALTER TABLE executions DROP COLUMN journal_from;
DROP INDEX idempotency_expiry;
ALTER TABLE idempotency_keys DROP COLUMN answer;
DROP TABLE schedule_fires;
DROP TABLE schedules;
DROP TABLE events;
DROP INDEX steps_waiting;
DROP TABLE signals;
