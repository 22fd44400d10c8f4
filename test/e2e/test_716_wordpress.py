# SPDX-License-Identifier: Apache-2.0
"""wordpress.conf and the plug-in of conf/examples: several editors change the
same Yjs documents at the same time.  A few functions take the place of
WordPress; test_720 uses the real WordPress."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3

import pytest

import php_fpm
import tokens
from httpd_env import REPO, Httpd, sqlite, wait_until
from node_client import NodeClient

# The functions of WordPress that the plug-in calls.  Logged-in users may edit
# posts 1 to 4.
WORDPRESS = r"""<?php
define('ABSPATH', __DIR__);
define('COMET_KEY', 'FILE');
session_start();
if (isset($_GET['login'])) {
    $_SESSION['id'] = $_GET['login'];
    exit;
}
function add_action($name, $call) { $GLOBALS['actions'][$name] = $call; }
function register_rest_route($space, $path, $route)
{
    $GLOBALS['routes']["$space$path"] = $route;
}
function get_post_type_object($name)
{
    return $name !== 'post' ? null
        : (object) ['cap' => (object) ['edit_posts' => 'edit_posts']];
}
function get_post_type($id) { return $id <= 9 ? 'post' : 'page'; }
function current_user_can($what, $id = null)
{
    return isset($_SESSION['id']) && ($id === null ? $what === 'edit_posts'
                                      : $what === 'edit_post' && $id <= 4);
}
function wp_get_current_user()
{
    return (object) ['user_login' => $_SESSION['id']];
}
require __DIR__ . '/comet-wordpress.php';
$actions['rest_api_init']();
['args' => $args, 'permission_callback' => $may, 'callback' => $answer]
    = $routes['comet/v1/token'];
$request = ['type' => $_GET['type'] ?? '',
            'id' => isset($_GET['id']) ? (int) $_GET['id'] : null];
if (!preg_match("#{$args['type']['pattern']}#", $request['type'])) {
    http_response_code(400);
} elseif (!$may($request)) {
    http_response_code(isset($_SESSION['id']) ? 403 : 401);
} else {
    echo json_encode($answer($request));
}
"""


def read(name):
    with open(os.path.join(REPO, "conf", "examples", name),
              encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def site():
    """Yield a server with wordpress.conf and PHP-FPM."""
    fpm = php_fpm.Fpm()
    conf = read("wordpress.conf").replace("/etc/apache2/", "{root}/conf/")
    server = Httpd(comet="status", modules=php_fpm.MODULES, conf=fpm.conf
                   + 'CometStore "sqlite:{data}/comet.db"\n' + conf)
    server.allow_log.append("AH00051|AH00052")      # for a killed child
    server.keep_port = True
    server.write("wp-json.php", WORDPRESS.replace(
        "FILE", tokens.write_example(server)))
    for name in ("conf/examples/comet-wordpress.php",
                 "conf/examples/comet-yjs.js", "htdocs/comet/comet.js"):
        shutil.copy(os.path.join(REPO, name), server.docroot)
    server.write("package.json", '{"type": "module"}')
    server.start()
    yield server
    problems = server.close()
    fpm.close()
    assert not problems


@pytest.fixture(scope="module")
def office(site):
    """Yield the Node process in which anna's editors run."""
    cookie = site.get("/wp-json.php?login=anna").header("set-cookie")
    with NodeClient("yjs_editor.mjs", site.docroot, "http://127.0.0.1:%d"
                    % site.port, "/wp-json.php", json.dumps(
                        {"Cookie": cookie.split(";")[0]})) as made:
        yield made


class Editor:
    """A document that one user edits in the Node process."""

    count = 0

    def __init__(self, office, post, state_after=200):
        Editor.count += 1
        self.office, self.name = office, "editor %d" % Editor.count
        self.command("open", str(post), state_after)
        self.wait("ready")

    def command(self, word, *words):
        self.office.command(word, self.name, *words)

    def wait(self, *words):
        wanted = [words[0], self.name, *words[1:]]
        self.office.wait(lambda: wanted in self.office.said, repr(wanted))

    def connected(self):
        self.wait("status", "connected")
        return self

    def ask(self, word, answer):
        """Send the command `word` to the editor, and return its answer."""
        def found():
            return [words[2] for words in self.office.said[count:]
                    if words[:2] == [answer, self.name]]

        count = len(self.office.said)
        self.command(word)
        self.office.wait(found, word)
        return found()[0]

    def text(self):
        return self.ask("text", "text")


def converge(editors, parts):
    """Wait until each document has these parts, and check that all documents
    are equal."""
    for editor in editors:
        wait_until(lambda editor=editor: sorted(editor.text().split()) == parts,
                   20, "%d parts" % len(parts), 0.1)
    assert len({editor.text() for editor in editors}) == 1


def rows(server, post):
    """Return how many messages of each type a post's channel has."""
    with contextlib.closing(sqlite3.connect(server.db, timeout=10)) as db:
        return dict(db.execute(
            "SELECT type, count(*) FROM message WHERE channel = ? GROUP BY type",
            ("wordpress/postType/post/%d" % post,)))


def kill(server):
    """Kill the server's children by SIGKILL, and wait for new ones."""
    old = server.children()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.children()
               and not set(old) & set(server.children()), 10, "a child")


def test_716_01_converge(site, office):
    """Two editors that write at the same time end with the same text, in spite
    of a kill -9 of the child and a reload.  An editor that opens the document
    later has that text, too."""
    one, two = (Editor(office, 1).connected() for _ in range(2))
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
    one.command("remove", 0, 4)
    text = one.text()
    wait_until(lambda: two.text() == text, 10, "a deletion")
    late = Editor(office, 1)
    wait_until(lambda: late.text() == text, 10, "the whole text")


def test_716_02_what_a_channel_has_is_not_repeated(site, office):
    """An editor may load a document that WordPress has stored.  It then
    publishes only the changes that the channel lacks."""
    one = Editor(office, 2).connected()
    one.command("append", "stored")
    wait_until(lambda: rows(site, 2) == {"update": 1}, 10, "the row")
    saved = one.ask("save", "saved")
    two = Editor(office, 2)
    two.command("load", saved)
    two.connected()
    two.command("append", " more")
    wait_until(lambda: one.text() == "stored more", 10, "the text")
    assert rows(site, 2) == {"update": 2}
    two.command("append", " at the end")
    two.command("destroy")
    wait_until(lambda: one.text() == "stored more at the end", 10, "the text")
    assert rows(site, 2) == {"update": 3}
    sqlite(site.db, "DELETE FROM message WHERE channel LIKE '%/2'")
    three = Editor(office, 2)           # the channel is empty again
    three.command("load", saved)
    wait_until(lambda: rows(site, 2) == {"update": 1}, 10, "the row")
    four = Editor(office, 2)
    wait_until(lambda: four.text() == "stored", 10, "the text")


def test_716_03_whole_documents(site, office):
    """A new editor does not need the messages before the last whole
    document."""
    one = Editor(office, 3, state_after=5).connected()
    for number in range(12):
        one.command("append", " %d" % number)
        wait_until(lambda number=number: sum(
            rows(site, 3).values()) == number + 1, 10, "the row")
    text = one.text()
    assert rows(site, 3) == {"state": 2, "update": 10}
    sqlite(site.db, "DELETE FROM message WHERE channel LIKE '%/3' AND timestamp"
           " < (SELECT max(timestamp) FROM message WHERE type = 'state')")
    late = Editor(office, 3)
    wait_until(lambda: late.text() == text, 10, "the whole text")


def test_716_04_rights(site, office):
    """A token opens only the document for which its user has asked, and which
    the user may edit."""
    refused = Editor(office, 5)         # without a token
    refused.command("append", "mine")
    assert refused.text() == "mine"
    cookie = {"Cookie": site.get("/wp-json.php?login=bert")
              .header("set-cookie").split(";")[0]}
    for query, status in (("type=postType/post&id=5", 403),
                          ("type=postType/post&id=12", 403),
                          ("type=postType/page&id=1", 403),
                          ("type=root/comment", 403), ("type=*", 400),
                          ("type=postType/*", 400), ("", 400)):
        answer = site.get("/wp-json.php?" + query, cookie)
        assert answer.status == status, query
    assert site.get("/wp-json.php?type=postType/post&id=4").status == 401
    for query, channel in (("&id=4", "wordpress/postType/post/4"),
                           ("", "wordpress/postType/post")):
        answer = site.get("/wp-json.php?type=postType/post" + query, cookie)
        said = answer.json()
        assert said["channel"] == channel
        token = {"Authorization": "Bearer " + said["token"]}
        for other in ("", "/4", "/5"):
            url = "/comet/wordpress/postType/post%s" % other
            mine = url == "/comet/" + channel
            assert site.get(url + "?wait=0", token).status \
                == (200 if mine else 403), (url, query)
            answer = site.request("POST", url, b"x", {
                "Content-Type": "text/plain", **token})
            assert answer.status == (201 if mine else 403)
    assert rows(site, 5) == {}
