# SPDX-License-Identifier: Apache-2.0
"""Publishes messages on a WebSocket with aiohttp, and prints what it gets. The
arguments are the URL and a count."""

import asyncio
import json
import sys

import aiohttp

from printing import print_event


async def run(url, count):
    async with aiohttp.ClientSession() as session, \
            session.ws_connect(url, protocols=["comet"], compress=15) as socket:
        await socket.ping(b"are you there?")
        for number in range(count):
            await socket.send_json({"publish": {"body": "m%d \u20ac" % number},
                                    "ref": number})
        waiting = 2 * count
        async for got in socket:
            frame = json.loads(got.data)
            print_event(frame)
            waiting -= "open" not in frame
            if not waiting:
                break
        await socket.close()
        print_event({"closed": socket.close_code, "protocol": socket.protocol})

asyncio.run(run(sys.argv[1], int(sys.argv[2])))
