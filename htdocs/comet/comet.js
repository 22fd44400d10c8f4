// SPDX-License-Identifier: Apache-2.0
// The browser's side of mod_comet.  It reads channels over whatever connection
// works, shares that connection among the tabs of a site, publishes, and reads
// the history.
//
// A message's timestamp is its identity, and the cursor of a reader that has
// read it.  Everything arrives as *news*: {after, messages, cursor}.  News say
// "between `after` and `cursor` there are these messages and no others".  A
// reader whose cursor is at `after` or later takes the messages that are new to
// it, and its cursor becomes `cursor`.  A reader whose cursor is before `after`
// has missed messages and asks the server for them.  So nothing is lost or
// repeated, no matter how often news arrives and which tab sends it.

const PATIENCE = 4;             // seconds a stream may take for its first byte
const SILENCE = 60;             // seconds a stream may be silent: more than two
                                // heartbeats
const WAIT = 25;                // seconds a poll asks the server to wait
const GRACE = 10;               // seconds an answer may take beyond the wait
const BLOCKED = 600;            // seconds until a blocked stream is tried again
const GLANCE = 10;              // seconds between polls of a hidden tab
const GLIMPSE = 1;              // seconds that they wait: only a client that
                                // waits is present in the channel
const BEAT = 5;                 // seconds between checks of the connection
const LOST_LEADER = 30;         // seconds without news of the leading tab
const MOST_PAUSE = 30;          // seconds between two attempts to connect
const MOST_SAID = 3600;         // seconds of pause that a server may ask for
const MOST_HELD = 1000;         // news put aside while catching up
const TRIES = 5;                // attempts at one publish
const TYPING = 6;               // seconds for which a user is typing
const EARLY = 10;               // seconds between a token's renewal and its end
const LONGEST_TIMER = 2 ** 31 - 1;      // ms

const AGAIN = Symbol('again');  // the attempt ended: start another at once
const OVER = Symbol('over');    // the attempt ended: never start another

const CAUSES = {
    0: 'The server cannot be reached.',
    400: 'The server did not understand this.',
    401: 'You need to sign in first.',
    403: 'You are not allowed to do this.',
    404: 'Nothing answers at this address.',
    406: 'The server does not offer this kind of connection.',
    413: 'This message is too long.',
    422: 'This key already belongs to another message.',
    429: 'Too many requests; please wait a moment.',
    503: 'The server is busy; please try again in a moment.',
    507: 'The server has no room left to store messages.',
};

/** A request that failed. Its status is 0 if there was no (complete) answer. */
export class CometError extends Error {
    constructor(status, { said = '', retryAfter = 0, cause,
                          why = CAUSES[status], blocked = false,
                          foreign = false } = {}) {
        why ??= status < 500 ? `The server refused this (${status}).`
                             : `The server has a problem (${status}).`;
        super(said ? `${why} It says: ${said}` : why, { cause });
        this.name = 'CometError';
        this.status = status;
        this.said = said;
        this.retryAfter = retryAfter;   // seconds
        this.blocked = blocked;         // a proxy seems to block streams
        this.foreign = foreign;         // probably not decided by the module
    }

    /** True if asking again may help. */
    get temporary() {
        return this.status === 0 || this.status >= 500
            || [408, 425, 429].includes(this.status);
    }

    /** True if the server may have done what was asked, although this
     * failed. */
    get unsure() {
        return this.status === 0 || this.status >= 500;
    }

    /**
     * True if a client that was let in before should ask again. The module
     * itself gives its reason in JSON. A refusal without such a reason comes
     * from a filter against floods (mod_evasive), from a firewall, or from the
     * web server while the module is being replaced. But a 401 without a reason
     * asks the user to sign in.
     */
    get passing() {
        return this.temporary || (this.foreign && this.status !== 401);
    }
}

/** An event with fields of its own: see comet.d.ts for those of each type. */
class CometEvent extends Event {
    constructor(type, fields) {
        super(type);
        Object.assign(this, fields);
    }
}

/**
 * Parses text/event-stream as the HTML standard says. push() takes the next
 * piece of decoded text, and returns the blocks that it completes. A block is
 * {id, event, data, retry}; fields that it lacks are undefined.
 */
export class EventStreamParser {
    #line = '';         // the unfinished line
    #return = false;    // the last piece ended in CR: ignore an LF
    #block = {};

    push(text) {
        if (!text) {
            return [];
        }
        const begin = this.#return && text[0] === '\n' ? 1 : 0;
        const lines = text.slice(begin).split(/\r\n|\n|\r/);
        const blocks = [];
        this.#return = text.endsWith('\r');
        lines[0] = this.#line + lines[0];
        this.#line = lines.pop();
        for (const line of lines) {
            if (line) {
                this.#field(line);
            }
            else if (Object.keys(this.#block).length) {
                blocks.push(this.#block);
                this.#block = {};
            }
        }
        return blocks;
    }

    #field(line) {
        const [, name, value] = /^([^:]*):? ?([^]*)$/.exec(line);
        const block = this.#block;
        if (name === 'data') {
            block.data = block.data === undefined ? value
                                                  : `${block.data}\n${value}`;
        }
        else if (name === 'event' || (name === 'id' && !value.includes('\0'))) {
            block[name] = value;
        }
        else if (name === 'retry' && /^[0-9]+$/.test(value)) {
            block.retry = Number(value);
        }
    }
}

/* ---- requests ------------------------------------------------------------ */

/** An attempt that can be aborted, and aborts itself if it takes too long. */
class Attempt {
    #control = new AbortController();
    #timer;

    constructor(signal) {
        const follow = () => this.end(signal.reason);
        signal?.addEventListener('abort', follow, { signal: this.signal });
        if (signal?.aborted) {
            follow();
        }
    }

    get signal() {
        return this.#control.signal;
    }

    /** Aborts after so many seconds, unless this is called again earlier. */
    expect(seconds, reason = new CometError(0)) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.end(reason), seconds * 1000);
    }

    end(reason) {
        clearTimeout(this.#timer);
        this.reason ??= reason;
        this.#control.abort(reason);
    }

    /** Stops the timer, since nothing is expected for the moment. */
    relax() {
        clearTimeout(this.#timer);
    }

    /** Waits for a promise, until this attempt ends. */
    wait(promise) {
        return new Promise((done, fail) => {
            const end = () => fail(this.reason);
            this.signal.addEventListener('abort', end, { once: true });
            if (this.signal.aborted) {
                end();
            }
            promise.then(done, fail).finally(() => {
                this.signal.removeEventListener('abort', end);
            });
        });
    }

    /** Why the attempt failed: the reason for its abort, or the error. */
    cause(error) {
        return this.reason ?? (error instanceof CometError
            ? error : new CometError(0, { cause: error }));
    }
}

/** A pause that the server asks for, in seconds, within sensible limits. */
function sensible(seconds) {
    return seconds > 0 ? Math.min(seconds, MOST_SAID) : 0;
}

/** The seconds that a Retry-After says, as a number or as a date. */
function secondsUntil(said) {
    return /^\s*-?[\d.]/.test(said) ? Number(said)
                                    : (Date.parse(said) - Date.now()) / 1000;
}

/** Does what fetch() does, but every failure is a CometError, or the reason for
 * the attempt's abort. */
async function request(url, init, attempt) {
    let answer;
    try {
        answer = await fetch(url, { ...init, signal: attempt.signal });
        if (answer.ok) {
            return answer;
        }
    }
    catch (error) {
        throw attempt.cause(error);
    }
    const body = await answer.json().catch(() => null);
    throw new CometError(answer.status, {
        said: body?.error,
        foreign: !body?.error,
        retryAfter: sensible(secondsUntil(answer.headers.get('Retry-After'))),
    });
}

/** The JSON of an answer, which must be complete. */
async function jsonOf(answer, attempt) {
    const type = answer.headers.get('Content-Type') ?? '';
    if (!type.startsWith('application/json')) {
        // The request may have been redirected to a login page.
        throw new CometError(answer.redirected ? 401 : 0, {
            why: answer.redirected ? undefined : 'Something else answers here.',
        });
    }
    try {
        return await answer.json();
    }
    catch (error) {
        throw attempt.cause(error);
    }
}

/* ---- tokens -------------------------------------------------------------- */

/** The claims of a token; {} if it has none. The server verifies the token. */
function claimsOf(token) {
    try {
        const text = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
        return JSON.parse(atob(text)) ?? {};
    }
    catch {
        return {};
    }
}

/** An application's token: a text, or a function that gets one. */
class Token {
    #source;
    #text;
    #until = Infinity;  // when to renew it, as a Date.now()
    #pending;           // a promise of the next token

    constructor(source) {
        this.#source = source;
        this.#text = typeof source === 'function' ? undefined : source;
    }

    /** Returns the token; gets a new one if there is none, or if it soon
     * ends. */
    async get() {
        if (this.#text !== undefined && Date.now() < this.#until) {
            return this.#text;
        }
        return this.#pending ?? this.#begin();
    }

    /** Calls the function. If it does not answer, it is called again when the
     * token is next needed. */
    #begin() {
        const forget = () => {
            clearTimeout(timer);
            this.#pending = this.#pending === next ? undefined : this.#pending;
        };
        const timer = setTimeout(forget, GRACE * 1000);
        const next = this.#pending = this.#renew().finally(forget);
        return next;
    }

    async #renew() {
        const begun = Date.now();
        let text;
        try {
            text = await this.#source();
        }
        catch (error) {
            throw error instanceof CometError ? error : new CometError(0, {
                cause: error, why: 'The page could not get a token.',
            });
        }
        if (typeof text !== 'string' || !text) {
            throw new CometError(401);
        }
        // Only the life of a new token is counted from now. A token that seems
        // to have ended already means that the clocks differ; it is renewed
        // when the server refuses it.
        const { exp, iat = begun / 1000 } = claimsOf(text);
        const life = text === this.#text ? NaN : (exp - iat) * 1000;
        this.#until = life > 0
            ? begun + life - Math.min(EARLY * 1000, life / 10) : Infinity;
        this.#text = text;
        return text;
    }

    /** Notes that a token was refused. Returns true if there may be another
     * one. */
    refuse(text) {
        if (typeof this.#source !== 'function') {
            return false;
        }
        if (text === this.#text) {
            this.#until = 0;
        }
        return true;
    }

    /** In how many milliseconds the token must be renewed, if that is known. */
    get left() {
        const left = this.#until - Date.now();
        return left > 0 && left <= LONGEST_TIMER ? left : undefined;
    }
}

/** The type and the fields of the event that a message causes. This also works
 * for messages from the history. */
export function eventOf(message) {
    const { type, timestamp, channel, author, body, keep } = message;
    if (type === '@deleted') {
        return ['delete', { message, channel, timestamp: Number(body) }];
    }
    if (type === 'typing' && keep) {
        return ['typing', { message, channel, author, keep }];
    }
    if (type === 'edit') {
        try {
            const { of, body: data } = JSON.parse(body);
            if (typeof of === 'number' && typeof data === 'string') {
                return ['edit', { message, channel, author, timestamp: of,
                                  data }];
            }
        }
        catch {
            // A text that does not follow the convention is a plain message.
        }
    }
    return ['message', { message, data: body,
                         lastEventId: String(timestamp) }];
}

/** Full jitter: a random pause up to a limit that doubles with each failure. */
function backoff(failures, first = 1000) {
    return Math.random() * Math.min(MOST_PAUSE * 1000, first * 2 ** failures);
}

/** A pause that `cut()` ends early. */
class Pause {
    #done = () => {};

    of(milliseconds) {
        return new Promise((done) => {
            const timer = setTimeout(done, milliseconds);
            this.#done = () => {
                clearTimeout(timer);
                done();
            };
        });
    }

    cut() {
        this.#done();
    }
}

/** Pauses for so many milliseconds; fails as soon as the signal is aborted. */
async function rest(milliseconds, signal) {
    const attempt = new Attempt(signal);
    const pause = new Pause();
    try {
        await attempt.wait(pause.of(milliseconds));
    }
    finally {
        pause.cut();
        attempt.end(OVER);
    }
}

/* ---- transports ---------------------------------------------------------- */

// Each transport gets a line (made by class Link) and reports to it what
// arrives. If the server ends the connection properly, the transport returns
// how many milliseconds to pause before the next connection.

async function events(line) {
    const blocked = new CometError(0, {
        why: 'Event streams are held back on the way.', blocked: true,
    });
    const answer = await line.fetch({ transport: 'events', format: 'json' },
                                    'text/event-stream',
                                    line.patience, blocked);
    const type = answer.headers.get('Content-Type') ?? '';
    if (!type.startsWith('text/event-stream')) {
        throw blocked;
    }
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    const parser = new EventStreamParser();
    let farewell;
    for (;;) {
        const { done, value } = await reader.read();
        if (done) {
            break;
        }
        line.expect(line.silence, AGAIN);
        const text = decoder.decode(value, { stream: true });
        farewell = takeBlocks(line, parser.push(text)) ?? farewell;
    }
    if (!line.isOpen) {     // the server only said when to come back, or
                            // nothing
        throw farewell === undefined
            ? blocked : new CometError(503, { retryAfter: farewell / 1000 });
    }
    return farewell;
}

/** Reports these blocks to a line; returns the pause that they ask for. */
function takeBlocks(line, blocks) {
    let farewell;
    let messages = [];
    let cursor;
    const flush = () => {
        if (messages.length || cursor !== undefined) {
            line.news({ messages, cursor });
        }
        messages = [];
        cursor = undefined;
    };
    for (const { id, event = 'message', data, retry } of blocks) {
        if (retry !== undefined && (line.isOpen || id === undefined)) {
            farewell = sensible(retry / 1000) * 1000;
        }
        else if (retry) {
            line.retry = retry;
        }
        if (!line.isOpen && id !== undefined) {
            line.opened(data === undefined ? Number(id) : undefined);
        }
        if (event === 'gap') {
            flush();
            line.news({ gap: JSON.parse(data) });
        }
        else if (event === 'message' && data !== undefined) {
            messages.push(JSON.parse(data));
        }
        else if (id) {
            cursor = Number(id);
        }
    }
    flush();
    return farewell;
}

async function poll(line) {
    let hasty = 0;      // empty answers in a row that came without waiting
    for (;;) {
        const glance = !line.isOpen || line.isAside();
        const wait = !line.isOpen ? 0 : glance ? GLIMPSE : WAIT;
        const begun = Date.now();
        const answer = await line.poll(wait);
        line.opened();
        line.news(newsOf(line.since, answer));
        if (!line.stays()) {
            return 0;
        }
        const empty = !answer.messages.length;
        hasty = empty && !glance && Date.now() - begun < 1000 ? hasty + 1 : 0;
        if (empty && line.isAside()) {
            await line.pause(GLANCE * 1000);
        }
        else if (hasty > 1) {
            await line.pause(backoff(hasty, 500));
        }
    }
}

/** The news in the answer to a poll for messages after `since`. */
function newsOf(since, { messages, timestamp, gap }) {
    const reset = since !== undefined && timestamp < since;
    const known = since !== undefined && !reset;
    return {
        after: known ? since : (messages[0]?.timestamp ?? timestamp + 1) - 1,
        messages,
        cursor: timestamp,
        gap: gap ? { since, floor: messages[0]?.timestamp } : undefined,
        reset,
    };
}

/**
 * The forever-iframe. Its document calls a function of its parent window by a
 * name that the server chooses. Here this parent is another frame in between.
 * So the page needs no global function, and each Comet has a function of its
 * own.
 */
async function iframe(line) {
    // The document does not say at which cursor it begins. A poll says so, and
    // brings the messages that were missed. Without polls, the first message
    // shows the cursor.
    try {
        line.news(newsOf(line.since, await line.poll(0)));
    }
    catch (error) {
        if (error.status !== 406) {
            throw error;
        }
        line.isBlind = true;
    }
    if (document.readyState !== 'complete') {
        // With an endless document in it, the page would never finish loading.
        line.attempt.relax();
        await new Promise((done) => {
            addEventListener('load', done, { once: true });
            line.signal.addEventListener('abort', done);
        });
        line.signal.throwIfAborted();
    }
    const shell = document.createElement('iframe');
    shell.hidden = true;
    shell.title = 'Connection to the server';
    let timer;
    try {
        await new Promise((done, fail) => {
            line.signal.addEventListener('abort', () => fail(AGAIN));
            shell.addEventListener('load', () => {
                const inner = fillShell(shell, line);
                timer = setInterval(() => watchFrame(inner, line), 100);
                inner.addEventListener('load', () => {
                    watchFrame(inner, line);
                    line.isOpen ? done() : fail(frameError(inner));
                });
            }, { once: true });
            line.expect(line.patience + GRACE);
            document.body.append(shell);
        });
    }
    finally {
        clearInterval(timer);
        shell.remove();
    }
}

/** Puts the callback and the server's document into the frame in between. */
function fillShell(shell, line) {
    const names = line.callback.split('.');
    const last = names.pop();
    let scope = shell.contentWindow;
    for (const name of names) {
        scope = scope[name] ??= {};
    }
    scope[last] = (message) => {
        const { timestamp } = message;
        line.opened();
        if (timestamp === undefined) {
            line.news({ gap: { ...message } });
            return;
        }
        const reset = line.isBlind && timestamp <= line.since;
        line.isBlind = false;
        line.news({ messages: [{ ...message }], reset,
                    after: reset ? timestamp - 1 : line.since });
    };
    const inner = shell.contentDocument.createElement('iframe');
    inner.src = line.url({ transport: 'iframe' });
    shell.contentDocument.body.append(inner);
    return inner;
}

/** Checks whether the frame's document has opened, and whether it grows. */
function watchFrame(inner, line) {
    const page = inner.contentDocument;
    const act = page && inner.contentWindow.comet;
    if (typeof act !== 'function') {
        return;     // not open yet, or the answer is not mod_comet's
    }
    if (!String(act).includes(`"${line.callback}"`)) {
        line.attempt.end(new CometError(406, {
            why: `The server does not call ${line.callback} (CometCallback).`,
        }));
        return;
    }
    const size = page.documentElement.textContent.length;
    line.opened();
    if (size !== line.size) {
        line.size = size;
        line.expect(line.silence, AGAIN);
    }
}

/** Why a frame has a document that is not the server's. */
function frameError(inner) {
    let status = 0;
    let said = '';
    try {
        const [entry] = inner.contentWindow.performance
            .getEntriesByType('navigation');
        status = entry?.responseStatus ?? 0;
        said = JSON.parse(inner.contentDocument.body.textContent).error;
    }
    catch {
        // A page of the browser itself, or of a proxy in between.
    }
    return new CometError(status < 400 ? 0 : status, { said, foreign: !said });
}

/**
 * A WebSocket. Browsers do not say why one was refused. So if a WebSocket does
 * not open, the link uses an event stream instead.
 */
async function websocket(line) {
    const url = line.url({ transport: 'websocket', live: 0 });
    url.protocol = url.protocol.replace('http', 'ws');
    line.expect(line.patience + GRACE);
    const socket = new WebSocket(url);
    line.speaker = new Speaker(socket, () => line.attempt.end(AGAIN));
    let probe;
    try {
        return await new Promise((done, fail) => {
            const listen = () => {      // a page does not see the server's pings
                clearTimeout(probe);
                probe = setTimeout(() => {
                    line.expect(GRACE, AGAIN);
                    socket.send('{}');  // the server answers, if only by an
                                        // error
                }, line.silence * 1000);
            };
            line.signal.addEventListener('abort', () => fail(line.attempt.reason));
            socket.onmessage = ({ data }) => {
                line.attempt.relax();
                line.heard = Date.now();
                listen();
                takeFrame(line, JSON.parse(data));
            };
            socket.onclose = ({ reason }) => {
                const [, retry] = /^retry=(\d+)/.exec(reason) ?? [];
                const seconds = sensible(retry / 1000);
                if (line.isOpen && retry) {
                    done(seconds * 1000);
                }
                else {
                    fail(new CometError(retry ? 503 : 0,
                                        { retryAfter: seconds }));
                }
            };
        });
    }
    finally {
        clearTimeout(probe);
        line.speaker.end();
        line.speaker = undefined;
        socket.onmessage = socket.onclose = null;
        socket.close();
    }
}

/** Handles a frame from the server. */
function takeFrame(line, frame) {
    if (frame.open !== undefined) {
        line.opened(frame.open);
    }
    else if (frame.gap) {
        line.news({ gap: frame.gap });
    }
    else if (frame.timestamp !== undefined) {
        line.speaker.saw(frame);
        line.news({ messages: [frame] });
    }
    else {
        line.speaker.hear(frame);
    }
}

/** Publishes on a WebSocket. */
class Speaker {
    #waiting = new Map();   // by ref: what to do with the answer
    #unnamed = [];          // stored messages whose channel's name is not known
                            // yet
    #next = 0;
    #channel;               // the channel of the last message

    /** `doubt` is called if an answer did not come in time. */
    constructor(socket, doubt) {
        this.socket = socket;
        this.doubt = doubt;
    }

    /**
     * Stores a message, and waits for the answer until the attempt ends. If the
     * URL is that of one channel, the channel is not named; arriving messages
     * tell its name.
     */
    say(publish, attempt) {
        const ref = ++this.#next;
        return attempt.wait(new Promise((done, fail) => {
            this.#waiting.set(ref, { done, fail, channel: publish.channel });
            this.socket.send(JSON.stringify({ publish, ref }));
        }));
    }

    hear({ ref, stored, status, error, retry }) {
        const { done, fail, channel } = this.#waiting.get(ref) ?? {};
        this.#waiting.delete(ref);
        if (stored === undefined) {
            fail?.(new CometError(status, { said: error, retryAfter: retry }));
        }
        else if (channel ?? this.#channel) {
            done({ timestamp: stored, channel: channel ?? this.#channel });
        }
        else {
            this.#unnamed.push({ done, fail, timestamp: stored });
        }
    }

    saw({ channel }) {
        this.#channel = channel;
        for (const { done, timestamp } of this.#unnamed.splice(0)) {
            done({ timestamp, channel });
        }
    }

    /** Handles the WebSocket's end. A message without an answer may have been
     * stored. */
    end() {
        const waiting = [...this.#waiting.values(), ...this.#unnamed];
        this.#waiting.clear();
        this.#unnamed = [];
        for (const { fail } of waiting) {
            fail(new CometError(0));
        }
    }
}

const TRANSPORTS = { events, poll, iframe, websocket };

/* ---- one connection ------------------------------------------------------ */

/** A link as a transport sees it: one attempt at a connection. */
class Line {
    isOpen = false;

    constructor(link, transport) {
        const { patience, silence, callback } = link.options;
        Object.assign(this, { link, transport, patience, silence, callback });
        this.attempt = new Attempt();
        this.signal = this.attempt.signal;
        this.retry = link.retry;
        this.since = link.comet.cursor();
        this.begun = Date.now();
    }

    url(query) {
        return this.link.comet.url({ since: this.since, ...query });
    }

    /** Sends a request. Its answer must begin within so many seconds. */
    async fetch(query, accept, seconds, reason) {
        const { comet } = this.link;
        const answer = await comet.send(
            this.url(query), { cache: 'no-store' }, { Accept: accept },
            this.attempt, () => this.expect(seconds, reason));
        const left = comet.tokenLeft();
        clearTimeout(this.renewal);
        if (left !== undefined) {
            this.renewal = setTimeout(() => this.attempt.end(AGAIN), left);
        }
        return answer;
    }

    end() {
        clearTimeout(this.renewal);
        this.attempt.end(OVER);
    }

    async poll(wait) {
        const answer = await this.fetch({ transport: 'poll', wait },
                                        'application/json', wait + GRACE);
        return jsonOf(answer, this.attempt);
    }

    expect(seconds, reason) {
        this.heard = Date.now();
        this.attempt.expect(seconds, reason);
    }

    /** Called when the server has answered; with the cursor at which it begins,
     * if known. */
    opened(cursor) {
        if (this.isOpen || this.attempt.reason) {
            return;
        }
        this.isOpen = true;
        this.link.opened(this);
        if (cursor !== undefined) {
            const reset = cursor < this.since;
            const after = reset ? cursor : this.since ?? cursor;
            this.news({ after, cursor, reset });
        }
    }

    /** Called when messages have arrived. Without `after` they continue the
     * previous ones. */
    news({ messages = [], cursor, gap, reset, after = this.since }) {
        if (this.attempt.reason) {
            return;
        }
        const from = after ?? (messages[0]?.timestamp ?? 1) - 1;
        let last = from;
        for (const { timestamp } of messages) {
            if (!(timestamp > last)) {
                this.attempt.end(AGAIN);    // the server has another store
                return;
            }
            last = timestamp;
        }
        this.since = Math.max(last, cursor ?? 0);
        this.hasNews ||= messages.length > 0;
        this.link.comet.news({ after: from, messages, cursor: this.since,
                               gap, reset });
    }

    isAside() {
        return this.link.isAside();
    }

    /** Whether this transport would be chosen again now. */
    stays() {
        return this.link.choose() === this.transport;
    }

    pause(milliseconds) {
        this.attempt.relax();
        return this.link.pause.of(milliseconds);
    }
}

/**
 * Keeps a connection: chooses its transport, and reconnects when it ends. The
 * owner `comet` must have cursor(), url(query), send(), tokenLeft(),
 * news(news), status({state, transport, error, retryIn}) and over(error).
 */
class Link {
    retry = 1000;           // ms, as the server said last
    pause = new Pause();
    #line;
    #over = false;
    #failures = 0;          // failed attempts in a row
    #wasOpen = false;
    #hasty = 0;             // connections in a row that ended at once
    #doubts = 0;            // event streams in a row that did not open
    #probe;                 // the next poll shows whether streams are blocked:
                            // 'stay' if they are, 'look' if that is not sure
    #blockedUntil = 0;
    #isRefused = false;     // the server refuses event streams
    #socketAt = 0;          // when a WebSocket is tried again
    #due = Infinity;        // when the pause between two attempts ends

    constructor(comet, options) {
        this.comet = comet;
        this.options = options;
        this.#run();
    }

    stop() {
        this.#over = true;
        this.#line.attempt.end(OVER);
        this.pause.cut();
    }

    /** Reconnects at once. */
    again() {
        this.#line.attempt.end(AGAIN);
        this.pause.cut();
    }

    /** Called when the user looks at the page: a timer may be overdue. */
    look() {
        const silent = Date.now() - this.#line.heard;
        if (this.options.polite || silent > this.options.silence * 1000) {
            this.again();
        }
        else if (Date.now() > this.#due) {
            this.pause.cut();
        }
    }

    /** Called when the network has changed: streams may no longer be
     * blocked. */
    renew() {
        this.#blockedUntil = this.#socketAt = 0;
        this.again();
    }

    /** Whether to leave the browser's few connections to other tabs. */
    isAside() {
        return this.options.polite && document.hidden;
    }

    async #run() {
        while (!this.#over) {
            const line = this.#line = new Line(this, this.choose());
            let pause;
            try {
                line.isProbe = this.#probe === 'look';
                pause = this.#ended(await TRANSPORTS[line.transport](line));
            }
            catch (error) {
                pause = this.#failed(line, line.attempt.cause(error));
            }
            line.end();
            if (pause && !this.#over) {
                this.#due = Date.now() + pause;
                await this.pause.of(pause);
                this.#due = Infinity;
            }
        }
    }

    /** The connection on which messages can be published, or undefined. */
    get speaker() {
        return this.#line.isOpen ? this.#line.speaker : undefined;
    }

    /** Whether this connection may choose its transport now. */
    get #isFree() {
        const { transport } = this.options;
        return transport === 'auto'
            || (transport === 'websocket' && Date.now() < this.#socketAt);
    }

    choose() {
        if (!this.#isFree) {
            return this.options.transport;
        }
        return this.#probe || this.isAside() || Date.now() < this.#blockedUntil
            ? 'poll' : 'events';
    }

    opened({ transport, isProbe }) {
        this.#failures = 0;
        this.#wasOpen = true;
        if (transport === 'events') {
            this.#doubts = 0;
        }
        else if (this.#probe === 'stay') {
            this.#blockedUntil = Date.now() + BLOCKED * 1000;
        }
        this.#doubts = isProbe ? Infinity : this.#doubts;
        this.#probe = undefined;
        this.comet.status({ state: 'open', transport });
    }

    /** Handles a proper end of the connection: come back when the server
     * says. */
    #ended(farewell) {
        const line = this.#line;
        this.retry = line.retry;
        return (farewell ?? Math.random() * 200) + this.#haste(line);
    }

    /** A pause for connections that repeatedly end at once without news. */
    #haste({ begun, hasNews }) {
        const isHasty = !hasNews && Date.now() - begun < 1000;
        this.#hasty = isHasty ? this.#hasty + 1 : 0;
        return this.#hasty > 2 ? backoff(this.#hasty - 3) : 0;
    }

    #failed(line, cause) {
        this.retry = line.retry;
        if (cause === OVER || this.#over) {
            return 0;
        }
        if (cause === AGAIN) {
            return this.#haste(line);
        }
        if (line.transport === 'websocket' && !line.isOpen
            && !cause.retryAfter) {
            this.#socketAt = Date.now() + BLOCKED * 1000;
            return 0;
        }
        if (this.#isBlocked(line, cause)) {
            this.#probe = 'stay';
            return 0;
        }
        if (this.#isNoFallback(line, cause)) {
            this.#blockedUntil = 0;
        }
        else if (!(this.#wasOpen ? cause.passing : cause.temporary)) {
            this.#over = true;
            this.comet.over(cause);
            return 0;
        }
        const pause = backoff(this.#failures++, this.retry)
                    + cause.retryAfter * 1000;
        this.comet.status({ state: 'reconnecting', error: cause,
                            retryIn: pause });
        return pause;
    }

    /** Whether event streams are the only choice, although one seemed
     * blocked. */
    #isNoFallback(line, cause) {
        return this.#isFree && line.transport === 'poll'
            && cause.status === 406 && !this.#isRefused;
    }

    /** Whether polls may work where this stream did not. */
    #isBlocked(line, cause) {
        const probed = this.#probe;
        this.#probe = undefined;
        if (!this.#isFree || line.isOpen || probed
            || line.transport !== 'events') {
            return false;
        }
        this.#isRefused = cause.status === 406;
        if (cause.blocked || this.#isRefused) {
            return true;
        }
        if (cause.temporary && ++this.#doubts >= 3) {
            this.#probe = 'look';
        }
        return this.#doubts === Infinity;
    }
}

/* ---- one connection for all tabs ----------------------------------------- */

/**
 * The tabs (and workers) of a site that read the same channels. The one that
 * holds the lock leads, and sends all news to the others. Its owner must have
 * lead(), follow() for when another tab leads, alone() for when sharing is not
 * possible, and hear(data).
 */
class Share {
    leading = false;
    #name;
    #owner;
    #channel;
    #turn;              // ends the wait for the lock, or releases it
    #timer;
    #heard = Date.now() - (LOST_LEADER - 2 * BEAT) * 1000;
    #asked = true;      // whether the leader was asked since it last spoke

    static isPossible() {
        return typeof BroadcastChannel === 'function'
            && typeof navigator === 'object' && !!navigator.locks;
    }

    constructor(name, owner) {
        this.#name = name;
        this.#owner = owner;
        this.#channel = new BroadcastChannel(name);
        this.#channel.onmessage = ({ data }) => this.#hear(data);
        this.#timer = setInterval(() => this.#look(), BEAT * 1000);
        this.#wait();
        this.ask();
    }

    end() {
        clearInterval(this.#timer);
        this.#channel.onmessage = null;
        this.#channel.close();
        this.#channel = undefined;
        this.#turn.abort();
        this.leading = false;
    }

    post(data) {
        this.#channel?.postMessage(data);
    }

    /** Asks the leader for its state. */
    ask() {
        this.post({ ask: true });
    }

    async #wait(options) {
        const turn = this.#turn = new AbortController();
        const { signal } = turn;
        await navigator.locks.request(this.#name, options ?? { signal }, () => {
            if (signal.aborted) {
                return undefined;
            }
            this.leading = true;
            this.#owner.lead();
            return new Promise((done) => {
                signal.addEventListener('abort', done);
            });
        }).catch(() => {});
        if (signal.aborted) {
            return;
        }
        if (!this.leading) {
            this.#owner.alone();    // this page may not use locks
            return;
        }
        this.leading = false;       // another tab took the lock, since this one
                                    // did not answer
        this.#owner.follow();
        this.#wait();
    }

    #hear(data) {
        if (!data.ask) {
            this.#heard = Date.now();
            this.#asked = false;
        }
        if (this.leading === !!data.ask) {
            this.#owner.hear(data);
        }
    }

    /** Takes the leader's place if it does not answer: it is frozen, or
     * worse. */
    #look() {
        if (this.leading) {
            this.post({});
        }
        else if (Date.now() - this.#heard <= LOST_LEADER * 1000) {
            return;
        }
        else if (!this.#asked) {
            this.#asked = true;
            this.ask();
        }
        else {
            this.#heard = Date.now();
            this.#turn.abort();
            this.#wait({ steal: true });
        }
    }
}

/* ---- what pages use ------------------------------------------------------ */

const DEFAULTS = {
    channels: undefined,
    since: undefined,
    transport: 'auto',
    share: true,
    fetchOptions: {},
    token: undefined,
    callback: 'comet.receive',
    patience: PATIENCE,
    silence: SILENCE,
};

/** A key for one message. It stays the same however often the message is
 * sent. */
export function newKey() {
    return crypto.getRandomValues(new Uint32Array(4)).join('-');
}

/** Returns the options, or throws a TypeError that says what is wrong. */
function checked(given) {
    const options = { ...DEFAULTS };
    for (const [name, value] of Object.entries(given)) {
        if (!Object.hasOwn(DEFAULTS, name)) {
            throw new TypeError(`Comet: there is no option ${name}`);
        }
        options[name] = value ?? DEFAULTS[name];
    }
    const { transport, since, channels, token } = options;
    if (transport !== 'auto' && !Object.hasOwn(TRANSPORTS, transport)) {
        throw new TypeError(`Comet: transport ${transport}: expected auto, `
                            + 'events, poll, iframe or websocket');
    }
    if (since !== undefined && !(Number.isSafeInteger(since) && since >= 0)) {
        throw new TypeError(`Comet: since ${since}: expected a timestamp`);
    }
    if (token !== undefined && !['string', 'function'].includes(typeof token)) {
        throw new TypeError('Comet: token: expected a text, or a function that '
                            + 'returns one');
    }
    if (token !== undefined && ['iframe', 'websocket'].includes(transport)) {
        throw new TypeError(`Comet: transport ${transport} cannot send a token:`
                            + ' let the application set a cookie'
                            + ' (CometTokenCookie)');
    }
    if (channels && !(Array.isArray(channels) && channels.length)) {
        throw new TypeError('Comet: channels: expected a list of names');
    }
    return options;
}

export class Comet extends EventTarget {
    #url;
    #options;
    #cursor;
    #state = 'connecting';
    #token;                 // undefined if none is used
    #transport;
    #told;                  // the state that the leading tab last reported
    #link;                  // set while this object leads, or is alone
    #share;                 // set while objects can share
    #catching;              // the attempt to get missed messages
    #held = [];             // news put aside until missed messages have come
    #floor = -1;            // gaps up to this timestamp were reported
    #isSure;                // whether a cursor ahead of the leader's is right
    #pause = new Pause();   // of #catching
    #closing = new AbortController();
    #queue = Promise.resolve();     // one publish after the other
    #self = newKey();       // marks this object's own `typing`
    #typed = new Map();     // channel: performance.now() of the last typing()

    constructor(url, options = {}) {
        super();
        this.#url = new URL(url, globalThis.document?.baseURI
                                 ?? globalThis.location?.href);
        this.#options = checked(options);
        this.#cursor = this.#options.since;
        this.#token = this.#options.token === undefined
            ? undefined : new Token(this.#options.token);
        this.#watch();
        this.#begin();
    }

    get url() {
        return this.#url.href;
    }

    get cursor() {
        return this.#cursor;
    }

    get state() {
        return this.#state;
    }

    get transport() {
        return this.#transport;
    }

    /** Whether the connection belongs to another tab. */
    get shared() {
        return !!this.#share && !this.#share.leading;
    }

    close() {
        this.#close();
    }

    #close(error) {
        if (this.#state !== 'closed') {
            this.#rest();
            this.#closing.abort();
            this.#state = 'closed';
            this.dispatchEvent(new CometEvent('close', { error }));
        }
    }

    /* ---- requests ---- */

    #address(query, base = this.#url) {
        const url = new URL(base);
        if (base === this.#url) {
            for (const channel of this.#options.channels ?? []) {
                url.searchParams.append('channel', channel);
            }
        }
        for (const [name, value] of Object.entries(query)) {
            if (value !== undefined) {
                url.searchParams.set(name, value);
            }
        }
        return url;
    }

    async #init(more) {
        const { fetchOptions } = this.#options;
        const init = typeof fetchOptions === 'function' ? await fetchOptions()
                                                        : fetchOptions;
        const headers = new Headers(init?.headers);
        for (const [name, value] of Object.entries(more)) {
            headers.set(name, value);
        }
        return { ...init, headers };
    }

    /**
     * Sends a request. If the server refuses the token, sends it once more with
     * the next one. `begin` starts the timer for the answer.
     */
    async #send(url, init, headers, attempt, begin) {
        for (let again = false; ; again = true) {
            attempt.expect(GRACE);
            const given = await attempt.wait(this.#init(headers));
            let token;
            if (this.#token) {
                token = await attempt.wait(this.#token.get());
                given.headers.set('Authorization', `Bearer ${token}`);
            }
            begin();
            try {
                return await request(url, { ...given, ...init }, attempt);
            }
            catch (error) {
                if (again || error.status !== 401
                    || !this.#token?.refuse(token)) {
                    throw error;
                }
            }
        }
    }

    /** Asks for existing messages; does not wait for new ones. */
    async #ask(query, attempt, cache) {
        try {
            const answer = await this.#send(
                this.#address({ wait: 0, ...query }), { cache },
                { Accept: 'application/json' }, attempt,
                () => attempt.expect(GRACE));
            return await jsonOf(answer, attempt);
        }
        finally {
            attempt.relax();
        }
    }

    /**
     * Reads messages of the past: {messages, timestamp, gap}, oldest first. If
     * a search was cut short, there is also a `before` with which to continue.
     */
    async history({ before, since, limit, q, signal } = {}) {
        const attempt = new Attempt(signal);
        try {
            return await this.#ask({ before, since, limit, q }, attempt,
                                   'default');
        }
        finally {
            attempt.end(OVER);
        }
    }

    /** Replaces the text of a message of the same user on all pages. */
    edit(timestamp, body, options = {}) {
        return this.publish(JSON.stringify({ of: timestamp, body }),
                            { ...options, type: 'edit' });
    }

    /** Tells the others that the user is typing; call it at every key press. */
    typing({ channel } = {}) {
        const now = performance.now();      // the clock may be set back
        if (now - (this.#typed.get(channel) ?? -Infinity) < TYPING * 500) {
            return;
        }
        this.#typed.set(channel, now);
        // This passes the queue of messages, since it must not be late.
        this.#publish(this.#self, { type: 'typing', keep: TYPING, channel,
                                    tries: 1,
                                    idempotencyKey: null }).catch(() => {});
    }

    /** Deletes a message; for moderators only. */
    async delete(timestamp, { channel, signal } = {}) {
        await this.#post({ delete: timestamp }, channel, signal);
    }

    /** Throws a member out of a channel; for moderators only. */
    async remove(member, { channel, signal } = {}) {
        const url = this.#channelUrl(channel);
        url.pathname += '/@online';
        await this.#post({ remove: member }, url, signal);
    }

    /** Stores a message; returns {timestamp, channel}. */
    publish(body, options = {}) {
        const done = this.#queue.then(() => this.#publish(body, options));
        this.#queue = done.catch(() => {});
        return done;
    }

    async #publish(body, { type, keep, channel, idempotencyKey = newKey(),
                           signal, tries = TRIES }) {
        if (typeof body !== 'string') {
            throw new TypeError('Comet: a message is a string');
        }
        const url = this.#address({ type, keep }, this.#channelUrl(channel));
        for (let failures = 0; ; failures++) {
            const attempt = new Attempt(signal);
            try {
                const message = { body, type, keep,
                                  key: idempotencyKey || undefined };
                return await this.#say(channel, message, attempt)
                    ?? await this.#store(url, body, idempotencyKey, attempt);
            }
            catch (error) {
                const again = error instanceof CometError
                    && [0, 408, 425, 429, 502, 503, 504].includes(error.status);
                if (!again || failures + 1 >= tries || error.retryAfter > 60) {
                    throw error;
                }
                await rest(backoff(failures, 500) + error.retryAfter * 1000,
                           signal);
            }
            finally {
                attempt.end(OVER);
            }
        }
    }

    async #store(url, body, key, attempt) {
        const headers = {
            'Content-Type': 'text/plain; charset=utf-8',
            ...key && { 'Idempotency-Key': key },
        };
        const answer = await this.#send(
            url, { method: 'POST', body }, headers, attempt,
            () => attempt.expect(GRACE + 5));
        return jsonOf(answer, attempt);
    }

    /**
     * Publishes on this object's own WebSocket. Returns undefined if there is
     * none, if the object does not follow the channel by name, or if the
     * message has `keep`: then a request is needed.
     */
    async #say(channel, { keep, ...publish }, attempt) {
        const { channels } = this.#options;
        const name = channel ?? channels?.[0];
        const speaker = this.#link?.speaker;
        if (!speaker || keep || (channels ? !channels.includes(name) : channel)) {
            return undefined;
        }
        attempt.expect(GRACE + 5);
        try {
            return await speaker.say({ ...publish, channel: name }, attempt);
        }
        catch (error) {
            if (error === attempt.reason && error.status === 0) {
                speaker.doubt();    // no answer: the connection may be dead
            }
            throw error;
        }
    }

    /** Tells the server up to which timestamp the user has read. */
    async read(timestamp = this.#cursor, { channel, signal } = {}) {
        await this.#post({ read: timestamp }, channel, signal);
    }

    /** How many messages the user has not read, and how far the user has read:
     * {unread, read, timestamp}. */
    async unread({ channel, signal } = {}) {
        return this.#get({ unread: '' }, this.#channelUrl(channel), signal);
    }

    /** Posts a request without a body to a channel, or to a URL. */
    async #post(query, channel, signal) {
        const url = channel instanceof URL ? channel : this.#channelUrl(channel);
        const attempt = new Attempt(signal);
        try {
            await this.#send(this.#address(query, url),
                             { method: 'POST', keepalive: true }, {}, attempt,
                             () => attempt.expect(GRACE));
        }
        finally {
            attempt.end(OVER);
        }
    }

    /** Follows who is in a channel. */
    presence(channel) {
        const url = this.#channelUrl(channel);
        url.pathname += '/@online';
        return new Presence(url, this.#options,
                            (query, signal) => this.#get(query, url, signal));
    }

    /** Asks for JSON that the server answers at once. */
    async #get(query, url, signal) {
        const attempt = new Attempt(signal);
        try {
            const answer = await this.#send(
                this.#address(query, url), { cache: 'no-store' },
                { Accept: 'application/json' }, attempt,
                () => attempt.expect(GRACE));
            return await jsonOf(answer, attempt);
        }
        finally {
            attempt.end(OVER);
        }
    }

    /** The URL of one channel. */
    #channelUrl(channel) {
        const { channels } = this.#options;
        const name = channel ?? (channels?.length === 1 ? channels[0] : '');
        if (!channels && channel === undefined) {
            return new URL(this.#url);
        }
        if (!channels || !name || (channel === undefined && /\*$/.test(name))) {
            throw new TypeError('Comet: channel: name one if the object was'
                                + ' made with channels, and none otherwise');
        }
        if (name.split('/').some((part) => ['', '.', '..'].includes(part))) {
            throw new TypeError(`Comet: ${name} is no channel's name`);
        }
        const url = new URL(this.#url);
        url.pathname = [url.pathname.replace(/\/+$/, ''), ...name.split('/')
            .map(encodeURIComponent)].join('/');
        return url;
    }

    /* ---- the connection ---- */

    #begin() {
        const { share, fetchOptions } = this.#options;
        // A tab with its own headers may be another user than the next tab.
        const personal = typeof fetchOptions === 'function'
            || !!fetchOptions.headers || !!this.#token;
        this.#isSure = false;
        const wanted = share && !(personal && share === true);
        if (wanted && Share.isPossible()) {
            try {
                this.#share = new Share(this.#name(), {
                    lead: () => this.#lead(),
                    follow: () => this.#follow(),
                    alone: () => this.#alone(),
                    hear: (data) => this.#hear(data),
                });
                return;
            }
            catch {
                // For example, a page of an opaque origin may not use locks.
            }
        }
        this.#alone(wanted);
    }

    /** What objects that share a connection must have in common. */
    #name() {
        const { channels, transport, share, callback, fetchOptions }
            = this.#options;
        return JSON.stringify(['mod-comet 1', this.#url.href,
                               [...channels ?? []].sort(), transport,
                               callback, share, fetchOptions.credentials]);
    }

    #rest() {
        this.#link?.stop();
        this.#link = undefined;
        this.#share?.end();
        this.#share = undefined;
        this.#stopCatching();
    }

    /** Connects and disconnects as the page and the network come and go. */
    #watch() {
        const { signal } = this.#closing;
        const on = (target, type, act) => {
            target?.addEventListener?.(type, act, { signal });
        };
        const rest = () => this.#rest();
        const wake = () => {
            if (!this.#link && !this.#share) {
                this.#begin();
            }
        };
        on(globalThis, 'pagehide', rest);
        on(globalThis, 'pageshow', wake);
        on(globalThis.document, 'freeze', rest);
        on(globalThis.document, 'resume', wake);
        on(globalThis, 'online', () => {
            this.#link?.renew();
            this.#pause.cut();
        });
        on(globalThis.document, 'visibilitychange', () => {
            this.#link?.look();
            if (!document.hidden) {
                this.#link?.pause.cut();
                this.#pause.cut();
                this.#share?.ask();
            }
        });
    }

    #alone(polite = false) {
        this.#share?.end();
        this.#share = undefined;
        this.#lead(polite && typeof document === 'object');
    }

    #lead(polite = false) {
        this.#stopCatching();
        this.#tell({ state: 'connecting' });
        this.#link = new Link({
            cursor: () => this.#cursor,
            url: (query) => this.#address(query),
            send: (...what) => this.#send(...what),
            tokenLeft: () => this.#token?.left,
            news: (news) => {
                this.#share?.post({ news });
                this.#take(news, true);
            },
            status: (status) => {
                this.#tell(status);
                this.#heed(status);
            },
            over: (error) => this.#close(error),
        }, { ...this.#options, polite });
    }

    #follow() {
        this.#link?.stop();
        this.#link = undefined;
        this.#share.ask();
    }

    /** Sends the other tabs the state and the cursor. */
    #tell(status = this.#told) {
        const after = this.#cursor;
        const isFar = status.state === 'open' && after !== undefined;
        this.#told = { key: newKey(), ...status };
        this.#share?.post({
            status: { ...this.#told, error: undefined,
                      cause: status.error && { status: status.error.status,
                                               said: status.error.said } },
            news: isFar ? { after, messages: [], cursor: after } : undefined,
        });
    }

    /** Handles a message from another tab: the leader's, or one to the leader. */
    #hear({ ask, status, news }) {
        if (ask) {
            this.#tell();
            this.#link?.look();
            return;
        }
        if (status && status.key !== this.#told?.key) {
            this.#told = status;
            this.#heed({ ...status, error: status.cause
                && new CometError(status.cause.status, status.cause) });
            if (status.retryIn && !globalThis.document?.hidden) {
                // The timers of a hidden leading tab may be slow.
                setTimeout(() => this.#share?.ask(), status.retryIn + 100);
            }
        }
        if (news && !this.#take(news)) {
            this.#hold(news);
        }
    }

    /** Takes over a state and reports it. */
    #heed({ state, transport, error, retryIn }) {
        const isNews = this.#state !== state || this.#transport !== transport;
        if (state === 'open' && isNews && !this.#catching) {
            this.#state = state;
            this.#transport = transport;
            this.dispatchEvent(new CometEvent('open', { transport }));
        }
        else if (state === 'reconnecting') {
            this.#state = state;
            this.dispatchEvent(new CometEvent('error', { error, retryIn }));
        }
    }

    /* ---- what arrives ---- */

    /** Takes the new messages from news. Returns false if earlier ones are
     * missing. */
    #take({ after, messages, cursor, gap, reset }, own = false) {
        const since = this.#cursor;
        if (own && (reset || since === undefined)) {
            this.#cursor = after;
        }
        else if (!own && (reset || !(since >= after)
                          || (since > cursor && !this.#isSure))) {
            return false;
        }
        if (reset) {
            this.#floor = -1;
            this.#emit('gap', { since, floor: undefined, reset });
        }
        else if (gap) {
            this.#tellGap(gap);
        }
        for (const message of messages) {
            if (this.#state === 'closed') {
                return true;
            }
            if (message.timestamp > this.#cursor) {
                this.#cursor = message.timestamp;
                const [type, fields] = eventOf(message);
                if (type !== 'typing' || message.body !== this.#self) {
                    this.#emit(type, fields);
                }
            }
        }
        this.#cursor = Math.max(this.#cursor, cursor);
        return true;
    }

    /** Reports, only once, that messages after the cursor are missing. */
    #tellGap({ since, floor }) {
        const end = floor ?? since + 1;
        if (this.#cursor < end && this.#floor < end) {
            this.#floor = end;
            this.#emit('gap', { since: this.#cursor, floor, reset: false });
        }
    }

    #emit(type, fields) {
        if (this.#state !== 'closed') {
            this.dispatchEvent(new CometEvent(type, fields));
        }
    }

    /** Puts news aside until the missing messages before them have been read. */
    #hold(news) {
        this.#held.push({ ...news, reset: false });
        if (this.#held.length > MOST_HELD) {
            this.#held.shift();
        }
        if (!this.#catching) {
            this.#catchUp();
        }
    }

    #stopCatching() {
        this.#catching?.end(OVER);
        this.#catching = undefined;
        this.#held = [];
        this.#pause.cut();
    }

    async #catchUp() {
        let failures = 0;
        while (this.#held.length) {
            const attempt = this.#catching = new Attempt();
            const goal = this.#held.at(-1).cursor;
            const since = this.#cursor;
            let pause = 0;
            try {
                const answer = await this.#ask({ since, limit: 1000 },
                                               attempt, 'no-store');
                const news = newsOf(since, answer);
                failures = 0;
                this.#isSure = true;
                // An empty answer means that there are no messages up to the
                // goal.
                if (!news.messages.length && !news.reset) {
                    news.cursor = Math.max(news.cursor, goal);
                }
                this.#take(news, true);
                this.#held = this.#held.filter((held) => !this.#take(held));
            }
            catch (error) {
                const cause = attempt.cause(error);
                if (cause.status === 406) {
                    this.#alone();      // the server does not allow polls
                }
                else if (cause !== OVER && !cause.passing) {
                    this.#close(cause);
                }
                if (attempt !== this.#catching) {
                    return;
                }
                pause = backoff(failures++) + cause.retryAfter * 1000;
                this.#heed({ state: 'reconnecting', error: cause,
                             retryIn: pause });
            }
            if (pause) {
                await this.#pause.of(pause);
            }
            if (attempt !== this.#catching) {
                return;
            }
        }
        this.#catching = undefined;
        if (this.#told?.state === 'open') {
            this.#heed(this.#told);
        }
    }
}

/**
 * Who is in a channel: a list from the server, updated by the messages of the
 * sibling channel since then. The list is read again after a gap, and after the
 * channel was too full to report single joins and leaves.
 */
export class Presence extends EventTarget {
    #ask;
    #members = new Map();   // member: {member, since, info}
    #totals = { count: 0, anonymous: 0, most: 0 };
    #from;                  // the timestamp of the list
    #news = [];             // messages that came while the list was read
    #isReading = false;
    #isStale = true;        // the list no longer follows what happens
    #closing = new AbortController();
    #begin;                 // opens a stream that continues from a timestamp
    #comet;                 // that stream

    constructor(url, options, ask) {
        super();
        this.#ask = ask;
        this.#begin = (since) => new Comet(url, { ...options, since,
                                                  channels: undefined });
        this.#readList();
    }

    /** The members who are here, by name: {member, since, info}. */
    get members() {
        return this.#members;
    }

    /** How many members there are, even if not all are listed. */
    get count() {
        return this.#totals.count;
    }

    /** How many clients without a user there are. */
    get anonymous() {
        return this.#totals.anonymous;
    }

    /** False before the list has been read, and while it cannot be complete,
     * because the channel is too full. */
    get complete() {
        return !this.#isReading && !this.#isStale
            && this.#members.size === this.count;
    }

    close() {
        this.#end();
    }

    #end(error) {
        if (!this.#closing.signal.aborted) {
            this.#closing.abort();
            this.#comet?.close();
            this.dispatchEvent(new CometEvent('close', { error }));
        }
    }

    #tell() {
        if (!this.#closing.signal.aborted) {
            this.dispatchEvent(new Event('change'));
        }
    }

    #follow() {
        this.#comet = this.#begin(this.#from);
        this.#comet.addEventListener('message', ({ message }) => {
            this.#hear(message);
        });
        this.#comet.addEventListener('gap', () => this.#readList());
        this.#comet.addEventListener('close', ({ error }) => {
            this.#end(error);
        });
    }

    /** Reads the list, and reads it again if it has become stale meanwhile. */
    async #readList() {
        this.#isStale = true;
        if (this.#isReading) {
            return;
        }
        this.#isReading = true;
        for (let failures = 0; this.#isStale;) {
            this.#isStale = false;
            try {
                await this.#readPages();
                failures = 0;
            }
            catch (error) {
                if (!this.#closing.signal.aborted
                    && !(this.#comet ? error.passing : error.temporary)) {
                    this.#end(error);
                }
                this.#isStale = true;
                await new Pause().of(backoff(failures++)
                                     + Math.min(error.retryAfter ?? 0, 60) * 1000);
            }
            if (this.#closing.signal.aborted) {
                return;
            }
        }
        this.#isReading = false;
        if (!this.#comet) {
            this.#follow();
        }
        this.#tell();
    }

    async #readPages() {
        const members = new Map();
        let page, first, after;
        do {
            page = await this.#ask({ members: '', after },
                                   this.#closing.signal);
            first ??= page;
            for (const one of page.members ?? []) {
                members.set(one.member, one);
                after = one.member;
            }
        } while (page.members?.length && members.size < page.count);
        this.#members = members;
        this.#totals = { count: page.count, anonymous: page.anonymous,
                         most: page.most };
        // The list's later pages may include some of these changes already.
        // Applying them again does no harm.
        this.#from = first.timestamp;
        for (const message of this.#news.splice(0)) {
            this.#apply(message);
        }
    }

    #hear(message) {
        if (this.#isReading) {
            this.#news.push(message);
            return;
        }
        this.#apply(message);
        this.#tell();
    }

    #apply({ type, author, body, timestamp }) {
        if (timestamp <= this.#from) {
            return;
        }
        if (type === 'join') {
            this.#members.set(author, { member: author, since: timestamp,
                                        info: body === '{}' ? undefined : body,
                                        ...this.#members.get(author) });
            this.#totals.count = this.#members.size;
        }
        else if (type === 'leave') {
            this.#members.delete(author);
            this.#totals.count = this.#members.size;
        }
        else if (type === 'count') {
            const wasFull = this.#totals.count > this.#totals.most;
            const { count, anonymous, most } = JSON.parse(body);
            this.#totals = { count, anonymous, most };
            if (count !== this.#members.size
                && (count <= most || !wasFull)) {
                this.#readList();
            }
        }
    }
}
