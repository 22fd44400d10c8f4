-- SPDX-License-Identifier: Apache-2.0
-- Version 6 of mod_comet's schema for PostgreSQL: one check for each message
-- instead of thirteen.  schema.sql runs this file.
--
-- Web servers with an older module continue to work meanwhile.
--
-- PostgreSQL reads and prepares the expression of each CHECK again for each
-- statement that inserts.  For thirteen of them this took longer than all the
-- rest of comet.append().  The rules are the same as before.

\set ON_ERROR_STOP on
BEGIN;
\set version 6
\ir version.sql

-- Fail because of a fault; NULL: there is none.
CREATE FUNCTION comet.refuse(fault text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RAISE EXCEPTION '%', fault USING ERRCODE = 'check_violation';
END $$;

-- Fail if a row cannot be a message.
--   id  NULL: the message has no timestamp yet
CREATE FUNCTION comet.is_message(id bigint, channel text, type text,
  author text, body text, private smallint, event text, retry integer,
  keep integer, expires bigint)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN comet.refuse(CASE
    WHEN id NOT BETWEEN 1 AND 9007199254740991
      THEN 'a timestamp is a number from 1 to 9007199254740991'
    WHEN octet_length(channel) NOT BETWEEN 1 AND 255
      THEN 'a channel''s name is text of 1 to 255 bytes'
    WHEN channel COLLATE "C" ~ E'[\\u0001-\\u001f\\u007f-\\u009f]'
      THEN 'a channel''s name has no control characters'
    WHEN strpos('/' || channel || '/', '//') > 0
         OR strpos('/' || channel || '/', '/./') > 0
         OR strpos('/' || channel || '/', '/../') > 0
      THEN 'a channel''s name has no empty, ''.'' or ''..'' path segment'
    WHEN octet_length(type) NOT BETWEEN 1 AND 255
         OR type COLLATE "C" ~ E'[\\u0001-\\u001f\\u007f-\\u009f]'
      THEN 'a type is text of 1 to 255 bytes without control characters'
    WHEN type = 'gap'
      THEN 'the type gap is the server''s own word for missing messages'
    WHEN octet_length(author) NOT BETWEEN 1 AND 255
      THEN 'an author is NULL or text of 1 to 255 bytes'
    WHEN octet_length(body) > 1048576
      THEN 'a body is text of at most 1048576 bytes'
    WHEN private NOT IN (0, 1)
      THEN 'private is 0 or 1'
    WHEN octet_length(event) NOT BETWEEN 1 AND 255
         OR event COLLATE "C" ~ E'[\\n\\r]'
      THEN 'an id is text of 1 to 255 bytes without line ends'
    WHEN retry < 0
      THEN 'retry is a number of milliseconds'
    WHEN keep NOT BETWEEN 1 AND 86400
      THEN 'keep is a number of seconds, from 1 to 86400'
    WHEN (keep IS NULL) <> (expires IS NULL)
      THEN 'a message that passes has an end' END) IS NULL;
END $$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;

-- With this row locked, no other session moves messages from the inbox to the
-- log, and so none could wait for this one while this one waits for it.
SELECT one AS mover FROM comet.mover FOR UPDATE \gset
LOCK TABLE comet.log, comet.inbox;
-- NOT VALID: existing rows need not be checked.
DO $$
DECLARE
  old record;
BEGIN
  FOR old IN
    SELECT conrelid::regclass AS t, conname FROM pg_constraint
     WHERE conrelid IN ('comet.log'::regclass, 'comet.inbox'::regclass)
       AND conname IN (
         'message_log_id_check',
         'a channel''s name is text of 1 to 255 bytes',
         'a channel''s name has no control characters',
         'a channel''s name has no empty, ''.'' or ''..'' path segment',
         'a type is text of 1 to 255 bytes without control characters',
         'the type gap is the server''s own word for missing messages',
         'an author is NULL or text of 1 to 255 bytes',
         'a body is text of at most 1048576 bytes',
         'private is 0 or 1',
         'an id is text of 1 to 255 bytes without line ends',
         'retry is a number of milliseconds',
         'keep is a number of seconds, from 1 to 86400',
         'a message that passes has an end')
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', old.t, old.conname);
  END LOOP;
END $$;
ALTER TABLE comet.log ADD CONSTRAINT "a message" CHECK (
  comet.is_message(id, channel, type, author, body, private, event, retry, keep,
                   expires)) NOT VALID;
ALTER TABLE comet.inbox ADD CONSTRAINT "a message" CHECK (
  comet.is_message(NULL, channel, type, author, body, private, event, retry,
                   keep, expires)) NOT VALID;
COMMIT;
