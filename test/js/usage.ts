// SPDX-License-Identifier: Apache-2.0
// Uses all that comet.d.ts declares; compiled, not run.

import { Comet, CometError, EventStreamParser, eventOf, newKey,
         type CometMessage, type CometOptions } from '../../htdocs/comet/comet.js';

const options: CometOptions = {
    channels: ['chat', 'room/*'], since: 0, transport: 'auto', share: 'anna',
    fetchOptions: async () => ({ headers: { Authorization: 'Bearer x' } }),
    token: async () => (await fetch('/token.php')).text(),
    callback: 'comet.receive', patience: 4, silence: 60,
};
const comet = new Comet(new URL('https://example.org/comet'), options);

comet.addEventListener('message', ({ message, data, lastEventId }) => {
    const text: string = data + lastEventId + (message.author ?? '');
    const kept: CometMessage = message;
    console.log(text, kept.timestamp.toFixed(), kept.channel, kept.type);
});
comet.addEventListener('edit', ({ timestamp, data, author, message }) => {
    console.log(timestamp.toFixed(), data, author ?? '', message.body);
});
comet.addEventListener('delete', ({ timestamp, channel }) => {
    console.log(timestamp.toFixed(), channel);
});
comet.addEventListener('typing', ({ author, keep, message }) => {
    const [type, fields]: [string, object] = eventOf(message);
    console.log(author ?? '', keep.toFixed(), type, fields, message.keep ?? 0);
});
comet.addEventListener('gap', ({ since, floor, reset }) => {
    console.log(since ?? 0, floor ?? 0, reset ? 'reset' : 'gap');
}, { once: true });
comet.addEventListener('open', function ({ transport }) {
    const name: 'events' | 'poll' | 'iframe' | 'websocket' = transport;
    console.log(name, this.shared, this.transport?.length, this.url);
});
comet.addEventListener('error', ({ error, retryIn }) => {
    console.log(error.status, error.retryAfter, error.said, retryIn);
});
comet.addEventListener('close', ({ error }) => console.log(error?.message));
const state: 'connecting' | 'open' | 'reconnecting' | 'closed' = comet.state;

const stop = new AbortController();
try {
    const { timestamp, channel } = await comet.publish('hello', {
        type: 'note', channel: 'chat', idempotencyKey: newKey(),
        signal: stop.signal,
    });
    const page = await comet.history({ before: timestamp, since: 0, limit: 10,
                                       q: 'word', signal: stop.signal });
    console.log(channel, state, page.messages[0]?.body, page.timestamp, page.gap);
}
catch (error) {
    if (error instanceof CometError && error.unsure && !error.temporary) {
        console.log(error.blocked);
    }
}
const here = comet.presence('chat');
here.addEventListener('change', () => {
    console.log(here.members.get('ann')?.since, here.count, here.anonymous,
                here.complete);
});
await comet.read(5, { channel: 'chat', signal: stop.signal });
here.close();
console.log(new EventStreamParser().push('data: x\n\n')[0]?.data);
comet.close();

// @ts-expect-error there is no such transport
new Comet('/comet/chat', { transport: 'pigeon' });
// @ts-expect-error a message is a string
comet.publish(1);
// @ts-expect-error the cursor must not be set
comet.cursor = 1;
