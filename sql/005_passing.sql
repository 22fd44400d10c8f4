-- SPDX-License-Identifier: Apache-2.0
-- Version 5 of mod_comet's database: passing messages, such as "Ann is typing".
-- The column "keep" says how many seconds a message lasts:
--
--   INSERT INTO message(channel, type, author, body, keep)
--   VALUES('room/42', 'typing', 'ann', '', 5);
--
-- Such a message is ordered and pushed like any other.  When its time is over,
-- nobody can read it any more: the view "message" leaves it out, and no client
-- is told of a gap.  The row is removed later.

PRAGMA user_version = 5;

ALTER TABLE message_log ADD COLUMN keep INTEGER;
-- When a passing message expires, by the system clock.
ALTER TABLE message_log ADD COLUMN expires INTEGER;

-- Whether the channel has ever had a passing message.
ALTER TABLE channel ADD COLUMN has_passing INTEGER NOT NULL DEFAULT 0;

-- The passing messages, in the order in which they expire.
CREATE TABLE message_passing(
  expires INTEGER NOT NULL,
  message INTEGER NOT NULL,
  PRIMARY KEY (expires, message)
) WITHOUT ROWID;

CREATE TRIGGER message_log_keep_check BEFORE INSERT ON message_log
WHEN NEW.keep IS NOT NULL OR NEW.expires IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'keep is a number of seconds, from 1 to 86400')
   WHERE typeof(NEW.keep) <> 'integer' OR NEW.keep NOT BETWEEN 1 AND 86400;
  SELECT RAISE(ABORT, 'expires is a time in microseconds')
   WHERE typeof(NEW.expires) <> 'integer';
END;

CREATE TRIGGER message_log_keep AFTER INSERT ON message_log
WHEN NEW.keep IS NOT NULL
BEGIN
  UPDATE channel SET has_passing = 1
   WHERE id = NEW.channel_id AND NOT has_passing;
  INSERT INTO message_passing(expires, message) VALUES(NEW.expires, NEW.id);
END;

CREATE TRIGGER message_log_keep_delete AFTER DELETE ON message_log
WHEN OLD.keep IS NOT NULL
BEGIN
  DELETE FROM message_passing
   WHERE expires = OLD.expires AND message = OLD.id;
END;

-- Create the view again, with the new column.  A message that would last more
-- than twice its "keep" from now, because the system clock was set back, counts
-- as over.
DROP VIEW message;
CREATE VIEW message(timestamp, channel, type, author, body, private, id, retry,
                    alternates, keep) AS
  SELECT m.id, c.name, m.type, m.author, m.body, m.private, m.event, m.retry,
         m.alternates, m.keep
    FROM message_log AS m JOIN channel AS c ON c.id = m.channel_id
   WHERE m.keep IS NULL
      OR m.expires - CAST(strftime('%s', 'now') AS INTEGER) * 1000000
         - CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000
         BETWEEN 1 AND 2000000 * m.keep;

CREATE TRIGGER message_insert INSTEAD OF INSERT ON message
BEGIN
  SELECT RAISE(ABORT, 'the timestamp is given by the database: leave it out')
   WHERE NEW.timestamp IS NOT NULL;
  SELECT RAISE(ABORT, 'alternates are stored by the web server: leave them out')
   WHERE NEW.alternates IS NOT NULL;
  INSERT INTO channel(name)
    SELECT NEW.channel
     WHERE NOT EXISTS (SELECT 1 FROM channel WHERE name = NEW.channel);
  UPDATE comet_clock
     SET last = max(last + 1,
                    CAST(strftime('%s', 'now') AS INTEGER) * 1000000
                    + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)
                      * 1000);
  INSERT INTO message_log(id, channel_id, type, author, body, private, event,
                          retry, keep, expires)
    SELECT last, (SELECT id FROM channel WHERE name = NEW.channel),
           ifnull(NEW.type, 'message'), NEW.author, NEW.body,
           ifnull(NEW.private, 0), NEW.id, NEW.retry, NEW.keep,
           (CAST(strftime('%s', 'now') AS INTEGER) + NEW.keep) * 1000000
           + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000
      FROM comet_clock;
END;

CREATE TRIGGER message_delete INSTEAD OF DELETE ON message
BEGIN
  DELETE FROM message_log WHERE id = OLD.timestamp;
END;

CREATE TRIGGER message_update INSTEAD OF UPDATE ON message
BEGIN
  SELECT RAISE(ABORT, 'messages are immutable');
END;

-- Count every removal that a reader can notice, that is, unless the message's
-- time is over.  Remove a channel that is now empty, unless it is an alternate
-- of a message, or clients must be told that retention has removed messages
-- from it.
DROP TRIGGER message_log_delete;
CREATE TRIGGER message_log_delete AFTER DELETE ON message_log
BEGIN
  UPDATE comet_clock SET erased = erased + 1
   WHERE OLD.keep IS NULL
      OR OLD.expires - CAST(strftime('%s', 'now') AS INTEGER) * 1000000
         BETWEEN 1 AND 2000000 * OLD.keep;
  DELETE FROM channel
   WHERE id = OLD.channel_id AND floor = 0
     AND NOT EXISTS (SELECT 1 FROM message_log
                      WHERE channel_id = OLD.channel_id)
     AND NOT EXISTS (SELECT 1 FROM message_alternate
                      WHERE channel_id = OLD.channel_id);
END;

-- Passing messages must not be in the index of words (search.sql), nor count as
-- unread (presence.sql).  If the database already has these, change their
-- triggers and their view.
PRAGMA writable_schema = ON;
UPDATE sqlite_master
   SET sql = replace(sql, 'WHEN NEW.id >= ',
                     'WHEN NEW.keep IS NULL AND NEW.id >= ')
 WHERE type = 'trigger' AND name = 'message_search_insert';
UPDATE sqlite_master
   SET sql = replace(sql, 'WHEN OLD.id >= ',
                     'WHEN OLD.keep IS NULL AND OLD.id >= ')
 WHERE type = 'trigger' AND name = 'message_search_delete';
UPDATE sqlite_master
   SET sql = replace(sql, 'm.private = 0)', 'm.private = 0 AND m.keep IS NULL)')
 WHERE type = 'view' AND name = 'member';
PRAGMA writable_schema = RESET;
