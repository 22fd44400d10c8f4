# SPDX-License-Identifier: Apache-2.0
"""Publishes messages on a WebSocket with python3-websockets, and prints what it
gets. The arguments are the URL and a count."""

import asyncio
import json
import sys

import websockets

from printing import print_event


async def run(url, count):
    async with websockets.connect(url, subprotocols=["comet"]) as socket:
        await (await socket.ping(b"are you there?"))
        for number in range(count):
            text = json.dumps({"publish": {"body": "m%d \u20ac" % number},
                               "ref": number})
            # every third message is sent in fragments
            await socket.send(text if number % 3 else list(text))
        waiting = 2 * count
        async for text in socket:
            frame = json.loads(text)
            print_event(frame)
            waiting -= "open" not in frame
            if not waiting:
                break
    print_event({"closed": socket.close_code, "protocol": socket.subprotocol})

asyncio.run(run(sys.argv[1], int(sys.argv[2])))
