-- SPDX-License-Identifier: Apache-2.0
-- Version 4 of mod_comet's schema for PostgreSQL: web servers send fewer
-- queries.  schema.sql runs this file.
--
-- Web servers with an older module continue to work meanwhile.

\set ON_ERROR_STOP on
BEGIN;
\set version 4
\ir version.sql

-- ---- The inbox --------------------------------------------------------------

-- Note that a web server looks into the inbox.  The servers take turns, by the
-- clock of the database: this returns how many servers there are, which turn
-- this one has (counted from 0), and the time by that clock.
CREATE FUNCTION comet.take_place(id_ bigint, OUT servers bigint,
  OUT place bigint, OUT now_ bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  servers := comet.attend(id_);
  SELECT count(*) INTO place FROM comet.server s WHERE s.id < id_;
  now_ := comet.now_us();
END $$;

-- Find out whether the inbox has any rows to move.  Returns NULL if it has;
-- otherwise the value of "low" for the next look, as comet.move() does.  Both
-- come from one snapshot.
CREATE FUNCTION comet.inbox_low(low xid8) RETURNS text
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  IF EXISTS (SELECT FROM comet.inbox i WHERE i.xid >= low)
     OR EXISTS (SELECT FROM comet.online_inbox o WHERE o.xid >= low) THEN
    RETURN NULL;
  END IF;
  RETURN pg_snapshot_xmin(pg_current_snapshot())::text;
END $$;

-- ---- News -------------------------------------------------------------------

-- The messages that a web server does not know yet, in one query and one
-- snapshot.  Each row also has the state of the log (comet.state()).  If there
-- is no message to return, there is one row whose "id" is NULL.
--   known_last, known_erased  the state that the web server knows
--   newest     the timestamp of a message that it knows; 0: it knows none
--   goes_on    false: the log has not only grown since then, so no messages are
--              returned
CREATE FUNCTION comet.news(known_last bigint, known_erased bigint,
  newest bigint, most bigint, most_bytes bigint)
RETURNS TABLE(id bigint, channel text, type text, author text, body text,
  private smallint, event text, retry integer, alternates text, keep integer,
  expires bigint, last bigint, erased bigint, goes_on boolean)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  bytes bigint := 0;
  found_ boolean := false;
  now_ bigint := comet.now_us();
BEGIN
  SELECT s.last, s.erased INTO last, erased FROM comet.state() s;
  goes_on := erased = known_erased
             AND (last = known_last
                  OR (last > known_last
                      AND (newest = 0 OR EXISTS (SELECT FROM comet.log m
                                                  WHERE m.id = newest))));
  IF goes_on AND last > known_last THEN
    FOR id, channel, type, author, body, private, event, retry, alternates,
        keep, expires IN
      SELECT l.id, l.channel, l.type, l.author, l.body, l.private, l.event,
             l.retry, l.alternates, l.keep, l.expires
        FROM comet.log l
       WHERE l.id > known_last
         AND (l.keep IS NULL
              OR l.expires - now_ BETWEEN 1 AND 2000000::bigint * l.keep)
       ORDER BY l.id LIMIT most
    LOOP
      RETURN NEXT;
      found_ := true;
      bytes := bytes + octet_length(body);
      EXIT WHEN bytes >= most_bytes;
    END LOOP;
  END IF;
  IF NOT found_ THEN
    RETURN NEXT;
  END IF;
END $$;

-- ---- Channels ---------------------------------------------------------------

-- The same function as before, but in one statement, which skips from channel
-- to channel.  It must be fast, since a client that selects channels by a
-- wildcard waits for this list.
CREATE OR REPLACE FUNCTION comet.channels_under(prefix text, most bigint,
  all_ boolean)
RETURNS SETOF text LANGUAGE plpgsql STABLE SET enable_seqscan = off
SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
DECLARE
  now_ bigint := comet.now_us();
BEGIN
  RETURN QUERY
    WITH RECURSIVE found(channel) AS (
      (SELECT m.channel FROM comet.log m
        WHERE m.channel >= prefix ORDER BY m.channel LIMIT 1)
      UNION ALL
      SELECT (SELECT m.channel FROM comet.log m
               WHERE m.channel > f.channel ORDER BY m.channel LIMIT 1)
        FROM found f WHERE starts_with(f.channel, prefix))
    SELECT f.channel::text FROM found f
     WHERE starts_with(f.channel, prefix)
       AND (all_ OR EXISTS (
              SELECT FROM comet.log m
               WHERE m.channel = f.channel AND m.private = 0
                 AND (m.keep IS NULL
                      OR m.expires - now_
                         BETWEEN 1 AND 2000000::bigint * m.keep)))
     LIMIT most;
END $$;

-- ---- Replays ----------------------------------------------------------------

-- The same function as before.  For several channels it first walks back over
-- the log, which is enough unless many of the newest messages are in other
-- channels.  Then it searches each channel for the messages before those.  It
-- must be fast, since a client that selects channels by a wildcard waits for it.
CREATE OR REPLACE FUNCTION comet.replay(names text[], prefixes text[],
  count bigint, OUT "cursor" bigint, OUT any_ bigint)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  patience bigint := least(count, 1000) + 4 * (cardinality(names)
                                               + 64 * cardinality(prefixes));
  ids bigint[] := '{}';     -- the replay's messages, and the one before them
  low bigint := 9007199254740992;   -- where the walk has come to
  r record;
BEGIN
  IF '' = ANY (prefixes) THEN
    ids := ARRAY(SELECT m.id FROM comet.message_log m
                  ORDER BY m.id DESC LIMIT count + 1);
  ELSIF cardinality(names) = 1 AND cardinality(prefixes) = 0 THEN
    ids := ARRAY(SELECT m.id FROM comet.message_log m
                  WHERE m.channel = names[1]
                  ORDER BY m.channel DESC, m.id DESC LIMIT count + 1);
  ELSE
    FOR r IN
      SELECT l.id, l.private = 0 AND l.keep IS NULL
             AND (l.channel IN (SELECT unnest(names))
                  OR EXISTS (SELECT FROM unnest(prefixes) p
                              WHERE starts_with(l.channel, p))) AS counts
        FROM comet.log l ORDER BY l.id DESC LIMIT patience
    LOOP
      low := r.id;
      IF r.counts THEN
        ids := ids || r.id;
        EXIT WHEN cardinality(ids) > count;
      END IF;
    END LOOP;
    IF cardinality(ids) <= count
       AND EXISTS (SELECT FROM comet.log l WHERE l.id < low) THEN
      ids := ids || ARRAY(
        SELECT x.id
          FROM comet.selected_all(names, prefixes, false) c CROSS JOIN LATERAL
            (SELECT m.id FROM comet.message_log m
              WHERE m.channel = c AND m.id < low
              ORDER BY m.channel DESC, m.id DESC
              LIMIT count + 1 - cardinality(ids)) x
         ORDER BY x.id DESC LIMIT count + 1 - cardinality(ids));
    END IF;
  END IF;
  "cursor" := coalesce(ids[count + 1], 0);
  any_ := least(cardinality(ids), 1);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
COMMIT;
