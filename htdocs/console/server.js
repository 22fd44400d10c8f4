// SPDX-License-Identifier: Apache-2.0
// What the console asks the server for besides the live messages.

/** The URL of a channel of the endpoint. */
function channelUrl(endpoint, channel) {
    const url = new URL(endpoint);
    url.pathname += `/${channel.split('/').map(encodeURIComponent).join('/')}`;
    return url;
}

/** An Error. `unsure` is set if the server may have done what was asked. */
function failure(message, unsure) {
    return Object.assign(new Error(message), { unsure });
}

/** Returns the JSON of an answer, or throws a failure() that says what is
 * wrong. */
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

/** The channels that match some patterns: [{channel, last}], sorted by name. */
export async function listChannels(endpoint, patterns) {
    const lists = await Promise.all(patterns.map(async (pattern) => {
        const url = new URL(endpoint);
        if (!/(^|\/)\*$/.test(pattern)) {
            return [{ channel: pattern }];
        }
        url.searchParams.set('channels', pattern);
        return (await ask(url, { headers: { Accept: 'application/json' } }))
            .channels;
    }));
    const found = new Map(lists.flat().map((one) => [one.channel, one]));
    return [...found.values()].sort((a, b) => (a.channel < b.channel ? -1 : 1));
}

/** Who is in a channel: {members, count, anonymous}. */
export function listMembers(endpoint, channel) {
    const url = channelUrl(endpoint, `${channel}/@online`);
    url.searchParams.set('members', '');
    return ask(url, { headers: { Accept: 'application/json' } });
}

/** Sends a request of a moderator, whose answer has no body. */
async function moderate(url) {
    const answer = await fetch(url, { method: 'POST' }).catch(() => {
        throw failure('The server cannot be reached.', true);
    });
    if (!answer.ok) {
        const json = await answer.json().catch(() => null);
        throw failure(json?.error ?? `The server answered ${answer.status}.`);
    }
}

/** Deletes a message. */
export function deleteMessage(endpoint, channel, timestamp) {
    const url = channelUrl(endpoint, channel);
    url.searchParams.set('delete', timestamp);
    return moderate(url);
}

/** Throws a member out of a channel. */
export function throwOut(endpoint, channel, member) {
    const url = channelUrl(endpoint, `${channel}/@online`);
    url.searchParams.set('remove', member);
    return moderate(url);
}

/**
 * The rules for some channels and wildcards, and what all other channels keep:
 * {rules: [{pattern, count, age}], others: {count, age}}.
 */
export async function listRules(endpoint, patterns) {
    const answers = await Promise.all(patterns.map((pattern) => {
        const url = new URL(endpoint);
        url.searchParams.set('retention', pattern);
        return ask(url, { headers: { Accept: 'application/json' } });
    }));
    const found = new Map(answers.flatMap((answer) => answer.rules)
        .map((rule) => [rule.pattern, rule]));
    return {
        rules: [...found.values()]
            .sort((a, b) => (a.pattern < b.pattern ? -1 : 1)),
        others: answers[0]?.default ?? {},
    };
}

/** Sets what channels that match a pattern keep: {count, age}, {all} or
 * {default}. */
export function setRule(endpoint, pattern, what) {
    const url = new URL(endpoint);
    url.searchParams.set('retention', pattern);
    Object.entries(what).forEach(([name, value]) =>
        url.searchParams.set(name, value));
    return moderate(url);
}

/** Reads a page of the history: the newest before a timestamp, oldest first. */
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
 * Stores a message, only once for each key; returns {timestamp, tookMs,
 * offsetMs}. offsetMs is how far the server's clock is ahead of ours, as far as
 * this answer shows.
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
