// SPDX-License-Identifier: Apache-2.0
// The chat page: rows for the channel's messages and for the user's own.

import { Comet, eventOf, newKey } from '../mod-comet/comet.js';
import { lostState, say, showState } from '../assets/connection.js';

const $ = (selector, from = document) => from.querySelector(selector);
const endpoint = new URL($('main').dataset.endpoint, location);
const log = $('#log');
const list = $('ol', log);
const input = $('#message');
const news = $('#news');
const earlier = $('#earlier');
const choice = $('#transport');

const ROWS_KEPT = 1000;
const PAGE = 50;                // rows that "Earlier messages" adds
const NAMES = { events: 'event stream', poll: 'long poll', iframe: 'iframe',
                websocket: 'WebSocket' };
const shown = new Map();    // timestamp -> row: every stored message, once
const unsettled = new Set();    // own rows not yet known to be stored
const mine = new Set(JSON.parse(recall('mine') ?? '[]'));
const drafts = new WeakMap();   // row -> {text, key, stored}: as shown, its key
                                // if it is an own row, and before all edits
const edits = new Map();        // timestamp of a message -> its edits
const gone = new Set();         // timestamps of deleted messages
const typists = new Map();      // name -> the timer that ends their typing
const title = document.title;
let markable;                   // whether this user has a read mark
let marked = 0;                 // how far the user has read, as the server
                                // knows it
let marking;                    // the timer of the next mark
let oldest = Infinity;          // the oldest message known here, of any type
let user;                       // the user's name, once the server has told it
let comet;
let presence;
let isEarlier;                  // whether there is more before the oldest row
let unseen = 0;

/* ---- what the tab remembers ------------------------------------------------ */

// A browser that keeps no cookies of this site refuses its storage, too.

function recall(name) {
    try {
        return sessionStorage.getItem(name);
    }
    catch {
        return null;
    }
}

function remember(name, value) {
    try {
        sessionStorage.setItem(name, value);
    }
    catch {
        // The page works without it.
    }
}

/* ---- rows ---------------------------------------------------------------- */

function makeRow(text) {
    const row = $('#row').content.firstElementChild.cloneNode(true);
    $('.body', row).textContent = text;
    return row;
}

/** Puts a row where its timestamp belongs; at the end if it has none. */
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

/** Makes this row the only row of a stored message. */
function settle(row, { timestamp, author, type = 'message', body }) {
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
    row.dataset.author = author ?? '';
    unsettled.delete(row);
    shown.set(timestamp, row);
    if (author && author !== user && row.classList.contains('mine')) {
        user = author;
        shown.forEach(claim);
    }
    claim(row);
    const text = body ?? drafts.get(row)?.text;
    drafts.set(row, { ...drafts.get(row), text, stored: text });
    showEdit(row);
    place(row, timestamp);
}

/** Marks a row as the user's own if its author is this user, perhaps writing on
 * another page. */
function claim(row) {
    if (user && row.dataset.author === user) {
        row.classList.add('mine', 'editable');
    }
}

/** Shows a message as its author has written it last. Edits by others, and
 * deleted ones, do not count. */
function showEdit(row) {
    const { timestamp, author } = row.dataset;
    const draft = drafts.get(row);
    const [newest] = (edits.get(Number(timestamp)) ?? [])
        .filter((edit) => author && edit.author === author
            && !gone.has(edit.message.timestamp))
        .sort((a, b) => b.message.timestamp - a.message.timestamp);
    const text = newest?.data ?? draft.stored;
    say($('.body', row), text);
    $('.edited', row).hidden = !newest;
    drafts.set(row, { ...draft, text });
}

function takeEdit(edit) {
    const { timestamp } = edit;
    const known = edits.get(timestamp) ?? [];
    known.push(edit);
    edits.set(timestamp, known);
    if (shown.has(timestamp)) {
        showEdit(shown.get(timestamp));
    }
}

/** Called when a moderator has deleted a message, or an edit of one. */
function takeDeletion(timestamp) {
    const row = shown.get(timestamp);
    gone.add(timestamp);
    for (const [of, list] of edits) {
        if (shown.has(of)
            && list.some(({ message }) => message.timestamp === timestamp)) {
            showEdit(shown.get(of));
        }
    }
    if (row) {
        shown.delete(timestamp);
        row.remove();
        showWhole();
    }
}

/** Puts a line across the log, after the message with this timestamp. */
function divide(text, timestamp) {
    const line = $('#divider').content.firstElementChild.cloneNode(true);
    line.textContent = text;
    line.dataset.timestamp = timestamp + 0.5;
    place(line, timestamp + 0.5);
}

/* ---- reading ------------------------------------------------------------- */

/** Finds the row of this page's message that has the same text, and whose POST
 * has not ended yet. */
function ownRow({ body, type }) {
    return [...unsettled].find((row) => type === 'message'
        && !row.classList.contains('refused') && drafts.get(row).text === body);
}

let batch;      // messages that arrive together: {stick, fresh}

function receive(message) {
    if (!batch) {
        batch = { stick: atEnd(), fresh: 0 };
        queueMicrotask(received);
    }
    const known = shown.get(message.timestamp) ?? ownRow(message);
    oldest = Math.min(oldest, message.timestamp);
    stopTyping(message.author);
    batch.fresh += known ? 0 : 1;
    settle(known ?? makeRow(message.body), message);
}

function received() {
    const { stick, fresh } = batch;
    batch = undefined;
    while (stick && shown.size > ROWS_KEPT) {
        const oldest = $('[data-timestamp]', list);
        shown.delete(Number(oldest.dataset.timestamp));
        oldest.remove();
        isEarlier = true;
    }
    showWhole();
    if (isEarlier === undefined) {
        lookEarlier();
    }
    if (stick) {
        toEnd();
    }
    if (fresh && isLive() && (!stick || document.hidden)) {
        unseen += fresh;
        showUnseen();
    }
    seen();
}

/** Shows that the log is empty, or the button for earlier messages. */
function showWhole() {
    const empty = list.childElementCount === 0;
    $('#empty').hidden = !empty;
    earlier.hidden = empty || !isEarlier;
}

function missed({ reset }) {
    if (reset) {
        list.querySelectorAll('[data-timestamp]').forEach((row) => row.remove());
        shown.clear();
        oldest = Infinity;
        isEarlier = undefined;
        divide('The server has another history now; it starts here.', 0);
    }
    else {
        divide('Some messages after this are no longer kept.', comet.cursor);
    }
}

const beforeOldest = (limit) => comet.history({ before: oldest, limit });

/** Finds out whether there are messages before the oldest row. */
async function lookEarlier() {
    isEarlier ??= false;
    try {
        isEarlier = (await beforeOldest(1)).messages.length > 0;
    }
    catch {
        isEarlier = undefined;      // the next message lets the page ask again
    }
    showWhole();
}

/** Takes a message of the history, which may be about another message. */
function takeStored(message) {
    const [type, fields] = eventOf(message);
    oldest = Math.min(oldest, message.timestamp);
    if (type === 'edit') {
        takeEdit(fields);
    }
    else if (type === 'delete') {
        takeDeletion(fields.timestamp);
    }
    else if (type === 'message' && !gone.has(message.timestamp)) {
        settle(shown.get(message.timestamp) ?? makeRow(message.body), message);
    }
}

/** Shows the messages before the oldest row, one page at a time. */
async function showEarlier() {
    const fromEnd = log.scrollHeight - log.scrollTop;
    earlier.disabled = true;
    try {
        const { messages } = await beforeOldest(PAGE);
        messages.forEach(takeStored);
        log.scrollTop = log.scrollHeight - fromEnd;
        await lookEarlier();
        if (!isEarlier) {
            log.focus();
        }
    }
    catch (error) {
        say($('#status .why'), error.message);
    }
    earlier.disabled = false;
}

/* ---- the connection ------------------------------------------------------ */

// The history is not announced to screen readers; only new messages are.
const isLive = () => log.getAttribute('aria-live') === 'polite';
const beLive = () => log.setAttribute('aria-live', 'polite');

function connect(transport) {
    comet?.close();
    presence?.close();
    comet = new Comet(endpoint, { transport, since: comet?.cursor });
    const show = (state, why) => showState($('#status'), state, why);
    const on = (type, act) => comet.addEventListener(type, act);
    show('connecting');
    on('open', () => {
        show('connected', `by ${NAMES[comet.transport]}`);
        setTimeout(beLive, 500);
        resend();
    });
    on('error', ({ error }) => show(lostState(), error.message));
    on('close', ({ error }) => error && show('closed', error.message));
    on('message', ({ message }) => receive(message));
    on('edit', takeEdit);
    on('delete', ({ timestamp }) => takeDeletion(timestamp));
    on('typing', takeTyping);
    on('gap', missed);
    presence = comet.presence();
    presence.addEventListener('change', showHere);
    // If the server keeps no presence, the page shows no list.
    presence.addEventListener('close', showHere);
}

/* ---- who is here, and who is typing --------------------------------------- */

const HERE_NAMED = 12;      // if there are more, they are only counted

function showHere() {
    const names = [...presence.members.keys()].sort();
    const others = presence.count - Math.min(names.length, HERE_NAMED)
        + presence.anonymous;
    const list = names.slice(0, HERE_NAMED).map((name) => {
        const item = document.createElement('li');
        item.textContent = name;
        item.dir = 'auto';
        return item;
    });
    if (others > 0) {
        const item = document.createElement('li');
        item.textContent = list.length ? `and ${others} more`
            : others === 1 ? 'one visitor' : `${others} visitors`;
        item.className = 'quiet';
        list.push(item);
    }
    $('#here ul').replaceChildren(...list);
    $('#here').hidden = list.length === 0;
    // If other users have names, this user has a name and a read mark, too.
    if (names.length && markable === undefined) {
        markable = false;
        lookUnread();
    }
}

function takeTyping({ author, keep }) {
    const name = author ?? '';
    clearTimeout(typists.get(name));
    typists.set(name, setTimeout(() => stopTyping(author), keep * 1000));
    showTyping();
}

function stopTyping(author) {
    clearTimeout(typists.get(author ?? ''));
    if (typists.delete(author ?? '')) {
        showTyping();
    }
}

function showTyping() {
    const names = [...typists.keys()].map((name) => name || 'Somebody');
    const parts = names.length > 3 ? ['Several people are typing…']
        : names.flatMap((name, index) => [
            index ? ' and ' : '', isolated(name)]);
    if (names.length && names.length <= 3) {
        parts.push(` ${names.length > 1 ? 'are' : 'is'} typing…`);
    }
    const line = $('#typing');
    const said = parts.map((part) => part.textContent ?? part).join('');
    if (line.textContent !== said) {
        line.replaceChildren(...parts);
    }
}

/** A name whose direction does not change that of the text around it. */
function isolated(name) {
    const part = document.createElement('bdi');
    part.textContent = name;
    return part;
}

/* ---- writing ------------------------------------------------------------- */

function send(row) {
    row.classList.remove('failed', 'refused');
    row.classList.add('sending', 'mine');
    post(row);
}

async function post(row) {
    const { text, key } = drafts.get(row);
    try {
        const { timestamp } = await comet.publish(text, { idempotencyKey: key });
        mine.add(timestamp);
        remember('mine', JSON.stringify([...mine].slice(-200)));
        // The channel may have brought the message before this answer, in this
        // row or, if somebody wrote the same text, in another one.
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
            return;     // only the answer was lost, not the message
        }
        row.classList.remove('sending');
        row.classList.add('failed');
        row.classList.toggle('refused', !error.unsure);
        say($('.problem', row), `Not sent. ${error.message}`);
        keepEnd();
    }
}

/** Sends again the messages that could not be sent. Each has a key, so that it
 * is stored only once. */
function resend() {
    for (const row of unsettled) {
        if (row.matches('.failed:not(.refused)')) {
            send(row);
        }
    }
}

let editing;        // the stored row whose text is in the composer

function beginEdit(row) {
    editing = row;
    input.value = drafts.get(row).text;
    $('#send').textContent = 'Save';
    $('#editing').hidden = false;
    input.focus();
}

function endEdit() {
    editing = undefined;
    input.value = '';
    $('#send').textContent = 'Send';
    $('#editing').hidden = true;
}

async function saveEdit(row, text) {
    const timestamp = Number(row.dataset.timestamp);
    const old = drafts.get(row).text;
    endEdit();
    if (!text || text === old) {
        return;
    }
    try {
        await comet.edit(timestamp, text);
    }
    catch (error) {
        beginEdit(row);
        input.value = text;
        say($('#status .why'), `Not saved. ${error.message}`);
    }
}

function edit(row) {
    if (row.classList.contains('editable')) {
        beginEdit(row);
        return;
    }
    input.value = [drafts.get(row).text, input.value].filter(Boolean).join('\n');
    unsettled.delete(row);
    row.remove();
    input.focus();
}

$('#composer').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = input.value.trimEnd();
    if (editing) {
        saveEdit(editing, text);
        input.focus();
        return;
    }
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

input.addEventListener('input', () => {
    if (!editing && input.value.trim()) {
        comet.typing();
    }
});
input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && editing) {
        endEdit();
    }
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        $('#composer').requestSubmit();
    }
});

list.addEventListener('click', ({ target }) => {
    const act = { retry: send, edit, change: edit }[target.className];
    act?.(target.closest('li'));
});

/* ---- scrolling and unseen messages --------------------------------------- */

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
    if (document.hidden || !atEnd()) {
        return;
    }
    if (unseen) {
        unseen = 0;
        showUnseen();
    }
    markRead();
}

/** Tells the server, not too often, how far the user has read. */
function markRead() {
    if (markable && comet.cursor > marked) {
        marking ??= setTimeout(() => {
            marking = undefined;
            marked = comet.cursor;
            comet.read().catch(() => {});
        }, 1000);
    }
}

/** When the page is opened, puts a line above the messages that are new to the
 * user. */
async function lookUnread() {
    try {
        const { unread, read } = await comet.unread();
        markable = true;
        marked = read;
        if (unread && read) {
            divide(unread === 1 ? 'one message since you were here'
                : `${unread >= 100 ? '99+' : unread} messages since you were here`,
                   read);
        }
        seen();
    }
    catch {
        // Only an authenticated user has a read mark.
    }
}

let held = true;    // whether the end was in view after the last scroll
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

/* ---- start
 * ----------------------------------------------------------------- */

document.querySelectorAll('.endpoint').forEach((span) => {
    span.textContent = endpoint;
});
choice.value = recall('transport') ?? 'auto';
choice.value ||= 'auto';
choice.addEventListener('change', () => {
    remember('transport', choice.value);
    connect(choice.value);
});
earlier.addEventListener('click', showEarlier);
$('#editing').addEventListener('click', endEdit);
connect(choice.value);
