-- SPDX-License-Identifier: Apache-2.0
-- Version 2 of mod_comet's database: which messages were published under which
-- Idempotency-Key.  With such a key, a publisher that does not know whether its
-- message was stored may send the message again.
--
-- Only the module writes this table.  Deleting rows is harmless, except that a
-- publisher that repeats a request then publishes its message twice.

PRAGMA user_version = 2;

CREATE TABLE idempotency_key(
  -- The timestamp of the last message published under the key.  A batch has
  -- "count" consecutive timestamps that end with this one.
  timestamp INTEGER PRIMARY KEY
    CHECK (timestamp BETWEEN 1 AND 9007199254740991),
  count INTEGER NOT NULL
    CHECK (typeof(count) = 'integer' AND count BETWEEN 1 AND timestamp),
  -- A key belongs to one channel and one author ('' if the publisher was not
  -- authenticated).
  channel TEXT NOT NULL,
  author TEXT NOT NULL,
  key TEXT NOT NULL
    CHECK (typeof(key) = 'text' AND length(key) BETWEEN 1 AND 255),
  -- The SHA-1 of the messages' channels, types and bodies.
  hash BLOB NOT NULL CHECK (typeof(hash) = 'blob' AND length(hash) = 20),
  -- When the key will be removed, in microseconds since the epoch: 24 hours
  -- after its message was removed.  NULL while the message exists.
  expires INTEGER CHECK (expires IS NULL OR typeof(expires) = 'integer'),
  UNIQUE (channel, author, key)
);

CREATE INDEX idempotency_key_by_expiry ON idempotency_key(expires)
  WHERE expires IS NOT NULL;

CREATE TRIGGER idempotency_key_expiry AFTER DELETE ON message_log
BEGIN
  UPDATE idempotency_key
     SET expires = (CAST(strftime('%s', 'now') AS INTEGER) + 86400) * 1000000
   WHERE timestamp = OLD.id;
END;
