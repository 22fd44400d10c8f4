// SPDX-License-Identifier: Apache-2.0
// comet.js on a WebSocket that the test plays, beside a server for event streams
// and publishing.  (A real WebSocket in a browser is in test/e2e.)

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import test from 'node:test';

import { Comet } from '../../htdocs/comet/comet.js';

/** A WebSocket whose server is the test. */
class FakeSocket {
    static all = [];

    constructor(url) {
        this.url = new URL(url);
        this.sent = [];
        FakeSocket.all.push(this);
    }

    send(text) {
        this.sent.push(JSON.parse(text));
    }

    close() {
        this.isClosed = true;
    }

    says(...frames) {
        for (const frame of frames) {
            this.onmessage?.({ data: JSON.stringify(frame) });
        }
    }

    ends(code, reason = '') {
        this.onclose?.({ code, reason });
    }
}

const message = (timestamp, body = `m${timestamp}`) => (
    { timestamp, channel: 'c', type: 'message', author: null, body });

/** Make a test whose server answers event streams and publishes. */
function played(name, options, check) {
    test(name, { timeout: 10_000 }, async () => {
        const posted = [];
        const server = createServer((request, answer) => {
            if (request.method === 'POST') {
                posted.push(request.headers['idempotency-key']);
                answer.writeHead(201, { 'Content-Type': 'application/json' });
                answer.end('{"timestamp": 77, "channel": "posted"}');
                return;
            }
            answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
            answer.write('retry: 40\nid: 5\n\n');
        });
        FakeSocket.all = [];
        globalThis.WebSocket = FakeSocket;
        await new Promise((done) => server.listen(0, '127.0.0.1', done));
        const comet = new Comet(`http://127.0.0.1:${server.address().port}/c`,
                                { transport: 'websocket', ...options });
        const got = [];
        const opened = [];
        comet.addEventListener('message', ({ data }) => got.push(data));
        comet.addEventListener('open', ({ transport }) => opened.push(transport));
        try {
            await check({ comet, got, opened, posted });
        }
        finally {
            comet.close();
            server.closeAllConnections();
            server.close();
        }
    });
}

async function until(condition) {
    for (const end = Date.now() + 5000; !condition();) {
        assert.ok(Date.now() < end, `in vain: ${condition}`);
        await new Promise((done) => setTimeout(done, 2));
    }
}

async function socket(number) {
    await until(() => FakeSocket.all.length === number);
    return FakeSocket.all[number - 1];
}

played('a WebSocket reads and publishes', { since: 3 },
       async ({ comet, got, opened, posted }) => {
    const one = await socket(1);
    assert.equal(one.url.protocol, 'ws:');
    assert.equal(one.url.search, '?since=3&transport=websocket&live=0');
    one.says({ open: 3 }, message(4), message(6));
    assert.deepEqual([got, opened, comet.cursor], [['m4', 'm6'], ['websocket'], 6]);
    const published = comet.publish('x', { type: 't', idempotencyKey: 'k' });
    await until(() => one.sent.length);
    assert.deepEqual(one.sent, [{ publish: { body: 'x', type: 't', key: 'k' },
                                  ref: 1 }]);
    one.says({ stored: 8, ref: 1 }, message(8, 'x'));
    assert.deepEqual(await published, { timestamp: 8, channel: 'c' });
    const refused = comet.publish('y');
    await until(() => one.sent.length === 2);
    one.says({ error: 'too long', status: 413, ref: 2 });
    await assert.rejects(refused, { status: 413, said: 'too long' });
    // a Comet object that has one channel cannot publish to another channel
    await assert.rejects(comet.publish('z', { channel: 'd' }), TypeError);
    assert.deepEqual(posted, []);
});

played('the channel is known before the first message', {},
       async ({ comet }) => {
    const one = await socket(1);
    one.says({ open: 3 });
    const published = comet.publish('x');
    await until(() => one.sent.length);
    one.says({ stored: 8, ref: 1 });
    one.says(message(8, 'x'));
    assert.deepEqual(await published, { timestamp: 8, channel: 'c' });
});

played('only channels that it follows by name are published to on it',
       { channels: ['a', 'b/*'] }, async ({ comet, posted }) => {
    const one = await socket(1);
    one.says({ open: 3 });
    const published = comet.publish('x', { channel: 'a' });
    await until(() => one.sent.length);
    assert.equal(one.sent[0].publish.channel, 'a');
    one.says({ stored: 8, ref: 1 });
    assert.deepEqual(await published, { timestamp: 8, channel: 'a' });
    assert.equal((await comet.publish('x', { channel: 'b/1' })).timestamp, 77);
    assert.equal(posted.length, 1);
});

played('a WebSocket that ends in order comes back with its cursor', {},
       async ({ comet, got, opened }) => {
    const one = await socket(1);
    one.says({ open: 3 }, message(4));
    one.ends(1001, 'retry=20 the server stops');
    const two = await socket(2);
    assert.equal(two.url.searchParams.get('since'), '4');
    two.says({ open: 4 }, message(5));
    assert.deepEqual(got, ['m4', 'm5']);
    assert.equal(comet.transport, 'websocket');
    assert.deepEqual(opened, ['websocket']);
});

played('what was not answered is published again, under its key', {},
       async ({ comet, posted }) => {
    const one = await socket(1);
    one.says({ open: 3 });
    const published = comet.publish('x');
    await until(() => one.sent.length);
    one.ends(1006);     // the next WebSocket does not open yet
    assert.equal((await published).timestamp, 77);
    assert.deepEqual(posted, [one.sent[0].publish.key]);
});

played('a WebSocket that does not answer a message is replaced', {},
       async ({ comet, posted }) => {
    const one = await socket(1);
    const { setTimeout: real } = globalThis;
    one.says({ open: 3 });
    globalThis.setTimeout = (act, ms, ...more) => real(act, ms / 100, ...more);
    try {
        assert.equal((await comet.publish('x')).timestamp, 77);
    }
    finally {
        globalThis.setTimeout = real;
    }
    assert.deepEqual(posted, [one.sent[0].publish.key]);
    assert.equal(one.sent.length, 1);
    assert.ok(one.isClosed);
});

played('a refused WebSocket becomes an event stream', {},
       async ({ comet, opened, posted }) => {
    (await socket(1)).ends(1006);
    await until(() => opened.length);
    assert.deepEqual(opened, ['events']);
    assert.equal((await comet.publish('x')).channel, 'posted');
    assert.equal(posted.length, 1);
    assert.equal(FakeSocket.all.length, 1);
});

played('a silent WebSocket is asked for an answer', { silence: 0.02 },
       async ({ got }) => {
    const one = await socket(1);
    one.says({ open: 3 });
    await until(() => one.sent.length);
    assert.deepEqual(one.sent[0], {});
    one.says({ error: 'expected …', status: 400 }, message(4));
    assert.deepEqual(got, ['m4']);
    assert.equal(FakeSocket.all.length, 1);
});

test('a token cannot be sent on a WebSocket', () => {
    assert.throws(() => new Comet('http://127.0.0.1/c', {
        transport: 'websocket', token: 'x' }), /websocket cannot send a token/);
});
