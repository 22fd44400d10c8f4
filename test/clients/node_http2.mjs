// SPDX-License-Identifier: Apache-2.0
// Node's own http2: three streams, a chain of polls and a request for each
// message of the first stream share a connection.  Node grants 65,535 bytes for
// the connection and for each stream.  A request that has ended is sent again.
//
// usage: node_http2.mjs URL

import http2 from 'node:http2';
import { EventEmitter } from 'node:events';

EventEmitter.defaultMaxListeners = 0;
process.stdin.on('end', () => process.exit(0)).resume();
const { origin, pathname } = new URL(process.argv[2]);
const print = (event) => process.stdout.write(JSON.stringify(event) + '\n');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

let session;
function connection() {
    if (!session || session.closed || session.destroyed) {
        session = http2.connect(origin, { rejectUnauthorized: false });
        session.on('error', () => {});
        session.on('goaway', () => session.close());
    }
    return session;
}

/** Send a request. Call `piece` for each piece of the answer. Return the
 * status, or 0 if the answer is not complete. */
function ask(path, headers, piece) {
    return new Promise((done) => {
        let status = 0;
        const used = connection();
        const request = used.request({ ':path': path, ...headers });
        request.setEncoding('utf8');
        request.on('response', (fields) => { status = fields[':status']; });
        request.on('data', (text) => piece(text, status));
        request.on('error', () => { status = 0; });
        // An answer that is cut off by a closed connection ends like any other.
        // It is only known a moment later that the connection is closed.
        request.on('close', () => setTimeout(() => done(
            request.aborted || request.rstCode || used.destroyed
                ? 0 : status), 20));
        request.end();
    });
}

async function follow(number) {
    for (let last = '', text = '', retry = 1000; ; text = '') {
        const headers = { accept: 'text/event-stream' };
        if (last) headers['last-event-id'] = last;
        await ask(pathname, headers, (piece, status) => {
            if (status !== 200) return;
            const blocks = (text + piece).split('\n\n');
            text = blocks.pop();
            for (const block of blocks) {
                const field = (name) => block.split('\n')
                    .filter((line) => line.startsWith(name + ': '))
                    .map((line) => line.slice(name.length + 2)).join('\n');
                retry = Number(field('retry')) || retry;
                last = field('id') || last;
                if (!/^data/m.test(block)) continue;
                print({ reader: number, data: field('data') });
                if (number === 0) load();
            }
        }).catch(() => {});
        await pause(retry);
    }
}

async function load() {
    for (;;) {
        let bytes = 0;
        const status = await ask('/large.txt', {}, (piece) => {
            bytes += piece.length;
        }).catch(() => 0);
        if (status === 200) return print({ reader: 'file', data: bytes });
        await pause(200);
    }
}

async function poll() {
    for (let since = ''; ;) {
        let text = '';
        const status = await ask(`${pathname}?since=${since}`, {},
                                 (piece) => { text += piece; })
            .catch(() => 0);
        try {
            if (status !== 200) throw new Error(status);
            const answer = JSON.parse(text);
            since = answer.timestamp;
            for (const { body } of answer.messages) {
                print({ reader: 'poll', data: body });
            }
        } catch {
            await pause(200);
        }
    }
}

[0, 1, 2].forEach(follow);
poll();
