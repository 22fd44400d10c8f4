-- SPDX-License-Identifier: Apache-2.0
-- Version 3 of mod_comet's schema for PostgreSQL: presence, that is, who is
-- online.  schema.sql runs this file.
--
-- The view comet.online has a row for each channel and each member who is
-- connected to it now, through any of the web servers.  Read the view, and
-- delete from it to throw a member out:
--
--   SELECT member, to_timestamp(since / 1e6) FROM comet.online
--    WHERE channel = 'room/42';
--   DELETE FROM comet.online WHERE member = 'mallory';
--
-- The streams and polls of a member who is thrown out end within a second of
-- the commit.  The member's client then reconnects and is authorised again, so
-- revoke the member's permission first.  A program may also insert people who
-- are online by other means; they stay in the view until the program deletes
-- them:
--
--   INSERT INTO comet.online(channel, member, info)
--   VALUES('room/42', 'ann', '{"by": "phone"}');
--
-- Like inserted messages, these changes take effect after the commit, when a
-- web server takes them from an inbox.
--
-- Joins and leaves are published to the sibling channel, room/42/@online, as
-- messages of the types join and leave, with the member as their author.  If a
-- channel has more members than the limit of CometPresence, only the number of
-- members is published (type count).

\set ON_ERROR_STOP on
BEGIN;
\set version 3
\ir version.sql

-- The children of all web servers.  A child raises its "beat" repeatedly.  If
-- the beat stays the same for "patience" milliseconds, the child counts as
-- gone, and another child removes it together with its rows.
CREATE TABLE comet.presence_holder(
  id bigint PRIMARY KEY,
  host text NOT NULL,
  pid integer NOT NULL,
  beat bigint NOT NULL DEFAULT 0,
  patience bigint NOT NULL,
  -- when the beat was last raised, by the clock of the database server
  renewed timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- One row for each channel, member and child (the holder), however many clients
-- of the member are connected to that child.  Rows that a program inserts into
-- "online" have the holder 0.
CREATE TABLE comet.presence_row(
  channel text COLLATE "C" NOT NULL,
  member text COLLATE "C" NOT NULL,
  holder bigint NOT NULL,
  since bigint NOT NULL,
  -- JSON about the member, from the site's application; or NULL.
  info text,
  -- Set to 1 just before the row is deleted, if the member is being thrown out.
  removed smallint NOT NULL DEFAULT 0,
  PRIMARY KEY (channel, member, holder),
  -- the limit leaves room for "/@online" within the 255 bytes of a name
  CONSTRAINT "a channel with presence has a name of 1 to 247 bytes"
    CHECK (octet_length(channel) BETWEEN 1 AND 247),
  CONSTRAINT "a channel's name has no control characters"
    CHECK (channel !~ '[\u0001-\u001f\u007f-\u009f]'),
  CONSTRAINT "a channel's name has no empty, '.' or '..' path segment"
    CHECK (strpos('/' || channel || '/', '//') = 0
           AND strpos('/' || channel || '/', '/./') = 0
           AND strpos('/' || channel || '/', '/../') = 0),
  CONSTRAINT "a member is text of 1 to 255 bytes"
    CHECK (octet_length(member) BETWEEN 1 AND 255),
  CONSTRAINT "info is NULL or text of at most 2048 bytes"
    CHECK (octet_length(info) <= 2048)
);
CREATE INDEX presence_row_by_holder ON comet.presence_row(holder);
CREATE INDEX presence_row_by_member ON comet.presence_row(member);

-- How many clients without a name each child has in a channel.
CREATE TABLE comet.presence_anonymous(
  channel text COLLATE "C" NOT NULL,
  holder bigint NOT NULL,
  clients bigint NOT NULL,
  PRIMARY KEY (channel, holder)
);
CREATE INDEX presence_anonymous_by_holder ON comet.presence_anonymous(holder);

-- The channels that have members or nameless clients.
CREATE TABLE comet.presence_channel(
  name text COLLATE "C" PRIMARY KEY,
  -- If there are more members than this, joins and leaves are not published one
  -- by one.
  most bigint NOT NULL DEFAULT 100,
  members bigint NOT NULL DEFAULT 0,
  -- A message of the type count is due.
  changed boolean NOT NULL DEFAULT false
);
CREATE INDEX presence_channel_changed ON comet.presence_channel(name)
  WHERE changed;

-- What is known about everybody who has been in a channel.  A row lasts as long
-- as CometPresenceMemory says.  For each member, only the newest 10,000 rows
-- are kept.
CREATE TABLE comet.last_seen(
  channel text COLLATE "C" NOT NULL,
  member text COLLATE "C" NOT NULL,
  -- The timestamp at which the member last left; NULL: the member has not left
  -- yet.
  left_at bigint,
  -- The timestamp of the newest message that the member has read; NULL: not
  -- known.
  read_at bigint,
  PRIMARY KEY (channel, member)
);
CREATE INDEX last_seen_by_member ON comet.last_seen(member);

-- Changes that programs have made to "online", and that no web server has
-- carried out yet.
CREATE TABLE comet.online_inbox(
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  seq bigint GENERATED ALWAYS AS IDENTITY,
  comes boolean NOT NULL,
  LIKE comet.presence_row INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
  PRIMARY KEY (xid, seq)
);
ALTER TABLE comet.online_inbox SET (autovacuum_vacuum_scale_factor = 0,
                                    autovacuum_vacuum_threshold = 1000);

CREATE VIEW comet.online(channel, member, since, info) AS
  SELECT channel, member, min(since), (array_agg(info ORDER BY since))[1]
    FROM comet.presence_row GROUP BY channel, member;

-- Everybody who has been in a channel and is not forgotten yet, with whether
-- they are online and how many messages they have not read.
--
--   SELECT member, unread FROM comet.member
--    WHERE channel = 'room/42' AND NOT online;
CREATE VIEW comet.member(channel, member, online, left_at, read_at, unread) AS
  SELECT s.channel, s.member,
         EXISTS (SELECT FROM comet.presence_row p
                  WHERE p.channel = s.channel AND p.member = s.member),
         s.left_at, s.read_at,
         (SELECT count(*) FROM comet.log m
           WHERE m.channel = s.channel AND m.id > coalesce(s.read_at, 0)
             AND m.private = 0 AND m.keep IS NULL)
    FROM comet.last_seen s;

-- ---- What applications do ---------------------------------------------------

CREATE FUNCTION comet.online_change() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO comet.online_inbox(comes, channel, member, holder, since, info)
      VALUES(true, NEW.channel, NEW.member, 0,
             coalesce(NEW.since, comet.now_us()), NEW.info);
    RETURN NEW;
  END IF;
  INSERT INTO comet.online_inbox(comes, channel, member, holder, since)
    VALUES(false, OLD.channel, OLD.member, 0, 0);
  RETURN OLD;
END $$;
CREATE TRIGGER online_change INSTEAD OF INSERT OR DELETE ON comet.online
  FOR EACH ROW EXECUTE FUNCTION comet.online_change();

-- ---- Joins and leaves -------------------------------------------------------

-- Publish a message that the server itself has written.  Returns its timestamp.
CREATE FUNCTION comet.say(channel_ text, type_ text, author_ text, body_ text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  base bigint := comet.take_turn(1000);
BEGIN
  INSERT INTO comet.log(id, channel, type, author, body)
    VALUES(base + 1, channel_, type_, author_, body_);
  RETURN base + 1;
END $$;

-- The body of a message of the type count.
CREATE FUNCTION comet.count_of(c comet.presence_channel, members_ bigint,
  begins text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT begins || '"count": ' || members_ || ', "most": ' || c.most
         || ', "anonymous": '
         || (SELECT coalesce(sum(clients), 0) FROM comet.presence_anonymous
              WHERE channel = c.name)
         || '}'
$$;

-- A member joins when its first row is inserted.
CREATE FUNCTION comet.presence_join() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r record;
  c comet.presence_channel;
BEGIN
  FOR r IN
    SELECT x.channel, x.member, (array_agg(x.info ORDER BY x.since))[1] AS info
      FROM came x GROUP BY x.channel, x.member
    HAVING count(*) = (SELECT count(*) FROM comet.presence_row p
                        WHERE p.channel = x.channel AND p.member = x.member)
  LOOP
    INSERT INTO comet.presence_channel(name) VALUES(r.channel)
      ON CONFLICT DO NOTHING;
    UPDATE comet.presence_channel
       SET members = members + 1, changed = changed OR members >= most
     WHERE name = r.channel RETURNING * INTO c;
    IF c.members <= c.most THEN
      PERFORM comet.say(r.channel || '/@online', 'join', r.member,
                        coalesce(r.info, '{}'));
    END IF;
    INSERT INTO comet.last_seen(channel, member) VALUES(r.channel, r.member)
      ON CONFLICT DO NOTHING;
  END LOOP;
  RETURN NULL;
END $$;
CREATE TRIGGER presence_join AFTER INSERT ON comet.presence_row
  REFERENCING NEW TABLE AS came
  FOR EACH STATEMENT EXECUTE FUNCTION comet.presence_join();

-- A member leaves when its last row is deleted.  When a published message says
-- "removed", each child checks which of its own rows were deleted.
CREATE FUNCTION comet.presence_leave() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r record;
  c comet.presence_channel;
  at_ bigint;
BEGIN
  FOR r IN
    SELECT g.channel, g.member, max(g.removed) = 1 AS removed
      FROM gone g
     WHERE NOT EXISTS (SELECT FROM comet.presence_row p
                        WHERE p.channel = g.channel AND p.member = g.member)
     GROUP BY g.channel, g.member
  LOOP
    at_ := NULL;
    SELECT * INTO c FROM comet.presence_channel WHERE name = r.channel;
    IF c.members <= c.most THEN
      at_ := comet.say(r.channel || '/@online', 'leave', r.member,
                       CASE WHEN r.removed THEN '{"removed": true}'
                            ELSE '{}' END);
    ELSIF r.removed THEN
      at_ := comet.say(r.channel || '/@online', 'count', NULL,
                       comet.count_of(c, c.members - 1, '{"removed": true, '));
    END IF;
    UPDATE comet.presence_channel
       SET members = members - 1, changed = changed OR members > most
     WHERE name = r.channel;
    UPDATE comet.last_seen
       SET left_at = coalesce(at_, (SELECT max(id) FROM comet.log))
     WHERE channel = r.channel AND member = r.member;
  END LOOP;
  RETURN NULL;
END $$;
CREATE TRIGGER presence_leave AFTER DELETE ON comet.presence_row
  REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION comet.presence_leave();

CREATE FUNCTION comet.presence_channel_empty() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM comet.presence_channel c
   WHERE c.name = NEW.name AND c.members = 0 AND NOT c.changed
     AND NOT EXISTS (SELECT FROM comet.presence_anonymous a
                      WHERE a.channel = NEW.name);
  RETURN NULL;
END $$;
CREATE TRIGGER presence_channel_empty AFTER UPDATE ON comet.presence_channel
  FOR EACH ROW WHEN (NEW.members = 0 AND NOT NEW.changed)
  EXECUTE FUNCTION comet.presence_channel_empty();

CREATE FUNCTION comet.presence_numbers() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO comet.presence_channel(name, changed)
    VALUES(CASE WHEN TG_OP = 'DELETE' THEN OLD.channel ELSE NEW.channel END,
           true)
    ON CONFLICT (name) DO UPDATE SET changed = true;
  RETURN NULL;
END $$;
CREATE TRIGGER presence_numbers
  AFTER INSERT OR UPDATE OR DELETE ON comet.presence_anonymous
  FOR EACH ROW EXECUTE FUNCTION comet.presence_numbers();

CREATE FUNCTION comet.presence_holder_gone() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM comet.presence_row WHERE holder = OLD.id;
  DELETE FROM comet.presence_anonymous WHERE holder = OLD.id;
  RETURN OLD;
END $$;
CREATE TRIGGER presence_holder_gone BEFORE DELETE ON comet.presence_holder
  FOR EACH ROW EXECUTE FUNCTION comet.presence_holder_gone();

-- Return the timestamp up to which a member has read a channel, and the number
-- of messages that the member has not read.  The count stops at "most".
CREATE FUNCTION comet.unread(channel_ text, member_ text, most bigint,
  OUT read bigint, OUT count bigint)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
  SELECT s.read_at INTO read FROM comet.last_seen s
   WHERE s.channel = channel_ AND s.member = member_;
  read := coalesce(read, 0);
  SELECT count(*) INTO count FROM (
    SELECT FROM comet.log m
     WHERE m.channel = channel_ AND m.id > read AND m.private = 0
       AND m.keep IS NULL LIMIT most) x;
END $$;

-- ---- What the web servers do ------------------------------------------------

-- Raise a child's beat, and make changes.  A member NULL stands for the clients
-- without a name.  Rows are changed only by the session that has the turn, so
-- that no two servers take the same row for a member's first or last one.
-- Returns 0 if the holder's row is missing, because another child has declared
-- this child dead.
CREATE FUNCTION comet.online_write(holder_ bigint, host_ text, pid_ bigint,
  patience_ bigint, is_new boolean, channels text[], mosts bigint[],
  members text[], infos text[], sinces bigint[], clients_ bigint[],
  reads bigint[], wait_ms integer, full_ boolean)
RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  u record;
BEGIN
  PERFORM comet.set_sync(full_);
  PERFORM set_config('lock_timeout', wait_ms::text, true);
  IF cardinality(channels) > 0 THEN
    PERFORM comet.take_turn(wait_ms);
  END IF;
  IF is_new THEN
    -- an earlier attempt may have succeeded although no answer arrived
    INSERT INTO comet.presence_holder AS h(id, host, pid, patience)
      VALUES(holder_, host_, pid_, patience_)
      ON CONFLICT (id) DO UPDATE SET beat = h.beat + 1;
  ELSE
    UPDATE comet.presence_holder
       SET beat = beat + 1, patience = patience_, renewed = clock_timestamp()
     WHERE id = holder_;
    IF NOT FOUND THEN
      RETURN 0;
    END IF;
  END IF;
  FOR u IN
    SELECT * FROM unnest(channels, mosts, members, infos, sinces, clients_,
                         reads)
             WITH ORDINALITY AS x(channel, most, member, info, since, clients,
                                  read, n) ORDER BY n
  LOOP
    CONTINUE WHEN octet_length(u.channel) > 247
               OR octet_length(u.member) > 255
               OR octet_length(u.info) > 2048;
    IF u.clients = 0 AND u.member IS NOT NULL THEN
      DELETE FROM comet.presence_row
       WHERE channel = u.channel AND member = u.member AND holder = holder_;
    ELSIF u.clients = 0 THEN
      DELETE FROM comet.presence_anonymous
       WHERE channel = u.channel AND holder = holder_;
    ELSE
      INSERT INTO comet.presence_channel AS c(name, most)
        VALUES(u.channel, u.most)
        ON CONFLICT (name) DO UPDATE SET most = excluded.most
         WHERE c.most <> excluded.most;
      IF u.member IS NOT NULL THEN
        INSERT INTO comet.presence_row(channel, member, holder, since, info)
          VALUES(u.channel, u.member, holder_, u.since, u.info)
          ON CONFLICT DO NOTHING;
      ELSE
        INSERT INTO comet.presence_anonymous(channel, holder, clients)
          VALUES(u.channel, holder_, u.clients)
          ON CONFLICT (channel, holder) DO UPDATE
            SET clients = excluded.clients;
      END IF;
    END IF;
    IF u.read > 0 THEN
      INSERT INTO comet.last_seen AS s(channel, member, read_at)
        VALUES(u.channel, u.member, u.read)
        ON CONFLICT (channel, member) DO UPDATE SET read_at = excluded.read_at
         WHERE coalesce(s.read_at, 0) < excluded.read_at;
      IF FOUND THEN
        PERFORM comet.say(name || '/@online', 'read', u.member,
                          '{"read": ' || u.read || '}')
           FROM comet.presence_channel
          WHERE name = u.channel AND comet.presence_channel.members <= most;
      END IF;
    END IF;
  END LOOP;
  RETURN 1;
END $$;

-- Remove at most "slice" rows of a holder that is gone; after the last row,
-- remove the holder.  Returns 1 if there may be more rows.
CREATE FUNCTION comet.online_sweep(holder_ bigint, slice bigint,
  wait_ms integer, full_ boolean)
RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  n bigint;
BEGIN
  PERFORM comet.set_sync(full_);
  PERFORM comet.take_turn(wait_ms);
  DELETE FROM comet.presence_row WHERE holder = holder_
     AND (channel, member) IN (SELECT p.channel, p.member
                                 FROM comet.presence_row p
                                WHERE p.holder = holder_ LIMIT slice);
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n = slice THEN
    RETURN 1;
  END IF;
  DELETE FROM comet.presence_anonymous WHERE holder = holder_
     AND channel IN (SELECT a.channel FROM comet.presence_anonymous a
                      WHERE a.holder = holder_ LIMIT slice);
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n = slice THEN
    RETURN 1;
  END IF;
  DELETE FROM comet.presence_holder WHERE id = holder_;
  RETURN 0;
END $$;

-- Publish the numbers of members and of other clients, for at most "slice"
-- channels in which a number has changed.  Returns the number of these
-- channels.
CREATE FUNCTION comet.online_publish(slice bigint, wait_ms integer,
  full_ boolean)
RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  c comet.presence_channel;
  n bigint := 0;
BEGIN
  IF NOT EXISTS (SELECT FROM comet.presence_channel WHERE changed) THEN
    RETURN 0;
  END IF;
  PERFORM comet.set_sync(full_);
  PERFORM comet.take_turn(wait_ms);
  FOR c IN SELECT * FROM comet.presence_channel WHERE changed
            ORDER BY name LIMIT slice
  LOOP
    PERFORM comet.say(c.name || '/@online', 'count', NULL,
                      comet.count_of(c, c.members, '{'));
    UPDATE comet.presence_channel SET changed = false WHERE name = c.name;
    n := n + 1;
  END LOOP;
  RETURN n;
END $$;

-- Throw a member out of a channel.  Returns how many rows were deleted.
CREATE FUNCTION comet.remove_member(channel_ text, member_ text,
  wait_ms integer, full_ boolean)
RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  PERFORM comet.set_sync(full_);
  PERFORM comet.take_turn(wait_ms);
  UPDATE comet.presence_row SET removed = 1
   WHERE channel = channel_ AND member = member_;
  DELETE FROM comet.presence_row
   WHERE channel = channel_ AND member = member_;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

-- Carry out the changes that programs have committed to "online".  Only
-- comet.move() calls this.  Returns how many changes there were.
CREATE FUNCTION comet.move_online(low xid8, most integer, wait_ms integer)
RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  r comet.online_inbox;
  n bigint := 0;
BEGIN
  IF NOT EXISTS (SELECT FROM comet.online_inbox WHERE xid >= low) THEN
    RETURN 0;
  END IF;
  PERFORM comet.take_turn(wait_ms);
  FOR r IN
    SELECT i.* FROM comet.online_inbox i WHERE i.xid >= low
     ORDER BY i.xid, i.seq LIMIT most FOR UPDATE SKIP LOCKED
  LOOP
    DELETE FROM comet.online_inbox WHERE (xid, seq) = (r.xid, r.seq);
    n := n + 1;
    IF r.comes THEN
      INSERT INTO comet.presence_row(channel, member, holder, since, info)
        VALUES(r.channel, r.member, 0, r.since, r.info)
        ON CONFLICT DO NOTHING;
    ELSE
      UPDATE comet.presence_row SET removed = 1
       WHERE channel = r.channel AND member = r.member;
      DELETE FROM comet.presence_row
       WHERE channel = r.channel AND member = r.member;
    END IF;
  END LOOP;
  RETURN n;
END $$;

-- Put rows of the inbox into the message log.  A trigger or a constraint that
-- somebody has added to the log may refuse some rows.  These are dropped, with
-- a warning in the database server's own log; the others are published.
CREATE FUNCTION comet.log_rows(base bigint, rows_ comet.inbox[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  u comet.inbox;
  last bigint := base;
BEGIN
  INSERT INTO comet.log(id, channel, type, author, body, private, event,
                        retry, keep, expires)
    SELECT base + row_number() OVER (ORDER BY r.seq), r.channel, r.type,
           r.author, r.body, r.private, r.event, r.retry, r.keep, r.expires
      FROM unnest(rows_) r;
EXCEPTION WHEN integrity_constraint_violation OR data_exception
            OR raise_exception THEN
  FOREACH u IN ARRAY rows_ LOOP
    BEGIN
      INSERT INTO comet.log(id, channel, type, author, body, private, event,
                            retry, keep, expires)
        VALUES(last + 1, u.channel, u.type, u.author, u.body, u.private,
               u.event, u.retry, u.keep, u.expires);
      last := last + 1;
    EXCEPTION WHEN integrity_constraint_violation OR data_exception
                OR raise_exception THEN
      RAISE WARNING 'comet: a message for the channel % was refused: %',
        u.channel, SQLERRM;
    END;
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION comet.move(low xid8, most integer, wait_ms integer,
  full_ boolean, OUT moved bigint, OUT next_low text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  rows_ comet.inbox[];
  changes bigint;
BEGIN
  moved := 0;
  -- this must be read before the look into the inbox
  next_low := pg_snapshot_xmin(pg_current_snapshot())::text;
  IF NOT EXISTS (SELECT FROM comet.inbox WHERE xid >= low)
     AND NOT EXISTS (SELECT FROM comet.online_inbox WHERE xid >= low) THEN
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
  IF moved > 0 THEN
    PERFORM comet.log_rows(comet.take_turn(wait_ms), rows_);
  END IF;
  changes := comet.move_online(low, most, wait_ms);
  IF moved = most OR changes = most THEN
    next_low := low::text;
  END IF;
  moved := greatest(moved, changes);
END $$;

-- Forget members who are not online and whose last sign of life is older than
-- "oldest".  If a member has more than "most" rows, also forget that member's
-- oldest rows.  One call covers a slice of the table: about "slice" rows,
-- namely all rows of some members that follow the member "after".  Returns how
-- many rows were removed, and the member after which the next slice begins;
-- NULL: this was the last slice.
CREATE FUNCTION comet.online_forget(oldest bigint, slice bigint, most bigint,
  after text, OUT removed bigint, OUT next_after text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  upto text COLLATE "C";
  more bigint;
BEGIN
  PERFORM set_config('lock_timeout', '50', true);
  SELECT s.member INTO upto FROM comet.last_seen s WHERE s.member > after
   ORDER BY s.member OFFSET slice - 1 LIMIT 1;
  next_after := upto;
  IF upto IS NULL THEN
    SELECT max(s.member) INTO upto FROM comet.last_seen s;
  END IF;
  DELETE FROM comet.last_seen WHERE (channel, member) IN (
    SELECT s.channel, s.member FROM comet.last_seen s
     WHERE s.member > after AND s.member <= upto
       AND greatest(s.left_at, s.read_at, 0) < oldest
       AND NOT EXISTS (SELECT FROM comet.presence_row p
                        WHERE p.channel = s.channel AND p.member = s.member)
     LIMIT slice FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS removed = ROW_COUNT;
  IF removed < slice THEN
    DELETE FROM comet.last_seen WHERE (channel, member) IN (
      SELECT s.channel, s.member FROM (
        SELECT l.channel, l.member, row_number() OVER (
                 PARTITION BY l.member
                 ORDER BY greatest(l.left_at, l.read_at, 0) DESC) AS place
          FROM comet.last_seen l
         WHERE l.member IN (SELECT s.member FROM comet.last_seen s
                             WHERE s.member > after AND s.member <= upto
                             GROUP BY s.member HAVING count(*) > most)) s
       WHERE s.place > most
         AND NOT EXISTS (SELECT FROM comet.presence_row p
                          WHERE p.channel = s.channel AND p.member = s.member)
       LIMIT slice);
    GET DIAGNOSTICS more = ROW_COUNT;
    removed := greatest(removed, more);
  END IF;
  IF removed >= slice THEN
    next_after := after;    -- the slice may have more rows to remove
  END IF;
END $$;

-- Remove the rows that children of web servers with presence have left behind.
-- Web servers without presence call this, since there may be no running server
-- with presence that would do so.
CREATE FUNCTION comet.online_abandon(wait_ms integer)
RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM comet.presence_holder
              WHERE renewed < clock_timestamp() - 3 * patience
                              * interval '1 ms') THEN
    PERFORM comet.take_turn(wait_ms);
    DELETE FROM comet.presence_holder
     WHERE renewed < clock_timestamp() - 3 * patience * interval '1 ms';
  END IF;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
COMMIT;
