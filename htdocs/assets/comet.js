// SPDX-License-Identifier: Apache-2.0
// A client of CometEndpoint in one small module: publish() stores a message,
// subscribe() delivers all there are, in order, over whatever happens between.

import { backoff, lostState, onChange } from './connection.js';

/** A request that failed; status 0 when there was no (whole) answer. */
export class CometError extends Error {
    constructor(status, said = '', retryAfterSeconds = 0) {
        super(explain(status, said));
        this.status = status;
        this.retryAfterSeconds = retryAfterSeconds;
    }

    /** True if the server may have done what it was asked all the same. */
    get unsure() {
        return this.status === 0 || this.status >= 500;
    }
}

const REASONS = {
    0: 'The server cannot be reached.',
    401: 'You need to sign in first.',
    403: 'You are not allowed to do this.',
    404: 'Nothing answers at this address.',
    413: 'This message is too long.',
    429: 'Too many requests; please wait a moment.',
    503: 'The server is busy; please try again in a moment.',
    507: 'The server has no room left to store messages.',
};

function explain(status, said) {
    const reason = REASONS[status]
        ?? (status < 500 ? 'The server did not accept this.'
                         : `The server has a problem (${status}).`);
    return said ? `${reason} The server says: “${said}”` : reason;
}

/** fetch() for JSON with a time limit; every failure is a CometError. */
async function request(url, options, seconds, cancel) {
    const control = new AbortController();
    const timer = setTimeout(() => control.abort(), seconds * 1000);
    cancel?.addEventListener('abort', () => control.abort());
    try {
        const answer = await fetch(url, {
            ...options, cache: 'no-store', signal: control.signal,
        }).catch(() => null);
        const body = await answer?.json().catch(() => null);
        if (answer?.ok && body) {
            return body;
        }
        throw new CometError(answer && !answer.ok ? answer.status : 0,
                             body?.error,
                             Number(answer?.headers.get('Retry-After')) || 0);
    }
    finally {
        clearTimeout(timer);
    }
}

/** A name for one message, the same however often it is sent. */
export function newKey() {
    return crypto.getRandomValues(new Uint32Array(4)).join('-');
}

/**
 * Stores a text on the channel of this URL: {timestamp, channel}. The key lets
 * a server tell a repeat from a new message: browsers themselves send a POST
 * again when a connection they had kept open breaks before the answer.
 */
export function publish(url, text, key) {
    const headers = {
        'Content-Type': 'text/plain; charset=utf-8',
        'Idempotency-Key': key,
    };
    return request(url, { method: 'POST', headers, body: text }, 15);
}

function sleep(milliseconds, cancel) {
    return new Promise((done) => {
        if (cancel.aborted) {
            done();
        }
        setTimeout(done, milliseconds);
        cancel.addEventListener('abort', done);
    });
}

/**
 * Follows the channel of this URL for as long as the page lives.
 *
 * The timestamp of the last answer is the cursor: the next request asks for
 * what came after it and waits at the server until there is something. So
 * nothing is lost or repeated, however often the connection breaks.
 *
 *   onAnswer({messages, gap}, {first, reset})  reset: the server's store is
 *              another one than before; its messages start again
 *   onState(state, why)                        see connection.js
 *
 * Returns {sync}: a promise kept once all that was stored by now has been
 * delivered, which may be after the connection is back.
 */
export function subscribe(url, { onAnswer, onState, wait = 25, limit = 100 }) {
    let since = '';       // nothing yet: the server's choice of history
    let failures = 0;     // in a row
    let hasty = 0;        // empty answers in a row that did not wait
    let glance = true;    // the next request is to be answered at once
    let waiters = [];     // of sync()
    let poke;             // ends the current request or pause

    function again() {
        glance = true;
        poke.abort();
    }

    async function ask(seconds) {
        const begun = performance.now();
        const query = new URLSearchParams({ since, limit, wait: seconds });
        const answer = await request(`${url}?${query}`, {}, seconds + 10,
                                     poke.signal);
        onAnswer(answer, {
            first: since === '',
            reset: answer.timestamp < since,
        });
        since = answer.timestamp;
        failures = 0;
        onState('connected');

        // A server that is stopping or full answers without waiting: once is
        // fine, but do not spin.
        const waited = performance.now() - begun > 1000;
        hasty = seconds && !waited && !answer.messages.length ? hasty + 1 : 0;
        return answer.messages.length < limit;
    }

    async function round() {
        // A hidden page only has a look from time to time: a browser opens
        // six connections to a server, whatever the number of its tabs.
        const seconds = glance || document.hidden ? 0 : wait;
        const due = waiters;
        let pause = 0;
        poke = new AbortController();
        glance = false;
        waiters = [];
        try {
            const all = await ask(seconds);
            due.forEach((done) => done());
            if (document.hidden && all) {
                pause = 10_000;
            }
            else if (hasty > 1) {
                pause = backoff(hasty - 2);
            }
        }
        catch (error) {
            waiters.unshift(...due);
            if (poke.signal.aborted) {
                return;
            }
            if (error.status === 400) {
                since = '';     // the server does not know this cursor
            }
            glance = true;
            onState(lostState(), error.message);
            pause = backoff(failures++)
                  + 1000 * Math.min(60, error.retryAfterSeconds ?? 0);
        }
        await sleep(pause, poke.signal);
    }

    (async () => {
        for (;;) {
            await round();
        }
    })();
    onChange(again);
    return {
        sync: () => new Promise((done) => {
            waiters.push(done);
            again();
        }),
    };
}
