# SPDX-License-Identifier: Apache-2.0
"""What the Python drivers share: they print each event as a line of JSON."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "tools"))

from event_stream import EventStream  # noqa: E402  (the path is set above)


def print_event(event):
    print(json.dumps(event), flush=True)


def printing_stream():
    """An EventStream that prints its events."""
    return EventStream(print_event)
