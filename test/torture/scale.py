# SPDX-License-Identifier: Apache-2.0
"""The size of the long scenarios. SCALE=0.1 makes them a tenth as long."""

import os

SCALE = float(os.environ.get("SCALE") or "1")


def scaled(number, least=1):
    """`number` scaled for this run, but at least `least`."""
    return max(least, round(number * SCALE))
