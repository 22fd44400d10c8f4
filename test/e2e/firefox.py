# SPDX-License-Identifier: Apache-2.0
"""A real headless Firefox. The tests drive it by Marionette, Firefox's own
protocol, because Debian has no geckodriver for Selenium."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile

from httpd_env import PATIENCE, wait_until

FIREFOX = os.environ.get("COMET_FIREFOX", "/usr/bin/firefox-esr")

# With these settings Firefox fetches nothing of its own accord, and one process
# serves all tabs of a site.
SETTINGS = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutConfig.showWarning": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "browser.tabs.unloadOnLowMemory": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.ipc.processCount": 1,
    "dom.ipc.processCount.webIsolated": 1,
    "extensions.update.enabled": False,
    "fission.autostart": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.server": "data:,",
}


class FirefoxError(Exception):
    """Firefox answered a command with an error."""


class Firefox:
    """A Firefox with one profile and any number of tabs.  `driver` has those
    methods of Selenium that the tests of pages use."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="comet-firefox-")
        with open(os.path.join(self.profile, "user.js"), "w") as script:
            script.write("".join("user_pref(%s, %s);\n" % tuple(
                json.dumps(part) for part in setting)
                for setting in {**SETTINGS, "marionette.port": 0}.items()))
        # HOME is set because Firefox would otherwise make a folder of settings
        # and caches there.
        env = dict(os.environ, HOME=self.profile, MOZ_CRASHREPORTER_DISABLE="1")
        self.log = open(os.path.join(self.profile, "log"), "wb")
        self.process = subprocess.Popen(
            [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile",
             self.profile, "about:blank"], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, env=env, start_new_session=True)
        try:
            self.driver = Driver(wait_until(self.port, 180, "Firefox's port"))
        except BaseException:
            self.close()
            raise
        self.first = self.driver.current_window_handle

    def port(self):
        """Return the port that Firefox has chosen for Marionette, or None."""
        with contextlib.suppress(OSError, ValueError), open(os.path.join(
                self.profile, "MarionetteActivePort")) as file:
            return int(file.read())
        assert self.process.poll() is None, "Firefox ended at once"
        return None

    def close(self):
        if hasattr(self, "driver"):
            self.driver.quit()
        else:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.log.close()
        shutil.rmtree(self.profile, ignore_errors=True)


class Driver:
    """A Marionette session.  A packet is a length, a colon and that much
    JSON."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port),
                                               180 * PATIENCE)
        self.stream = self.socket.makefile("rb")
        self.read()                         # the greeting
        self.commands = 0
        self.switch_to = self  # .switch_to.window(), as in Selenium
        self.command("WebDriver:NewSession", acceptInsecureCerts=True,
                     pageLoadStrategy="none")

    def read(self):
        size = b""
        while not size.endswith(b":"):
            byte = self.stream.read(1)
            if not byte:
                raise FirefoxError("Firefox has closed the connection")
            size += byte
        return json.loads(self.stream.read(int(size[:-1])))

    def command(self, command, **parameters):
        self.commands += 1
        packet = json.dumps([0, self.commands, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(packet), packet))
        _, ident, error, result = self.read()
        assert ident == self.commands
        if error:
            raise FirefoxError("%s: %s" % (command, error["message"]))
        return result

    @property
    def current_window_handle(self):
        return self.command("WebDriver:GetWindowHandle")["value"]

    def new_window(self, kind):
        self.window(self.command("WebDriver:NewWindow", type=kind)["handle"])

    def window(self, handle):
        self.command("WebDriver:SwitchToWindow", handle=handle, focus=False)

    def get(self, url):
        self.command("WebDriver:Navigate", url=url)

    def execute_script(self, script, *args):
        return self.command("WebDriver:ExecuteScript", script=script,
                            args=list(args), newSandbox=False,
                            sandbox=None)["value"]

    def quit(self):
        with contextlib.suppress(FirefoxError, OSError):
            self.command("Marionette:Quit", flags=["eForceQuit"])
        self.stream.close()
        self.socket.close()
