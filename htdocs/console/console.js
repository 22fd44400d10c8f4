// SPDX-License-Identifier: Apache-2.0
// The console: one connection to any number of channels, their history, a
// publisher and the counters.

import { Comet, newKey } from '../mod-comet/comet.js';
import { watchCounters } from './counters.js';
import { watchRules } from './retention.js';
import { makeNote, makeRow, showDuration } from './rows.js';
import { deleteMessage, listChannels, listMembers, publish, readHistory,
         throwOut } from './server.js';

const $ = (selector) => document.querySelector(selector);
const endpoint = new URL($('main').dataset.endpoint, location);
const ROWS_KEPT = 500;
const LATENCIES_KEPT = 100;
const WORDS = {
    idle: 'Not subscribed',
    connecting: 'Connecting…',
    connected: 'Connected',
    reconnecting: 'Reconnecting…',
    offline: 'Ended',
};

/** Sets a text only if it has changed, since a screen reader repeats each text
 * that is set. */
function say(element, text) {
    if (element.textContent !== text) {
        element.textContent = text;
    }
}

function showState(state, why = '') {
    $('#status').dataset.state = state;
    say($('#status .word'), WORDS[state]);
    say($('#status .why'), why);
    $('#stop').disabled = state === 'idle' || state === 'offline';
}

/** The channels in the form: names that are separated by commas. */
function channelsOf(text) {
    return [...new Set(text.split(',').map((name) => name.trim()))]
        .filter(Boolean);
}

/* ---- live ---------------------------------------------------------------- */

const live = $('#live');
const rows = $('#live ol');
let comet;
let began;              // when the subscription began, in ms since 1970
let count = 0;
let latencies = [];
let clock = { offsetMs: 0, tookMs: Infinity };
let fresh = [];         // rows not shown yet
let held;               // what has come since the user paused
let painting;           // the timer that shows the fresh rows

const nowMs = () => performance.timeOrigin + performance.now();

/** Appends rows. Keeps the end in view, unless the user has scrolled away from
 * it. */
function append(...rowsToAdd) {
    const atEnd = live.scrollHeight - live.scrollTop - live.clientHeight < 48;
    rows.append(...rowsToAdd);
    while (rows.childElementCount > ROWS_KEPT) {
        rows.firstElementChild.remove();
    }
    $('#live-empty').hidden = rows.childElementCount > 0;
    if (atEnd) {
        live.scrollTop = live.scrollHeight;
    }
}

/** Shows a row in the next frame, together with all others that come before
 * it. */
function show(row) {
    fresh.push(row);
    fresh.splice(0, fresh.length - ROWS_KEPT);
    painting ??= setTimeout(paint, 16);
}

function paint() {
    if (held) {
        held.push(...fresh);
        held.splice(0, held.length - ROWS_KEPT);
        say($('#pause'), `Go on (${held.length})`);
    }
    else {
        append(...fresh);
    }
    fresh = [];
    painting = undefined;
    $('#count').textContent = count.toLocaleString();
    showLatency();
}

function showLatency() {
    const sorted = latencies.toSorted((a, b) => a - b);
    const put = (id, value) => {
        $(id).textContent = value === undefined ? '–' : showDuration(value);
    };
    put('#latency-last', latencies.at(-1));
    put('#latency-median', sorted[Math.floor(sorted.length / 2)]);
    put('#latency-highest', sorted.at(-1));
}

function receive(message) {
    const sent = message.timestamp / 1000;
    const isNew = sent >= began + clock.offsetMs;
    const latency = isNew ? nowMs() + clock.offsetMs - sent : undefined;
    const row = makeRow(message, latency);
    if (isNew) {
        latencies.push(latency);
        latencies.splice(0, latencies.length - LATENCIES_KEPT);
    }
    else {
        say(row.querySelector('.latency'), 'stored');
        row.querySelector('.latency').classList.add('stored');
    }
    count++;
    show(row);
}

function missed({ floor, reset }) {
    show(makeNote(reset
        ? 'The server has another history now.'
        : `Messages before ${new Date((floor ?? 0) / 1000).toLocaleString()}`
          + ' are no longer kept.'));
}

function subscribe() {
    const channels = channelsOf($('#channels').value);
    comet?.close();
    const mine = comet = new Comet(endpoint, {
        channels, transport: $('#transport').value, share: false,
    });
    const on = (type, act) => mine.addEventListener(type, (event) => {
        if (mine === comet) {
            act(event);
        }
    });
    began = nowMs();
    showState('connecting');
    on('open', ({ transport }) => showState('connected',
        { events: 'event stream', poll: 'long poll',
          websocket: 'WebSocket' }[transport] ?? transport));
    on('error', ({ error }) => showState('reconnecting', error.message));
    on('close', ({ error }) => showState('offline', error?.message));
    on('message', ({ message }) => receive(message));
    on('edit', ({ message }) => receive(message));
    on('typing', ({ message }) => receive(message));
    on('delete', ({ message, timestamp }) => {
        receive(message);
        removeRow(timestamp);
    });
    on('gap', missed);
    if (location.hash.slice(1) !== encodeURI(channels.join(','))) {
        history.replaceState(null, '', `#${encodeURI(channels.join(','))}`);
    }
}

$('#subscribe').addEventListener('submit', (event) => {
    event.preventDefault();
    subscribe();
});
$('#stop').addEventListener('click', () => {
    comet.close();
    comet = undefined;
    showState('idle');
    $('#channels').focus();
});
$('#clear').addEventListener('click', () => {
    rows.replaceChildren();
    fresh = [];
    held &&= [];
    latencies = [];
    count = 0;
    say($('#count'), '0');
    showLatency();
    $('#live-empty').hidden = false;
});
$('#pause').addEventListener('click', ({ currentTarget }) => {
    const waiting = held ?? [];
    held = held ? undefined : [];
    append(...waiting);
    currentTarget.setAttribute('aria-pressed', String(!!held));
    say(currentTarget, held ? 'Go on' : 'Pause');
});
$('#aloud').addEventListener('change', ({ currentTarget }) => {
    live.setAttribute('aria-live', currentTarget.checked ? 'polite' : 'off');
});

/* ---- publishing ---------------------------------------------------------- */

/** Estimates the server's clock; the faster an answer, the better its
 * estimate. */
function heedClock({ tookMs, offsetMs }) {
    if (tookMs < clock.tookMs && Math.abs(offsetMs) > tookMs) {
        clock = { offsetMs, tookMs };
        say($('#offset'), `; the server’s clock is ${showDuration(Math.abs(offsetMs))} ${
            offsetMs > 0 ? 'ahead' : 'behind'}, which is taken into account`);
    }
}

let attempt = {};       // what was last sent to be stored, and its key

$('#publish').addEventListener('submit', async (event) => {
    event.preventDefault();
    const outcome = $('#outcome');
    const body = $('#body');
    const message = {
        channel: $('#channel').value.trim(),
        type: $('#type').value.trim(),
        body: body.value,
    };
    const text = JSON.stringify(message);
    if (text !== attempt.text) {
        attempt = { text, key: newKey() };
    }
    outcome.classList.remove('failed');
    try {
        const done = await publish(endpoint, { ...message, key: attempt.key });
        attempt = {};
        heedClock(done);
        outcome.textContent = `Stored as ${done.timestamp} in ${
            showDuration(done.tookMs)}.`;
        body.value = '';
    }
    catch (error) {
        outcome.classList.add('failed');
        outcome.textContent = error.unsure
            ? `Perhaps not stored; if it was, it is not stored twice. ${error.message}`
            : `Not stored. ${error.message}`;
    }
    body.focus();
});
$('#body').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        $('#publish').requestSubmit();
    }
});

/* ---- history ------------------------------------------------------------- */

let query;              // {channels, words, limit} of the pages that are shown
let pages = [];         // `before` of the shown page and of all newer pages
let wanted = 0;         // how many pages were asked for so far

/**
 * Finds out whether there are messages before those of a page.  A short page
 * need not be the last one, since long messages leave room for few.
 */
async function hasOlder(messages, channels, { words, limit }) {
    if (!messages.length || messages.length === limit) {
        return messages.length > 0;
    }
    const older = await readHistory(endpoint, channels, {
        words, before: messages[0].timestamp, limit: 1 });
    return older.messages.length > 0 || older.before !== undefined;
}

async function showPage() {
    const { channels, ...rest } = query;
    const number = ++wanted;
    const list = $('#history ol');
    const range = $('#range');
    $('#older').disabled = $('#newer').disabled = true;
    try {
        const { messages, before } = await readHistory(
            endpoint, channels, { before: pages.at(-1), ...rest });
        const isLast = !before && !await hasOlder(messages, channels, rest);
        if (number !== wanted) {
            return;     // another page was asked for meanwhile
        }
        list.replaceChildren(...messages.map((message) => makeRow(message)));
        // A long search is cut short, and says where to continue.
        const since = before && new Date(before / 1000).toLocaleString();
        $('#history-empty').hidden = messages.length > 0;
        say($('#history-empty'), before
            ? `There is nothing since ${since}. Older messages come next.`
            : 'There is nothing.');
        $('#older').disabled = isLast;
        $('#older').dataset.before = before ?? messages[0]?.timestamp ?? '';
        const time = (index) => new Date(messages.at(index).timestamp / 1000)
            .toLocaleString();
        range.textContent = messages.length
            ? `${messages.length} messages, ${time(0)} to ${time(-1)}`
            : 'No message.';
        $('#history').scrollTop = $('#history').scrollHeight;
    }
    catch (error) {
        if (number !== wanted) {
            return;
        }
        range.textContent = error.message;
    }
    $('#newer').disabled = pages.length < 2;
}

$('#search').addEventListener('submit', (event) => {
    event.preventDefault();
    query = {
        channels: channelsOf($('#channels').value),
        words: $('#words').value.trim(),
        limit: Number($('#limit').value),
    };
    pages = [undefined];
    showPage();
});
$('#older').addEventListener('click', ({ currentTarget }) => {
    pages.push(Number(currentTarget.dataset.before));
    showPage();
});
$('#newer').addEventListener('click', () => {
    pages.pop();
    showPage();
});

/* ---- moderating ---------------------------------------------------------- */

/** Removes a deleted message from the page, also if it is not shown yet. */
function removeRow(timestamp) {
    const stays = (row) => row.dataset.timestamp !== String(timestamp);
    fresh = fresh.filter(stays);
    held = held?.filter(stays);
    document.querySelectorAll(`.message[data-timestamp="${timestamp}"]`)
        .forEach((row) => row.remove());
}

for (const log of [live, $('#history')]) {
    log.addEventListener('click', async ({ target }) => {
        if (target.className !== 'delete') {
            return;
        }
        const row = target.closest('.message');
        const { channel, timestamp } = row.dataset;
        target.disabled = true;
        try {
            await deleteMessage(endpoint, channel, timestamp);
            removeRow(timestamp);
            log.focus();
        }
        catch (error) {
            row.querySelector('.problem').textContent = error.message;
            target.disabled = false;
        }
    });
}

/* ---- channels, and who is there ------------------------------------------- */

let shownChannel;       // the channel whose members are shown

const timeOf = (timestamp) => new Date(timestamp / 1000).toLocaleString([], {
    dateStyle: 'short', timeStyle: 'short' });

function makeChannel({ channel, last }) {
    const item = document.createElement('li');
    const button = document.createElement('button');
    const time = document.createElement('time');
    button.type = 'button';
    button.className = 'quiet-button';
    button.textContent = channel;
    time.textContent = last ? ` ${timeOf(last)}` : '';
    button.addEventListener('click', () => showMembers(channel));
    button.append(time);
    item.append(button);
    return item;
}

async function showChannels() {
    try {
        const found = await listChannels(endpoint,
                                         channelsOf($('#channels').value));
        $('#channel-list').replaceChildren(...found.map(makeChannel));
        say($('#channels-note'), found.length
            ? 'Choose one to see who is there.' : 'There is none.');
    }
    catch (error) {
        say($('#channels-note'), error.message);
    }
}

function makeMember({ member, since }) {
    const item = $('#member').content.firstElementChild.cloneNode(true);
    item.querySelector('.name').textContent = member;
    item.querySelector('time').textContent = `since ${timeOf(since)}`;
    item.querySelector('button').addEventListener('click', async () => {
        const channel = shownChannel;
        try {
            await throwOut(endpoint, channel, member);
            await showMembers(channel);
            say($('#members-note'), `${member} was thrown out.`);
        }
        catch (error) {
            say($('#members-note'), error.message);
        }
    });
    return item;
}

async function showMembers(channel) {
    const list = $('#members ul');
    shownChannel = channel;
    $('#members').hidden = false;
    say($('#members-title'), channel);
    try {
        const { members = [], count, anonymous } = await listMembers(endpoint,
                                                                     channel);
        if (channel !== shownChannel) {
            return;
        }
        list.replaceChildren(...members.map(makeMember));
        say($('#members-note'), `${count} with a name, ${anonymous} without.`);
    }
    catch (error) {
        list.replaceChildren();
        say($('#members-note'), error.message);
    }
}

$('#list-channels').addEventListener('click', showChannels);

/* ---- start
 * ----------------------------------------------------------------- */

if (location.hash.length > 1) {
    try {
        $('#channels').value = decodeURI(location.hash.slice(1));
    }
    catch {
        // The hash was not made by this page.
    }
}
watchRules($('#rules'), endpoint, () => channelsOf($('#channels').value));
watchCounters($('#counters'), $('#counter'), $('#counters-note'),
              new URL($('main').dataset.status, location));
subscribe();
