// SPDX-License-Identifier: Apache-2.0
// comet.js's parser of event streams, without a browser.  It must follow the
// HTML standard, whatever the size of the pieces in which a stream arrives.

import assert from 'node:assert/strict';
import test from 'node:test';

import { EventStreamParser } from '../../htdocs/comet/comet.js';

/** Return what a parser makes of a text that arrives in pieces of this size. */
function parse(text, size = Infinity) {
    const parser = new EventStreamParser();
    const blocks = [];
    for (let at = 0; at < text.length; at += size) {
        blocks.push(...parser.push(text.slice(at, at + size)));
    }
    return blocks;
}

const STREAMS = [
    ['an opening', 'retry: 1000\nid: 17\n\n', [{ retry: 1000, id: '17' }]],
    ['a message', 'id: 18\ndata: hello\n\n', [{ id: '18', data: 'hello' }]],
    ['lines', 'data: a\ndata:\ndata: b\n\n', [{ data: 'a\n\nb' }]],
    ['CR', 'data: a\rdata: b\r\r', [{ data: 'a\nb' }]],
    ['CRLF', 'data: a\r\ndata: b\r\n\r\n', [{ data: 'a\nb' }]],
    ['all ends mixed', 'data: a\rdata: b\ndata: c\r\n\r\ndata: d\n\r\n',
     [{ data: 'a\nb\nc' }, { data: 'd' }]],
    ['comments and heartbeats', ':\n\n: data: no\n\ndata: yes\n\n:\n\n',
     [{ data: 'yes' }]],
    ['one space only', 'data:  two\ndata:none\ndata:\ttab\n\n',
     [{ data: ' two\nnone\n\ttab' }]],
    ['colons', 'data: a: b:c\n\n', [{ data: 'a: b:c' }]],
    ['a field without a colon', 'data\ndata\n\n', [{ data: '\n' }]],
    ['unknown fields', 'dat: x\nDATA: y\n data: z\n\ndata: a\n\n',
     [{ data: 'a' }]],
    ['an event', 'event: gap\ndata: {}\n\n', [{ event: 'gap', data: '{}' }]],
    ['no number to retry', 'retry: 1s\nretry: -1\nretry:\n\n', []],
    ['NUL in an id', 'id: 1\0\ndata: a\n\n', [{ data: 'a' }]],
    ['an unfinished block', 'data: a\n\ndata: lost\n', [{ data: 'a' }]],
    ['text in lines is no field', 'data: x\ndata: id: 9\n\n',
     [{ data: 'x\nid: 9' }]],
    ['other ends are none', 'data: a\u2028b\u0085c\vd\fe\n\n',
     [{ data: 'a\u2028b\u0085c\vd\fe' }]],
    ['emoji', 'data: 😀👩‍👩‍👧\n\n', [{ data: '😀👩‍👩‍👧' }]],
];

for (const [name, text, blocks] of STREAMS) {
    test(name, () => {
        for (const size of [1, 2, 3, 5, 7, Infinity]) {
            assert.deepEqual(parse(text, size), blocks, `pieces of ${size}`);
        }
    });
}

test('a long line in many pieces takes no longer than a short one', () => {
    const long = 'x'.repeat(1 << 20);
    const begun = performance.now();
    assert.equal(parse(`data: ${long}\n\n`, 64)[0].data.length, long.length);
    assert.ok(performance.now() - begun < 2000);
});
