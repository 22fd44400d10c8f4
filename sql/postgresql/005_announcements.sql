-- SPDX-License-Identifier: Apache-2.0
-- Version 5 of mod_comet's schema for PostgreSQL: web servers announce commits.
-- schema.sql runs this file.
--
-- Web servers with an older module continue to work meanwhile.
--
-- After a rest, a web server announces its commit when the commit begins
-- (NOTIFY comet_soon).  The transaction holds an advisory lock.  Meanwhile the
-- other servers ask comet.next_news(), which waits for that lock.  So they have
-- asked before the commit ends, and get the new message at once.

\set ON_ERROR_STOP on
BEGIN;
\set version 5
\ir version.sql

-- ---- News -------------------------------------------------------------------

-- Wait up to 5 ms for the end of an announced commit.  Only this function has
-- the short lock_timeout: comet.next_news() may have to wait longer for a table,
-- as comet.news() may.
CREATE FUNCTION comet.await_commit() RETURNS void
LANGUAGE plpgsql VOLATILE SET lock_timeout = '5ms' AS $$
BEGIN
  PERFORM pg_advisory_lock_shared(1668246885, 116),
          pg_advisory_unlock_shared(1668246885, 116);
EXCEPTION WHEN lock_not_available THEN
  -- the commit is slow; a notification will follow it
END $$;

-- comet.news(); but if nothing has changed, first wait for the end of an
-- announced commit.  Each statement of this function has a new snapshot, so the
-- last one sees that commit.
CREATE FUNCTION comet.next_news(known_last bigint, known_erased bigint,
  newest bigint, most bigint, most_bytes bigint)
RETURNS TABLE(id bigint, channel text, type text, author text, body text,
  private smallint, event text, retry integer, alternates text, keep integer,
  expires bigint, last bigint, erased bigint, goes_on boolean)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
  IF (SELECT s.last = known_last FROM comet.state() s) THEN
    PERFORM comet.await_commit();
  END IF;
  RETURN QUERY SELECT * FROM comet.news(known_last, known_erased, newest, most,
                                        most_bytes);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
-- Without this, servers would fail now and then until grants.sql is run.
GRANT EXECUTE ON FUNCTION comet.await_commit(),
  comet.next_news(bigint, bigint, bigint, bigint, bigint) TO comet_httpd;
COMMIT;
