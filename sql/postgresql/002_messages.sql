-- SPDX-License-Identifier: Apache-2.0
-- Version 2 of mod_comet's schema for PostgreSQL: passing messages, updates of
-- the Mercure protocol, the retention of single channels, and notices of
-- deletions.  schema.sql runs this file.
--
-- Web servers with an older module continue to work meanwhile.  They know the
-- log as comet.message_log, which is now a view without private and passing
-- messages.  The log itself is comet.log.
--
-- A passing message, such as "Ann is typing", lasts for "keep" seconds:
--
--   INSERT INTO comet.message(channel, type, author, body, keep)
--   VALUES('room/42', 'typing', 'ann', '', 5);
--
-- Such a message is ordered and pushed like any other.  When its time is over,
-- nobody can read it any more, and no client is told of a gap.  The row is
-- removed later.
--
-- A private message reaches only Mercure subscribers whose token grants its
-- topic; no other reader and no search finds it:
--
--   INSERT INTO comet.message(channel, body, private)
--   VALUES('user/7', 'for you', 1);
--
-- The column "id" is the id that the publisher gave the message; "retry" is in
-- milliseconds.  "alternates" lists further channels, separated by line feeds,
-- through which Mercure subscribers find the message; only the web server
-- stores alternates.
--
-- A row of comet.channel_retention says how many messages the channels that
-- match a pattern keep, and for how long.  The pattern is the name of a
-- channel, or a prefix and a star.  If several patterns match, the channel's
-- name takes precedence, then the longest prefix.  CometRetain applies to all
-- other channels.  NULL means "no limit".
--
--   INSERT INTO comet.channel_retention(pattern, keep_count, keep_age)
--   VALUES('log/*', 1000, 86400), ('log/audit', NULL, NULL);

\set ON_ERROR_STOP on
BEGIN;
\set version 2
\ir version.sql

ALTER TABLE comet.message_log RENAME TO log;
ALTER TABLE comet.log
  ADD COLUMN private smallint NOT NULL DEFAULT 0,
  ADD COLUMN event text COLLATE "C",
  ADD COLUMN retry integer,
  ADD COLUMN alternates text COLLATE "C",
  ADD COLUMN keep integer,
  -- when a passing message expires, by the system clock
  ADD COLUMN expires bigint;
-- NOT VALID: existing rows need not be checked.
ALTER TABLE comet.log
  ADD CONSTRAINT "private is 0 or 1" CHECK (private IN (0, 1)) NOT VALID,
  ADD CONSTRAINT "an id is text of 1 to 255 bytes without line ends"
    CHECK (octet_length(event) BETWEEN 1 AND 255 AND event !~ '[\n\r]')
    NOT VALID,
  ADD CONSTRAINT "retry is a number of milliseconds"
    CHECK (retry >= 0) NOT VALID,
  ADD CONSTRAINT "keep is a number of seconds, from 1 to 86400"
    CHECK (keep BETWEEN 1 AND 86400) NOT VALID,
  ADD CONSTRAINT "a message that passes has an end"
    CHECK ((keep IS NULL) = (expires IS NULL)) NOT VALID;
CREATE INDEX log_by_event ON comet.log(event, id) WHERE event IS NOT NULL;
CREATE INDEX log_passing ON comet.log(expires) WHERE keep IS NOT NULL;

ALTER TABLE comet.inbox
  ADD COLUMN private smallint NOT NULL DEFAULT 0
    CONSTRAINT "private is 0 or 1" CHECK (private IN (0, 1)),
  ADD COLUMN event text COLLATE "C"
    CONSTRAINT "an id is text of 1 to 255 bytes without line ends"
    CHECK (octet_length(event) BETWEEN 1 AND 255 AND event !~ '[\n\r]'),
  ADD COLUMN retry integer
    CONSTRAINT "retry is a number of milliseconds" CHECK (retry >= 0),
  ADD COLUMN keep integer
    CONSTRAINT "keep is a number of seconds, from 1 to 86400"
    CHECK (keep BETWEEN 1 AND 86400),
  ADD COLUMN expires bigint;

-- The messages that have a channel among their alternates.
CREATE TABLE comet.alternate(
  channel text COLLATE "C" NOT NULL,
  message bigint NOT NULL,
  PRIMARY KEY (channel, message)
);
CREATE INDEX alternate_by_message ON comet.alternate(message);

-- The settings that the web servers have configured.
CREATE TABLE comet.setting(
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  deletions boolean NOT NULL DEFAULT false    -- CometDeletions
);
INSERT INTO comet.setting DEFAULT VALUES;

-- ---- The log as version 1 knows it ------------------------------------------

CREATE VIEW comet.message_log AS
  SELECT id, channel, type, author, body FROM comet.log
   WHERE private = 0 AND keep IS NULL;
-- Without this, servers could not read until grants.sql is run.
GRANT SELECT ON comet.message_log TO comet_httpd;

-- ---- What applications do ---------------------------------------------------

-- A message that would last more than twice its "keep" from now, because the
-- system clock was set back, counts as over.
CREATE OR REPLACE VIEW comet.message(timestamp, channel, type, author, body,
                                     private, id, retry, alternates, keep) AS
  SELECT id, channel, type, author, body, private, event, retry, alternates,
         keep
    FROM comet.log
   WHERE keep IS NULL
      OR expires - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
         BETWEEN 1 AND 2000000::bigint * keep
  UNION ALL
  SELECT NULL::bigint, channel, type, author, body, private, event, retry,
         NULL::text, keep
    FROM comet.inbox;

CREATE OR REPLACE FUNCTION comet.message_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.timestamp IS NOT NULL THEN
    RAISE EXCEPTION 'the timestamp is given by the database: leave it out';
  END IF;
  IF NEW.alternates IS NOT NULL THEN
    RAISE EXCEPTION 'alternates are stored by the web server: leave them out';
  END IF;
  INSERT INTO comet.inbox(channel, type, author, body, private, event, retry,
                          keep, expires)
    VALUES(NEW.channel, coalesce(NEW.type, 'message'), NEW.author, NEW.body,
           coalesce(NEW.private, 0), NEW.id, NEW.retry, NEW.keep,
           comet.now_us() + 1000000::bigint * NEW.keep);
  RETURN NEW;
END $$;

-- Whether pages are told of a message's deletion: CometDeletions is on, the
-- message is not a passing one, and its channel is not a sibling channel.
CREATE FUNCTION comet.is_told(channel text, keep integer) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT deletions AND keep IS NULL AND strpos('/' || channel, '/@') = 0
    FROM comet.setting
$$;

-- The notice of a deletion lasts for a day, so that it reaches pages that are
-- offline for a while.
CREATE OR REPLACE FUNCTION comet.message_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  done boolean;
BEGIN
  IF OLD.timestamp IS NULL THEN
    DELETE FROM comet.inbox WHERE (xid, seq) =
      (SELECT xid, seq FROM comet.inbox
        WHERE channel = OLD.channel AND type = OLD.type
          AND author IS NOT DISTINCT FROM OLD.author AND body = OLD.body
        LIMIT 1);
    RETURN CASE WHEN FOUND THEN OLD END;
  END IF;
  DELETE FROM comet.log WHERE id = OLD.timestamp;
  done := FOUND;
  IF done AND comet.is_told(OLD.channel, OLD.keep) THEN
    INSERT INTO comet.inbox(channel, type, body, private, keep, expires)
      VALUES(OLD.channel, '@deleted', OLD.timestamp::text, OLD.private, 86400,
             comet.now_us() + 86400000000);
  END IF;
  RETURN CASE WHEN done THEN OLD END;
END $$;

-- Note in comet.clock that messages were removed, but only once in a
-- transaction, although the view deletes row by row.  The setting comet.erasing
-- has the timestamp up to which this transaction has noted removals.  No reader
-- can notice the removal of a message whose time is over; for such a message
-- this only ensures that the timestamp is not assigned again.
CREATE OR REPLACE FUNCTION comet.log_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  top bigint;
  seen bigint;
  now_ bigint := comet.now_us();
  noted bigint := nullif(current_setting('comet.erasing', true), '');
BEGIN
  SELECT max(id),
         max(id) FILTER (WHERE keep IS NULL
                            OR expires - now_
                               BETWEEN 1 AND 2000000::bigint * keep)
    INTO top, seen FROM gone;
  IF top IS NULL THEN
    RETURN NULL;
  END IF;
  IF seen IS NOT NULL AND (noted IS NULL OR seen > noted) THEN
    UPDATE comet.clock
       SET erased = erased + 1,
           last = greatest(last, top, (SELECT max(id) FROM comet.log))
     RETURNING last INTO noted;
    PERFORM set_config('comet.erasing', noted::text, true);
    PERFORM pg_notify('comet', '');
  ELSE
    UPDATE comet.clock SET last = top
     WHERE last < top AND NOT EXISTS (SELECT FROM comet.log WHERE id > top);
  END IF;
  UPDATE comet.idempotency_key k
     SET expires = now_ + 86400000000
    FROM gone WHERE k.timestamp = gone.id;
  DELETE FROM comet.alternate a USING gone
   WHERE gone.alternates IS NOT NULL AND a.message = gone.id;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION comet.log_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE comet.clock
     SET erased = erased + 1,
         last = greatest(last, (SELECT max(id) FROM comet.log));
  DELETE FROM comet.alternate;
  PERFORM pg_notify('comet', '');
  RETURN NULL;
END $$;

-- ---- Publishing -------------------------------------------------------------

CREATE OR REPLACE FUNCTION comet.take_turn(wait_ms integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  base bigint;
  known boolean;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'comet: the isolation level must be read committed'
      USING ERRCODE = 'active_sql_transaction';
  END IF;
  PERFORM set_config('lock_timeout', wait_ms::text, true);
  LOCK TABLE comet.turn IN EXCLUSIVE MODE;
  -- while this transaction has the turn, it waits for other locks only briefly:
  -- a row that an application's open transaction has changed must not stop all
  -- publishers
  PERFORM set_config('lock_timeout', '50', true);
  SELECT greatest(k.last, (SELECT max(id) FROM comet.log),
                  (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
         k.timeline
         = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    INTO base, known FROM comet.clock k;
  RETURN CASE WHEN known THEN base ELSE comet.begin_timeline(base) END;
END $$;

-- Append groups, as comet.append_keyed() does; the messages may also be passing
-- messages or updates of the Mercure protocol.  In "keeps" and "retries", 0
-- means that a message has no such value.
CREATE FUNCTION comet.publish(channels text[], types text[], authors text[],
  bodies text[], privates bigint[], events text[], retries bigint[],
  alternates_ text[], keeps bigint[], groups bigint[], key_groups bigint[],
  key_channels text[], key_authors text[], key_texts text[],
  key_hashes bytea[], wait_ms integer, full_ boolean)
RETURNS TABLE(grp bigint, result bigint, first bigint) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  base bigint;
  old_groups bigint[];
  now_ bigint;
BEGIN
  PERFORM comet.set_sync(full_);
  base := comet.take_turn(wait_ms);
  now_ := comet.now_us();
  DELETE FROM comet.idempotency_key k
   USING unnest(key_channels, key_authors, key_texts) AS u(c, a, t)
   WHERE (k.channel, k.author, k.key) = (u.c, u.a, u.t) AND k.expires <= now_;
  SELECT coalesce(array_agg(u.g), '{}') INTO old_groups
    FROM unnest(key_groups, key_channels, key_authors, key_texts)
         AS u(g, c, a, t)
    JOIN comet.idempotency_key k
      ON (k.channel, k.author, k.key) = (u.c, u.a, u.t);
  RETURN QUERY
    SELECT u.g,
           CASE WHEN k.hash = u.h
                 AND k.count = (SELECT count(*) FROM unnest(groups) x
                                 WHERE x = u.g) THEN 1::bigint ELSE 2 END,
           k.timestamp - k.count + 1
      FROM unnest(key_groups, key_channels, key_authors, key_texts, key_hashes)
           AS u(g, c, a, t, h)
      JOIN comet.idempotency_key k
        ON (k.channel, k.author, k.key) = (u.c, u.a, u.t);
  RETURN QUERY
    WITH m AS (
      SELECT base + row_number() OVER (ORDER BY u.n) AS id, u.*
        FROM unnest(channels, types, authors, bodies, privates, events,
                    retries, alternates_, keeps, groups)
             WITH ORDINALITY AS u(c, t, a, b, p, e, r, o, k, g, n)
       WHERE u.g <> ALL (old_groups)),
    stored AS (
      INSERT INTO comet.log(id, channel, type, author, body, private, event,
                            retry, alternates, keep, expires)
        SELECT m.id, m.c, m.t, m.a, m.b, m.p, m.e, nullif(m.r, 0), m.o,
               nullif(m.k, 0), now_ + 1000000 * nullif(m.k, 0)
          FROM m),
    others AS (
      INSERT INTO comet.alternate(channel, message)
        SELECT DISTINCT x, m.id
          FROM m, unnest(string_to_array(m.o, E'\n')) AS x WHERE x <> ''),
    span AS (
      SELECT m.g, min(m.id) AS lo, max(m.id) AS hi, count(*)::integer AS n
        FROM m GROUP BY m.g),
    keyed AS (
      INSERT INTO comet.idempotency_key(timestamp, count, channel, author, key,
                                        hash)
        SELECT s.hi, s.n, u.c, u.a, u.t, u.h
          FROM unnest(key_groups, key_channels, key_authors, key_texts,
                      key_hashes) AS u(g, c, a, t, h)
          JOIN span s ON s.g = u.g)
    SELECT s.g, 0::bigint, s.lo FROM span s;
  IF (SELECT count(*) FROM comet.log l WHERE l.id > base)
     < (SELECT count(*) FROM unnest(groups) g WHERE g <> ALL (old_groups)) THEN
    RAISE EXCEPTION 'a trigger has dropped a message'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
END $$;

-- The timestamp of the message that an edit names in its body; NULL: none.
CREATE FUNCTION comet.edited_by(body text) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  said jsonb;
BEGIN
  said := body::jsonb -> 'of';
  RETURN CASE WHEN jsonb_typeof(said) = 'number'
              THEN (said #>> '{}')::bigint END;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;

-- Remove a message and the messages that have edited it.  Returns how many
-- messages were removed.  Rows that another transaction has locked are skipped.
CREATE FUNCTION comet.remove_message(name text, wanted bigint,
  wait_ms integer, full_ boolean)
RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  base bigint;
  now_ bigint;
  n bigint;
BEGIN
  PERFORM comet.set_sync(full_);
  base := comet.take_turn(wait_ms);
  now_ := comet.now_us();
  WITH due AS (
    SELECT m.id FROM comet.log m
     WHERE m.channel = name AND m.id >= wanted
       AND (m.id = wanted
            OR (m.type = 'edit' AND comet.edited_by(m.body) = wanted))
       AND (m.keep IS NULL
            OR m.expires - now_ BETWEEN 1 AND 2000000::bigint * m.keep)
       FOR UPDATE SKIP LOCKED),
  gone AS (
    DELETE FROM comet.log m USING due WHERE m.id = due.id RETURNING m.*),
  told AS (
    INSERT INTO comet.log(id, channel, type, body, private, keep, expires)
      SELECT base + row_number() OVER (ORDER BY g.id), g.channel, '@deleted',
             g.id::text, g.private, 86400, now_ + 86400000000
        FROM gone g WHERE comet.is_told(g.channel, g.keep))
  SELECT count(*) INTO n FROM gone;
  RETURN n;
END $$;

CREATE OR REPLACE FUNCTION comet.move(low xid8, most integer, wait_ms integer,
  full_ boolean, OUT moved bigint, OUT next_low text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  base bigint;
  rows_ comet.inbox[];
BEGIN
  moved := 0;
  -- this must be read before the look into the inbox
  next_low := pg_snapshot_xmin(pg_current_snapshot())::text;
  IF NOT EXISTS (SELECT FROM comet.inbox WHERE xid >= low) THEN
    RETURN;
  END IF;
  PERFORM comet.set_sync(full_);
  PERFORM FROM comet.mover FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    next_low := low::text;
    RETURN;
  END IF;
  WITH due AS (
    SELECT xid, seq FROM comet.inbox WHERE xid >= low
     ORDER BY xid, seq LIMIT most FOR UPDATE SKIP LOCKED),
  taken AS (
    DELETE FROM comet.inbox i USING due
     WHERE (i.xid, i.seq) = (due.xid, due.seq) RETURNING i AS one, i.seq)
  SELECT array_agg(one ORDER BY seq), count(*) INTO rows_, moved FROM taken;
  IF moved = most THEN
    next_low := low::text;
  END IF;
  IF moved > 0 THEN
    base := comet.take_turn(wait_ms);
    INSERT INTO comet.log(id, channel, type, author, body, private, event,
                          retry, keep, expires)
      SELECT base + row_number() OVER (ORDER BY u.seq), u.channel, u.type,
             u.author, u.body, u.private, u.event, u.retry, u.keep, u.expires
        FROM unnest(rows_) u;
  END IF;
END $$;

-- The web servers that look into the inbox, and when each was last seen.
CREATE TABLE comet.server(
  id bigint PRIMARY KEY,
  seen timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Note that a web server looks into the inbox.  Returns how many servers do so.
CREATE FUNCTION comet.attend(id_ bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_ timestamptz := clock_timestamp();
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM set_config('lock_timeout', '50', true);
  INSERT INTO comet.server VALUES(id_, now_)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen;
  DELETE FROM comet.server
   WHERE seen NOT BETWEEN now_ - interval '20 s' AND now_ + interval '20 s';
  RETURN (SELECT count(*) FROM comet.server);
END $$;

-- Store the settings of a web server's configuration.
CREATE FUNCTION comet.configure(deletions_ boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE comet.setting SET deletions = deletions_
   WHERE deletions <> deletions_;
END $$;

-- ---- Reading ----------------------------------------------------------------

CREATE OR REPLACE FUNCTION comet.state(OUT last bigint, OUT erased bigint)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  here text;
  known text;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'this server is a standby'
      USING ERRCODE = 'read_only_sql_transaction';
  END IF;
  here := substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
  SELECT greatest(k.last, (SELECT max(l.id) FROM comet.log l)),
         k.erased, k.timeline
    INTO last, erased, known FROM comet.clock k;
  IF known <> here THEN
    last := comet.latest_time(last) + 5000000;
  END IF;
END $$;

-- Like comet.channels(), but includes channels that have only passing messages.
--   all_  also include channels that have only private messages
CREATE FUNCTION comet.channels_under(prefix text, most bigint, all_ boolean)
RETURNS SETOF text LANGUAGE plpgsql STABLE SET enable_seqscan = off
SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
DECLARE
  c text COLLATE "C";
  n bigint := 0;
  now_ bigint := comet.now_us();
BEGIN
  SELECT m.channel INTO c FROM comet.log m
   WHERE m.channel >= prefix ORDER BY m.channel LIMIT 1;
  WHILE c IS NOT NULL AND starts_with(c, prefix) AND n < most LOOP
    IF all_ OR EXISTS (
         SELECT FROM comet.log m
          WHERE m.channel = c AND m.private = 0
            AND (m.keep IS NULL
                 OR m.expires - now_ BETWEEN 1 AND 2000000::bigint * m.keep))
    THEN
      RETURN NEXT c;
      n := n + 1;
    END IF;
    SELECT m.channel INTO c FROM comet.log m
     WHERE m.channel > c ORDER BY m.channel LIMIT 1;
  END LOOP;
END $$;

-- The public messages of a channel with after < id < before, but at most "most"
-- of them: the oldest first or, if backwards, the newest first.  Reading ends
-- early once the bodies have "most_bytes" bytes.
CREATE FUNCTION comet.messages_of(name text, after bigint, before bigint,
  most bigint, most_bytes bigint, backwards boolean)
RETURNS SETOF comet.log
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
DECLARE
  r comet.log;
  bytes bigint := 0;
  now_ bigint := comet.now_us();
BEGIN
  IF backwards THEN
    FOR r IN
      SELECT m.* FROM comet.log m
       WHERE m.channel = name AND m.id > after AND m.id < before
         AND m.private = 0
         AND (m.keep IS NULL
              OR m.expires - now_ BETWEEN 1 AND 2000000::bigint * m.keep)
       ORDER BY m.channel DESC, m.id DESC LIMIT most
    LOOP
      RETURN NEXT r;
      bytes := bytes + octet_length(r.body);
      EXIT WHEN bytes >= most_bytes;
    END LOOP;
  ELSE
    FOR r IN
      SELECT m.* FROM comet.log m
       WHERE m.channel = name AND m.id > after AND m.id < before
         AND m.private = 0
         AND (m.keep IS NULL
              OR m.expires - now_ BETWEEN 1 AND 2000000::bigint * m.keep)
       ORDER BY m.channel, m.id LIMIT most
    LOOP
      RETURN NEXT r;
      bytes := bytes + octet_length(r.body);
      EXIT WHEN bytes >= most_bytes;
    END LOOP;
  END IF;
END $$;

-- Whether a name or a prefix matches any of a message's alternates.
CREATE FUNCTION comet.is_alternate(alternates text, names text[],
  prefixes text[]) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM unnest(string_to_array(alternates, E'\n')) a
     WHERE a = ANY (names)
        OR EXISTS (SELECT FROM unnest(prefixes) p WHERE starts_with(a, p)))
$$;

-- Like comet.messages_of(), but for a selection of several names or prefixes,
-- by a walk over the log.  The walk ends early after "patience" rows; then the
-- last row returned has only an id, which says how far the walk came.
--   all_  include private messages, and find messages by their alternates
CREATE FUNCTION comet.walk_all(names text[], prefixes text[], after bigint,
  before bigint, most bigint, most_bytes bigint, backwards boolean,
  all_ boolean, patience bigint)
RETURNS SETOF comet.log
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  every boolean := '' = ANY (prefixes);
  any_prefix boolean := cardinality(prefixes) > 0;
  rows_ refcursor;
  r record;
  m comet.log;
  bytes bigint := 0;
  found_ bigint := 0;
  passed bigint := 0;
  now_ bigint := comet.now_us();
BEGIN
  IF backwards THEN
    OPEN rows_ NO SCROLL FOR
      SELECT l AS one, l.channel IN (SELECT unnest(names)) AS named
        FROM comet.log l WHERE l.id > after AND l.id < before
       ORDER BY l.id DESC;
  ELSE
    OPEN rows_ NO SCROLL FOR
      SELECT l AS one, l.channel IN (SELECT unnest(names)) AS named
        FROM comet.log l WHERE l.id > after AND l.id < before
       ORDER BY l.id;
  END IF;
  LOOP
    FETCH rows_ INTO r;
    EXIT WHEN NOT FOUND;
    m := r.one;
    passed := passed + 1;
    IF (every OR r.named
        OR (any_prefix AND EXISTS (SELECT FROM unnest(prefixes) p
                                    WHERE starts_with(m.channel, p)))
        OR (all_ AND m.alternates IS NOT NULL
            AND comet.is_alternate(m.alternates, names, prefixes)))
       AND (all_ OR m.private = 0)
       AND (m.keep IS NULL
            OR m.expires - now_ BETWEEN 1 AND 2000000::bigint * m.keep) THEN
      RETURN NEXT m;
      found_ := found_ + 1;
      bytes := bytes + octet_length(m.body);
      EXIT WHEN found_ = most OR bytes >= most_bytes;
    END IF;
    IF passed >= patience AND NOT every THEN
      m := ROW(m.id, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL);
      RETURN NEXT m;
      EXIT;
    END IF;
  END LOOP;
  CLOSE rows_;
END $$;

-- The channels of a selection: its names, and the channels under its prefixes
-- that have messages.
--   all_  also include channels that have only private messages, or that are
--         alternates of messages
CREATE FUNCTION comet.selected_all(names text[], prefixes text[], all_ boolean)
RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT n FROM unnest(names) n
  UNION
  SELECT c FROM unnest(prefixes) p,
                comet.channels_under(p, 9223372036854775807, all_) c
  UNION
  SELECT a.channel FROM comet.alternate a, unnest(prefixes) p
   WHERE all_ AND starts_with(a.channel, p)
$$;

-- Like comet.walk_all(), but using the index of the channels; for the messages
-- that the walk has not reached.
CREATE FUNCTION comet.merge_all(names text[], prefixes text[], after bigint,
  before bigint, most bigint, most_bytes bigint, backwards boolean,
  all_ boolean)
RETURNS SETOF comet.log
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  ids bigint[];
  i bigint;
  r comet.log;
  bytes bigint := 0;
  now_ bigint := comet.now_us();
  way integer := CASE WHEN backwards THEN -1 ELSE 1 END;
BEGIN
  IF backwards THEN
    ids := ARRAY(
      SELECT x.id FROM comet.selected_all(names, prefixes, all_) c
       CROSS JOIN LATERAL
        (SELECT l.id FROM comet.log l
          WHERE l.channel = c AND l.id > after AND l.id < before
            AND (all_ OR l.private = 0)
            AND (l.keep IS NULL
                 OR l.expires - now_ BETWEEN 1 AND 2000000::bigint * l.keep)
          ORDER BY l.channel DESC, l.id DESC LIMIT most) x
       ORDER BY x.id DESC LIMIT most);
  ELSE
    ids := ARRAY(
      SELECT x.id FROM comet.selected_all(names, prefixes, all_) c
       CROSS JOIN LATERAL
        (SELECT l.id FROM comet.log l
          WHERE l.channel = c AND l.id > after AND l.id < before
            AND (all_ OR l.private = 0)
            AND (l.keep IS NULL
                 OR l.expires - now_ BETWEEN 1 AND 2000000::bigint * l.keep)
          ORDER BY l.channel, l.id LIMIT most) x
       ORDER BY x.id LIMIT most);
  END IF;
  IF all_ THEN
    ids := ARRAY(
      SELECT id FROM unnest(ids) id
       UNION
      SELECT x.message FROM comet.selected_all(names, prefixes, all_) c
       CROSS JOIN LATERAL
        (SELECT a.message FROM comet.alternate a JOIN comet.log l
             ON l.id = a.message
          WHERE a.channel = c AND a.message > after AND a.message < before
            AND (l.keep IS NULL
                 OR l.expires - now_ BETWEEN 1 AND 2000000::bigint * l.keep)
          ORDER BY a.channel, way * a.message LIMIT most) x
       ORDER BY 1);
    ids := ARRAY(SELECT id FROM unnest(ids) id ORDER BY way * id LIMIT most);
  END IF;
  FOREACH i IN ARRAY ids LOOP
    SELECT m.* INTO r FROM comet.log m WHERE m.id = i;
    RETURN NEXT r;
    bytes := bytes + octet_length(r.body);
    EXIT WHEN bytes >= most_bytes;
  END LOOP;
END $$;

CREATE FUNCTION comet.messages_in(names text[], prefixes text[], after bigint,
  before bigint, most bigint, most_bytes bigint, backwards boolean,
  all_ boolean)
RETURNS SETOF comet.log LANGUAGE plpgsql STABLE SET jit = off AS $$
DECLARE
  patience bigint := most + 4 * (cardinality(names)
                                 + 64 * cardinality(prefixes));
  left_ bigint := most;
  bytes bigint := most_bytes;
  r comet.log;
BEGIN
  FOR r IN
    SELECT * FROM comet.walk_all(names, prefixes, after, before, most,
                                 most_bytes, backwards, all_, patience)
  LOOP
    IF r.channel IS NOT NULL THEN
      RETURN NEXT r;
      left_ := left_ - 1;
      bytes := bytes - octet_length(r.body);
    ELSE
      RETURN QUERY SELECT * FROM comet.merge_all(names, prefixes,
        CASE WHEN backwards THEN after ELSE r.id END,
        CASE WHEN backwards THEN r.id ELSE before END, left_, bytes,
        backwards, all_);
    END IF;
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION comet.recent(count bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN coalesce((SELECT m.id FROM comet.log m
                    ORDER BY m.id DESC OFFSET count LIMIT 1), 0);
END $$;

CREATE OR REPLACE FUNCTION comet.has(wanted bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN CASE WHEN EXISTS (SELECT FROM comet.log m WHERE m.id = wanted)
              THEN 1 ELSE 0 END;
END $$;

-- The newest message whose publisher gave it this id; 0: there is none.
CREATE FUNCTION comet.find_event(event_ text) RETURNS bigint
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN coalesce((SELECT max(m.id) FROM comet.log m
                    WHERE m.event = event_), 0);
END $$;

-- Those floors of a selection's channels that are higher than "above".
CREATE FUNCTION comet.floors_of(names text[], prefixes text[], above bigint)
RETURNS TABLE(channel text, floor bigint) LANGUAGE sql STABLE AS $$
  SELECT f.channel, f.floor FROM comet.floor f
   WHERE f.floor > above
     AND (f.channel = ANY (names)
          OR EXISTS (SELECT FROM unnest(prefixes) p
                      WHERE starts_with(f.channel, p)))
$$;

-- ---- Upkeep -----------------------------------------------------------------

CREATE TABLE comet.channel_retention(
  pattern text COLLATE "C" PRIMARY KEY,
  -- How many messages a channel keeps.
  keep_count integer,
  -- By how many seconds a message may be older than the channel's newest one.
  keep_age bigint,
  CONSTRAINT "a pattern is text of 1 to 256 bytes"
    CHECK (octet_length(pattern) BETWEEN 1 AND 256),
  CONSTRAINT "keep_count is NULL or a number of at least 1"
    CHECK (keep_count >= 1),
  CONSTRAINT "keep_age is NULL or a number of seconds of at least 1"
    CHECK (keep_age BETWEEN 1 AND 3153600000)
);

-- Counts the changes to comet.channel_retention.  After a change, retention
-- checks every channel once, and not only those that receive messages.
CREATE TABLE comet.retention_changes(
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  count bigint NOT NULL
);
INSERT INTO comet.retention_changes(count) VALUES(0);
CREATE FUNCTION comet.retention_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE comet.retention_changes SET count = count + 1;
  RETURN NULL;
END $$;
CREATE TRIGGER channel_retention_changed
  AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON comet.channel_retention
  FOR EACH STATEMENT EXECUTE FUNCTION comet.retention_changed();

-- The channels that have messages.  Passing messages do not count.
--
--   SELECT channel, messages, to_timestamp(last / 1e6)
--     FROM comet.channel_info ORDER BY bytes DESC LIMIT 20;
CREATE VIEW comet.channel_info(channel, messages, bytes, first, last) AS
  SELECT channel, count(*), sum(octet_length(body))::bigint, min(id), max(id)
    FROM comet.log WHERE keep IS NULL GROUP BY channel;

-- How often the rules have changed, and whether there are any.
CREATE FUNCTION comet.retention_rules(OUT changes bigint, OUT any_ bigint)
LANGUAGE sql STABLE AS $$
  SELECT count, EXISTS (SELECT FROM comet.channel_retention)::integer::bigint
    FROM comet.retention_changes
$$;

-- Set or remove the rule of a pattern.  A count_ or age_ of 0 means "no limit".
-- If there are already "most" other rules, none is set.  Returns how many rows
-- were changed.
CREATE FUNCTION comet.set_rule(pattern_ text, count_ bigint, age_ bigint,
  removes boolean, full_ boolean, most bigint)
RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  PERFORM comet.set_sync(full_);
  PERFORM set_config('lock_timeout', '500', true);
  IF removes THEN
    DELETE FROM comet.channel_retention WHERE pattern = pattern_;
  ELSE
    INSERT INTO comet.channel_retention(pattern, keep_count, keep_age)
      SELECT pattern_, nullif(count_, 0), nullif(age_, 0)
       WHERE (SELECT count(*) FROM comet.channel_retention
               WHERE pattern <> pattern_) < most
      ON CONFLICT (pattern) DO UPDATE
        SET keep_count = excluded.keep_count, keep_age = excluded.keep_age;
  END IF;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

-- If a rule of comet.channel_retention matches the channel, it replaces
-- keep_count and keep_age.  Passing messages are not counted, and age is not
-- measured from them.
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
  RETURN n;
END $$;

-- Do one step of retention, over the channels that received messages after
-- "since" and up to "until_".  If since is 0, the step covers all channels from
-- "name" on.  Returns where the next step continues; next_since NULL: the round
-- is complete.
CREATE OR REPLACE FUNCTION comet.prune(since bigint, until_ bigint, name text,
  keep_count bigint, keep_age bigint, now_ bigint, most bigint,
  OUT removed bigint, OUT next_since bigint, OUT next_name text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  ends timestamptz := clock_timestamp() + interval '10 ms';
  upto bigint;
  c text COLLATE "C";
  n bigint;
BEGIN
  removed := 0;
  next_since := since;
  next_name := name;
  PERFORM set_config('lock_timeout', '50', true); -- 55P03: try again later
  IF since = 0 THEN
    LOOP
      SELECT m.channel INTO c FROM comet.log m
       WHERE m.channel >= next_name ORDER BY m.channel LIMIT 1;
      IF c IS NULL THEN
        next_since := NULL;
        RETURN;
      END IF;
      n := comet.prune_channel(c, keep_count, keep_age, now_, most - removed);
      removed := removed + n;
      -- no name lies between the two, since names have no control characters
      next_name := CASE WHEN removed >= most THEN c ELSE c || E'\x01' END;
      IF removed >= most OR clock_timestamp() > ends THEN
        RETURN;
      END IF;
    END LOOP;
  END IF;
  SELECT max(x.id) INTO upto FROM
    (SELECT m.id FROM comet.log m
      WHERE m.id > since AND m.id <= until_ ORDER BY m.id LIMIT 4096) x;
  IF upto IS NULL THEN
    next_since := NULL;
    RETURN;
  END IF;
  FOR c IN SELECT DISTINCT m.channel FROM comet.log m
            WHERE m.id > since AND m.id <= upto
  LOOP
    removed := removed + comet.prune_channel(c, keep_count, keep_age, now_,
                                             most - removed);
    IF removed >= most THEN
      RETURN;
    END IF;
  END LOOP;
  next_since := upto;
END $$;

-- Remove expired Idempotency-Keys, and messages whose time is over.  Nobody can
-- read such messages, so they are collected for a while and removed together.
-- If the clock was set back, make keys expire in a day at the latest, and
-- remove passing messages that would expire in more than two days.  Returns the
-- largest of three numbers: keys removed, keys changed, and messages removed.
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
    DELETE FROM comet.log WHERE id IN (
      SELECT l.id FROM comet.log l WHERE l.keep IS NOT NULL
         AND (l.expires <= now_ - 15000000
              OR l.expires > now_ + 172800000000)
       LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS p = ROW_COUNT;
  END IF;
  RETURN greatest(n, m, p);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
COMMIT;
