// SPDX-License-Identifier: Apache-2.0
// The landing page: the server's counters as they change, and the commands
// with the database's real path and a button that copies them.

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
    $('#live-note').textContent = status ? '' : answer
        ? 'This server keeps its counters to itself (see Require local).'
        : 'The server cannot be reached just now.';
    if (answer && !status) {
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
