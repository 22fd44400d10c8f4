// SPDX-License-Identifier: Apache-2.0
// comet.js's forever-iframe in a page that has not loaded yet.  The page is a
// stub with only what comet.js needs.  (test/e2e has other tests of iframes.)

import assert from 'node:assert/strict';
import test from 'node:test';

const page = new EventTarget();
const frames = [];

function makeFrame() {
    const frame = new EventTarget();
    frames.push(frame);
    return Object.assign(frame, {
        contentWindow: {},
        contentDocument: { createElement: makeFrame, body: { append() {} } },
        remove() {
            frame.removed = true;
        },
    });
}

globalThis.addEventListener = page.addEventListener.bind(page);
globalThis.document = Object.assign(new EventTarget(), {
    readyState: 'loading',
    baseURI: 'http://localhost/',
    createElement: makeFrame,
    body: {
        append(frame) {
            setTimeout(() => frame.dispatchEvent(new Event('load')), 1);
        },
    },
});
let polls = 0;
globalThis.fetch = async (url, { signal }) => {
    signal.throwIfAborted();
    polls++;
    return Response.json({ messages: [], timestamp: 5, gap: false });
};
const { Comet } = await import('../../htdocs/comet/comet.js');

async function until(condition) {
    for (const end = Date.now() + 5000; !condition();) {
        assert.ok(Date.now() < end, `in vain: ${condition}`);
        await new Promise((done) => setTimeout(done, 2));
    }
}

const turn = () => new Promise((done) => setTimeout(done, 50));

function follows(name, check) {
    test(name, { timeout: 10_000 }, async () => {
        const comet = new Comet('http://localhost/c', { transport: 'iframe' });
        try {
            await check(comet);
        }
        finally {
            comet.close();
        }
    });
}

follows('one that begins anew before the page is loaded hears what comes', async (comet) => {
    const heard = [];
    comet.addEventListener('message', ({ data }) => heard.push(data));
    await until(() => polls === 1);
    await turn();
    page.dispatchEvent(new Event('online'));
    await until(() => polls === 2);
    await turn();
    page.dispatchEvent(new Event('load'));
    await until(() => frames[0]?.contentWindow.comet);
    await turn();
    assert.equal(frames.filter((f) => f.contentWindow.comet).length, 1);
    frames[0].contentWindow.comet.receive(
        { timestamp: 9, channel: 'c', type: 'message', body: 'hello' });
    await until(() => heard.length === 1);
});

follows('one that is closed before the page is loaded makes no frame', async (comet) => {
    const before = frames.length, asked = polls;
    await until(() => polls > asked);
    await turn();
    comet.close();
    page.dispatchEvent(new Event('load'));
    await turn();
    assert.equal(frames.length, before);
});
