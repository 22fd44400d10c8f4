// SPDX-License-Identifier: Apache-2.0
// comet.js's presence() and read(), against a stub of the server.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Comet } from '../../htdocs/comet/comet.js';

/** Make a server with one channel, room/@online, and its list of members. */
function makeServer() {
    const server = {
        list: { members: [], count: 0, most: 3, anonymous: 0, timestamp: 100 },
        messages: [], waiting: [], marks: [], lists: 0,
        publish(type, author, body = '{}') {
            const timestamp = Math.max(server.list.timestamp,
                                       server.messages.at(-1)?.timestamp ?? 0)
                + 1;
            server.messages.push({ timestamp, channel: 'room/@online', type,
                                   author, body });
            server.waiting.splice(0).forEach((wake) => wake());
        },
        set(...names) {
            server.list.members = names.map((member) => ({ member, since: 1 }));
            server.list.count = names.length;
            server.list.timestamp = (server.messages.at(-1)?.timestamp ?? 100);
        },
    };
    globalThis.fetch = async (address, { method, signal }) => {
        const url = new URL(address);
        const query = url.searchParams;
        signal.throwIfAborted();
        if (method === 'POST') {
            server.marks.push(url.pathname + url.search);
            return new Response(null, { status: 204 });
        }
        if (query.has('members')) {
            server.lists++;
            const page = server.list.members
                .filter(({ member }) => member > (query.get('after') ?? ''))
                .slice(0, 2);
            return Response.json({ ...server.list, members: page });
        }
        const since = Number(query.get('since'));
        const news = () => url.pathname.endsWith('@online')
            ? server.messages.filter((m) => m.timestamp > since) : [];
        if (!news().length) {
            await new Promise((done, fail) => {
                server.waiting.push(done);
                signal.addEventListener('abort', () => fail(signal.reason));
            });
        }
        return Response.json({ messages: news(), gap: false,
                               timestamp: news().at(-1)?.timestamp ?? since });
    };
    return server;
}

async function until(condition) {
    for (const end = Date.now() + 5000; !condition();) {
        assert.ok(Date.now() < end, `in vain: ${condition}`);
        await new Promise((done) => setTimeout(done, 2));
    }
}

function follows(name, check) {
    test(name, { timeout: 10_000 }, async () => {
        const server = makeServer();
        const comet = new Comet('http://localhost/comet/room',
                                { transport: 'poll', share: false });
        try {
            await check(server, comet);
        }
        finally {
            comet.close();
        }
    });
}

const names = (presence) => [...presence.members.keys()].sort().join();

follows('the list, and what happens after it', async (server, comet) => {
    server.messages.push({ timestamp: 99, type: 'leave', author: 'ann',
                           channel: 'room/@online', body: '{}' });
    server.list.members = ['ann', 'bob', 'cy'].map((member) => (
        { member, since: 1, info: member === 'cy' ? '{"a":1}' : undefined }));
    server.list.count = 3;
    const presence = comet.presence();
    assert.ok(!presence.complete, 'nothing is known yet');
    let changes = 0;
    presence.addEventListener('change', () => changes++);
    await until(() => names(presence) === 'ann,bob,cy');    // the list has two
                                                            // pages
    assert.equal(presence.members.get('cy').info, '{"a":1}');
    assert.ok(presence.complete);
    server.publish('leave', 'bob');
    await until(() => names(presence) === 'ann,cy');
    server.publish('join', 'dan', '{"b":2}');
    await until(() => names(presence) === 'ann,cy,dan');
    assert.equal(presence.members.get('dan').info, '{"b":2}');
    assert.equal(presence.count, 3);
    assert.ok(changes >= 3);
    presence.close();
});

follows('too many for single events, and back', async (server, comet) => {
    server.set('ann');
    const presence = comet.presence();
    await until(() => presence.complete);
    server.publish('count', null,
                   '{"count": 7, "most": 3, "anonymous": 2}');
    server.set('a', 'b', 'c', 'd', 'e', 'f', 'g');
    await until(() => presence.count === 7 && presence.members.size === 7);
    server.set('a', 'b');
    server.publish('count', null,
                   '{"count": 2, "most": 3, "anonymous": 0}');
    await until(() => names(presence) === 'a,b');
    presence.close();
});

follows('refused for good', async (server, comet) => {
    globalThis.fetch = async () => new Response('no', { status: 403 });
    const presence = comet.presence();
    const { error } = await new Promise((done) => {
        presence.addEventListener('close', done);
    });
    assert.equal(error.status, 403);
});

follows('refused for a moment when the list is read again',
        async (server, comet) => {
            server.set('ann');
            const presence = comet.presence();
            await until(() => presence.complete);
            const { fetch } = globalThis;
            let refused = 0;
            globalThis.fetch = async (address, init) => {
                const isList = new URL(address).searchParams.has('members');
                return isList && refused++ < 2
                    ? new Response('<h1>No</h1>', { status: 403 })
                    : fetch(address, init);
            };
            let closed = 0;
            presence.addEventListener('close', () => closed++);
            server.publish('count', null,
                           '{"count": 7, "most": 3, "anonymous": 2}');
            server.set('a', 'b', 'c', 'd', 'e', 'f', 'g');
            await until(() => closed || presence.members.size === 7);
            assert.equal(closed, 0);
            assert.ok(refused > 2);
            presence.close();
        });

follows('read() sends a mark', async (server, comet) => {
    await comet.read(42);
    assert.deepEqual(server.marks, ['/comet/room?read=42']);
});
