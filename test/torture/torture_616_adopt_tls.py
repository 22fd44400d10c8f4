# SPDX-License-Identifier: Apache-2.0
"""What event streams over TLS and HTTP/1.1 cost after they have left httpd."""

import pytest

from scale import scaled
from tls_many import many


@pytest.mark.bound(300)
def test_616_01_a_thousand(make_server, mpm, figure):
    """1,000 event streams over TLS and HTTP/1.1"""
    figure(many(make_server, mpm, scaled(1000), most_kib=22))
