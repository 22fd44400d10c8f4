-- SPDX-License-Identifier: Apache-2.0
-- Version 1 of mod_comet's schema for PostgreSQL (13 or later): the message log
-- of any number of web servers.
--
-- The module never runs this file.  The administrator runs it once, in a
-- database with the encoding UTF8, as the user who will own the schema:
--
--   psql -d site -f roles.sql    (once per cluster, as a superuser)
--   psql -d site -f schema.sql   (this file, those after it, and grants.sql)
--
-- The view comet.message is a public interface:
--
--   SELECT to_timestamp(timestamp / 1e6), author, body
--     FROM comet.message WHERE channel = 'chat' ORDER BY timestamp DESC LIMIT 20;
--   INSERT INTO comet.message(channel, body) VALUES('chat', 'deploy finished');
--   DELETE FROM comet.message WHERE author = 'spammer';
--
-- Every connected page shows an inserted message an instant after its commit.
-- A transaction that inserts may stay open for a long time without delaying
-- anybody.  After the commit a web server gives the message its timestamp;
-- until then the view shows the message with the timestamp NULL.

\set ON_ERROR_STOP on
BEGIN;
CREATE SCHEMA comet;

-- The module compares this version with the one that it needs.  New functions
-- have new names, so that web servers can be upgraded one by one.
CREATE TABLE comet.schema(
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version integer NOT NULL
);
INSERT INTO comet.schema(version) VALUES(1);

-- The state that the log itself does not show, in one row.  The row changes
-- whenever messages are removed, but not when messages are published: if each
-- commit updated the row, dead versions of it would pile up while any
-- transaction of the cluster stays open.
CREATE TABLE comet.clock(
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  last bigint NOT NULL DEFAULT 0,     -- no removed timestamp is higher
  erased bigint NOT NULL DEFAULT 0,   -- grows with every removal
  timeline text NOT NULL              -- the WAL timeline of the server that
                                      -- assigned timestamps last
);
INSERT INTO comet.clock(timeline)
  VALUES(substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8));

-- A transaction that numbers messages holds this table's EXCLUSIVE lock ("the
-- turn") until its commit is visible.  So messages become visible in the order
-- of their timestamps.  Only the functions below take the lock.
CREATE TABLE comet.turn();

CREATE TABLE comet.message_log(
  id bigint PRIMARY KEY CHECK (id BETWEEN 1 AND 9007199254740991),
  channel text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL DEFAULT 'message',
  author text COLLATE "C",
  body text NOT NULL,
  CONSTRAINT "a channel's name is text of 1 to 255 bytes"
    CHECK (octet_length(channel) BETWEEN 1 AND 255),
  CONSTRAINT "a channel's name has no control characters"
    CHECK (channel !~ '[\u0001-\u001f\u007f-\u009f]'),
  CONSTRAINT "a channel's name has no empty, '.' or '..' path segment"
    CHECK (strpos('/' || channel || '/', '//') = 0
           AND strpos('/' || channel || '/', '/./') = 0
           AND strpos('/' || channel || '/', '/../') = 0),
  CONSTRAINT "a type is text of 1 to 255 bytes without control characters"
    CHECK (type = 'message'
           OR (octet_length(type) BETWEEN 1 AND 255
               AND type !~ '[\u0001-\u001f\u007f-\u009f]')),
  CONSTRAINT "the type gap is the server's own word for missing messages"
    CHECK (type <> 'gap'),
  CONSTRAINT "an author is NULL or text of 1 to 255 bytes"
    CHECK (octet_length(author) BETWEEN 1 AND 255),
  CONSTRAINT "a body is text of at most 1048576 bytes"
    CHECK (octet_length(body) <= 1048576)
);
CREATE INDEX message_by_channel ON comet.message_log(channel, id);
ALTER TABLE comet.message_log SET (autovacuum_vacuum_insert_scale_factor = 0.05,
                                   autovacuum_analyze_scale_factor = 0.02);

-- The highest timestamp among the messages that retention (CometRetain) has
-- removed from a channel.
CREATE TABLE comet.floor(
  channel text COLLATE "C" PRIMARY KEY,
  floor bigint NOT NULL
);

-- Which messages were published under an Idempotency-Key.  Each key belongs to
-- a channel and an author ('' if the publisher was not authenticated).  The
-- messages have "count" consecutive timestamps, the last of which is
-- "timestamp".
CREATE TABLE comet.idempotency_key(
  timestamp bigint NOT NULL,
  count integer NOT NULL CHECK (count > 0),
  channel text COLLATE "C" NOT NULL,
  author text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  hash bytea NOT NULL CHECK (length(hash) = 20),
  expires bigint,   -- 24 hours after the message was removed; NULL until then
  PRIMARY KEY (channel, author, key)
);
CREATE INDEX idempotency_key_by_timestamp ON comet.idempotency_key(timestamp);
CREATE INDEX idempotency_key_by_expiry ON comet.idempotency_key(expires)
  WHERE expires IS NOT NULL;

-- The messages that other programs have inserted, and that have no timestamp
-- yet.
CREATE TABLE comet.inbox(
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  seq bigint GENERATED ALWAYS AS IDENTITY,
  LIKE comet.message_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
  PRIMARY KEY (xid, seq)
);
ALTER TABLE comet.inbox DROP COLUMN id;
ALTER TABLE comet.inbox SET (autovacuum_vacuum_scale_factor = 0,
                             autovacuum_vacuum_threshold = 1000,
                             autovacuum_vacuum_cost_delay = 0);
-- One row.  The session that moves messages out of the inbox locks it.
CREATE TABLE comet.mover AS SELECT true AS one;

CREATE VIEW comet.message(timestamp, channel, type, author, body) AS
  SELECT id, channel, type, author, body FROM comet.message_log
  UNION ALL
  SELECT NULL::bigint, channel, type, author, body FROM comet.inbox;

CREATE FUNCTION comet.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
  $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- ---- What applications do ---------------------------------------------------

CREATE FUNCTION comet.message_insert() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.timestamp IS NOT NULL THEN
    RAISE EXCEPTION 'the timestamp is given by the database: leave it out';
  END IF;
  INSERT INTO comet.inbox(channel, type, author, body)
    VALUES(NEW.channel, coalesce(NEW.type, 'message'), NEW.author, NEW.body);
  RETURN NEW;
END $$;
CREATE TRIGGER message_insert INSTEAD OF INSERT ON comet.message
  FOR EACH ROW EXECUTE FUNCTION comet.message_insert();

CREATE FUNCTION comet.message_delete() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.timestamp IS NULL THEN
    DELETE FROM comet.inbox WHERE (xid, seq) =
      (SELECT xid, seq FROM comet.inbox
        WHERE channel = OLD.channel AND type = OLD.type
          AND author IS NOT DISTINCT FROM OLD.author AND body = OLD.body
        LIMIT 1);
  ELSE
    DELETE FROM comet.message_log WHERE id = OLD.timestamp;
  END IF;
  RETURN CASE WHEN FOUND THEN OLD END;
END $$;
CREATE TRIGGER message_delete INSTEAD OF DELETE ON comet.message
  FOR EACH ROW EXECUTE FUNCTION comet.message_delete();

CREATE FUNCTION comet.immutable() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'messages are immutable'; END $$;
CREATE TRIGGER message_update INSTEAD OF UPDATE ON comet.message
  FOR EACH ROW EXECUTE FUNCTION comet.immutable();
CREATE TRIGGER message_log_update BEFORE UPDATE ON comet.message_log
  FOR EACH ROW EXECUTE FUNCTION comet.immutable();

-- Note in comet.clock that messages were removed, but only once in a
-- transaction, although the view deletes row by row.  The setting comet.erasing
-- has the timestamp up to which this transaction has noted removals.
CREATE FUNCTION comet.log_deleted() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  top bigint;
  noted bigint := nullif(current_setting('comet.erasing', true), '');
BEGIN
  SELECT max(id) INTO top FROM gone;
  IF top IS NULL THEN
    RETURN NULL;
  END IF;
  IF noted IS NULL OR top > noted THEN
    UPDATE comet.clock
       SET erased = erased + 1,
           last = greatest(last, top, (SELECT max(id) FROM comet.message_log))
     RETURNING last INTO noted;
    PERFORM set_config('comet.erasing', noted::text, true);
    PERFORM pg_notify('comet', '');
  END IF;
  UPDATE comet.idempotency_key k
     SET expires = comet.now_us() + 86400000000
    FROM gone WHERE k.timestamp = gone.id;
  RETURN NULL;
END $$;
CREATE TRIGGER log_deleted AFTER DELETE ON comet.message_log
  REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION comet.log_deleted();

CREATE FUNCTION comet.log_truncated() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE comet.clock
     SET erased = erased + 1,
         last = greatest(last, (SELECT max(id) FROM comet.message_log));
  PERFORM pg_notify('comet', '');
  RETURN NULL;
END $$;
CREATE TRIGGER log_truncated BEFORE TRUNCATE ON comet.message_log
  FOR EACH STATEMENT EXECUTE FUNCTION comet.log_truncated();

-- ---- Publishing -------------------------------------------------------------

-- The latest time that this server knows of after a promotion: by its own
-- clock, or by the clock of the lost server, which gave the last message and the
-- last commit that this server has received their times.
CREATE FUNCTION comet.latest_time(base bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
  SELECT greatest(base, comet.now_us(),
    (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint)
$$;

-- Begin a new timeline, because a standby was promoted.  If the standby was
-- asynchronous, messages that the old server acknowledged may be lost, but
-- clients use their timestamps as cursors.  A new message must be after all of
-- these, or such a client would never get it.
--
-- The new timestamps begin 15 s after comet.latest_time().  A lost message is
-- not later than that if its time of publishing was
--   * at most 15 s after the last commit that the standby has received (by the
--     old server's clock, whatever the new one's shows), or
--   * at most 15 s after this moment, by the new server's clock: the old one's
--     was at most 15 s ahead, whatever the standby has missed.
-- So only a standby that has missed more than 15 s, and whose clock is more than
-- 15 s slow, could number a message below a cursor.  The old server may itself
-- have begun its timeline in the 15 s before; then the clocks must differ by less
-- than the time between the two promotions.
--
-- They also begin after the values that comet.state() returns until this
-- transaction commits, since readers may use those values as cursors.
CREATE FUNCTION comet.begin_timeline(base bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  start bigint := comet.latest_time(base) + 15000000;
BEGIN
  UPDATE comet.clock
     SET timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8),
         last = greatest(last, start), erased = erased + 1;
  RETURN start;
END $$;

-- Wait for the turn to number messages.  Returns the timestamp after which the
-- caller numbers its messages.  Every later statement of the caller sees all
-- messages that were numbered earlier; this requires the isolation level read
-- committed.
CREATE FUNCTION comet.take_turn(wait_ms integer) RETURNS bigint
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
  SELECT greatest(k.last, (SELECT max(id) FROM comet.message_log),
                  (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
         k.timeline
         = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    INTO base, known FROM comet.clock k;
  RETURN CASE WHEN known THEN base ELSE comet.begin_timeline(base) END;
END $$;

CREATE FUNCTION comet.set_sync(full_ boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT full_ THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSIF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
END $$;

-- Append messages, in one statement and one transaction.  Returns the timestamp
-- of the first message; the others have the timestamps that follow.
CREATE FUNCTION comet.append(channels text[], types text[], authors text[],
  bodies text[], wait_ms integer, full_ boolean)
RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
  base bigint;
  stored bigint;
BEGIN
  PERFORM comet.set_sync(full_);
  base := comet.take_turn(wait_ms);
  INSERT INTO comet.message_log(id, channel, type, author, body)
    SELECT base + u.n, u.c, u.t, u.a, u.b
      FROM unnest(channels, types, authors, bodies)
           WITH ORDINALITY AS u(c, t, a, b, n);
  GET DIAGNOSTICS stored = ROW_COUNT;
  IF stored < cardinality(channels) THEN
    RAISE EXCEPTION 'a trigger has dropped a message'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN base + 1;
END $$;

-- Append groups with keys.  groups[i] is the number, counted from 1, of the
-- group that message i belongs to.  Returns a row for each group.  The row's
-- "result" is 0: the group was stored; 1: it was stored before; 2: another
-- group was stored under its key.
CREATE FUNCTION comet.append_keyed(channels text[], types text[],
  authors text[], bodies text[], groups bigint[], key_groups bigint[],
  key_channels text[], key_authors text[], key_texts text[],
  key_hashes bytea[], wait_ms integer, full_ boolean)
RETURNS TABLE(grp bigint, result bigint, first bigint) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  base bigint;
  old_groups bigint[];
  now_ bigint := comet.now_us();
BEGIN
  PERFORM comet.set_sync(full_);
  base := comet.take_turn(wait_ms);
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
        FROM unnest(channels, types, authors, bodies, groups)
             WITH ORDINALITY AS u(c, t, a, b, g, n)
       WHERE u.g <> ALL (old_groups)),
    stored AS (
      INSERT INTO comet.message_log(id, channel, type, author, body)
        SELECT m.id, m.c, m.t, m.a, m.b FROM m),
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
END $$;

-- Number the messages that other programs have committed.  Only one session at
-- a time does so; otherwise the rows of one transaction could get out of order.
--   low  the number of a transaction: read only its rows and those of later
--        transactions.  All earlier rows were moved, or never will be.  Without
--        this limit the scan would read all rows that are dead but cannot be
--        vacuumed while some transaction is open.
--        '0': read all rows
-- Returns how many messages were moved, and the value of "low" for the next
-- call.
CREATE FUNCTION comet.move(low xid8, most integer, wait_ms integer,
  full_ boolean, OUT moved bigint, OUT next_low text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  base bigint;
  cs text[];
  ts text[];
  aus text[];
  bs text[];
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
     WHERE (i.xid, i.seq) = (due.xid, due.seq) RETURNING i.*)
  SELECT array_agg(channel ORDER BY seq), array_agg(type ORDER BY seq),
         array_agg(author ORDER BY seq), array_agg(body ORDER BY seq), count(*)
    INTO cs, ts, aus, bs, moved FROM taken;
  IF moved = most THEN
    next_low := low::text;
  END IF;
  IF moved > 0 THEN
    base := comet.take_turn(wait_ms);
    INSERT INTO comet.message_log(id, channel, type, author, body)
      SELECT base + u.n, u.c, u.t, u.a, u.b
        FROM unnest(cs, ts, aus, bs) WITH ORDINALITY AS u(c, t, a, b, n);
  END IF;
END $$;

-- ---- Reading ----------------------------------------------------------------

-- Return two values, at least one of which changes whenever the log does.
-- Between a promotion and the first append after it, "last" is already ahead of
-- the system clock, though by less than in begin_timeline().  So cursors that
-- the lost server has given out are not taken for those of another database.
CREATE FUNCTION comet.state(OUT last bigint, OUT erased bigint)
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
  SELECT greatest(k.last, (SELECT max(l.id) FROM comet.message_log l)),
         k.erased, k.timeline
    INTO last, erased, known FROM comet.clock k;
  IF known <> here THEN
    last := comet.latest_time(last) + 5000000;
  END IF;
END $$;

-- The channels whose names begin with a prefix, in the order of the names'
-- bytes.
CREATE FUNCTION comet.channels(prefix text, most bigint) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
  c text COLLATE "C";
  n bigint := 0;
BEGIN
  SELECT m.channel INTO c FROM comet.message_log m
   WHERE m.channel >= prefix ORDER BY m.channel LIMIT 1;
  WHILE c IS NOT NULL AND starts_with(c, prefix) AND n < most LOOP
    RETURN NEXT c;
    n := n + 1;
    SELECT m.channel INTO c FROM comet.message_log m
     WHERE m.channel > c ORDER BY m.channel LIMIT 1;
  END LOOP;
END $$;

-- The channels of a selection: its names, and the channels under its prefixes
-- that have messages.
CREATE FUNCTION comet.selected(names text[], prefixes text[])
RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT n FROM unnest(names) n
  UNION
  SELECT c FROM unnest(prefixes) p, comet.channels(p, 9223372036854775807) c
$$;

CREATE FUNCTION comet.floor_of(names text[]) RETURNS bigint
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
BEGIN
  RETURN coalesce((SELECT max(f.floor) FROM comet.floor f
                    WHERE f.channel = ANY (names)), 0);
END $$;

-- The messages of a channel with after < id < before, but at most "most" of
-- them: the oldest first or, if backwards, the newest first.  Reading ends
-- early once the bodies have "most_bytes" bytes.
CREATE FUNCTION comet.read_one(name text, after bigint, before bigint,
  most bigint, most_bytes bigint, backwards boolean)
RETURNS TABLE(id bigint, channel text, type text, author text, body text)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
DECLARE
  bytes bigint := 0;
BEGIN
  IF backwards THEN
    FOR id, channel, type, author, body IN
      SELECT m.* FROM comet.message_log m
       WHERE m.channel = name AND m.id > after AND m.id < before
       ORDER BY m.channel DESC, m.id DESC LIMIT most
    LOOP
      RETURN NEXT;
      bytes := bytes + octet_length(body);
      EXIT WHEN bytes >= most_bytes;
    END LOOP;
  ELSE
    FOR id, channel, type, author, body IN
      SELECT m.* FROM comet.message_log m
       WHERE m.channel = name AND m.id > after AND m.id < before
       ORDER BY m.channel, m.id LIMIT most
    LOOP
      RETURN NEXT;
      bytes := bytes + octet_length(body);
      EXIT WHEN bytes >= most_bytes;
    END LOOP;
  END IF;
END $$;

-- Like comet.read_one(), but for a selection of several names or prefixes, by a
-- walk over the log.  The walk ends early after "patience" rows; then the last
-- row returned has only an id, which says how far the walk came.
CREATE FUNCTION comet.walk(names text[], prefixes text[], after bigint,
  before bigint, most bigint, most_bytes bigint, backwards boolean,
  patience bigint)
RETURNS TABLE(id bigint, channel text, type text, author text, body text)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  every boolean := '' = ANY (prefixes);
  any_prefix boolean := cardinality(prefixes) > 0;
  forwards refcursor;
  r record;
  bytes bigint := 0;
  found_ bigint := 0;
  passed bigint := 0;
BEGIN
  IF backwards THEN
    OPEN forwards NO SCROLL FOR
      SELECT m.*, m.channel IN (SELECT unnest(names)) AS named
        FROM comet.message_log m WHERE m.id > after AND m.id < before
       ORDER BY m.id DESC;
  ELSE
    OPEN forwards NO SCROLL FOR
      SELECT m.*, m.channel IN (SELECT unnest(names)) AS named
        FROM comet.message_log m WHERE m.id > after AND m.id < before
       ORDER BY m.id;
  END IF;
  LOOP
    FETCH forwards INTO r;
    EXIT WHEN NOT FOUND;
    passed := passed + 1;
    IF every OR r.named
       OR (any_prefix AND EXISTS (SELECT FROM unnest(prefixes) p
                                   WHERE starts_with(r.channel, p))) THEN
      id := r.id; channel := r.channel; type := r.type; author := r.author;
      body := r.body;
      RETURN NEXT;
      found_ := found_ + 1;
      bytes := bytes + octet_length(body);
      EXIT WHEN found_ = most OR bytes >= most_bytes;
    END IF;
    IF passed >= patience AND NOT every THEN
      id := r.id; channel := NULL; type := NULL; author := NULL; body := NULL;
      RETURN NEXT;
      EXIT;
    END IF;
  END LOOP;
  CLOSE forwards;
END $$;

-- Like comet.walk(), but using the index of the channels; for the messages that
-- the walk has not reached.
CREATE FUNCTION comet.merge(names text[], prefixes text[], after bigint,
  before bigint, most bigint, most_bytes bigint, backwards boolean)
RETURNS TABLE(id bigint, channel text, type text, author text, body text)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  ids bigint[];
  i bigint;
  bytes bigint := 0;
BEGIN
  IF backwards THEN
    ids := ARRAY(
      SELECT x.id FROM comet.selected(names, prefixes) c CROSS JOIN LATERAL
        (SELECT l.id FROM comet.message_log l
          WHERE l.channel = c AND l.id > after AND l.id < before
          ORDER BY l.channel DESC, l.id DESC LIMIT most) x
       ORDER BY x.id DESC LIMIT most);
  ELSE
    ids := ARRAY(
      SELECT x.id FROM comet.selected(names, prefixes) c CROSS JOIN LATERAL
        (SELECT l.id FROM comet.message_log l
          WHERE l.channel = c AND l.id > after AND l.id < before
          ORDER BY l.channel, l.id LIMIT most) x
       ORDER BY x.id LIMIT most);
  END IF;
  FOREACH i IN ARRAY ids LOOP
    SELECT m.* INTO id, channel, type, author, body
      FROM comet.message_log m WHERE m.id = i;
    RETURN NEXT;
    bytes := bytes + octet_length(body);
    EXIT WHEN bytes >= most_bytes;
  END LOOP;
END $$;

CREATE FUNCTION comet.read_many(names text[], prefixes text[], after bigint,
  before bigint, most bigint, most_bytes bigint, backwards boolean)
RETURNS TABLE(id bigint, channel text, type text, author text, body text)
LANGUAGE plpgsql STABLE SET jit = off AS $$
DECLARE
  patience bigint := most + 4 * (cardinality(names)
                                 + 64 * cardinality(prefixes));
  left_ bigint := most;
  bytes bigint := most_bytes;
BEGIN
  FOR id, channel, type, author, body IN
    SELECT * FROM comet.walk(names, prefixes, after, before, most, most_bytes,
                             backwards, patience)
  LOOP
    IF channel IS NOT NULL THEN
      RETURN NEXT;
      left_ := left_ - 1;
      bytes := bytes - octet_length(body);
    ELSE
      RETURN QUERY SELECT * FROM comet.merge(names, prefixes,
        CASE WHEN backwards THEN after ELSE id END,
        CASE WHEN backwards THEN id ELSE before END, left_, bytes, backwards);
    END IF;
  END LOOP;
END $$;

-- Find where a replay of "count" messages begins.  "cursor" is the timestamp
-- just before the first of them; 0: the selection has no more than "count"
-- messages.  any_ is 1 if the selection has any messages.
CREATE FUNCTION comet.replay(names text[], prefixes text[], count bigint,
  OUT "cursor" bigint, OUT any_ bigint)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
  any_ := 0;
  IF '' = ANY (prefixes) THEN
    SELECT m.id INTO "cursor" FROM comet.message_log m
     ORDER BY m.id DESC OFFSET count LIMIT 1;
    SELECT 1 INTO any_ FROM comet.message_log m LIMIT 1;
  ELSIF cardinality(names) = 1 AND cardinality(prefixes) = 0 THEN
    SELECT m.id INTO "cursor" FROM comet.message_log m
     WHERE m.channel = names[1]
     ORDER BY m.channel DESC, m.id DESC OFFSET count LIMIT 1;
    SELECT 1 INTO any_ FROM comet.message_log m
     WHERE m.channel = names[1] LIMIT 1;
  ELSE
    SELECT x.id INTO "cursor"
      FROM comet.selected(names, prefixes) c CROSS JOIN LATERAL
        (SELECT l.id FROM comet.message_log l WHERE l.channel = c
          ORDER BY l.channel DESC, l.id DESC LIMIT count + 1) x
     ORDER BY x.id DESC OFFSET count LIMIT 1;
    SELECT 1 INTO any_
      FROM comet.selected(names, prefixes) c
     WHERE EXISTS (SELECT FROM comet.message_log l WHERE l.channel = c) LIMIT 1;
  END IF;
  "cursor" := coalesce("cursor", 0);
  any_ := coalesce(any_, 0);
END $$;

-- The cursor after which all channels together have at most "count" messages.
CREATE FUNCTION comet.recent(count bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN coalesce((SELECT m.id FROM comet.message_log m
                    ORDER BY m.id DESC OFFSET count LIMIT 1), 0);
END $$;

CREATE FUNCTION comet.has(wanted bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN CASE WHEN EXISTS (SELECT FROM comet.message_log m
                            WHERE m.id = wanted) THEN 1 ELSE 0 END;
END $$;

-- ---- Upkeep -----------------------------------------------------------------

-- Remove at most "most" messages of a channel: those beyond the newest
-- keep_count, and those that are older by more than keep_age than the newest
-- message or, if it is earlier, than now_.  A keep_count or keep_age of 0 means
-- "no such limit".
CREATE FUNCTION comet.prune_channel(name text, keep_count bigint,
  keep_age bigint, now_ bigint, most bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  upto bigint := 0;
  newest bigint;
  n bigint;
  top bigint;
BEGIN
  IF keep_count > 0 THEN
    SELECT id INTO upto FROM comet.message_log WHERE channel = name
     ORDER BY channel DESC, id DESC OFFSET keep_count LIMIT 1;
  END IF;
  IF keep_age > 0 THEN
    SELECT id INTO newest FROM comet.message_log WHERE channel = name
     ORDER BY channel DESC, id DESC LIMIT 1;
    upto := greatest(upto, least(newest, now_) - keep_age - 1);
  END IF;
  WITH due AS (
    SELECT id FROM comet.message_log WHERE channel = name AND id <= upto
     ORDER BY channel, id LIMIT most FOR UPDATE SKIP LOCKED),
  gone AS (
    DELETE FROM comet.message_log m USING due WHERE m.id = due.id
    RETURNING m.id)
  SELECT count(*), max(id) INTO n, top FROM gone;
  IF n > 0 THEN
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
CREATE FUNCTION comet.prune(since bigint, until_ bigint, name text,
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
      SELECT m.channel INTO c FROM comet.message_log m
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
    (SELECT m.id FROM comet.message_log m
      WHERE m.id > since AND m.id <= until_ ORDER BY m.id LIMIT 4096) x;
  IF upto IS NULL THEN
    next_since := NULL;
    RETURN;
  END IF;
  FOR c IN SELECT DISTINCT m.channel FROM comet.message_log m
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

-- Remove expired Idempotency-Keys.  If the clock was set back, make keys expire
-- in a day at the latest.  Returns the number of removed rows or the number of
-- changed rows, whichever is larger.
CREATE FUNCTION comet.tidy(most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_ bigint := comet.now_us();
  n bigint;
  m bigint;
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
  RETURN greatest(n, m);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
COMMIT;
