# SPDX-License-Identifier: Apache-2.0
"""Members of channels for the tests: users who give only a name, and the
channels that list them as present."""

import base64

from http_client import quote
from httpd_env import sqlite, sql_text, wait_until
from stream_client import Stream

# Each client names its user and needs no password: mod_authn_anon accepts any
# name and any password.
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
    """Return the headers of a user's request."""
    token = base64.b64encode((name + ":x").encode())
    return dict({"Authorization": "Basic " + token.decode()}, **more)


def enter(server, channel, name, **kwargs):
    """Open a user's event stream; return it as a context manager."""
    return Stream(server, "/comet/" + quote(channel, "/"), named(name),
                  **kwargs)


def online(server, channel):
    """Return the members of a channel that the database lists; None while a new
    server makes its tables."""
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
    """Return what was published about a channel's members, as "type member"."""
    rows = sqlite(server.db, "SELECT type, ifnull(author, body) FROM message "
                  "WHERE channel = %s ORDER BY timestamp"
                  % sql_text(channel + "/@online"))
    return [" ".join(row) for row in rows]


def snapshot(server, channel, name="reader", query=""):
    """Return the list of a channel's members from GET …/@online?members."""
    answer = server.get("/comet/%s/@online?members%s"
                        % (quote(channel, "/"), query), named(name))
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()
