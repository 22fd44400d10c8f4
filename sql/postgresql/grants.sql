-- SPDX-License-Identifier: Apache-2.0
-- What each role may do.  Run this file as the owner of the schema, after the
-- numbered files, and again after each file that is added later.  It does no
-- harm to run the file again at any time.

\set ON_ERROR_STOP on
BEGIN;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
GRANT USAGE ON SCHEMA comet
  TO comet_httpd, comet_insert, comet_select, comet_moderate;
GRANT SELECT ON ALL TABLES IN SCHEMA comet TO comet_httpd;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA comet TO comet_httpd;
-- only other functions call these functions, with the rights of the schema's
-- owner
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN
    SELECT p.oid FROM pg_proc p
     WHERE p.pronamespace = 'comet'::regnamespace
       AND (p.prorettype = 'trigger'::regtype
            OR p.proname IN ('take_turn', 'begin_timeline', 'set_sync',
                             'prune_channel', 'is_told'))
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM comet_httpd', f);
  END LOOP;
END $$;
GRANT INSERT ON comet.message, comet.online TO comet_insert;
GRANT SELECT ON comet.message, comet.channel_info, comet.channel_retention,
  comet.online, comet.member TO comet_select, comet_moderate;
GRANT DELETE ON comet.message, comet.online TO comet_moderate;
GRANT INSERT, UPDATE, DELETE ON comet.channel_retention TO comet_moderate;
COMMIT;
