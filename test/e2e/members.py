# SPDX-License-Identifier: Apache-2.0
"""Members of channels for the tests: users who give only a name, and the
channels in which they are present."""

import base64

from http_client import quote
from httpd_env import sqlite, sql_text, wait_until
from stream_client import Stream

# A client is the user whose name it gives: mod_authn_anon accepts any name and
# any password.
NAMES = """
CometPresenceGrace 2s
CometMulti on
<Location "/comet">
  AuthType Basic
  AuthName "names"
  AuthBasicProvider anon
  Anonymous "*"
  Anonymous_MustGiveEmail off
  Anonymous_VerifyEmail off
  Require valid-user
  CometPresence on
</Location>
"""
MODULES = ("authn_anon",)


def named(name, **more):
    """The headers of a user."""
    token = base64.b64encode((name + ":x").encode())
    return dict({"Authorization": "Basic " + token.decode()}, **more)


def enter(server, channel, name, **kwargs):
    """An event stream of a user, as a context."""
    return Stream(server, "/comet/" + quote(channel, "/"), named(name),
                  **kwargs)


def online(server, channel):
    """Who is in a channel according to the database; None while a new server
    makes its tables."""
    if not server.database and not sqlite(
            server.db, "SELECT 1 FROM sqlite_master"
            " WHERE name = 'online_delete'"):
        return None
    rows = sqlite(server.db, "SELECT member FROM online WHERE channel = %s"
                  % sql_text(channel))
    return sorted(row[0] for row in rows)


def await_online(server, channel, *names, timeout=8):
    wait_until(lambda: online(server, channel) == sorted(names), timeout,
               "%s in %s" % (names, channel))


def told(server, channel):
    """What was published about a channel, as "type member"."""
    rows = sqlite(server.db, "SELECT type, ifnull(author, body) FROM message "
                  "WHERE channel = %s ORDER BY timestamp"
                  % sql_text(channel + "/@online"))
    return [" ".join(row) for row in rows]


def snapshot(server, channel, name="reader", query=""):
    """GET …/@online?members."""
    answer = server.get("/comet/%s/@online?members%s"
                        % (quote(channel, "/"), query), named(name))
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()
