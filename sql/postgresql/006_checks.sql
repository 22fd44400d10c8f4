-- SPDX-License-Identifier: Apache-2.0
-- Version 6 of mod_comet's schema for PostgreSQL: one check for each message
-- instead of thirteen, and upkeep that a trigger cannot stop.  schema.sql runs
-- this file.
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

-- ---- Upkeep despite a trigger ------------------------------------------------
-- If a trigger of the site refuses the removal of messages, they stay, and the
-- transaction goes on.  For the server's log, the setting comet.refused then has
-- the trigger's words until the transaction ends.  Other errors, such as a lock
-- that is not available, undo the transaction as before: it is tried again.

-- Remove at most `most` messages of a channel; if a trigger refuses, none.
CREATE OR REPLACE FUNCTION comet.prune_channel(name text, keep_count bigint,
  keep_age bigint, now_ bigint, most bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  rule comet.channel_retention;
  upto bigint := 0;
  newest bigint;
  n bigint;
  top bigint;
BEGIN
  SELECT * INTO rule FROM comet.channel_retention r
   WHERE r.pattern = name
      OR (right(r.pattern, 1) = '*'
          AND starts_with(name, left(r.pattern, -1)))
   ORDER BY r.pattern = name DESC, octet_length(r.pattern) DESC LIMIT 1;
  IF FOUND THEN
    keep_count := coalesce(rule.keep_count, 0);
    keep_age := 1000000 * coalesce(rule.keep_age, 0);
  END IF;
  IF keep_count > 0 THEN
    SELECT id INTO upto FROM comet.log WHERE channel = name AND keep IS NULL
     ORDER BY channel DESC, id DESC OFFSET keep_count LIMIT 1;
  END IF;
  IF keep_age > 0 THEN
    SELECT id INTO newest FROM comet.log WHERE channel = name AND keep IS NULL
     ORDER BY channel DESC, id DESC LIMIT 1;
    upto := greatest(upto, least(newest, now_) - keep_age - 1);
  END IF;
  BEGIN
    WITH due AS (
      SELECT id FROM comet.log WHERE channel = name AND id <= upto
       ORDER BY channel, id LIMIT most FOR UPDATE SKIP LOCKED),
    gone AS (
      DELETE FROM comet.log m USING due WHERE m.id = due.id
      RETURNING m.id, m.keep)
    SELECT count(*), max(id) FILTER (WHERE keep IS NULL) INTO n, top FROM gone;
    IF top IS NOT NULL THEN
      INSERT INTO comet.floor AS f VALUES(name, top)
        ON CONFLICT (channel) DO UPDATE SET floor = greatest(f.floor,
                                                             excluded.floor);
    END IF;
  EXCEPTION WHEN raise_exception OR integrity_constraint_violation
                 OR data_exception OR program_limit_exceeded THEN
    PERFORM set_config('comet.refused',
      format('%s (SQLSTATE %s)', SQLERRM, SQLSTATE), true);
    RETURN 0;
  END;
  RETURN n;
END $$;

-- Remove what has expired; if a trigger refuses to let messages go that are over,
-- everything else.
CREATE OR REPLACE FUNCTION comet.tidy(most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  now_ bigint := comet.now_us();
  n bigint;
  m bigint;
  p bigint := 0;
BEGIN
  PERFORM set_config('lock_timeout', '50', true);
  DELETE FROM comet.idempotency_key WHERE ctid IN (
    SELECT k.ctid FROM comet.idempotency_key k WHERE k.expires <= now_
     LIMIT most FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS n = ROW_COUNT;
  UPDATE comet.idempotency_key SET expires = now_ + 86400000000
   WHERE ctid IN (
    SELECT k.ctid FROM comet.idempotency_key k
     WHERE k.expires > now_ + 86400000000 LIMIT most FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS m = ROW_COUNT;
  IF EXISTS (SELECT FROM comet.log l WHERE l.keep IS NOT NULL
                AND (l.expires <= now_ - 30000000
                     OR l.expires > now_ + 172800000000)) THEN
    BEGIN
      DELETE FROM comet.log WHERE id IN (
        SELECT l.id FROM comet.log l WHERE l.keep IS NOT NULL
           AND (l.expires <= now_ - 15000000
                OR l.expires > now_ + 172800000000)
         LIMIT most FOR UPDATE SKIP LOCKED);
      GET DIAGNOSTICS p = ROW_COUNT;
    EXCEPTION WHEN raise_exception OR integrity_constraint_violation
                   OR data_exception OR program_limit_exceeded THEN
      PERFORM set_config('comet.refused',
        format('%s (SQLSTATE %s)', SQLERRM, SQLSTATE), true);
      p := 0;
    END;
  END IF;
  RETURN greatest(n, m, p);
END $$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;

-- ---- The checks --------------------------------------------------------------

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
