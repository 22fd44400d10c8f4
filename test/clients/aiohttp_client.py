# SPDX-License-Identifier: Apache-2.0
"""Reads an event stream with aiohttp as the manual shows. It resumes with
Last-Event-ID."""

import asyncio
import sys

import aiohttp

from printing import printing_stream


async def follow(url):
    events = printing_stream()
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            headers = {"Accept": "text/event-stream"}
            if events.last_id:
                headers["Last-Event-ID"] = events.last_id
            events.begin()
            try:
                async with session.get(url, headers=headers) as answer:
                    answer.raise_for_status()
                    async for piece in answer.content.iter_any():
                        events.feed(piece)
            except aiohttp.ClientError as err:
                print(repr(err), file=sys.stderr)
            await asyncio.sleep(events.retry)


async def main():
    """Follow until the parent closes this program's standard input."""
    task = asyncio.ensure_future(follow(sys.argv[1]))
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()


asyncio.run(main())
