-- SPDX-License-Identifier: Apache-2.0
-- The index that "CometSearch on" adds to mod_comet's database, and
-- "CometSearch off" removes.  It is no migration: the version stays.
--
-- Look for messages by the view and the index together:
--
--   SELECT datetime(timestamp / 1e6, 'unixepoch'), channel, body FROM message
--    WHERE timestamp IN (SELECT rowid FROM message_search
--                         WHERE message_search MATCH 'deploy AND finished')
--    ORDER BY timestamp DESC LIMIT 20;
--
-- It needs FTS5 and SQLite 3.27 or later, in every program that writes to the
-- database: a program whose SQLite is without it can still read the view
-- "message", but its INSERT and DELETE fail ("no such module: fts5").
--
-- Words are what unicode61 takes for them: letters and digits between all
-- else, in any case and with or without diacritics.  Where a language writes
-- no spaces (Chinese, Japanese, Thai) a word is all up to the next
-- punctuation, found as a whole or by how it begins ('deplo*').

CREATE VIRTUAL TABLE message_search USING fts5(
  body, content='message_log', content_rowid='id',
  tokenize="unicode61 remove_diacritics 2"
);
-- Small pages: FTS5 merges by pages, and no publisher is to wait for that.
INSERT INTO message_search(message_search, rank) VALUES('pgsz', 1000);

-- Messages that were there before are indexed in small steps, the newest
-- first: those from this timestamp on are.  0: all are.
CREATE TABLE search_progress(
  one INTEGER PRIMARY KEY CHECK (one = 1),
  indexed_from INTEGER NOT NULL CHECK (typeof(indexed_from) = 'integer')
);
INSERT INTO search_progress SELECT 1, last + 1 FROM comet_clock;

CREATE TRIGGER message_search_insert AFTER INSERT ON message_log
WHEN NEW.id >= (SELECT indexed_from FROM search_progress)
BEGIN
  INSERT INTO message_search(rowid, body) VALUES(NEW.id, NEW.body);
END;

CREATE TRIGGER message_search_delete AFTER DELETE ON message_log
WHEN OLD.id >= (SELECT indexed_from FROM search_progress)
BEGIN
  INSERT INTO message_search(message_search, rowid, body)
  VALUES('delete', OLD.id, OLD.body);
END;
