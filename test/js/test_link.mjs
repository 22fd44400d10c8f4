// SPDX-License-Identifier: Apache-2.0
// comet.js against a scripted server, which ends or breaks streams, repeats
// messages or falls silent.  (Tests that need a browser are in test/e2e.)

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import test from 'node:test';

import { Comet } from '../../htdocs/comet/comet.js';

const OPENING = 'retry: 40\nid: 10\n\n';

function block(timestamp, body = `m${timestamp}`) {
    const message = { timestamp, channel: 'c', type: 'message', author: null,
                      body };
    return `data: ${JSON.stringify(message)}\nid: ${timestamp}\n\n`;
}

/**
 * Make a test whose server uses one step after the other, one for each request,
 * and then repeats the last one. A step is a function of (answer, query), or a
 * list of the texts of an event stream. If END is the last text, the stream
 * ends; if CUT is, the connection breaks; otherwise the stream stays open.
 */
function scripted(name, steps, options, check) {
    test(name, { timeout: 10_000 }, async () => {
        const asked = [];
        const server = createServer((request, answer) => {
            const { searchParams } = new URL(request.url, 'http://x');
            const step = steps[Math.min(asked.length, steps.length - 1)];
            asked.push({ ...Object.fromEntries(searchParams),
                         at: performance.now() });
            if (typeof step === 'function') {
                step(answer, searchParams);
                return;
            }
            answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
            play(answer, [...step]);
        });
        await new Promise((done) => server.listen(0, '127.0.0.1', done));
        const { port } = server.address();
        const comet = new Comet(
            `http://127.0.0.1:${port}/c`,
            typeof options === 'function' ? options() : options);
        const told = [];
        const note = (type, what) => comet.addEventListener(
            type, (event) => told.push([type, what(event)]));
        note('message', ({ data }) => data);
        note('open', ({ transport }) => transport);
        note('error', ({ error, retryIn }) => [error.status, retryIn]);
        note('gap', ({ since, floor, reset }) => [since, floor, reset]);
        note('close', ({ error }) => error?.status);
        try {
            await check({ comet, told, asked });
        }
        finally {
            comet.close();
            server.closeAllConnections();
            server.close();
        }
    });
}

const END = Symbol('end');
const CUT = Symbol('cut');

function play(answer, [next, ...rest]) {
    if (next === END) {
        answer.end();
    }
    else if (next === CUT) {
        answer.socket.destroy();
    }
    else if (next !== undefined) {
        answer.write(next, () => setTimeout(play, 5, answer, rest));
    }
}

async function until(condition) {
    for (const end = Date.now() + 5000; !condition();) {
        assert.ok(Date.now() < end, `in vain: ${condition}`);
        await new Promise((done) => setTimeout(done, 2));
    }
}

/** Let all timers end so many times sooner, until the returned function is
 * called. */
function hurry(times) {
    const { setTimeout: real } = globalThis;
    globalThis.setTimeout = (act, ms, ...more) => real(act, ms / times, ...more);
    return () => {
        globalThis.setTimeout = real;
    };
}

const of = (told, kind) => told.filter(([type]) => type === kind)
    .map(([, what]) => what);
const pieces = (text) => [...Buffer.from(text)].map((byte) => Buffer.of(byte));

scripted('a stream in single bytes', [
    pieces(OPENING + block(11, 'é 😀 \u2028\r\n') + ':\n\n' + block(12)),
], {}, async ({ comet, told }) => {
    await until(() => told.length === 3);
    assert.deepEqual(told, [['open', 'events'], ['message', 'é 😀 \u2028\r\n'],
                            ['message', 'm12']]);
    assert.equal(comet.cursor, 12);
});

scripted('an end in order is no event; the next request goes on after the pause',
         [
             [OPENING, block(11), 'retry: 120\n\n', END],
             [`retry: 40\nid: 11\n\n${block(12)}`, END],
             [`retry: 40\nid: 12\n\n${block(13)}`],
         ], { since: 10 }, async ({ told, asked }) => {
             await until(() => of(told, 'message').length === 3);
             assert.deepEqual(told, [['open', 'events'], ['message', 'm11'],
                                     ['message', 'm12'], ['message', 'm13']]);
             assert.deepEqual(asked.map(({ since }) => since),
                              ['10', '11', '12']);
             assert.ok(asked[1].at - asked[0].at >= 120);
         });

scripted('turned away at once with what there is: nothing is lost', [
    ['retry: 40\nid: 10\n\n', block(11), ': full\nretry: 120\n\n', END],
    [`retry: 40\nid: 11\n\n${block(12)}`],
], { since: 10 }, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 2);
    assert.deepEqual(of(told, 'message'), ['m11', 'm12']);
    assert.equal(asked[1].since, '11');
    assert.ok(asked[1].at - asked[0].at >= 120);
});

scripted('turned away without an id: no stream that is held back, but a 503', [
    [': unreadable\nretry: 60\n\n', END],
    [OPENING, block(11)],
], { since: 10 }, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 1);
    assert.deepEqual(told.map(([type]) => type), ['error', 'open', 'message']);
    assert.equal(of(told, 'error')[0][0], 503);
    assert.deepEqual(asked.map(({ transport }) => transport),
                     ['events', 'events']);
    assert.ok(asked[1].at - asked[0].at >= 60);
});

scripted('a break is an error; the pause is at most what retry: says', [
    [OPENING, block(11), CUT],
    [`retry: 40\nid: 11\n\n${block(12)}`],
], {}, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 2);
    assert.deepEqual(told.map(([type]) => type),
                     ['open', 'message', 'error', 'open', 'message']);
    const [[status, retryIn]] = of(told, 'error');
    assert.equal(status, 0);
    assert.ok(retryIn <= 40);
    assert.equal(asked[1].since, '11');
});

scripted('a message cut off is asked for again', [
    [OPENING, block(11), block(12).slice(0, -1), CUT],
    [`id: 11\n\n${block(12)}`],
], {}, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 2);
    assert.deepEqual(of(told, 'message'), ['m11', 'm12']);
    assert.equal(asked[1].since, '11');
});

scripted('what is repeated is dropped', [
    [OPENING, block(11), block(12), block(11), block(12)],
    [`id: 12\n\n${block(13)}`],
], {}, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 3);
    assert.deepEqual(of(told, 'message'), ['m11', 'm12', 'm13']);
    assert.equal(asked[1].since, '12');
    assert.deepEqual(of(told, 'error'), []);
});

scripted('another store is told, and its messages are', [
    [OPENING, block(11), END],
    [`id: 3\n\n${block(4)}`],
], {}, async ({ comet, told }) => {
    await until(() => of(told, 'message').length === 2);
    assert.deepEqual(told.slice(1), [['message', 'm11'],
                                     ['gap', [11, undefined, true]],
                                     ['message', 'm4']]);
    assert.equal(comet.cursor, 4);
});

const GAP = 'event: gap\ndata: {"since":10,"floor":20}\n\n';
scripted('a gap is told once, however often the server does', [
    [OPENING + GAP, END],
    [OPENING + GAP, END],
    [OPENING + GAP + block(21)],
], { since: 10 }, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 1);
    assert.equal(asked.length, 3);
    assert.deepEqual(of(told, 'gap'), [[10, 20, false]]);
});

scripted('silence is a reason to ask again, but no error', [
    [OPENING, block(11)],
    [`id: 11\n\n${block(12)}`],
], { silence: 0.1 }, async ({ told }) => {
    await until(() => of(told, 'message').length === 2);
    assert.deepEqual(of(told, 'error'), []);
});

scripted('what keeps a stream alive is no silence', [
    [OPENING, ...Array(100).fill(':\n\n'), block(11)],
], { silence: 0.2 }, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 1);
    assert.equal(asked.length, 1);
});

scripted('busy: the pause is what Retry-After says, and more', [
    (answer) => answer.writeHead(503, { 'Retry-After': '1' })
        .end('{"error":"busy"}'),
    [OPENING],
], { transport: 'events' }, async ({ told, asked }) => {
    await until(() => of(told, 'open').length === 1);
    assert.equal(of(told, 'error')[0][0], 503);
    assert.ok(asked[1].at - asked[0].at >= 1000);
});

// A timer takes at most 2^31 - 1 ms, and one with more fires at once.
for (const [said, least, most] of [
    ['2592000', 3_600_000, 3_601_000], ['1e99', 3_600_000, 3_601_000],
    ['-30', 0, 1000], ['soon', 0, 1000],
    [new Date(Date.now() + 1_800_000).toUTCString(), 1_600_000, 1_801_000],
]) {
    scripted(`Retry-After: ${said}`, [
        (answer) => answer.writeHead(503, { 'Retry-After': said })
            .end('{"error":"busy"}'),
    ], { transport: 'events' }, async ({ told, asked }) => {
        await until(() => told.length);
        await new Promise((done) => setTimeout(done, 100));
        const [, retryIn] = of(told, 'error')[0];
        assert.ok(least <= retryIn && retryIn <= most, `${retryIn} ms`);
        assert.ok(asked.length <= 5, `${asked.length} requests`);
    });
}

scripted('retry: with an absurd number is no reason to hurry', [
    [OPENING, 'retry: 99999999999\n\n', END],
], { transport: 'events' }, async ({ told, asked }) => {
    await until(() => told.length);
    await new Promise((done) => setTimeout(done, 100));
    assert.equal(asked.length, 1);
});

for (const [option, answer] of [['fetchOptions', {}], ['token', 'a.b.c']]) {
    let calls = 0;
    let slow;
    scripted(`${option}: a function that once does not answer is called again`, [
        [OPENING],
    ], () => {
        slow = hurry(100);
        return { [option]: () => (calls++ ? answer : new Promise(() => {})) };
    }, async ({ told }) => {
        try {
            await until(() => of(told, 'open').length);
        }
        finally {
            slow();
        }
        assert.equal(of(told, 'error')[0][0], 0);
    });
}

scripted('refused for good: closed, with the reason', [
    (answer) => answer.writeHead(401).end(),
], {}, async ({ comet, told, asked }) => {
    await until(() => comet.state === 'closed');
    assert.deepEqual(told, [['close', 401]]);
    assert.equal(asked.length, 1);
});

scripted('closed by a listener: no more of the same piece, and the cursor stays',
         [[OPENING + block(11) + block(12)]], {}, async ({ comet, told }) => {
             comet.addEventListener('message', () => comet.close());
             await until(() => comet.state === 'closed');
             assert.deepEqual(of(told, 'message'), ['m11']);
             assert.equal(comet.cursor, 11);
         });

scripted('pauses between failures grow, at random, to no more than 30 s', [
    (answer) => answer.socket.destroy(),
], { transport: 'events' }, async ({ told }) => {
    const { random } = Math;
    const slow = hurry(1000);
    Math.random = () => 0.999;
    try {
        await until(() => of(told, 'error').length >= 7);
    }
    finally {
        Math.random = random;
        slow();
    }
    const pauses = of(told, 'error').map(([, retryIn]) => retryIn);
    [999, 1998, 3996, 7992, 15984, 29970, 29970].forEach((pause, i) => {
        assert.equal(Math.round(pauses[i]), pause);
    });
});

let polls = 0;
scripted('polls that nobody waits for do not spin', [
    (answer) => {
        polls += 1;
        answer.writeHead(200, { 'Content-Type': 'application/json' })
            .end('{"messages":[],"timestamp":7,"gap":false}');
    },
], { transport: 'poll' }, async ({ comet, told }) => {
    await new Promise((done) => setTimeout(done, 400));
    assert.deepEqual(told, [['open', 'poll']]);
    assert.ok(polls < 12, `${polls} polls`);
    assert.equal(comet.cursor, 7);
});

const leadAway = (answer) => answer.writeHead(302, { Location: '/login' }).end();
const signIn = (answer) => answer.writeHead(200, { 'Content-Type': 'text/html' })
    .end('<form>');
scripted('a page to sign in is a refusal', [leadAway, signIn, leadAway, signIn],
         {}, async ({ comet, told }) => {
             await until(() => comet.state === 'closed');
             assert.deepEqual(told, [['close', 401]]);
         });

let posts = 0;
scripted('a publish that is given up is not sent again', [
    (answer) => {
        posts += 1;
        answer.writeHead(503, { 'Retry-After': '8' }).end();
    },
], { since: 1 }, async ({ comet }) => {
    const control = new AbortController();
    comet.close();
    posts = 0;
    const began = performance.now();
    const publishing = comet.publish('x', { signal: control.signal });
    await until(() => posts);
    await new Promise((done) => setTimeout(done, 200));     // now it pauses
    control.abort(new Error('enough'));
    await assert.rejects(publishing, /enough/);
    assert.ok(performance.now() - began < 6000, 'it waited for the pause');
    const seen = posts;
    await assert.rejects(comet.publish('y', { signal: control.signal }), /enough/);
    await assert.rejects(comet.publish(1), TypeError);
    await assert.rejects(comet.publish('z', { channel: 'a' }), TypeError);
    assert.equal(posts, seen);
});

const polled = (status, body) => (answer) => {
    answer.writeHead(status, { 'Content-Type': 'application/json' });
    answer.end(JSON.stringify(body));
};

let unhurried;
scripted('a hidden tab that cannot share waits in its polls, so that it is present', [
    polled(200, { messages: [], timestamp: 10, gap: false }),
], () => {
    globalThis.document = { hidden: true, addEventListener() {} };
    unhurried = hurry(100);
    return {};
}, async ({ asked }) => {
    try {
        await until(() => asked.length >= 2);
    }
    finally {
        unhurried();
        delete globalThis.document;
    }
    assert.deepEqual(asked.slice(0, 2).map(({ wait }) => wait), ['0', '1']);
});

scripted('a stream that seemed blocked, where there are no polls, is asked for again', [
    () => {},                   // as if a packet were lost
    polled(200, { messages: [], timestamp: 10, gap: false }),
    polled(406, { error: 'transport: poll is off here' }),
    [`retry: 40\nid: 10\n\n${block(11)}`],
], { patience: 0.2 }, async ({ told, asked }) => {
    await until(() => of(told, 'message').length === 1);
    assert.deepEqual(told.map(([type]) => type),
                     ['open', 'error', 'open', 'message']);
    assert.deepEqual(asked.map(({ transport, wait }) => [transport, wait]),
                     [['events', undefined], ['poll', '0'], ['poll', '25'],
                      ['events', undefined]]);
});

scripted('where there is neither, that is the end', [
    polled(406, { error: 'transport: events is off here' }),
    polled(200, { messages: [], timestamp: 10, gap: false }),
    polled(406, { error: 'transport: poll is off here' }),
], {}, async ({ told }) => {
    await until(() => of(told, 'close').length === 1);
    assert.deepEqual(of(told, 'close'), [406]);
});

// ---- temporary refusals (by mod_evasive, a firewall, a server being replaced)

const refuse = (status, body = '<h1>No</h1>') => (answer) => {
    answer.writeHead(status, { 'Content-Type': body.startsWith('{')
        ? 'application/json' : 'text/html' }).end(body);
};
const polledAt = (timestamp) => (answer) => {
    answer.writeHead(200, { 'Content-Type': 'application/json' });
    answer.end(JSON.stringify({
        timestamp, gap: false,
        messages: [{ timestamp, channel: 'c', type: 'message', author: null,
                     body: `m${timestamp}` }],
    }));
};

// 404 while the module is being replaced, 406 from mod_security, 400 and 405
// from something in front of the server
for (const status of [403, 404, 406, 400, 405]) {
    scripted(`a ${status} between polls is tried again after a pause`, [
        polledAt(11), refuse(status), polledAt(12),
        () => {},
    ], { since: 10, transport: 'poll' }, async ({ told }) => {
        await until(() => of(told, 'message').length === 2);
        assert.deepEqual(of(told, 'message'), ['m11', 'm12']);
        assert.deepEqual(of(told, 'error').map(([is]) => is), [status]);
        assert.deepEqual(of(told, 'close'), []);
    });
    scripted(`a ${status} between streams is tried again`, [
        [OPENING, block(11), CUT], refuse(status), refuse(status),
        [`retry: 40\nid: 11\n\n${block(12)}`],
    ], {}, async ({ told }) => {
        await until(() => of(told, 'message').length === 2);
        assert.deepEqual(of(told, 'close'), []);
    });
    scripted(`a ${status} at first ends it`, [refuse(status)],
             { transport: 'poll' }, async ({ told }) => {
                 await until(() => of(told, 'close').length);
                 assert.deepEqual(told, [['close', status]]);
             });
}

scripted('a 401 ends it whenever it comes: the user must sign in', [
    [OPENING, block(11), CUT], refuse(401),
], {}, async ({ told }) => {
    await until(() => of(told, 'close').length);
    assert.deepEqual(of(told, 'close'), [401]);
});

scripted('a 403 with the server\'s reason ends it, whenever it comes', [
    [OPENING, block(11), CUT],
    refuse(403, '{"error": "channel: \\"c\\" may not be read"}'),
], {}, async ({ told }) => {
    await until(() => of(told, 'close').length);
    assert.deepEqual(of(told, 'close'), [403]);
});
