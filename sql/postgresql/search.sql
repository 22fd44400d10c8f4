-- SPDX-License-Identifier: Apache-2.0
-- The search index that "CometSearch on" needs.  Run this file as the owner of
-- the schema after schema.sql, and then run grants.sql once more.  This is not a
-- migration: the schema's version stays the same.  To remove the
-- index: DROP TABLE comet.search CASCADE, comet.search_progress CASCADE.
--
-- The file needs the extension unaccent.  In Debian it is part of the server's
-- package.  Any user who may create objects in the database may create this
-- extension.
--
-- A search ignores case and diacritics.  Any character other than a letter or a
-- digit ends a word.  The words are in a separate table, which the web servers
-- fill after messages are published: an index on the log itself would make
-- publishing four times slower.

\set ON_ERROR_STOP on
BEGIN;
CREATE EXTENSION IF NOT EXISTS unaccent;
DO $$ BEGIN
  EXECUTE format('CREATE TEXT SEARCH DICTIONARY comet.unaccent'
                 ' (TEMPLATE = %I.unaccent, RULES = ''unaccent'')',
    (SELECT n.nspname FROM pg_extension e
       JOIN pg_namespace n ON n.oid = e.extnamespace
      WHERE e.extname = 'unaccent'));
END $$;
CREATE TEXT SEARCH CONFIGURATION comet.words (PARSER = "default");
ALTER TEXT SEARCH CONFIGURATION comet.words ADD MAPPING FOR asciiword, word,
  numword, int, uint, float, sfloat, version, hword, hword_part, hword_numpart,
  hword_asciipart, asciihword, numhword, email, url, host, file, url_path
  WITH comet.unaccent, simple;

-- Replace the characters that end a word with spaces, so that PostgreSQL's
-- parser does not find hosts, addresses and signed numbers in a text.
CREATE FUNCTION comet.parted(body text) RETURNS text LANGUAGE sql IMMUTABLE
PARALLEL SAFE AS $$
  SELECT regexp_replace(left(body, 32768),
    '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4'
    '\u00b6-\u00b9\u00bb-\u00bf\u2000-\u206f\u2e00-\u2e7f\u3000-\u3003'
    '\u3008-\u303f\uff01-\uff0f\uff1a-\uff20]+', ' ', 'g') $$;
CREATE FUNCTION comet.words_of(body text) RETURNS tsvector LANGUAGE sql
IMMUTABLE PARALLEL SAFE AS
  $$ SELECT to_tsvector('comet.words'::regconfig, comet.parted(body)) $$;
DO $$ BEGIN
  IF comet.words_of(E'\u042f') <> comet.words_of(E'\u044f') THEN
    RAISE WARNING 'searches do not ignore the case of Cyrillic and Greek'
      ' letters, among others, since the LC_CTYPE of this database is %:'
      ' make a database with createdb -E UTF8 -T template0 -l C.UTF-8',
      (SELECT datctype FROM pg_database WHERE datname = current_database());
  END IF;
END $$;

-- Translate the text that a user searches for into a tsquery.  Spaces separate
-- phrases: foo-bar is a phrase of two words that must follow each other.  A
-- star at the end of a phrase matches any word that begins like its last word.
-- Returns NULL if nothing can match.
CREATE FUNCTION comet.query_of(words text) RETURNS tsquery LANGUAGE plpgsql
STABLE AS $$
DECLARE
  phrase text;
  found_ text[] := '{}';
  parts text[];
  n integer := 0;
  any_ boolean := false;
BEGIN
  FOR phrase IN SELECT w FROM regexp_split_to_table(words, E'[ \t\r\n\x0b\f]+') w
                 WHERE w <> ''
  LOOP
    any_ := true;
    parts := ARRAY(
      SELECT '''' || replace(replace(u.lexeme, E'\\', E'\\\\'), '''', '''''')
             || ''''
        FROM unnest(comet.words_of(phrase)) u, unnest(u.positions) p
       ORDER BY p);
    CONTINUE WHEN cardinality(parts) = 0;
    IF phrase LIKE '_%*' THEN
      parts[cardinality(parts)] := parts[cardinality(parts)] || ':*';
    END IF;
    CONTINUE WHEN array_to_string(parts, ' <-> ') = ANY (found_);
    found_ := found_ || array_to_string(parts, ' <-> ');
    n := n + cardinality(parts);
  END LOOP;
  IF n > 16 OR NOT any_ THEN
    RAISE EXCEPTION 'no word, or too many'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN CASE WHEN n > 0 THEN array_to_string(found_, ' & ')::tsquery END;
END $$;

CREATE TABLE comet.search(id bigint PRIMARY KEY, words tsvector NOT NULL);
CREATE INDEX message_words ON comet.search USING gin (words);
-- The messages with timestamps from "low" to "high" are in the index.
CREATE TABLE comet.search_progress(
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  low bigint NOT NULL,
  high bigint NOT NULL
);
INSERT INTO comet.search_progress(low, high)
  SELECT greatest(k.last, m.id) + 1, greatest(k.last, m.id)
    FROM comet.clock k,
         (SELECT coalesce(max(l.id), 0) AS id FROM comet.message_log l) m;

-- Add the messages that follow the indexed ones; if there are none, add earlier
-- messages.  Returns how many messages were added.
CREATE FUNCTION comet.index_step(most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  p comet.search_progress;
  n bigint;
  top bigint;
BEGIN
  -- a step that is lost in a crash is simply done again
  PERFORM set_config('synchronous_commit', 'off', true);
  SELECT * INTO p FROM comet.search_progress FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  WITH m AS (SELECT id, body FROM comet.message_log WHERE id > p.high
              ORDER BY id LIMIT most),
  i AS (INSERT INTO comet.search SELECT id, comet.words_of(body) FROM m
        ON CONFLICT DO NOTHING)
  SELECT count(*), max(id) INTO n, top FROM m;
  IF n > 0 THEN
    UPDATE comet.search_progress SET high = top;
    RETURN n;
  END IF;
  WITH m AS (SELECT id, body FROM comet.message_log WHERE id < p.low
              ORDER BY id DESC LIMIT most),
  i AS (INSERT INTO comet.search SELECT id, comet.words_of(body) FROM m
        ON CONFLICT DO NOTHING)
  SELECT count(*), min(id) INTO n, top FROM m;
  IF n > 0 THEN
    UPDATE comet.search_progress SET low = top;
  END IF;
  RETURN n;
END $$;

CREATE FUNCTION comet.search_deleted() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF to_regclass('comet.search') IS NOT NULL THEN
    DELETE FROM comet.search s USING gone WHERE s.id = gone.id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER search_deleted AFTER DELETE ON comet.log
  REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION comet.search_deleted();

-- The newest messages of a selection with after < id < before that have all the
-- words, the newest first.  New messages that are not in the index yet are
-- searched one by one.
CREATE FUNCTION comet.search(names text[], prefixes text[], words text,
  after bigint, before bigint, most bigint, most_bytes bigint)
RETURNS TABLE(id bigint, channel text, type text, author text, body text)
LANGUAGE plpgsql STABLE SET jit = off AS $$
DECLARE
  q tsquery := comet.query_of(words);
  p comet.search_progress;
  every boolean := '' = ANY (prefixes);
  all_ text[] := '{}';
  n bigint := 0;
  bytes bigint := 0;
BEGIN
  IF q IS NULL THEN
    RETURN;
  END IF;
  SELECT * INTO p FROM comet.search_progress;
  IF EXISTS (SELECT FROM comet.message_log m
              WHERE m.id < p.low AND m.id > after AND m.id < before) THEN
    RAISE EXCEPTION 'the index is not ready yet' USING ERRCODE = 'CM001';
  END IF;
  IF NOT every THEN
    all_ := ARRAY(SELECT comet.selected(names, prefixes));
  END IF;
  FOR id, channel, type, author, body IN
    (SELECT m.* FROM comet.message_log m
      WHERE m.id > greatest(after, p.high) AND m.id < before
        AND (every OR m.channel = ANY (all_)) AND comet.words_of(m.body) @@ q
      ORDER BY m.id DESC LIMIT most)
    UNION ALL
    (SELECT m.* FROM comet.search s JOIN comet.message_log m ON m.id = s.id
      WHERE s.words @@ q AND s.id > after AND s.id < before
        AND s.id <= p.high AND (every OR m.channel = ANY (all_))
      ORDER BY s.id DESC LIMIT most)
  LOOP
    RETURN NEXT;
    n := n + 1;
    bytes := bytes + octet_length(body);
    EXIT WHEN n = most OR bytes >= most_bytes;
  END LOOP;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
COMMIT;
