# SPDX-License-Identifier: Apache-2.0
"""Some streams over TLS; `make torture` has a thousand."""

import pytest

from tls_many import many


@pytest.mark.event
def test_616_01_some(make_server, figure):
    figure(many(make_server, "event", 20))
