# SPDX-License-Identifier: Apache-2.0
"""Runs curl in a loop. Each run resumes after the last id in the output so far.

usage: curl_client.py [OPTION OF CURL]... URL
"""

import subprocess
import sys
import threading
import time

from printing import printing_stream

RUNNING = []


def follow(*arguments):
    events = printing_stream()
    while True:
        command = ["curl", "-sSN", "-H", "Accept: text/event-stream"]
        if events.last_id:
            command += ["-H", "Last-Event-ID: " + events.last_id]
        events.begin()
        with subprocess.Popen(command + list(arguments),
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE) as curl:
            RUNNING[:] = [curl]
            for piece in iter(lambda: curl.stdout.read1(65536), b""):
                events.feed(piece)
        time.sleep(events.retry)


threading.Thread(target=follow, args=sys.argv[1:], daemon=True).start()
sys.stdin.read()
for process in RUNNING:
    process.kill()
