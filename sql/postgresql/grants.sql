-- SPDX-License-Identifier: Apache-2.0
-- What each role may do.  Run it after 001_initial.sql and after each file that
-- came later, as the owner of the schema.  It may be run again at any time.

\set ON_ERROR_STOP on
BEGIN;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA comet FROM PUBLIC;
GRANT USAGE ON SCHEMA comet
  TO comet_httpd, comet_insert, comet_select, comet_moderate;
GRANT SELECT ON ALL TABLES IN SCHEMA comet TO comet_httpd;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA comet TO comet_httpd;
-- these run inside others, with the rights of the schema's owner
REVOKE EXECUTE ON FUNCTION comet.take_turn(integer),
  comet.begin_timeline(bigint), comet.set_sync(boolean),
  comet.prune_channel(text, bigint, bigint, bigint, bigint),
  comet.message_insert(), comet.message_delete(), comet.immutable(),
  comet.log_deleted(), comet.log_truncated() FROM comet_httpd;
GRANT INSERT ON comet.message TO comet_insert;
GRANT SELECT ON comet.message TO comet_select, comet_moderate;
GRANT DELETE ON comet.message TO comet_moderate;
COMMIT;
