// SPDX-License-Identifier: Apache-2.0
// What the console asks the server for besides the live messages.

/** The endpoint's URL for a channel. */
function channelUrl(endpoint, channel) {
    const url = new URL(endpoint);
    url.pathname += `/${channel.split('/').map(encodeURIComponent).join('/')}`;
    return url;
}

/** An Error; `unsure` if the server may have done what it was asked. */
function failure(message, unsure) {
    return Object.assign(new Error(message), { unsure });
}

/** The JSON of an answer; a failure() that says why not. */
async function ask(url, options) {
    const answer = await fetch(url, options).catch(() => {
        throw failure('The server cannot be reached.', true);
    });
    const json = await answer.json().catch(() => null);
    if (!answer.ok || !json) {
        throw failure(json?.error ?? {
            401: 'You have to sign in first (401).',
            403: 'You may not do this here (403).',
        }[answer.status] ?? `The server answered ${answer.status}.`,
                      answer.ok || answer.status >= 500);
    }
    return json;
}

/** A page of the history: the newest before a timestamp, oldest first. */
export function readHistory(endpoint, channels, { before, words, limit }) {
    const url = new URL(endpoint);
    channels.forEach((name) => url.searchParams.append('channel', name));
    url.searchParams.set('limit', limit);
    url.searchParams.set('before', before ?? Number.MAX_SAFE_INTEGER);
    if (words) {
        url.searchParams.set('q', words);
    }
    return ask(url, { headers: { Accept: 'application/json' } });
}

/**
 * Stores a message, once for each key: {timestamp, tookMs, offsetMs}.  offsetMs
 * is how far the server's clock is ahead of ours, as exactly as this answer
 * shows.
 */
export async function publish(endpoint, { channel, type, body, key }) {
    const url = channelUrl(endpoint, channel);
    const wall = performance.timeOrigin + performance.now();
    const begun = performance.now();
    if (type) {
        url.searchParams.set('type', type);
    }
    const { timestamp } = await ask(url, {
        method: 'POST',
        headers: {
            'Content-Type': 'text/plain; charset=utf-8',
            'Idempotency-Key': key,
        },
        body,
    });
    const tookMs = performance.now() - begun;
    return { timestamp, tookMs, offsetMs: timestamp / 1000 - wall - tookMs / 2 };
}
