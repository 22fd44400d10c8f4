// SPDX-License-Identifier: Apache-2.0
// The clock page: shows the ticks of a streamed document in a hidden iframe,
// watches over that stream, and compares the two clocks.

import { backoff, lostState, onChange, say, showState }
    from '../assets/connection.js';

const $ = (selector) => document.querySelector(selector);
const stream = $('main').dataset.stream;
const SILENCE_MS = 3500;    // without a tick for longer, the stream is lost
const BARS = 60;

let frame;              // the iframe; undefined between two attempts
let retryTimer;
let failures = 0;       // failures in a row
let lastTickAt;         // as a performance.now()
let ticks = 0;          // received by this page
let ticksOfStream = 0;
let lateness = [];      // for each tick, how many ms our clock was past its
                        // second
let roundTrips = [];    // the latest few, in ms

/* ---- the stream ---------------------------------------------------------- */

// The object that the document in the iframe calls.  The document reads
// window.parent.comet when it begins, so this must exist before the first iframe.
window.comet = { printServerTime };

function connect() {
    clearTimeout(retryTimer);
    frame?.remove();
    frame = document.createElement('iframe');
    frame.hidden = true;
    frame.title = 'Stream of the server’s time';
    frame.src = stream;
    // The document does not end by itself. Once it has loaded, the stream is
    // over.
    frame.addEventListener('load', () => lost('The stream has ended.'));
    lastTickAt = performance.now();
    ticksOfStream = 0;
    document.body.append(frame);
}

function lost(why) {
    frame.remove();
    frame = undefined;
    showState($('#status'), lostState(), why);
    retryTimer = setTimeout(connect, backoff(failures++));
}

setInterval(() => {
    if (frame && performance.now() - lastTickAt > SILENCE_MS) {
        lost('No tick for more than three seconds.');
    }
}, 250);

onChange(() => {
    const silent = performance.now() - lastTickAt > SILENCE_MS;
    if (!document.hidden && (!frame || silent)) {
        connect();
    }
});

addEventListener('pagehide', () => frame?.remove());

/* ---- a tick -------------------------------------------------------------- */

function printServerTime(seconds) {
    const now = Date.now();
    const date = new Date(seconds * 1000);

    lastTickAt = performance.now();
    failures = 0;
    ticks += 1;
    ticksOfStream += 1;
    showState($('#status'), 'connected');
    // The streamed document gets another script element every second: remove each
    // one once it has run.
    frame?.contentDocument?.querySelectorAll('body > script + script')
        .forEach((script) => script.nextSibling && script.remove());

    $('#time').dateTime = date.toISOString();
    $('#time').textContent = date.toLocaleTimeString([], { timeStyle: 'medium' });
    $('#date').textContent = date.toLocaleDateString([], { dateStyle: 'full' });
    $('#unix').textContent = seconds;
    $('#utc').textContent = date.toISOString().slice(11, 19);
    $('#ticks').textContent = ticks.toLocaleString();

    // The first tick of a stream comes at once, the others on full seconds.
    if (ticksOfStream > 1) {
        lateness = [...lateness, now - seconds * 1000].slice(-BARS);
        drawBars();
        showDifference();
    }
    if (ticksOfStream === 1 || ticks % 30 === 0) {
        measureRoundTrip();
    }
}

/* ---- comparing the clocks ------------------------------------------------ */

/** Measures the round trip to the server: the shortest of a few requests. */
async function measureRoundTrip() {
    for (let i = 0; i < 3; i++) {
        const begun = performance.now();
        const options = { method: 'HEAD', cache: 'no-store' };
        const answer = await fetch(stream, options).catch(() => null);
        if (!answer?.ok) {
            return;
        }
        roundTrips = [...roundTrips, performance.now() - begun].slice(-9);
    }
    showDifference();
}

const amount = (ms) => (Math.abs(ms) < 1000
    ? `${Math.round(Math.abs(ms))} ms`
    : `${(Math.abs(ms) / 1000).toLocaleString([], { maximumFractionDigits: 1 })} s`);

function showDifference() {
    const trip = Math.min(...roundTrips);
    const ahead = Math.min(...lateness) - trip / 2;
    if (Number.isFinite(trip)) {
        $('#trip').textContent = amount(trip);
    }
    if (Number.isFinite(ahead)) {
        const within = Math.max(1, trip / 2);
        $('#difference').textContent = Math.abs(ahead) <= within
            ? `less than ${amount(within)}`
            : `yours is ${amount(ahead)} ${ahead > 0 ? 'ahead' : 'behind'}`;
    }
}

/** Draws one bar for each tick: how much later it came than the quickest
 * one. */
function drawBars() {
    const least = Math.min(...lateness);
    const late = lateness.map((ms) => ms - least);
    const most = Math.max(...late);
    const bars = $('#bars');

    while (bars.childElementCount < late.length) {
        const bar = document.createElementNS(bars.namespaceURI, 'rect');
        bar.setAttribute('width', 6);
        bars.append(bar);
    }
    late.forEach((ms, i) => {
        const height = 3 + 45 * ms / Math.max(20, most);
        const bar = bars.children[i];
        bar.setAttribute('x', (BARS - late.length + i) * 10 + 2);
        bar.setAttribute('y', 50 - height);
        bar.setAttribute('height', height);
    });
    $('#spread').textContent = amount(most);
}

/* ---- start
 * ----------------------------------------------------------------- */

// Start only once the page itself has loaded: a page with an iframe that never
// ends would never finish loading.
if (document.readyState === 'complete') {
    connect();
}
else {
    addEventListener('load', connect, { once: true });
}
