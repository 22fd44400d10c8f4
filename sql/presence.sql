-- SPDX-License-Identifier: Apache-2.0
-- Presence: who is online.  "CometPresence on" adds the tables, views and
-- triggers of this file to mod_comet's database.  This is not a migration: the
-- version stays the same.
--
-- The view "online" has a row for each channel and each member who is connected
-- to it now.  Read the view, and delete from it to throw a member out:
--
--   SELECT member, datetime(since / 1e6, 'unixepoch') FROM online
--    WHERE channel = 'room/42';
--   DELETE FROM online WHERE member = 'mallory';
--
-- The streams and polls of a member who is thrown out end within a second.  The
-- member's client then reconnects and is authorised again, so revoke the
-- member's permission first.  A program may also insert people who are online
-- by other means; they stay in the view until the program deletes them:
--
--   INSERT INTO online(channel, member, info)
--   VALUES('room/42', 'ann', '{"by": "phone"}');
--
-- Joins and leaves are published to the sibling channel, room/42/@online, as
-- messages of the types join and leave, with the member as their author.  If a
-- channel has more members than the limit of CometPresence, only the number of
-- members is published (type count).

-- The children of the web server.  A child raises its "beat" repeatedly.  If
-- the beat stays the same for "patience" milliseconds, the child counts as
-- gone, and another child removes it together with its rows.
CREATE TABLE presence_holder(
  id INTEGER PRIMARY KEY,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  beat INTEGER NOT NULL DEFAULT 0 CHECK (typeof(beat) = 'integer'),
  patience INTEGER NOT NULL CHECK (typeof(patience) = 'integer')
);

-- One row for each channel, member and child (the holder), however many clients
-- of the member are connected to that child.  Rows that a program inserts into
-- "online" have the holder 0.
CREATE TABLE presence_row(
  channel TEXT NOT NULL,
  member TEXT NOT NULL,
  holder INTEGER NOT NULL,
  since INTEGER NOT NULL CHECK (typeof(since) = 'integer'),
  -- JSON about the member, from the site's application; or NULL.
  info TEXT,
  -- Set to 1 just before the row is deleted, if the member is being thrown out.
  removed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (channel, member, holder),
  -- the limit leaves room for "/@online" within the 255 bytes of a name
  CONSTRAINT "a channel with presence has a name of 1 to 247 bytes"
    CHECK (typeof(channel) = 'text'
           AND length(CAST(channel AS BLOB)) BETWEEN 1 AND 247),
  CONSTRAINT "a member is text of 1 to 255 bytes without NUL"
    CHECK (typeof(member) = 'text'
           AND length(CAST(member AS BLOB)) BETWEEN 1 AND 255
           AND instr(CAST(member AS BLOB), x'00') = 0),
  CONSTRAINT "info is NULL or text of at most 2048 bytes without NUL"
    CHECK (info IS NULL
           OR (typeof(info) = 'text' AND length(CAST(info AS BLOB)) <= 2048
               AND instr(CAST(info AS BLOB), x'00') = 0))
) WITHOUT ROWID;
CREATE INDEX presence_row_by_holder ON presence_row(holder);
CREATE INDEX presence_row_by_member ON presence_row(member);

-- How many clients without a name each child has in a channel.
CREATE TABLE presence_anonymous(
  channel TEXT NOT NULL,
  holder INTEGER NOT NULL,
  clients INTEGER NOT NULL CHECK (typeof(clients) = 'integer'),
  PRIMARY KEY (channel, holder)
) WITHOUT ROWID;
CREATE INDEX presence_anonymous_by_holder ON presence_anonymous(holder);

-- The channels that have members or nameless clients.
CREATE TABLE presence_channel(
  name TEXT NOT NULL PRIMARY KEY,
  -- If there are more members than this, joins and leaves are not published one
  -- by one.
  most INTEGER NOT NULL DEFAULT 100 CHECK (typeof(most) = 'integer'),
  members INTEGER NOT NULL DEFAULT 0,
  -- 1: a message of the type count is due.
  changed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX presence_channel_changed ON presence_channel(name) WHERE changed;

-- What is known about everybody who has been in a channel.  A row lasts as long
-- as CometPresenceMemory says.  For each member, only the newest 10,000 rows
-- are kept.
CREATE TABLE last_seen(
  channel TEXT NOT NULL,
  member TEXT NOT NULL,
  -- The timestamp at which the member last left; NULL: the member has not left
  -- yet.
  left_at INTEGER,
  -- The timestamp of the newest message that the member has read; NULL: not
  -- known.
  read_at INTEGER,
  PRIMARY KEY (channel, member)
) WITHOUT ROWID;
CREATE INDEX last_seen_by_member ON last_seen(member);

CREATE VIEW online(channel, member, since, info) AS
  SELECT channel, member, min(since), info FROM presence_row
   GROUP BY channel, member;

-- Everybody who has been in a channel and is not forgotten yet, with whether
-- they are online and how many messages they have not read.
--
--   SELECT member, unread FROM member WHERE channel = 'room/42' AND NOT online;
CREATE VIEW member(channel, member, online, left_at, read_at, unread) AS
  SELECT s.channel, s.member,
         EXISTS (SELECT 1 FROM presence_row AS p
                  WHERE p.channel = s.channel AND p.member = s.member),
         s.left_at, s.read_at,
         (SELECT count(*) FROM message_log AS m
           WHERE m.channel_id = (SELECT id FROM channel
                                  WHERE name = s.channel)
             AND m.id > ifnull(s.read_at, 0)
             AND m.private = 0 AND m.keep IS NULL)
    FROM last_seen AS s;

CREATE TRIGGER presence_join AFTER INSERT ON presence_row
WHEN NOT EXISTS (SELECT 1 FROM presence_row
                  WHERE channel = NEW.channel AND member = NEW.member
                    AND holder <> NEW.holder)
BEGIN
  INSERT INTO presence_channel(name)
    SELECT NEW.channel WHERE NOT EXISTS
      (SELECT 1 FROM presence_channel WHERE name = NEW.channel);
  UPDATE presence_channel
     SET members = members + 1, changed = changed OR members >= most
   WHERE name = NEW.channel;
  INSERT INTO message(channel, type, author, body)
    SELECT name || '/@online', 'join', NEW.member, ifnull(NEW.info, '{}')
      FROM presence_channel WHERE name = NEW.channel AND members <= most;
  INSERT INTO last_seen(channel, member)
    SELECT NEW.channel, NEW.member
     WHERE NOT EXISTS (SELECT 1 FROM last_seen
                        WHERE channel = NEW.channel AND member = NEW.member);
END;

-- A member leaves when the last row is deleted.  When a published message says
-- "removed", each child checks which of its own rows were deleted.
CREATE TRIGGER presence_leave AFTER DELETE ON presence_row
WHEN NOT EXISTS (SELECT 1 FROM presence_row
                  WHERE channel = OLD.channel AND member = OLD.member)
BEGIN
  INSERT INTO message(channel, type, author, body)
    SELECT name || '/@online', 'leave', OLD.member,
           CASE WHEN OLD.removed THEN '{"removed": true}' ELSE '{}' END
      FROM presence_channel WHERE name = OLD.channel AND members <= most;
  INSERT INTO message(channel, type, body)
    SELECT name || '/@online', 'count',
           '{"removed": true, "count": ' || (members - 1) || ', "most": '
           || most || ', "anonymous": '
           || (SELECT ifnull(sum(clients), 0) FROM presence_anonymous
                WHERE channel = name) || '}'
      FROM presence_channel
     WHERE name = OLD.channel AND members > most AND OLD.removed;
  UPDATE presence_channel
     SET members = members - 1, changed = changed OR members > most
   WHERE name = OLD.channel;
  UPDATE last_seen SET left_at = (SELECT last FROM comet_clock)
   WHERE channel = OLD.channel AND member = OLD.member;
END;

CREATE TRIGGER presence_channel_empty AFTER UPDATE ON presence_channel
WHEN NEW.members = 0 AND NOT NEW.changed
     AND NOT EXISTS (SELECT 1 FROM presence_anonymous
                      WHERE channel = NEW.name)
BEGIN
  DELETE FROM presence_channel WHERE name = NEW.name;
END;

CREATE TRIGGER presence_anonymous_insert AFTER INSERT ON presence_anonymous
BEGIN
  INSERT INTO presence_channel(name)
    SELECT NEW.channel WHERE NOT EXISTS
      (SELECT 1 FROM presence_channel WHERE name = NEW.channel);
  UPDATE presence_channel SET changed = 1 WHERE name = NEW.channel;
END;

CREATE TRIGGER presence_anonymous_update AFTER UPDATE ON presence_anonymous
BEGIN
  UPDATE presence_channel SET changed = 1 WHERE name = NEW.channel;
END;

CREATE TRIGGER presence_anonymous_delete AFTER DELETE ON presence_anonymous
BEGIN
  UPDATE presence_channel SET changed = 1 WHERE name = OLD.channel;
END;

CREATE TRIGGER presence_holder_gone BEFORE DELETE ON presence_holder
BEGIN
  DELETE FROM presence_row WHERE holder = OLD.id;
  DELETE FROM presence_anonymous WHERE holder = OLD.id;
END;

CREATE TRIGGER online_insert INSTEAD OF INSERT ON online
BEGIN
  INSERT INTO presence_row(channel, member, holder, since, info)
    SELECT NEW.channel, NEW.member, 0,
           ifnull(NEW.since, CAST(strftime('%s', 'now') AS INTEGER) * 1000000),
           NEW.info
     WHERE NOT EXISTS (SELECT 1 FROM presence_row
                        WHERE channel = NEW.channel AND member = NEW.member
                          AND holder = 0);
END;

CREATE TRIGGER online_delete INSTEAD OF DELETE ON online
BEGIN
  UPDATE presence_row SET removed = 1
   WHERE channel = OLD.channel AND member = OLD.member;
  DELETE FROM presence_row
   WHERE channel = OLD.channel AND member = OLD.member;
END;
