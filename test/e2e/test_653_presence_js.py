# SPDX-License-Identifier: Apache-2.0
"""presence() and read() of comet.js with a real server, in Node."""

import json
import os
import shutil
import subprocess

import pytest

from httpd_env import SLOW, sqlite, wait_until
from members import MODULES, NAMES, await_online, enter, named

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))

SERVER = {"conf": NAMES, "modules": MODULES}

SCRIPT = """
import { Comet } from '%s/htdocs/comet/comet.js';
const [url, authorization] = process.argv.slice(-2);
const comet = new Comet(url, { fetchOptions: { headers: { authorization } } });
const here = comet.presence();
const tell = (said) => console.log(JSON.stringify(said));
here.addEventListener('change', () => tell([...here.members.keys()].sort()));
comet.addEventListener('message', async ({ message }) => {
    await comet.read(message.timestamp);
    tell('read');
});
"""


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node")
def test_653_01_presence_and_read(server):
    """A page follows the members of its channel, and marks what it has read."""
    said = []
    with subprocess.Popen(
            ["node", "--input-type=module", "-e", SCRIPT % TOP, "--",
             "http://127.0.0.1:%d/comet/room" % server.port,
             named("bob")["Authorization"]],
            stdout=subprocess.PIPE, text=True) as page:
        try:
            def told(wanted):
                while not said or said[-1] != wanted:
                    line = page.stdout.readline()
                    assert line, said
                    said.append(json.loads(line))

            told(["bob"])
            with enter(server, "room", "ann"):
                told(["ann", "bob"])
            told(["bob"])
            await_online(server, "room", "bob", timeout=8 * SLOW)
            sqlite(server.db, "INSERT INTO message(channel, body)"
                   " VALUES('room', 'hello')")
            told("read")
            wait_until(lambda: sqlite(
                server.db, "SELECT unread FROM member WHERE member = 'bob'")
                == [["0"]], 8, "the mark")
        finally:
            page.kill()
