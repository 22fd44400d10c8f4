-- SPDX-License-Identifier: Apache-2.0
-- Live deletions.  "CometDeletions on" adds this trigger to mod_comet's
-- database, and "CometDeletions off" removes it.  This is not a migration: the
-- version stays the same.
--
-- While the trigger exists, each deletion from the view "message" publishes a
-- notice in the same channel: a message of the type "@deleted", whose body is
-- the timestamp of the deleted message.  Pages that show the message then
-- remove it.  The notice lasts for a day, so that it reaches pages that are
-- offline for a while.
--
-- Retention deletes from "message_log", and so publishes no notices.  A program
-- that removes thousands of old messages should do the same, and delete from
-- "message_log":
--
--   DELETE FROM message_log WHERE id < 1795229965123456;

CREATE TRIGGER message_deletion INSTEAD OF DELETE ON message
WHEN OLD.keep IS NULL AND '/' || OLD.channel NOT GLOB '*/@*'
BEGIN
  INSERT INTO message(channel, type, body, private, keep)
  VALUES(OLD.channel, '@deleted', CAST(OLD.timestamp AS TEXT), OLD.private,
         86400);
END;
