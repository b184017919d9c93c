-- Back to 0001.
DROP TABLE import_rows;
DROP TABLE import_progress;
DROP INDEX executions_root;
ALTER TABLE executions DROP COLUMN import_hash;
