# SPDX-License-Identifier: Apache-2.0
"""The manual's rules that are meant to protect a channel.  Each protects it or
fails to, as the manual says."""

import html
import os
import re

import pytest

from httpd_env import REPO

SECRET = "/comet/secret?since=0&wait=0"
DETOURS = ("/comet/x/../secret", "/comet/%73ecret", "//comet//secret")


def rules():
    """Return the kind and the configuration of each rule on the manual's
    page."""
    with open(os.path.join(REPO, "htdocs", "manual", "security.html"),
              encoding="utf-8") as page:
        return [(kind, html.unescape(text)) for kind, text in re.findall(
            r'<pre [^>]*data-rule="(\w+)"><code>(.*?)</code></pre>',
            page.read(), re.S)]


@pytest.mark.parametrize("kind, rule", rules(), ids=lambda text: " ".join(
    text.split()[:3]))
def test_468_70_rules(make_server, kind, rule):
    """A rule protects a channel, has no effect, or can be evaded, as its kind
    says."""
    server = make_server(conf=rule)
    query = SECRET[len("/comet/secret"):]
    direct = server.get(SECRET).status
    detours = {server.get(path + query).status for path in DETOURS}
    posted = server.request("POST", "/comet/secret", b"x",
                            {"Content-Type": "text/plain"}).status
    if kind == "acts":
        assert {direct, posted} | detours <= {401, 403}
    elif kind == "idle":
        assert {direct} | detours == {200} and posted == 201
    else:
        assert kind == "evaded" and direct == posted == 403
        assert 200 in detours
    # The rule must not affect another channel.
    if "public/*" not in rule and 'Directory "/"' not in rule:
        assert server.get("/comet/open?wait=0").status == 200


def test_468_71_all_kinds():
    assert [kind for kind, _ in rules()].count("acts") >= 4
    assert [kind for kind, _ in rules()].count("idle") >= 5
    assert [kind for kind, _ in rules()].count("evaded") >= 2
