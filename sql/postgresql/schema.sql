-- SPDX-License-Identifier: Apache-2.0
-- Make the schema comet in this database, or bring it up to date: run the
-- numbered files that were not run yet, and then grants.sql.  Run this file as
-- the role that owns the schema, or will own it.  It does no harm to run it again
-- at any time.  The roles must exist already (roles.sql).

\set ON_ERROR_STOP on
SELECT to_regclass('comet.schema') IS NULL AS missing \gset
\if :missing
\ir 001_initial.sql
\endif
SELECT version < 2 AS missing FROM comet.schema \gset
\if :missing
\ir 002_messages.sql
\endif
SELECT version < 3 AS missing FROM comet.schema \gset
\if :missing
\ir 003_presence.sql
\endif
SELECT version < 4 AS missing FROM comet.schema \gset
\if :missing
\ir 004_looks.sql
\endif
SELECT version < 5 AS missing FROM comet.schema \gset
\if :missing
\ir 005_announcements.sql
\endif
SELECT version < 6 AS missing FROM comet.schema \gset
\if :missing
\ir 006_checks.sql
\endif
\ir grants.sql
