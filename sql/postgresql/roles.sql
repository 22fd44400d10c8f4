-- SPDX-License-Identifier: Apache-2.0
-- The roles of mod_comet's schema.  Run this file once per cluster, as a user
-- who may create roles.  Then let the web servers log in as comet_httpd
-- (pg_hba.conf), and grant the other roles to applications and people.
--
--   comet_httpd     for the web servers, which read tables and call functions,
--                   but do not write to tables themselves
--   comet_insert    may publish (INSERT INTO comet.message), and add people who
--                   are online by other means (INSERT INTO comet.online)
--   comet_select    may read comet.message, comet.online, comet.member,
--                   comet.channel_info and comet.channel_retention
--   comet_moderate  may also delete messages, throw members out, and set the
--                   retention of single channels

\set ON_ERROR_STOP on
CREATE ROLE comet_httpd LOGIN;
CREATE ROLE comet_insert NOLOGIN;
CREATE ROLE comet_select NOLOGIN;
CREATE ROLE comet_moderate NOLOGIN;
