# SPDX-License-Identifier: Apache-2.0
"""The examples for local publishers work, whatever address `localhost` has."""

import os
import re
import socket
import subprocess

import pytest

from httpd_env import REPO


def documents():
    """Yield the path and the text of each document from which people copy
    configuration."""
    for top in ("README.md", "conf", "htdocs/manual", "htdocs/comet"):
        path = os.path.join(REPO, top)
        names = [path] if os.path.isfile(path) else [
            os.path.join(folder, name) for folder, _, files in os.walk(path)
            for name in files]
        for name in names:
            if name.endswith((".md", ".html", ".conf", ".in", ".js")):
                with open(name, encoding="utf-8") as text:
                    yield name, text.read()


def test_483_01_no_example_means_one_family():
    """Examples say `local`, which means IPv4 and IPv6, and never a single
    address, because localhost may be ::1."""
    found, local = [], 0
    for name, text in documents():
        found += [(name, line) for line in re.findall(
            r"Require\s[^\n]*ip\s+(?:127\.|::1)[^\n]*", text)]
        local += text.count("Require comet-publish local")
    assert found == [] and local >= 4, (found, local)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_483_02_both_families(make_server, host):
    """The publisher in README's example may use IPv4 or IPv6."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 loopback here")
    server = make_server(before="Listen [::1]:{port}\n", conf="""
      <Location "/comet">
        Require comet-publish local
      </Location>""")
    done = subprocess.run(
        ["curl", "-sg", "-H", "Content-Type: text/plain", "-d", "hello",
         "http://%s:%d/comet/news" % (host, server.port)],
        stdout=subprocess.PIPE, check=True, timeout=30)
    assert b'"timestamp"' in done.stdout, done.stdout
    assert server.rows("news") == ["hello"]
