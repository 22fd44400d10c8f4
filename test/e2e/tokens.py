# SPDX-License-Identifier: Apache-2.0
"""Tokens, signed as a site's application signs them, and their keys."""

import atexit
import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import tempfile
import time

from httpd_env import is_root

SECRET = "correct horse battery staple: 32+"
NEW_SECRET = "another secret of at least 32 bytes"

ISSUED = []     # every token that was signed, none of which may be in a log

FOLDER = tempfile.mkdtemp(prefix="comet-keys-")
os.chmod(FOLDER, 0o755)
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def path(name):
    return os.path.join(FOLDER, name)


def write(name, text, mode=0o600):
    """Write a file with a key, and return its path."""
    with open(path(name), "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(path(name), mode)
    return path(name)


def write_example(server, name="comet.key"):
    """Write the key file that an example needs, with the owner and mode that
    the example's commands set.  Return its path."""
    made = os.path.join(server.root, "conf", name)
    with open(made, "w", encoding="ascii") as out:
        out.write("0123456789abcdef" * 4 + "\n")
    os.chmod(made, 0o640)
    if is_root():
        shutil.chown(made, "root", "www-data")
    return made


def openssl(*words, data=None):
    return subprocess.run(["openssl"] + list(words), input=data, check=True,
                          timeout=60, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def make_pair(name, *words):
    """Write a private key NAME.key and its public key NAME.pem; return the path
    of the public key."""
    openssl("genpkey", *words, "-out", path(name + ".key"))
    openssl("pkey", "-in", path(name + ".key"), "-pubout", "-out",
            path(name + ".pem"))
    os.chmod(path(name + ".pem"), 0o644)
    return path(name + ".pem")


def encode(data):
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(claims, secret=SECRET, header=None, key=None):
    """Return a token signed with a secret, or with the private key NAME.key
    (RS256)."""
    header = header or {"alg": "RS256" if key else "HS256", "typ": "JWT"}
    text = encode(header) + "." + encode(claims)
    if key:
        mac = openssl("dgst", "-sha256", "-sign", path(key + ".key"),
                      data=text.encode())
    else:
        mac = hmac.new(secret.encode(), text.encode(),
                       hashlib.sha256).digest()
    ISSUED.append(text + "." + encode(mac))
    return ISSUED[-1]


def claims(user="anna", read=(), write=(), seconds=60, **more):
    """Return the claims of a token that expires `seconds` from now."""
    said = {"comet": {"read": list(read), "write": list(write)}, **more}
    if user is not None:
        said["sub"] = user
    if seconds is not None:
        said["exp"] = time.time() + seconds
    return said


def assert_hidden(server):
    """Check that no log of a server contains a token or a part of one."""
    logs = server.error_log() + server.access_log()
    for token in ISSUED:
        for part in token.split(".")[1:]:
            assert part not in logs, part


def bearer(token):
    return {"Authorization": "Bearer " + token}


def grant(*read, **more):
    """Return the header with a token that grants reading these channels."""
    return bearer(sign(claims(read=read, **more)))
