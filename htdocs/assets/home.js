// SPDX-License-Identifier: Apache-2.0
// The landing page: messages as they arrive, the server's counters as they change,
// and the commands with the database's real path and a button that copies them.

const $ = (selector) => document.querySelector(selector);
const live = $('#live');
const EVERY_MS = 2000;

const sum = (counts) => Object.values(counts ?? {}).reduce((a, b) => a + b, 0);
const show = (id, value) => {
    $(id).textContent = (value ?? 0).toLocaleString();
};

/** A path, quoted as one word for the shell. */
const quote = (path) => (/^[\w./-]+$/.test(path)
    ? path
    : `'${path.replaceAll("'", "'\\''")}'`);

async function refresh() {
    if (document.hidden) {
        return;
    }
    const options = { cache: 'no-store', headers: { Accept: 'application/json' } };
    const answer = await fetch(live.dataset.status, options).catch(() => null);
    const status = answer?.ok && await answer.json().catch(() => null);
    live.classList.toggle('stale', !status);
    const hidden = [401, 403, 404].includes(answer?.status);
    $('#live-note').textContent = status ? '' : hidden
        ? 'This server keeps its counters to itself (see Require local).'
        : 'The counters are not available just now.';
    if (hidden) {
        clearInterval(timer);
    }
    if (!status) {
        return;
    }
    show('#waiting', sum(status.waiting));
    show('#published', status.published);
    show('#delivered', status.delivered);
    show('#children', status.children);
    const path = status.stores?.[0]?.path;
    if (path) {
        document.querySelectorAll('.db').forEach((span) => {
            span.textContent = quote(path);
        });
    }
}

const timer = setInterval(refresh, EVERY_MS);
refresh();
document.addEventListener('visibilitychange', refresh);

const pushed = $('#pushed');
const SHOWN = 5;
// A random name, by which the page recognises its own message.
const greeting = `Page ${Math.random().toString(36).slice(2, 6)} says hello.`;
let source;
let sent;       // when this page published: performance.now(), or undefined

/** Add a message to the list, with the time it took if this page sent it. */
function push({ data, lastEventId }) {
    const row = document.createElement('li');
    const time = document.createElement('time');
    const at = new Date(Number(lastEventId) / 1000);
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString();
    row.append(time, ' ', data);
    if (sent && data === greeting) {
        row.append(` (${Math.round(performance.now() - sent)} ms after it was sent)`);
        sent = undefined;
    }
    pushed.append(row);
    while (pushed.children.length > SHOWN) {
        pushed.firstChild.remove();
    }
}

/** Publish the page's own message; if the server does not take it, say so. */
async function greet() {
    sent = performance.now();
    const answer = await fetch(pushed.dataset.channel, {
        method: 'POST',
        body: greeting,
        headers: { 'Content-Type': 'text/plain' },
    }).catch(() => null);
    const { error } = answer?.ok === false
        ? await answer.json().catch(() => ({ error: answer.status })) : {};
    $('#push-note').textContent = error
        ? `The server refused this page’s message: ${error}. The command still works.`
        : '';
}

function listen() {
    source = new EventSource(pushed.dataset.channel);
    source.addEventListener('message', push);
    source.addEventListener('open', greet, { once: true });
}

// A browser may keep a page that the user leaves, and show it again later.
addEventListener('pagehide', () => source.close());
addEventListener('pageshow', (event) => event.persisted && listen());
listen();

document.querySelectorAll('.endpoint').forEach((span) => {
    span.textContent = new URL(span.dataset.path, location);
});

// Browsers offer the clipboard on https and on localhost only.
document.querySelectorAll('.copy').forEach((button) => {
    button.hidden = !navigator.clipboard;
    button.addEventListener('click', async () => {
        const command = button.parentElement.querySelector('code').textContent;
        await navigator.clipboard.writeText(command);
        button.textContent = 'Copied';
        setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    });
});
