// SPDX-License-Identifier: Apache-2.0
// The chat page: rows for what the channel delivers and for what one writes.

import { newKey, publish, subscribe } from '../assets/comet.js';
import { say, showState } from '../assets/connection.js';

const $ = (selector, from = document) => from.querySelector(selector);
const endpoint = new URL($('main').dataset.endpoint, location);
const log = $('#log');
const list = $('ol', log);
const input = $('#message');
const news = $('#news');

const ROWS_KEPT = 1000;
const shown = new Map();    // timestamp -> row: every stored message, once
const unsettled = new Set();    // one's own rows, not yet known to be stored
const mine = new Set(JSON.parse(sessionStorage.getItem('mine') ?? '[]'));
const drafts = new WeakMap();   // one's own row -> {text, key}, as sent
const title = document.title;
let unseen = 0;

/* ---- rows ---------------------------------------------------------------- */

function makeRow(text) {
    const row = $('#row').content.firstElementChild.cloneNode(true);
    $('.body', row).textContent = text;
    return row;
}

/** Puts a row where its timestamp belongs; without one, at the end. */
function place(row, timestamp = Infinity) {
    const order = (other) => Number(other.dataset.timestamp ?? Infinity);
    let before = list.lastElementChild;
    while (before && (before === row || order(before) > timestamp)) {
        before = before.previousElementSibling;
    }
    if (!row.isConnected || row.previousElementSibling !== before) {
        before ? before.after(row) : list.prepend(row);
    }
}

/** Makes a row the one and only of a stored message. */
function settle(row, { timestamp, author, type = 'message' }) {
    const date = new Date(timestamp / 1000);
    const today = date.toDateString() === new Date().toDateString();
    const time = $('time', row);

    time.dateTime = date.toISOString();
    time.title = date.toLocaleString([], { dateStyle: 'full', timeStyle: 'medium' });
    time.textContent = date.toLocaleString([], {
        hour: '2-digit', minute: '2-digit',
        ...(today ? {} : { day: 'numeric', month: 'short' }),
    });
    $('.author', row).textContent = author ?? '';
    $('.type', row).textContent = type === 'message' ? '' : type;
    row.classList.remove('sending', 'failed');
    row.classList.toggle('mine', mine.has(timestamp) || unsettled.has(row));
    row.dataset.timestamp = timestamp;
    unsettled.delete(row);
    shown.set(timestamp, row);
    place(row, timestamp);
}

/** A line across the log, before the message of this timestamp. */
function divide(text, timestamp) {
    const line = $('#divider').content.firstElementChild.cloneNode(true);
    line.textContent = text;
    line.dataset.timestamp = timestamp - 0.5;
    place(line, timestamp - 0.5);
}

/* ---- reading ------------------------------------------------------------- */

/** One's own row that this message seems to be, told before its POST is. */
function ownRow({ body, type }) {
    return [...unsettled].find((row) => type === 'message'
        && !row.classList.contains('refused') && drafts.get(row).text === body);
}

function receive({ messages, gap }, { first, reset }) {
    const stick = atEnd();
    const start = messages[0]?.timestamp ?? 0;
    let fresh = 0;

    if (reset) {
        list.querySelectorAll('[data-timestamp]').forEach((row) => row.remove());
        shown.clear();
        divide('The server has another history now; it starts here.', start);
    }
    if (gap) {
        divide('Some messages before this are no longer kept.', start);
    }
    for (const message of messages) {
        const known = shown.get(message.timestamp) ?? ownRow(message);
        fresh += known ? 0 : 1;
        settle(known ?? makeRow(message.body), message);
    }
    while (stick && shown.size > ROWS_KEPT) {
        const oldest = $('[data-timestamp]', list);
        shown.delete(Number(oldest.dataset.timestamp));
        oldest.remove();
    }
    if (first) {
        // The history is there to be read; only what follows is announced.
        requestAnimationFrame(() => log.setAttribute('aria-live', 'polite'));
    }
    $('#empty').hidden = list.childElementCount > 0;
    if (stick) {
        toEnd();
    }
    if (fresh && !first && (!stick || document.hidden)) {
        unseen += fresh;
        showUnseen();
    }
}

/* ---- writing ------------------------------------------------------------- */

let queue = Promise.resolve();  // one POST after the other keeps their order

function send(row) {
    row.classList.remove('failed', 'refused');
    row.classList.add('sending', 'mine');
    queue = queue.then(() => post(row));
}

async function post(row) {
    const { text, key } = drafts.get(row);
    try {
        const { timestamp } = await publish(endpoint, text, key);
        mine.add(timestamp);
        sessionStorage.setItem('mine', JSON.stringify([...mine].slice(-200)));
        // By now the channel may have told us of it, in this row or, if
        // somebody wrote the same text, in another one.
        const told = shown.get(timestamp);
        told?.classList.add('mine');
        if (unsettled.has(row) && !told) {
            settle(row, { timestamp });
        }
        else if (unsettled.delete(row)) {
            row.remove();
        }
        else if (told !== row) {
            row.classList.remove('mine');
        }
    }
    catch (error) {
        if (!unsettled.has(row)) {
            return;     // the answer was lost, the message was not
        }
        row.classList.remove('sending');
        row.classList.add('failed');
        row.classList.toggle('refused', !error.unsure);
        say($('.problem', row), `Not sent. ${error.message}`);
        keepEnd();
    }
}

/** Retry: what may have been stored after all is looked for first. */
async function retry(row) {
    row.classList.replace('failed', 'sending');
    if (!row.classList.contains('refused')) {
        await feed.sync();
    }
    if (unsettled.has(row)) {
        send(row);
    }
}

function edit(row) {
    input.value = [drafts.get(row).text, input.value].filter(Boolean).join('\n');
    unsettled.delete(row);
    row.remove();
    input.focus();
}

$('#composer').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = input.value.trimEnd();
    input.value = '';
    input.focus();
    if (!text) {
        return;
    }
    const row = makeRow(text);
    drafts.set(row, { text, key: newKey() });
    unsettled.add(row);
    place(row);
    $('#empty').hidden = true;
    send(row);
    toEnd();
});

input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        $('#composer').requestSubmit();
    }
});

list.addEventListener('click', ({ target }) => {
    const act = { retry, edit }[target.className];
    act?.(target.closest('li'));
});

/* ---- scrolling and what one has not seen --------------------------------- */

function atEnd() {
    return log.scrollHeight - log.scrollTop - log.clientHeight < 48;
}

function toEnd() {
    log.scrollTop = log.scrollHeight;
}

function showUnseen() {
    document.title = unseen ? `(${unseen}) ${title}` : title;
    news.hidden = !unseen || atEnd();
    news.textContent = unseen === 1 ? '1 new message' : `${unseen} new messages`;
}

function seen() {
    if (unseen && !document.hidden && atEnd()) {
        unseen = 0;
        showUnseen();
    }
}

let held = true;    // the end was in view when the size last changed
log.addEventListener('scroll', () => {
    held = atEnd();
    seen();
});
const keepEnd = () => held && toEnd();
new ResizeObserver(keepEnd).observe(log);
document.addEventListener('visibilitychange', seen);
news.addEventListener('click', () => {
    toEnd();
    input.focus();
});

/* ---- go ------------------------------------------------------------------ */

document.querySelectorAll('.endpoint').forEach((span) => {
    span.textContent = endpoint;
});
const feed = subscribe(endpoint, {
    onAnswer: receive,
    onState: (state, why) => showState($('#status'), state, why),
});
