# SPDX-License-Identifier: Apache-2.0
"""A real headless Chromium, and the demo pages that it opens in the tests.

Most tests use a browser without windows.  One with windows costs twice the CPU,
because its tab shows a turning wheel while a page loads, and a page with a
stream loads for ever.  But only a browser with windows hides the tabs behind
the front one, restores a page when the user goes back, and closes a tab at once
if its frames do not answer.
"""

import os
import shutil
import tempfile
import time

import httpd_env
from httpd_env import REPO, SLOW

CHROMIUM = os.environ.get("COMET_CHROMIUM", "/usr/bin/chromium")
WINDOWLESS = os.environ.get("COMET_CHROMIUM_WINDOWLESS",
                            "/usr/bin/chromium-headless-shell")
DRIVER = os.environ.get("COMET_CHROMEDRIVER", "/usr/bin/chromedriver")
PROTOTYPE = os.environ.get(
    "COMET_PROTOTYPE", "/usr/share/javascript/prototype/prototype.js")
# With these flags, tabs of one site share two processes, and no process is
# started in advance: each costs a tenth of a second of CPU.  Chromium does not
# draw in software either, which would take a tenth of a core for each browser,
# even while its page does not change.
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu",
         "--disable-software-rasterizer",
         "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-dev-shm-usage", "--accept-lang=en-US",
         "--disable-extensions", "--no-default-browser-check",
         "--renderer-process-limit=2",
         "--disable-features=SpareRendererForSitePerProcess"]


def wait_until(condition, timeout=5.0, what="the condition", step=0.05):
    """Wait as httpd_env.wait_until() does, but poll less often. Each poll of a
    page goes through chromedriver, which keeps several processes busy for some
    milliseconds."""
    return httpd_env.wait_until(condition, timeout, what, step)


# The scripts that operate and read each chat page.
CHATS = {
    "original": {
        "url": "/chat/original.html",
        "rows": "return [...document.querySelectorAll('#content > div')]"
                ".map(d => d.textContent).filter(t => t !== '')",
        "markup": "return document.querySelectorAll("
                  "'#content b, #content img, #content script').length",
        "ready": "return typeof comet === 'object'"
                 " && document.readyState === 'complete'",
        "send": "document.querySelector('#word').value = arguments[0];"
                "document.querySelector('input[type=submit]').click()",
        "box": "#content"},
    "today": {
        "url": "/chat/",
        "rows": "return [...document.querySelectorAll("
                "'#log li.row:not(.sending) .body')]"
                ".map(d => d.textContent)",
        "markup": "return document.querySelectorAll('#log .body *').length",
        "ready": "return document.querySelector('#status')?.dataset.state"
                 " === 'connected'",
        "send": "document.querySelector('#message').value = arguments[0];"
                "document.querySelector('#send').click()",
        "box": "#log"},
}


# The configuration with which a server serves the pages, as in `make run`.
CONF = """
  AddType image/svg+xml .svg
  Alias /clock/prototype.js "{docroot}/prototype.js"
  Alias /chat/prototype.js "{docroot}/prototype.js"
  Alias /mod-comet "{docroot}/comet"
  <Location "/comet">
    CometPresence on
  </Location>
"""


def stage(server):
    """Copy the pages into the document root of a server."""
    shutil.copytree(os.path.join(REPO, "htdocs"), server.docroot,
                    dirs_exist_ok=True)
    shutil.copy(PROTOTYPE, os.path.join(server.docroot, "prototype.js"))
    for folder, _, names in os.walk(server.docroot):
        os.chmod(folder, 0o755)
        for name in names:
            os.chmod(os.path.join(folder, name), 0o644)
    server.keep_port = True
    return server


def missing():
    """Return the paths that tests with a browser need but that do not exist."""
    return [path for path in (CHROMIUM, WINDOWLESS, DRIVER, PROTOTYPE)
            if not os.path.exists(path)]


class Browser:
    """A Chromium with one profile and any number of tabs."""

    def __init__(self, port, flags=(), windows=False):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
        os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
        self.port = port
        self.profile = tempfile.mkdtemp(prefix="comet-chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM if windows else self.windowless()
        options.page_load_strategy = "none"  # the clock's page loads for ever
        for flag in FLAGS + ["--user-data-dir=" + self.profile] + list(flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(DRIVER),
                                       options=options)
        self.driver.set_script_timeout(20)
        self.first = self.driver.current_window_handle

    def windowless(self):
        """Return the path of a script that starts WINDOWLESS with a page.
        WINDOWLESS opens no page of its own accord, and chromedriver waits for
        one."""
        path = os.path.join(self.profile, "chromium")
        with open(path, "w") as script:
            script.write('#!/bin/sh\nexec "%s" "$@" data:,\n' % WINDOWLESS)
        os.chmod(path, 0o755)
        return path

    def close(self):
        try:
            self.driver.quit()
        finally:
            shutil.rmtree(self.profile, ignore_errors=True)

    def reset(self):
        """Close all tabs except the first, which is empty."""
        for handle in self.driver.window_handles:
            if handle != self.first:
                self.driver.switch_to.window(handle)
                self.driver.close()
        self.driver.switch_to.window(self.first)

    def open(self, path):
        """Open a page in a new tab; return its Tab."""
        self.driver.switch_to.window(self.first)
        self.driver.switch_to.new_window("tab")
        tab = Tab(self, self.driver.current_window_handle)
        self.driver.get("http://127.0.0.1:%d%s" % (self.port, path))
        wait_until(lambda: path in tab.js("return location.href"), 10,
                   "the navigation to " + path)
        return tab

    def chat(self, kind):
        """Open a chat page in a tab and connect it; `kind`: a key of CHATS."""
        tab = self.open(CHATS[kind]["url"])
        tab.kind = CHATS[kind]
        wait_until(lambda: tab.js(tab.kind["ready"]), 15,
                   "the %s page" % kind)
        return tab


class Tab:
    """One tab of a browser."""

    def __init__(self, browser, handle):
        self.browser, self.handle, self.kind = browser, handle, None

    def js(self, script, *args):
        driver = self.browser.driver
        if driver.current_window_handle != self.handle:
            driver.switch_to.window(self.handle)
        return driver.execute_script(script, *args)

    def send(self, text):
        self.js(self.kind["send"], text)

    def rows(self):
        return self.js(self.kind["rows"])

    def wait_rows(self, want, timeout=10.0):
        """Wait until the page shows exactly these texts, in this order."""
        end = time.monotonic() + timeout * SLOW
        while True:
            got = self.rows()
            if got == want:
                return
            assert len(got) <= len(want) or got[:len(want)] != want, \
                "more than there is: %r" % got
            assert time.monotonic() < end, "shown %d: %r\nwanted %d: %r" \
                % (len(got), [g[:40] for g in got], len(want),
                   [w[:40] for w in want])
            time.sleep(0.05)

    def close(self):
        driver = self.browser.driver
        driver.switch_to.window(self.handle)
        driver.close()
        driver.switch_to.window(self.browser.first)

    def watch(self, selector):
        """Record [wall-clock ms, text] at each change of an element."""
        self.js("""
          const box = document.querySelector(arguments[0]);
          window.seen = [];
          new MutationObserver(() => window.seen.push(
            [performance.timeOrigin + performance.now(), box.textContent]))
            .observe(box, {childList: true, characterData: true,
                           subtree: true});""", selector)

    def seen(self):
        return self.js("return window.seen")
