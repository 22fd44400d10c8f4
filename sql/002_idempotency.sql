-- SPDX-License-Identifier: Apache-2.0
-- Version 2 of mod_comet's database: what was published under which
-- Idempotency-Key, so that a publisher that does not know whether it was heard
-- may say it again.
--
-- The module alone writes this table.  Deleting from it is safe: a publisher
-- that repeats itself then publishes twice.

PRAGMA user_version = 2;

CREATE TABLE idempotency_key(
  -- The last timestamp of what was published under the key; a batch has
  -- "count" of them in a row.
  timestamp INTEGER PRIMARY KEY
    CHECK (timestamp BETWEEN 1 AND 9007199254740991),
  count INTEGER NOT NULL
    CHECK (typeof(count) = 'integer' AND count BETWEEN 1 AND timestamp),
  -- Keys are told apart by the channel published to and by who published
  -- ('': nobody that is known).
  channel TEXT NOT NULL,
  author TEXT NOT NULL,
  key TEXT NOT NULL
    CHECK (typeof(key) = 'text' AND length(key) BETWEEN 1 AND 255),
  -- SHA-1 over channels, types and bodies.
  hash BLOB NOT NULL CHECK (typeof(hash) = 'blob' AND length(hash) = 20),
  -- When it will be forgotten, in microseconds since the epoch: 24 hours after
  -- its message went.  NULL: its message is there.
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
