# SPDX-License-Identifier: Apache-2.0
"""Checks of all pages with html-validate (the HTML standard) and with axe
(accessibility)."""

import glob
import json
import os
import shutil
import subprocess

import pytest

from browser import CONF, stage, wait_until
from httpd_env import REPO

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.skipif(
    not shutil.which("npm"), reason="no npm")]

# The pages of the original demos are left out, because they must not change.
PAGES = sorted(os.path.relpath(path, os.path.join(REPO, "htdocs"))
               for path in glob.glob(os.path.join(REPO, "htdocs/**/*.html"),
                                     recursive=True)
               if not path.endswith("original.html"))
CHECKERS = ("html-validate@10.0.0", "axe-core@4.10.3")
SERVER = {"conf": CONF}


@pytest.fixture(scope="module")
def checkers(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("checkers"))
    done = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit",
                           "--no-fund", "--prefix", folder, *CHECKERS],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, check=False, text=True)
    if done.returncode:
        pytest.skip("npm brings no checkers: " + done.stdout[-200:])
    return folder


def test_968_01_html(checkers):
    """Every page is valid.  A page with a duplicate id is reported."""
    with open(checkers + "/.htmlvalidate.json", "w", encoding="ascii") as out:
        json.dump({"root": True, "extends": ["html-validate:standard"]}, out)
    shutil.copytree(os.path.join(REPO, "htdocs"), checkers + "/htdocs")
    tool = os.path.join(checkers, "node_modules/.bin/html-validate")

    def check(names):
        return subprocess.run([tool, "--formatter", "text", *names],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd=checkers, check=False, text=True)

    done = check(["htdocs/" + name for name in PAGES])
    assert len(PAGES) >= 8 and done.returncode == 0, done.stdout
    path = checkers + "/htdocs/manual/twice.html"
    shutil.copy(checkers + "/htdocs/manual/index.html", path)
    with open(path, "r+", encoding="utf-8") as file:
        text = file.read().replace('id="found"', 'id="query"')
        file.seek(0)
        file.write(text)
    done = check([path])
    assert done.returncode and "no-dup-id" in done.stdout, done.stdout


AXE = """const done = arguments[arguments.length - 1];
axe.run({resultTypes: ['violations'], runOnly: {type: 'tag', values:
    ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}})
    .then((found) => done(found.violations.map((one) =>
        one.id + ': ' + one.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))
        .join(' | '))), (error) => done([String(error)]));"""


@pytest.mark.bound(300)     # the reference is a long page
@pytest.mark.parametrize("name", PAGES)
def test_968_02_axe(checkers, server, chromium, name):
    """axe reports nothing for a page: light or dark, wide or narrow."""
    driver = stage(server) and chromium.driver
    driver.set_script_timeout(120)
    with open(checkers + "/node_modules/axe-core/axe.min.js",
              encoding="utf-8") as file:
        script = file.read()
    found = {}
    for width, colours in ((1280, "light"), (1280, "dark"), (360, "light"),
                           (360, "dark")):
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 800, "deviceScaleFactor": 1,
            "mobile": False})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": colours}]})
        driver.get("http://127.0.0.1:%d/%s" % (server.port, name))
        wait_until(lambda: driver.execute_script(
            "return document.readyState") != "loading", 10, name)
        driver.execute_script("document.querySelectorAll('details').forEach("
                              "(one) => { one.open = true; })")
        driver.execute_script(script)
        wrong = driver.execute_async_script(AXE)
        if wrong:
            found[width, colours] = wrong
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.get("about:blank")
    assert not found, found
