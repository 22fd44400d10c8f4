# SPDX-License-Identifier: Apache-2.0
"""Debian's WordPress and MariaDB, which `conf/setup long` unpacks: a private
database, a copy of the site in the docroot, and its users."""

import glob
import json
import os
import re
import shutil
import subprocess
from urllib.parse import urlencode

from httpd_env import REPO, SLOW, WWW_USER, is_root, wait_until

UNPACKED = os.path.join(REPO, "build", "wordpress")
SITE = os.path.join(UNPACKED, "usr", "share", "wordpress")
LIBRARIES = os.path.join(UNPACKED, "usr", "lib", "x86_64-linux-gnu")
SERVER = os.path.join(UNPACKED, "usr", "sbin", "mariadbd")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# PHP's drivers for MariaDB, without the ".so" that Fpm appends
EXTENSIONS = tuple(path[:-3] for name in ("mysqlnd", "mysqli")
                   for path in glob.glob(os.path.join(
                       UNPACKED, "usr", "lib", "php", "*", name + ".so")))

CONFIG = """<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:%(socket)s');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
define('AUTH_KEY', 'a'); define('SECURE_AUTH_KEY', 'b');
define('LOGGED_IN_KEY', 'c'); define('NONCE_KEY', 'd');
define('AUTH_SALT', 'e'); define('SECURE_AUTH_SALT', 'f');
define('LOGGED_IN_SALT', 'g'); define('NONCE_SALT', 'h');
define('DISABLE_WP_CRON', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('COMET_KEY', '%(key)s');
$table_prefix = 'wp_';
defined('ABSPATH') || define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
"""

# What an administrator does: install WordPress, add users and posts, and
# activate the plug-in.  The option is set directly, because WordPress itself
# would refuse to activate a plug-in that needs version 7.0.
INSTALL = """<?php
define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = '%(host)s';
require __DIR__ . '/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('Site', 'boss', 'boss@example.com', true, '', 'pw-boss');
update_option('siteurl', 'http://%(host)s');
update_option('home', 'http://%(host)s');
$posts = [];
foreach (['anna' => 'author', 'bert' => 'contributor', 'carl' => 'subscriber',
          'dora' => 'editor'] as $name => $role) {
    $id = wp_insert_user(['user_login' => $name, 'user_pass' => "pw-$name",
                          'role' => $role]);
    $posts[$name] = wp_insert_post(['post_title' => "by $name",
        'post_author' => $id, 'post_status' => 'draft']);
}
update_option('active_plugins', ['comet-wordpress/comet-wordpress.php']);
echo json_encode($posts);
"""


def missing():
    """Return why the tests cannot run here, or None."""
    if not os.path.exists(SITE):
        return "Debian's WordPress is not unpacked: conf/setup long"
    return None if os.path.exists(SERVER) and len(EXTENSIONS) == 2 \
        else "MariaDB or PHP's driver for it is not unpacked: conf/setup long"


class MariaDB:
    """A private MariaDB server, with a socket in its folder."""

    def __init__(self, folder):
        self.socket = os.path.join(folder, "mariadb.sock")
        self.env = {**os.environ, "LD_LIBRARY_PATH": LIBRARIES}
        data = os.path.join(folder, "mariadb")
        common = ["--no-defaults", "--datadir=" + data,
                  "--basedir=" + os.path.join(UNPACKED, "usr")]
        if is_root():
            common.append("--user=root")
        subprocess.run(
            ["sh", os.path.join(UNPACKED, "usr", "bin", "mariadb-install-db"),
             *common, "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve",
             "--innodb-log-file-size=4M"],
            env=self.env, check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.proc = subprocess.Popen(
            [SERVER, *common, "--socket=" + self.socket, "--skip-networking",
             "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M",
             "--pid-file=" + os.path.join(folder, "mariadb.pid"),
             "--init-file=" + self.first_words(folder)],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(self.socket), 30 * SLOW, "MariaDB")
        os.chmod(self.socket, 0o777)

    @staticmethod
    def first_words(folder):
        path = os.path.join(folder, "init.sql")
        with open(path, "w", encoding="ascii") as out:
            out.write("CREATE DATABASE IF NOT EXISTS wordpress;\n")
        return path

    def close(self):
        self.proc.terminate()
        self.proc.wait(30 * SLOW)


def install(server, database, key, files):
    """Copy the site and the plug-in into the docroot, and set the site up.
    Return {user: id of their draft}."""
    shutil.copytree(SITE, server.docroot, symlinks=True, dirs_exist_ok=True)
    os.remove(os.path.join(server.docroot, ".htaccess"))
    content = os.path.join(server.docroot, "wp-content")
    plugin = os.path.join(content, "plugins", "comet-wordpress")
    os.makedirs(plugin, exist_ok=True)
    for path in files:
        shutil.copy(path, plugin)
    # WordPress must not send mail from this machine
    server.write("wp-content/mu-plugins/no-mail.php",
                 "<?php function wp_mail() { return true; }\n")
    words = {"socket": database.socket, "key": key,
             "host": "127.0.0.1:%d" % server.port}
    server.write("wp-config.php", CONFIG % words)
    server.write("set-up.php", INSTALL % words)
    done = subprocess.run(
        ["php", "-n", *[word for name in EXTENSIONS
                        for word in ("-d", "extension=%s.so" % name)],
         "set-up.php"], cwd=server.docroot, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=120 * SLOW, check=False)
    text = done.stdout.decode()
    assert done.returncode == 0 and "{" in text, text
    os.remove(os.path.join(server.docroot, "set-up.php"))
    give_all(server.docroot)
    return json.loads(text[text.rindex("{"):])


def give_all(folder):
    if is_root():
        subprocess.run(["chown", "-R", WWW_USER, folder], check=True)


def log_in(server, name):
    """Log a user in.  Return the headers of the session: its cookies, and the
    nonce for requests to the REST API."""
    with server.raw(timeout=60) as conn:
        conn.request("POST", "/wp-login.php", {
            **FORM, "Cookie": "wordpress_test_cookie=WP%20Cookie%20check"},
            urlencode({"log": name, "pwd": "pw-" + name}).encode())
        answer = conn.answer()
        assert answer.status == 302, answer
        cookie = "; ".join(re.findall(r"(?mi)^set-cookie: ([^;\r]+)",
                                      conn.raw_head.decode("latin-1")))
    answer = server.get("/wp-admin/admin-ajax.php?action=rest-nonce",
                        {"Cookie": cookie}, timeout=60)
    assert re.fullmatch(r"[0-9a-f]{10}", answer.body.decode()), answer
    return {"Cookie": cookie, "X-WP-Nonce": answer.body.decode()}
