-- SPDX-License-Identifier: Apache-2.0
-- Version 6 of mod_comet's database: the retention of single channels, and a
-- list of the channels.
--
-- A row of channel_retention says how many messages the channels that match a
-- pattern keep, and for how long.  The pattern is the name of a channel, or a
-- prefix and a star.  If several patterns match, the channel's name takes
-- precedence, then the longest prefix.  CometRetain applies to all other
-- channels.  NULL means "no limit".
--
--   INSERT INTO channel_retention(pattern, keep_count, keep_age)
--   VALUES('log/*', 1000, 86400), ('log/audit', NULL, NULL);

PRAGMA user_version = 6;

CREATE TABLE channel_retention(
  pattern TEXT NOT NULL PRIMARY KEY,
  -- How many messages a channel keeps.
  keep_count INTEGER,
  -- By how many seconds a message may be older than the channel's newest one.
  keep_age INTEGER,
  CONSTRAINT "a pattern is text of 1 to 256 bytes"
    CHECK (typeof(pattern) = 'text'
           AND length(CAST(pattern AS BLOB)) BETWEEN 1 AND 256),
  CONSTRAINT "keep_count is NULL or a number of at least 1"
    CHECK (keep_count IS NULL
           OR (typeof(keep_count) = 'integer'
               AND keep_count BETWEEN 1 AND 2147483647)),
  CONSTRAINT "keep_age is NULL or a number of seconds of at least 1"
    CHECK (keep_age IS NULL
           OR (typeof(keep_age) = 'integer'
               AND keep_age BETWEEN 1 AND 3153600000))
) WITHOUT ROWID;

-- Counts the changes to channel_retention.  After a change, retention checks
-- every channel once, and not only those that receive messages.
CREATE TABLE retention_changes(
  one INTEGER PRIMARY KEY CHECK (one = 1),
  count INTEGER NOT NULL
);
INSERT INTO retention_changes VALUES(1, 0);
CREATE TRIGGER channel_retention_insert AFTER INSERT ON channel_retention
BEGIN
  UPDATE retention_changes SET count = count + 1;
END;
CREATE TRIGGER channel_retention_update AFTER UPDATE ON channel_retention
BEGIN
  UPDATE retention_changes SET count = count + 1;
END;
CREATE TRIGGER channel_retention_delete AFTER DELETE ON channel_retention
BEGIN
  UPDATE retention_changes SET count = count + 1;
END;

-- The channels that have messages.  Passing messages do not count.
--
--   SELECT channel, messages, datetime(last / 1e6, 'unixepoch')
--     FROM channel_info ORDER BY bytes DESC LIMIT 20;
CREATE VIEW channel_info(channel, messages, bytes, first, last) AS
  SELECT c.name, count(*), sum(length(CAST(m.body AS BLOB))), min(m.id),
         max(m.id)
    FROM channel AS c JOIN message_log AS m ON m.channel_id = c.id
   WHERE m.keep IS NULL
   GROUP BY c.id;
