// SPDX-License-Identifier: Apache-2.0
// comet.js in a tab that follows another one: the other tab is a stub, and so
// are its locks.  (Tests with real tabs are in test/e2e.)

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import test from 'node:test';

import { Comet } from '../../htdocs/comet/comet.js';

// Another tab holds the lock for as long as this tab waits for the lock.
const locks = {
    request: (name, { signal }) => new Promise((done, fail) => {
        signal.addEventListener('abort', () => fail(signal.reason));
    }),
};
Object.defineProperty(globalThis, 'navigator',
                      { value: { locks }, configurable: true });

async function until(condition) {
    for (const end = Date.now() + 5000; !condition();) {
        assert.ok(Date.now() < end, `in vain: ${condition}`);
        await new Promise((done) => setTimeout(done, 2));
    }
}

/** Make a test of a tab that has missed message 11, while the leading tab has
 * already received 12. */
function follows(name, refusals, check) {
    test(name, { timeout: 10_000 }, async () => {
        let asked = 0;
        const server = createServer((request, answer) => {
            const [status, body] = refusals[asked++] ?? [200, JSON.stringify({
                timestamp: 12, gap: false,
                messages: [11, 12].map((timestamp) => (
                    { timestamp, channel: 'c', type: 'message', author: null,
                      body: `m${timestamp}` })),
            })];
            answer.writeHead(status, { 'Content-Type': body.startsWith('{')
                ? 'application/json' : 'text/html' }).end(body);
        });
        await new Promise((done) => server.listen(0, '127.0.0.1', done));
        const url = `http://127.0.0.1:${server.address().port}/c`;
        const leader = new BroadcastChannel(JSON.stringify(
            ['mod-comet 1', url, [], 'auto', 'comet.receive', true, null]));
        const comet = new Comet(url, { since: 10 });
        const got = [], closed = [];
        comet.addEventListener('message', ({ data }) => got.push(data));
        comet.addEventListener('close', ({ error }) => closed.push(error?.status));
        leader.postMessage({
            status: { key: 'x', state: 'open', transport: 'events' },
            news: { after: 12, messages: [], cursor: 12 },
        });
        try {
            await check({ got, closed });
        }
        finally {
            comet.close();
            leader.close();
            server.closeAllConnections();
            server.close();
        }
    });
}

for (const status of [403, 404]) {
    follows(`a ${status} that passes while missed messages are read`,
            [[status, '<h1>No</h1>'], [status, '<h1>No</h1>']],
            async ({ got, closed }) => {
                await until(() => closed.length || got.length === 2);
                assert.deepEqual([got, closed], [['m11', 'm12'], []]);
            });
}

follows('the server\'s own refusal ends it',
        [[403, '{"error": "channel: \\"c\\" may not be read"}']],
        async ({ closed }) => {
            await until(() => closed.length);
            assert.deepEqual(closed, [403]);
        });
