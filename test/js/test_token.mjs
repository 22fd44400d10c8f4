// SPDX-License-Identifier: Apache-2.0
// comet.js with tokens: when it asks for one, and what it sends.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { createServer } from 'node:http';
import test from 'node:test';

import { Comet, CometError } from '../../htdocs/comet/comet.js';

/** Make a token with these claims, without a valid signature. */
function token(claims) {
    return `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;
}

async function until(condition) {
    for (const end = Date.now() + 5000; !condition();) {
        assert.ok(Date.now() < end, `in vain: ${condition}`);
        await new Promise((done) => setTimeout(done, 2));
    }
}

/**
 * Make a test whose server keeps streams open, and answers 401 to each request
 * whose token `accept` refuses. `asked` lists [method, token] of each request.
 */
function served(name, options, check, accept = () => true) {
    test(name, { timeout: 10_000 }, async () => {
        const asked = [];
        const server = createServer((request, answer) => {
            const [, text] = /^Bearer (.*)/.exec(
                request.headers.authorization ?? '') ?? [];
            const isStream = request.headers.accept === 'text/event-stream';
            asked.push([request.method, text]);
            if (!accept(text)) {
                answer.writeHead(401).end('{"error": "no"}');
            }
            else if (isStream) {
                answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
                answer.write('retry: 40\nid: 10\n\n');
            }
            else {
                answer.writeHead(request.method === 'POST' ? 201 : 200, {
                    'Content-Type': 'application/json' });
                answer.end('{"timestamp":10,"channel":"c","messages":[]}');
            }
        });
        await new Promise((done) => server.listen(0, '127.0.0.1', done));
        const comet = new Comet(`http://127.0.0.1:${server.address().port}/c`,
                                options());
        const told = [];
        for (const type of ['open', 'error', 'close']) {
            comet.addEventListener(type, ({ error }) => {
                told.push([type, error?.status]);
            });
        }
        try {
            await check({ comet, asked, told });
        }
        finally {
            comet.close();
            server.closeAllConnections();
            server.close();
        }
    });
}

served('a text is sent with every request', () => ({ token: 'a.b.c' }),
       async ({ comet, asked, told }) => {
           await until(() => told.length);
           await comet.publish('x');
           await comet.history();
           assert.deepEqual(asked, [['GET', 'a.b.c'], ['POST', 'a.b.c'],
                                    ['GET', 'a.b.c']]);
       });

let calls;
const counted = (make) => () => {
    calls = 0;
    return { token: async () => make(++calls) };
};

served('a function is asked once for several requests',
       counted((n) => token({ n })),
       async ({ comet, asked }) => {
           await Promise.all([comet.history(), comet.history(),
                              comet.publish('x')]);
           await until(() => asked.length === 4);
           assert.equal(calls, 1);
       });

served('a token that the server refuses is replaced, and the request repeated',
       counted((n) => token({ n })),
       async ({ comet, asked, told }) => {
           await until(() => told.length);
           assert.deepEqual(told, [['open', undefined]]);
           assert.equal((await comet.publish('x')).timestamp, 10);
           assert.equal(calls, 2);
           assert.deepEqual(asked.map(([, text]) => text), [
               token({ n: 1 }), token({ n: 2 }), token({ n: 2 })]);
       }, (text) => text === token({ n: 2 }));

served('two refusals in a row close the object',
       counted((n) => token({ n })),
       async ({ asked, told }) => {
           await until(() => told.length);
           assert.deepEqual(told, [['close', 401]]);
           assert.equal(asked.length, 2);
           assert.equal(calls, 2);
       }, () => false);

served('a text that the server refuses closes the object',
       () => ({ token: 'a.b.c' }),
       async ({ asked, told }) => {
           await until(() => told.length);
           assert.deepEqual(told, [['close', 401]]);
           assert.equal(asked.length, 1);
       }, () => false);

const seconds = () => Date.now() / 1000;

served('a token is renewed before it ends, and its stream with it',
       counted((n) => token({ n, iat: seconds(), exp: seconds() + 0.5 })),
       async ({ asked, told }) => {
           const begun = Date.now();
           await until(() => asked.length >= 3);
           assert.ok(Date.now() - begun >= 880, 'twice at nine tenths of it');
           assert.ok(calls >= 3);
           assert.equal(new Set(asked.map(([, text]) => text)).size,
                        asked.length);
           assert.ok(told.every(([type]) => type === 'open'));
       });

served('the clocks may differ: the life of a token counts, not its end',
       counted((n) => token({ n, iat: 1000, exp: 1000.5 })),
       async ({ asked }) => {
           await until(() => asked.length >= 2);
           assert.ok(calls >= 2);
       });

for (const [what, claims] of [
    ['without an end', {}], ['of an end long ago', { exp: 1 }],
    ['of an end that is no number', { exp: 'x' }],
    ['of a far end', { exp: 4e9 }],
]) {
    served(`a token ${what} is used until it is refused`,
           counted((n) => token({ n, ...claims })),
           async ({ comet, asked }) => {
               await until(() => asked.length);
               await comet.history();
               await comet.history();
               assert.equal(calls, 1);
               assert.equal(asked.length, 3);
           });
}

served('the same token again is no reason to hurry',
       () => {
           calls = 0;
           const same = token({ iat: seconds(), exp: seconds() + 0.5 });
           return { token: () => {
               calls++;
               return same;
           } };
       },
       async ({ asked }) => {
           await until(() => asked.length === 2);
           await new Promise((done) => setTimeout(done, 700));
           assert.equal(calls, 2);
       });

for (const nothing of [undefined, null, '']) {
    served(`no token (${nothing}): nobody is signed in`,
           counted(() => nothing),
           async ({ comet, asked, told }) => {
               await until(() => told.length);
               assert.deepEqual(told, [['close', 401]]);
               assert.deepEqual(asked, []);
               await assert.rejects(comet.publish('x'), { status: 401 });
           });
}

served('a function that fails is asked again',
       counted((n) => {
           if (n < 3) {
               throw new TypeError('network');
           }
           return token({ n });
       }),
       async ({ told }) => {
           await until(() => told.some(([type]) => type === 'open'));
           assert.deepEqual(told, [['error', 0], ['error', 0],
                                   ['open', undefined]]);
       });

served('a function may say why there is none',
       counted(() => {
           throw new CometError(403);
       }),
       async ({ told }) => {
           await until(() => told.length);
           assert.deepEqual(told, [['close', 403]]);
       });

served('a function that never answers does not hold close() up',
       () => ({ token: () => new Promise(() => {}) }),
       async ({ comet, told }) => {
           await new Promise((done) => setTimeout(done, 20));
           comet.close();
           await until(() => told.length);
           assert.deepEqual(told, [['close', undefined]]);
       });

test('polls leave nothing behind', { timeout: 10_000 }, async () => {
    const { fetch } = globalThis;
    let signal, polls = 0;
    globalThis.fetch = async (address, init) => {
        signal = init.signal;
        polls++;
        await new Promise(setImmediate);
        return Response.json({ timestamp: polls, gap: false, messages: [
            { timestamp: polls, channel: 'c', type: 'message', author: null,
              body: 'x' }] });
    };
    const comet = new Comet('http://127.0.0.1/c', {
        transport: 'poll', token: () => 'a.b.c' });
    try {
        await until(() => polls > 50);
        assert.ok(getEventListeners(signal, 'abort').length < 5);
    }
    finally {
        comet.close();
        globalThis.fetch = fetch;
    }
});

test('what cannot work is refused', () => {
    const make = (options) => () => new Comet('http://127.0.0.1:1/', options);
    assert.throws(make({ token: 7 }), /a text, or a function/);
    assert.throws(make({ token: 'a.b.c', transport: 'iframe' }),
                  /CometTokenCookie/);
});
