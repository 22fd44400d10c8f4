# SPDX-License-Identifier: Apache-2.0
"""A private PHP-FPM, whose scripts httpd runs by mod_proxy_fcgi."""

import glob
import os
import subprocess
import tempfile

from httpd_env import WWW_USER, is_root, wait_until

BINARY = (sorted(glob.glob("/usr/sbin/php-fpm*")) or [None])[-1]
MODULES = ("proxy", "proxy_fcgi")

CONF = """
[global]
pid = {root}/fpm.pid
error_log = {root}/fpm.log
daemonize = no
[www]
{user}
listen = {root}/fpm.sock
pm = static
pm.max_children = {children}
catch_workers_output = yes
php_admin_value[session.save_path] = {root}/sessions
php_admin_value[opcache.enable] = 0
"""


class Fpm:
    """A PHP-FPM that runs until close(); `handler` is the line that httpd's
    configuration needs."""

    def __init__(self, children=4, extensions=("pdo", "pdo_sqlite", "posix")):
        self.root = tempfile.mkdtemp(prefix="comet-fpm-")
        os.chmod(self.root, 0o755)
        os.mkdir(self.root + "/sessions")
        os.chmod(self.root + "/sessions", 0o1777)
        self.socket = self.root + "/fpm.sock"
        user = "user = %s\ngroup = %s\nlisten.owner = %s" % (
            (WWW_USER,) * 3) if is_root() else ""
        conf = self.root + "/fpm.conf"
        with open(conf, "w", encoding="ascii") as out:
            out.write(CONF.format(root=self.root, user=user,
                                  children=children))
        loads = [word for name in extensions
                 for word in ("-d", "extension=%s.so" % name)]
        self.proc = subprocess.Popen(
            [BINARY, "-n", *loads, "-F", "-y", conf],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(self.socket), 10, "PHP-FPM")

    @property
    def conf(self):
        return ('<FilesMatch "\\.php$">\n  SetHandler "proxy:unix:%s|'
                'fcgi://localhost/"\n</FilesMatch>\n' % self.socket)

    def close(self):
        self.proc.terminate()
        self.proc.wait(20)
        subprocess.run(["rm", "-rf", self.root], check=False)
