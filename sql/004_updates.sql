-- SPDX-License-Identifier: Apache-2.0
-- Version 4 of mod_comet's database: the fields that an update of the Mercure
-- protocol has besides a channel, a type and a body.
--
-- An inserted message is public unless you say otherwise:
--
--   INSERT INTO message(channel, body, private) VALUES('user/7', 'for you', 1);
--
-- A private message reaches only Mercure subscribers whose token grants its
-- topic; no other reader and no search finds it.  The column "id" is the id
-- that the publisher gave the message.  "retry" is in milliseconds.
-- "alternates" lists further channels, separated by line feeds, through which
-- Mercure subscribers find the message; only the web server stores alternates.

PRAGMA user_version = 4;

-- A trigger checks the new columns, since adding a CHECK would read the whole
-- table.
ALTER TABLE message_log ADD COLUMN private INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message_log ADD COLUMN event TEXT;
ALTER TABLE message_log ADD COLUMN retry INTEGER;
ALTER TABLE message_log ADD COLUMN alternates TEXT;

-- Whether the channel has ever had a private message.
ALTER TABLE channel ADD COLUMN has_private INTEGER NOT NULL DEFAULT 0;

-- The messages to which their publishers gave an id.  Several messages can have
-- the same id.
CREATE TABLE message_event(
  event TEXT NOT NULL,
  message INTEGER NOT NULL,
  PRIMARY KEY (event, message)
) WITHOUT ROWID;

-- The messages that have a channel among their alternates.
CREATE TABLE message_alternate(
  channel_id INTEGER NOT NULL REFERENCES channel(id),
  message INTEGER NOT NULL,
  PRIMARY KEY (channel_id, message)
) WITHOUT ROWID;
CREATE INDEX message_alternate_by_message ON message_alternate(message);

CREATE TRIGGER message_log_update_check BEFORE INSERT ON message_log
WHEN NEW.private IS NOT 0 OR NEW.event IS NOT NULL OR NEW.retry IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'private is 0 or 1')
   WHERE NEW.private IS NOT 0 AND NEW.private IS NOT 1;
  SELECT RAISE(ABORT, 'an id is text of 1 to 255 bytes without NUL or line ends')
   WHERE NEW.event IS NOT NULL
     AND NOT (typeof(NEW.event) = 'text'
              AND length(CAST(NEW.event AS BLOB)) BETWEEN 1 AND 255
              AND instr(CAST(NEW.event AS BLOB), x'00') = 0
              AND instr(NEW.event, char(10)) = 0
              AND instr(NEW.event, char(13)) = 0);
  SELECT RAISE(ABORT, 'retry is a number of milliseconds')
   WHERE NEW.retry IS NOT NULL
     AND NOT (typeof(NEW.retry) = 'integer'
              AND NEW.retry BETWEEN 0 AND 2147483647);
END;

CREATE TRIGGER message_log_update_keep AFTER INSERT ON message_log
WHEN NEW.private OR NEW.event IS NOT NULL
BEGIN
  UPDATE channel SET has_private = 1
   WHERE id = NEW.channel_id AND NEW.private AND NOT has_private;
  INSERT INTO message_event(event, message)
    SELECT NEW.event, NEW.id WHERE NEW.event IS NOT NULL;
END;

-- Create the view again, with the new columns.
DROP VIEW message;
CREATE VIEW message(timestamp, channel, type, author, body, private, id, retry,
                    alternates) AS
  SELECT m.id, c.name, m.type, m.author, m.body, m.private, m.event, m.retry,
         m.alternates
    FROM message_log AS m JOIN channel AS c ON c.id = m.channel_id;

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
                          retry)
    SELECT last, (SELECT id FROM channel WHERE name = NEW.channel),
           ifnull(NEW.type, 'message'), NEW.author, NEW.body,
           ifnull(NEW.private, 0), NEW.id, NEW.retry
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

-- Count every removal.  Remove a channel that is now empty, unless it is an
-- alternate of a message, or clients must be told that retention has removed
-- messages from it.
DROP TRIGGER message_log_delete;
CREATE TRIGGER message_log_delete AFTER DELETE ON message_log
BEGIN
  UPDATE comet_clock SET erased = erased + 1;
  DELETE FROM channel
   WHERE id = OLD.channel_id AND floor = 0
     AND NOT EXISTS (SELECT 1 FROM message_log
                      WHERE channel_id = OLD.channel_id)
     AND NOT EXISTS (SELECT 1 FROM message_alternate
                      WHERE channel_id = OLD.channel_id);
END;

CREATE TRIGGER message_log_delete_update AFTER DELETE ON message_log
WHEN OLD.event IS NOT NULL OR OLD.alternates IS NOT NULL
BEGIN
  DELETE FROM message_event WHERE event = OLD.event AND message = OLD.id;
  DELETE FROM message_alternate WHERE message = OLD.id;
END;

CREATE TRIGGER message_alternate_delete AFTER DELETE ON message_alternate
BEGIN
  DELETE FROM channel
   WHERE id = OLD.channel_id AND floor = 0
     AND NOT EXISTS (SELECT 1 FROM message_log
                      WHERE channel_id = OLD.channel_id)
     AND NOT EXISTS (SELECT 1 FROM message_alternate
                      WHERE channel_id = OLD.channel_id);
END;
