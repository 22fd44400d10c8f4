// SPDX-License-Identifier: Apache-2.0
// comet.js's events delete, edit and typing, and the methods for them, against
// a stub of the server.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Comet } from '../../htdocs/comet/comet.js';

/** Make a server that has these messages. It records what is posted. */
function makeServer(messages) {
    const posts = [];
    globalThis.fetch = async (address, { method, signal, headers, body }) => {
        const url = new URL(address);
        signal.throwIfAborted();
        if (method === 'POST') {
            posts.push({ url: url.pathname + url.search, body,
                         key: new Headers(headers).get('Idempotency-Key') });
            return url.search.includes('type')
                ? Response.json({ timestamp: 1, channel: 'room' })
                : new Response(null, { status: 204 });
        }
        const since = Number(url.searchParams.get('since'));
        const news = messages.filter((m) => m.timestamp > since);
        if (!news.length) {
            await new Promise((_, fail) => {
                signal.addEventListener('abort', () => fail(signal.reason));
            });
        }
        return Response.json({ messages: news, gap: false,
                               timestamp: news.at(-1).timestamp });
    };
    return posts;
}

function open() {
    return new Comet('http://server/comet/room',
                     { since: 0, transport: 'poll', share: false });
}

const message = (timestamp, type, body, more) => (
    { timestamp, channel: 'room', type, author: 'ann', body, ...more });

test('what has a meaning of its own is an event of its own', async () => {
    makeServer([
        message(1, 'message', 'hello'),
        message(2, 'edit', '{"of": 1, "body": "hello!"}'),
        message(3, 'typing', '', { keep: 6 }),
        message(4, '@deleted', '1', { author: null }),
        message(5, 'edit', 'not of the convention'),
        message(6, 'edit', '{"of": "1", "body": "x"}'),
        message(7, 'typing', 'it lasts'),
        message(8, 'other', 'x'),
    ]);
    const comet = open();
    const seen = [];
    await new Promise((done) => {
        for (const type of ['message', 'edit', 'typing', 'delete']) {
            comet.addEventListener(type, (event) => {
                seen.push([type, event.message.timestamp,
                           event.timestamp ?? event.keep ?? event.data]);
                if (event.message.timestamp === 8) {
                    done();
                }
            });
        }
    });
    comet.close();
    assert.deepEqual(seen, [
        ['message', 1, 'hello'], ['edit', 2, 1], ['typing', 3, 6],
        ['delete', 4, 1], ['message', 5, 'not of the convention'],
        ['message', 6, '{"of": "1", "body": "x"}'], ['message', 7, 'it lasts'],
        ['message', 8, 'x'],
    ]);
    assert.equal(comet.cursor, 8);
});

test('typing is told now and then, and leaves no key', async () => {
    const posts = makeServer([message(1, 'message', 'x')]);
    const comet = open();
    for (let key = 0; key < 9; key++) {
        comet.typing();
    }
    await comet.edit(1, 'new "text"');
    const { now } = performance;
    const { now: date } = Date;
    performance.now = () => now.call(performance) + 4000;
    Date.now = () => date() - 3_600_000;    // the clock was set back
    comet.typing();
    performance.now = now;
    Date.now = date;
    await new Promise((done) => setTimeout(done));
    comet.close();
    assert.equal(posts.length, 3);
    assert.match(posts[2].url, /^\/comet\/room\?type=typing&keep=6/);
    assert.match(posts[0].url, /^\/comet\/room\?type=typing&keep=6/);
    assert.equal(posts[0].key, null);
    assert.match(posts[1].url, /^\/comet\/room\?type=edit/);
    assert.deepEqual(JSON.parse(posts[1].body), { of: 1, body: 'new "text"' });
    assert.ok(posts[1].key);
});

test('moderators', async () => {
    const posts = makeServer([message(1, 'message', 'x')]);
    const comet = open();
    await comet.delete(17);
    await comet.remove('bob & co');
    comet.close();
    assert.deepEqual(posts.map(({ url }) => url), [
        '/comet/room?delete=17', '/comet/room/@online?remove=bob+%26+co']);
});
