-- SPDX-License-Identifier: Apache-2.0
-- Live deletions.  "CometDeletions on" adds this trigger to mod_comet's database
-- and "CometDeletions off" removes it.  It is not a migration: the version stays.
--
-- While it is there, each message that is deleted by way of the view "message"
-- is followed by one of the type "@deleted" in the same channel, whose body is
-- the timestamp of the deleted message.  Pages that show the message remove it
-- then.  The notice passes after a day, for pages that were offline meanwhile.
--
-- Retention deletes from "message_log" and tells nobody.  A program that removes
-- old messages by the thousand should do the same:
--
--   DELETE FROM message_log WHERE id < 1795229965123456;

CREATE TRIGGER message_deletion INSTEAD OF DELETE ON message
WHEN OLD.keep IS NULL AND '/' || OLD.channel NOT GLOB '*/@*'
BEGIN
  INSERT INTO message(channel, type, body, private, keep)
  VALUES(OLD.channel, '@deleted', CAST(OLD.timestamp AS TEXT), OLD.private,
         86400);
END;
