-- SPDX-License-Identifier: Apache-2.0
-- The search index.  "CometSearch on" adds the index to mod_comet's database,
-- and "CometSearch off" removes it.  This is not a migration: the version stays
-- the same.
--
-- To search for messages, use the view "message" and the index together:
--
--   SELECT datetime(timestamp / 1e6, 'unixepoch'), channel, body FROM message
--    WHERE timestamp IN (SELECT rowid FROM message_search
--                         WHERE message_search MATCH 'deploy AND finished')
--    ORDER BY timestamp DESC LIMIT 20;
--
-- With the index, every program that writes to the database needs SQLite 3.27
-- or later with FTS5.  A program without FTS5 can still read the view
-- "message", but its INSERT and DELETE fail ("no such module: fts5").
--
-- The tokenizer unicode61 splits a body into words: runs of letters and digits.
-- A search ignores case and diacritics.  In languages written without spaces
-- (Chinese, Japanese, Thai) a word extends to the next punctuation mark; a
-- search finds such a word by the whole word or by its beginning ('deplo*').

-- FTS5 collects the words of new messages in a hash table whose hash function
-- has no secret.  So an attacker can choose words that all collide; adding them
-- takes time in proportion to the square of their number.  For this reason the
-- index has only the first 32,768 characters of a body (on PostgreSQL, too),
-- and FTS5 empties the hash table at 32,768 bytes.
CREATE VIEW search_text(id, body) AS
SELECT id, substr(body, 1, 32768) FROM message_log WHERE keep IS NULL;

CREATE VIRTUAL TABLE message_search USING fts5(
  body, content='search_text', content_rowid='id',
  tokenize="unicode61 remove_diacritics 2"
);
-- The pages of the index are small, because FTS5 merges page by page while
-- publishers wait.
INSERT INTO message_search(message_search, rank) VALUES('pgsz', 1000);
INSERT INTO message_search(message_search, rank) VALUES('hashsize', 32768);

-- Messages that are older than the index are added to it in small steps, the
-- newest first.  The messages from the timestamp indexed_from on are in the
-- index; 0: all are.
CREATE TABLE search_progress(
  one INTEGER PRIMARY KEY CHECK (one = 1),
  indexed_from INTEGER NOT NULL CHECK (typeof(indexed_from) = 'integer')
);
INSERT INTO search_progress SELECT 1, last + 1 FROM comet_clock;

CREATE TRIGGER message_search_insert AFTER INSERT ON message_log
WHEN NEW.keep IS NULL AND NEW.id >= (SELECT indexed_from FROM search_progress)
BEGIN
  INSERT INTO message_search(rowid, body)
  VALUES(NEW.id, substr(NEW.body, 1, 32768));
END;

CREATE TRIGGER message_search_delete AFTER DELETE ON message_log
WHEN OLD.keep IS NULL AND OLD.id >= (SELECT indexed_from FROM search_progress)
BEGIN
  INSERT INTO message_search(message_search, rowid, body)
  VALUES('delete', OLD.id, substr(OLD.body, 1, 32768));
END;
