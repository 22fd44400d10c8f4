-- SPDX-License-Identifier: Apache-2.0
-- Version 1 of mod_comet's database: the message log.
--
-- This file is a public interface.  Read and write the view "message":
--
--   SELECT datetime(timestamp / 1e6, 'unixepoch'), author, body
--     FROM message WHERE channel = 'chat' ORDER BY timestamp DESC LIMIT 20;
--   INSERT INTO message(channel, body) VALUES('chat', 'deploy finished');
--   DELETE FROM message WHERE author = 'spammer';
--
-- Every connected page shows an inserted message an instant after its commit.
-- The database assigns the timestamp.  In the same transaction, your program
-- may read the timestamp: SELECT last FROM comet_clock.  Let your program wait
-- for the database's lock, so that it does not fail while the web server is
-- writing: ".timeout 5000" in sqlite3, PDO::ATTR_TIMEOUT in PHP, timeout=5 in
-- Python.
--
-- The module runs each numbered file of this folder once, all of them in one
-- transaction.  If you run only this file by hand, it creates a database that
-- the module accepts.  The files work with SQLite 3.9 and later.
--
-- A .dump leaves out the two PRAGMAs by which the module recognises its
-- database.  After you restore a .dump, set both.  The value of user_version is
-- the number of the last file.

-- This lets the file shrink when messages are removed.  It can be set only
-- while the database is empty.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = 1129270612; -- "COMT"
PRAGMA user_version = 1;

CREATE TABLE comet_clock(
  -- The table has one row, which changes whenever the log changes.
  one INTEGER PRIMARY KEY CHECK (one = 1),
  -- The last timestamp that was assigned; no message has a higher one.
  last INTEGER NOT NULL DEFAULT 0
    CHECK (typeof(last) = 'integer' AND last BETWEEN 0 AND 9007199254740991),
  -- How many messages were removed, by retention or by anybody else.
  erased INTEGER NOT NULL DEFAULT 0
    CHECK (typeof(erased) = 'integer' AND erased >= 0)
);
INSERT INTO comet_clock(one) VALUES(1);

CREATE TABLE channel(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  -- The highest timestamp of a message that retention (CometRetain) has removed
  -- from the channel, or 0.
  floor INTEGER NOT NULL DEFAULT 0
    CHECK (typeof(floor) = 'integer'
           AND floor BETWEEN 0 AND 9007199254740991),
  CONSTRAINT "a channel's name is text of 1 to 255 bytes"
    CHECK (typeof(name) = 'text'
           AND length(CAST(name AS BLOB)) BETWEEN 1 AND 255),
  -- U+0000, U+0001 to U+001F, U+007F to U+009F
  CONSTRAINT "a channel's name has no control characters"
    CHECK (instr(CAST(name AS BLOB), x'00') = 0
           AND name NOT GLOB '*[' || char(1, 45, 31, 127, 45, 159) || ']*'),
  CONSTRAINT "a channel's name has no empty, '.' or '..' path segment"
    CHECK (instr('/' || name || '/', '//') = 0
           AND instr('/' || name || '/', '/./') = 0
           AND instr('/' || name || '/', '/../') = 0)
);

CREATE TABLE message_log(
  -- Write to the view "message" instead: it keeps comet_clock up to date.
  -- The timestamp: microseconds since the epoch, unique and increasing.
  id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 9007199254740991),
  channel_id INTEGER NOT NULL REFERENCES channel(id),
  -- The type of the event that the page receives.
  type TEXT NOT NULL DEFAULT 'message',
  -- The authenticated user who published the message, or NULL.
  author TEXT,
  body TEXT NOT NULL,
  CONSTRAINT "a type is text of 1 to 255 bytes without control characters"
    CHECK (typeof(type) = 'text'
           AND length(CAST(type AS BLOB)) BETWEEN 1 AND 255
           AND instr(CAST(type AS BLOB), x'00') = 0
           AND type NOT GLOB '*[' || char(1, 45, 31, 127, 45, 159) || ']*'),
  CONSTRAINT "an author is NULL or text of 1 to 255 bytes without NUL"
    CHECK (author IS NULL
           OR (typeof(author) = 'text'
               AND length(CAST(author AS BLOB)) BETWEEN 1 AND 255
               AND instr(CAST(author AS BLOB), x'00') = 0)),
  CONSTRAINT "a body is text of 1 to 1048576 bytes without NUL"
    CHECK (typeof(body) = 'text'
           AND length(CAST(body AS BLOB)) BETWEEN 1 AND 1048576
           AND instr(CAST(body AS BLOB), x'00') = 0)
);

-- For the history of one channel, oldest or newest first.
CREATE INDEX message_by_channel ON message_log(channel_id, id);

-- The view that users of the database read and write.
CREATE VIEW message(timestamp, channel, type, author, body) AS
  SELECT m.id, c.name, m.type, m.author, m.body
    FROM message_log AS m JOIN channel AS c ON c.id = m.channel_id;

-- Publish: assign a timestamp and store the message.  Timestamps rise even if
-- the system clock is set back.
CREATE TRIGGER message_insert INSTEAD OF INSERT ON message
BEGIN
  SELECT RAISE(ABORT, 'the timestamp is given by the database: leave it out')
   WHERE NEW.timestamp IS NOT NULL;
  INSERT INTO channel(name)
    SELECT NEW.channel
     WHERE NOT EXISTS (SELECT 1 FROM channel WHERE name = NEW.channel);
  UPDATE comet_clock
     SET last = max(last + 1,
                    CAST(strftime('%s', 'now') AS INTEGER) * 1000000
                    + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)
                      * 1000);
  INSERT INTO message_log(id, channel_id, type, author, body)
    SELECT last, (SELECT id FROM channel WHERE name = NEW.channel),
           ifnull(NEW.type, 'message'), NEW.author, NEW.body
      FROM comet_clock;
END;

-- Moderate: no replay includes a deleted message, not even a replay from
-- memory.
CREATE TRIGGER message_delete INSTEAD OF DELETE ON message
BEGIN
  DELETE FROM message_log WHERE id = OLD.timestamp;
END;

-- A message cannot change, since clients keep what they have received and never
-- ask for it again.
CREATE TRIGGER message_update INSTEAD OF UPDATE ON message
BEGIN
  SELECT RAISE(ABORT, 'messages are immutable');
END;

CREATE TRIGGER message_log_update BEFORE UPDATE ON message_log
BEGIN
  SELECT RAISE(ABORT, 'messages are immutable');
END;

-- Count every removal.  Remove a channel that is now empty, unless clients must
-- be told that retention has removed messages from it.
CREATE TRIGGER message_log_delete AFTER DELETE ON message_log
BEGIN
  UPDATE comet_clock SET erased = erased + 1;
  DELETE FROM channel
   WHERE id = OLD.channel_id AND floor = 0
     AND NOT EXISTS (SELECT 1 FROM message_log
                      WHERE channel_id = OLD.channel_id);
END;

-- Clients use timestamps as cursors, so the clock only goes forward.
CREATE TRIGGER comet_clock_update BEFORE UPDATE ON comet_clock
WHEN NEW.last < OLD.last OR NEW.erased < OLD.erased
BEGIN
  SELECT RAISE(ABORT, 'the clock only goes forward');
END;

CREATE TRIGGER comet_clock_delete BEFORE DELETE ON comet_clock
BEGIN
  SELECT RAISE(ABORT, 'the clock only goes forward');
END;
