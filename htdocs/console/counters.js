// SPDX-License-Identifier: Apache-2.0
// The server's counters, read every two seconds, each with a line of its last two
// minutes.

const EVERY_MS = 2000;
const KEPT = 60;
const GAUGES = new Set(['children', 'sending', 'blocked']);

// The groups in which the counters are shown. Counters that match no pattern
// come last.
const GROUPS = [
    ['Waiting now', /^(waiting|children|adopted|ghosts|blocked|sending|buffered|incoming)/],
    ['Publishing', /^(published|repeated|publish refused)/],
    ['Delivering', /^(delivered|resumed|resynced|unanswered|fast polls|catch ups|rearmed|http2 threads)/],
    ['Leaving, and turned away', /^(dropped|departed|turned away|soft landings|limit)/],
    ['Searching and reading', /^(searching|searches|readings|asking)/],
    ['Trouble', /^(store errors)/],
    ['More', /^/],
];

/** The counters of comet-status as [name, value, whether it only grows]. */
function flatten(status) {
    const rows = [];
    for (const [name, value] of Object.entries(status)) {
        if (name === 'waiting') {
            for (const [transport, count] of Object.entries(value)) {
                rows.push([`waiting ${transport}`, count, false]);
            }
        }
        else if (typeof value === 'number') {
            rows.push([name.replaceAll('_', ' '), value, !GAUGES.has(name)]);
        }
    }
    return rows;
}

/** The points of a line from left to right, in a box of 60 by 20. */
function points(values) {
    const most = Math.max(1e-9, ...values);
    return values.map((value, index) => {
        const x = KEPT - values.length + index;
        return `${x},${(18.5 - 17 * value / most).toFixed(2)}`;
    }).join(' ');
}

class Counter {
    values = [];        // the values of a gauge, or the rates of a counter
    #last;

    constructor(box, name) {
        this.box = box;
        box.querySelector('dt').textContent = name;
    }

    show(value, grows, seconds) {
        const rate = this.#last === undefined ? 0
            : Math.max(0, value - this.#last) / seconds;
        this.#last = value;
        this.values.push(grows ? rate : value);
        this.values.splice(0, this.values.length - KEPT);
        this.box.querySelector('dd').textContent = value.toLocaleString();
        this.box.title = grows ? `${rate.toFixed(1)} a second` : '';
        this.box.querySelector('polyline')
            .setAttribute('points', points(this.values));
    }
}

/** Keeps groups of counters up to date while the page is visible. */
export function watchCounters(box, template, note, url) {
    const groups = new Map();
    const counters = new Map();
    let before = performance.now();

    /** The list of a counter's group, which is made when it is needed. */
    function listOf(name) {
        const index = GROUPS.findIndex(([, names]) => names.test(name));
        if (!groups.has(index)) {
            const group = document.querySelector('#group').content
                .firstElementChild.cloneNode(true);
            const later = [...groups.keys()].filter((other) => other > index);
            const next = groups.get(Math.min(...later));
            group.querySelector('h3').textContent = GROUPS[index][0];
            box.insertBefore(group, next ?? null);
            groups.set(index, group);
        }
        return groups.get(index).querySelector('dl');
    }

    function show(status) {
        const now = performance.now();
        for (const [name, value, grows] of flatten(status)) {
            if (!counters.has(name)) {
                const one = template.content.firstElementChild.cloneNode(true);
                listOf(name).append(one);
                counters.set(name, new Counter(one, name));
            }
            counters.get(name).show(value, grows, (now - before) / 1000);
        }
        before = now;
    }

    async function refresh() {
        if (document.hidden) {
            return;
        }
        const options = { cache: 'no-store', headers: { Accept: 'application/json' } };
        const answer = await fetch(url, options).catch(() => null);
        const status = answer?.ok && await answer.json().catch(() => null);
        if (status) {
            show(status);
        }
        else if ([401, 403, 404].includes(answer?.status)) {
            clearInterval(timer);
            note.textContent = 'This server keeps its counters to itself'
                             + ' (see Require local).';
        }
        box.classList.toggle('stale', !status);
    }

    const timer = setInterval(refresh, EVERY_MS);
    document.addEventListener('visibilitychange', refresh);
    refresh();
}
