-- Back to 0004.
DROP TABLE import_rows;
DROP TABLE import_progress;
DROP INDEX executions_root;
ALTER TABLE executions DROP COLUMN import_hash;
