-- SPDX-License-Identifier: Apache-2.0
-- Version 3 of mod_comet's database: the database accepts and refuses the same
-- messages as the web server.  A body may be empty (a ping needs no text), and
-- the type "gap" is reserved for the server.

PRAGMA user_version = 3;

-- SQLite documents this way of changing a CHECK constraint without rewriting
-- the whole table (https://sqlite.org/lang_altertable.html, section 7).
PRAGMA writable_schema = ON;
UPDATE sqlite_master
   SET sql = replace(replace(sql,
         'a body is text of 1 to 1048576 bytes',
         'a body is text of at most 1048576 bytes'),
         'length(CAST(body AS BLOB)) BETWEEN 1 AND 1048576',
         'length(CAST(body AS BLOB)) <= 1048576')
 WHERE type = 'table' AND name = 'message_log';

-- On event streams, "gap" tells a client that it has missed messages.
CREATE TRIGGER message_log_type BEFORE INSERT ON message_log
WHEN NEW.type = 'gap'
BEGIN
  SELECT RAISE(ABORT,
               'the type gap is the server''s own word for missing messages');
END;

PRAGMA writable_schema = RESET;
