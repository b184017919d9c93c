-- Back to 0002.
DROP VIEW v_memory_messages;
DROP VIEW v_memory_instances;
DROP TABLE memory_messages;
DROP TABLE memory_instances;
