# SPDX-License-Identifier: Apache-2.0
"""wordpress.conf with Debian's WordPress, whose users, sessions and roles
decide who may edit which document.  Its editor is older than 7.0 and cannot
collaborate, so npm's Yjs takes its place."""

import json
import os

import pytest

import php_fpm
import tokens
import wordpress
from httpd_env import REPO, Httpd
from node_client import NodeClient
from test_716_wordpress import Editor, converge, kill, read, rows

pytestmark = [pytest.mark.long, pytest.mark.bound(300), pytest.mark.skipif(
    wordpress.missing(), reason=str(wordpress.missing()))]

ROUTE = "/index.php?rest_route=/comet/v1/token"
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def site():
    fpm = php_fpm.Fpm(extensions=wordpress.EXTENSIONS)
    database = wordpress.MariaDB(fpm.root)
    conf = read("wordpress.conf").replace("/etc/apache2/", "{root}/conf/")
    server = Httpd(comet="status", modules=php_fpm.MODULES + ("dir",),
                   timeout=120, conf=fpm.conf
                   + 'CometStore "sqlite:{data}/comet.db"\n' + conf)
    server.allow_log.append("AH00051|AH00052")      # for a killed child
    server.keep_port = True
    key = tokens.write_example(server)
    server.posts = wordpress.install(server, database, key, [
        os.path.join(REPO, name) for name in (
            "conf/examples/comet-wordpress.php", "conf/examples/comet-yjs.js",
            "htdocs/comet/comet.js")])
    server.start()
    yield server
    problems = server.close()
    database.close()
    fpm.close()
    assert not problems


@pytest.fixture(scope="module")
def office(site):
    """Yield the Node process in which anna's editors run."""
    plugin = os.path.join(site.docroot, "wp-content", "plugins",
                          "comet-wordpress")
    site.write("wp-content/plugins/comet-wordpress/package.json",
               '{"type": "module"}')
    with NodeClient("yjs_editor.mjs", plugin, "http://127.0.0.1:%d" % site.port,
                    ROUTE, json.dumps(wordpress.log_in(site, "anna"))) as made:
        yield made


def ask(server, session, post, kind="postType/post"):
    return server.get("%s&type=%s&id=%d" % (ROUTE, kind, post), session,
                      timeout=60)


def test_720_01_converge(site, office):
    """Two editors that write at the same time end with the same text, in spite
    of a kill -9 of the child and a reload.  An editor that opens the document
    later has that text, too."""
    post = site.posts["anna"]
    one, two = (Editor(office, post).connected() for _ in range(2))
    parts = []
    for number in range(15):
        for name, editor in (("a", one), ("b", two)):
            parts.append("%s%d" % (name, number))
            editor.command("append", " " + parts[-1])
        if number == 5:
            kill(site)
        elif number == 10:
            site.graceful()
    converge([one, two], sorted(parts))
    late = Editor(office, post)
    converge([one, late], sorted(parts))
    assert sum(rows(site, post).values()) >= 1


def test_720_02_rights(site, office):
    """WordPress's roles decide: an author may edit their own drafts, an editor
    all drafts, and a subscriber none.  A request without a session, or without
    the session's nonce, is refused."""
    sessions = {name: wordpress.log_in(site, name) for name in site.posts}
    may = {"anna": {"anna"}, "bert": {"bert"}, "carl": set(),
           "dora": set(site.posts)}
    for name, session in sessions.items():
        for owner, post in site.posts.items():
            answer = ask(site, session, post)
            allowed = owner in may[name]
            assert answer.status == (200 if allowed else 403), (name, owner,
                                                                answer)
    said = ask(site, sessions["bert"], site.posts["bert"]).json()
    assert said["channel"] == "wordpress/postType/post/%d" % site.posts["bert"]
    token = {"Authorization": "Bearer " + said["token"]}
    for owner, post in site.posts.items():
        url = "/comet/wordpress/postType/post/%d" % post
        mine = owner == "bert"
        assert site.get(url + "?wait=0", token).status == (200 if mine else 403)
        answer = site.request("POST", url, b"x", {**TEXT, **token})
        assert answer.status == (201 if mine else 403)
    nobody = ({}, {"Cookie": sessions["anna"]["Cookie"]},
              {**sessions["anna"], "X-WP-Nonce": "0123456789"})
    for session, status in zip(nobody, (401, 401, 403)):
        assert ask(site, session, site.posts["anna"]).status == status
    for kind in ("postType/nothing", "root/comment"):
        assert ask(site, sessions["dora"], site.posts["anna"],
                   kind).status == 403
    refused = Editor(office, site.posts["dora"])        # without a token
    refused.command("append", "mine")
    assert refused.text() == "mine" and rows(site, site.posts["dora"]) == {}
