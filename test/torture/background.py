# SPDX-License-Identifier: Apache-2.0
"""Threads that work beside a test."""

import threading


class Background(threading.Thread):
    """A thread that works until its `with` block ends. Its run() returns soon
    after `done` is set."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done = threading.Event()

    def stop(self):
        """End the thread, and check that it does not hang."""
        self.done.set()
        self.join(90)
        assert not self.is_alive(), "%s hangs" % type(self).__name__

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
