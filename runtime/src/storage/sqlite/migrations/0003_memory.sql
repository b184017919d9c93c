-- Memories: messages by the memory's id (`ref`) and a key. Times are microseconds UTC.

-- One row for each key. The counters are those of its messages; `version` never comes twice for a key.
CREATE TABLE memory_instances (
    ref TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- Who wrote this version: a change that is written again by the same writer changes nothing.
    writer TEXT NOT NULL,
    next_seq INTEGER NOT NULL CHECK (next_seq > 0),
    message_count INTEGER NOT NULL CHECK (message_count >= 0),
    token_count INTEGER NOT NULL CHECK (token_count >= 0),
    byte_count INTEGER NOT NULL CHECK (byte_count >= 0),
    -- A copy that clearing another key has left.
    backup INTEGER NOT NULL DEFAULT 0 CHECK (backup IN (0, 1)),
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (ref, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX memory_expiry ON memory_instances (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE memory_messages (
    ref TEXT NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    tokens INTEGER NOT NULL CHECK (tokens >= 0),
    -- It stands for messages that are gone.
    summary INTEGER NOT NULL DEFAULT 0 CHECK (summary IN (0, 1)),
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (ref, key, seq)
) STRICT, WITHOUT ROWID;

CREATE VIEW v_memory_instances AS SELECT
    ref, key, message_count, token_count, byte_count, backup,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', used_at / 1000000, 'unixepoch') || printf('.%06dZ', used_at % 1000000) AS used_at,
    strftime('%Y-%m-%dT%H:%M:%S', expires_at / 1000000, 'unixepoch') || printf('.%06dZ', expires_at % 1000000) AS expires_at
FROM memory_instances;

CREATE VIEW v_memory_messages AS SELECT
    ref, key, seq, role, content, tokens, summary,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at
FROM memory_messages;
