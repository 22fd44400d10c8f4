-- SPDX-License-Identifier: Apache-2.0
-- The beginning of each numbered file but the first: note the schema's new
-- version.  This fails if the file before was left out, or for another role than
-- the owner: nothing else would notice either.

-- While a file waits for a transaction that uses the tables, such as pg_dump's,
-- publishers and readers wait, too.  So it gives up soon, and can be run again.
SET LOCAL lock_timeout = '2s';
SELECT set_config('comet.version', :'version', true) AS version \gset
DO $$ BEGIN
  PERFORM FROM comet.schema FOR UPDATE; -- one upgrade at a time
  IF (SELECT version + 1 FROM comet.schema)
     IS DISTINCT FROM current_setting('comet.version')::integer THEN
    RAISE EXCEPTION 'the schema comet has version %, and this file needs %',
      (SELECT version FROM comet.schema),
      current_setting('comet.version')::integer - 1;
  END IF;
  IF (SELECT pg_get_userbyid(nspowner) FROM pg_namespace
       WHERE nspname = 'comet') <> current_user THEN
    RAISE EXCEPTION 'run this file as the owner of the schema comet, %',
      (SELECT pg_get_userbyid(nspowner) FROM pg_namespace
        WHERE nspname = 'comet');
  END IF;
END $$;
UPDATE comet.schema SET version = :version;
