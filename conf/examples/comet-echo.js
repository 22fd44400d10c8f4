// SPDX-License-Identifier: Apache-2.0
// A connector for Laravel Echo over comet.js: laravel.conf says how to use
// it.  All channels share one connection and one cursor.  No event is lost,
// and none comes twice, if the network fails, httpd restarts or the token is
// renewed.

import { Comet, CometError } from './comet.js';

const PUBLIC = 'public/';
const PRIVATE = 'private/';
const NOTIFICATION
    = '.Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';

/** Calls every function, even when one throws; reports the error. */
function callAll(functions, ...values) {
    for (const call of [...functions ?? []]) {
        try {
            call(...values);
        }
        catch (error) {
            queueMicrotask(() => {
                throw error;
            });
        }
    }
}

/** A channel, as Echo.channel() and Echo.private() return it. */
export class CometChannel {
    #namespace;
    #listeners = new Map();     // by the event's name: a set of functions
    #all = new Set();
    #subscribed = new Set();
    #failed = new Set();
    #isSubscribed = false;
    #error;

    constructor(name, namespace) {
        this.name = name;
        this.#namespace = namespace;
    }

    listen(event, callback) {
        const name = this.#format(event);
        this.#listeners.set(name, (this.#listeners.get(name) ?? new Set())
            .add(callback));
        return this;
    }

    stopListening(event, callback) {
        const name = this.#format(event);
        if (callback) {
            this.#listeners.get(name)?.delete(callback);
        }
        else {
            this.#listeners.delete(name);
        }
        return this;
    }

    listenToAll(callback) {
        this.#all.add(callback);
        return this;
    }

    stopListeningToAll(callback) {
        if (callback) {
            this.#all.delete(callback);
        }
        else {
            this.#all.clear();
        }
        return this;
    }

    notification(callback) {
        return this.listen(NOTIFICATION, callback);
    }

    stopListeningForNotification(callback) {
        return this.stopListening(NOTIFICATION, callback);
    }

    /** Calls the callback as soon as events can arrive; at once if they can. */
    subscribed(callback) {
        this.#subscribed.add(callback);
        if (this.#isSubscribed) {
            callAll([callback]);
        }
        return this;
    }

    /** Calls the callback with a CometError that has the server's status. */
    error(callback) {
        this.#failed.add(callback);
        if (this.#error) {
            callAll([callback], this.#error);
        }
        return this;
    }

    whisper() {
        throw new Error('Comet: pages cannot whisper; let the application'
                        + ' broadcast');
    }

    listenForWhisper() {
        return this.whisper();
    }

    /* ---- called by the connector ---- */

    opened() {
        if (!this.#isSubscribed) {
            this.#isSubscribed = true;
            this.#error = undefined;
            callAll(this.#subscribed);
        }
    }

    failed(error) {
        this.#isSubscribed = false;
        this.#error = error;
        callAll(this.#failed, error);
    }

    /** @param type  the event's name in Laravel: App\Events\OrderShipped */
    hear(type, payload) {
        const space = this.#namespace
            ? `${this.#namespace.replaceAll('.', '\\')}\\` : '';
        callAll(this.#listeners.get(type), payload);
        callAll(this.#all, space && type.startsWith(space)
            ? type.slice(space.length) : `.${type}`, payload);
    }

    /** By Echo's rule, .Name and \Name are complete names; others get the
     * namespace. */
    #format(event) {
        if (['.', '\\'].includes(event[0])) {
            return event.slice(1);
        }
        return (this.#namespace ? `${this.#namespace}.${event}` : event)
            .replaceAll('.', '\\');
    }
}

/** new Echo({ broadcaster: CometConnector, host: '/broadcast' }) */
export class CometConnector {
    channels = {};          // by the name of mod_comet's channel
    #starts = {};           // by the same name: the timestamp after which the
                            // channel's events begin
    #comet;
    #round = 0;             // counts the attempts to connect; old ones give up
    #isDue = false;         // the next connection is about to be opened
    #status = 'disconnected';
    #watchers = new Set();
    #socket = [0, 0].map(() => Math.ceil(Math.random() * 1e9)).join('.');

    constructor(options) {
        this.options = {
            host: '/broadcast', authEndpoint: '/broadcasting/auth',
            namespace: 'App.Events', csrfToken: null, bearerToken: null,
            auth: {}, ...options,
        };
    }

    /** Opens a connection a moment later, since a page names its channels one
     * after the other. */
    connect() {
        if (!this.#isDue) {
            this.#isDue = true;
            setTimeout(() => {
                const round = ++this.#round;
                this.#isDue = false;
                this.#open(round).catch((error) => {
                    if (round === this.#round) {
                        this.#fail(error);
                    }
                });
            });
        }
    }

    disconnect() {
        this.#round++;
        this.#end();
        this.#tell('disconnected');
    }

    listen(name, event, callback) {
        return this.channel(name).listen(event, callback);
    }

    channel(name) {
        return this.#subscribe(PUBLIC + name);
    }

    privateChannel(name) {
        return this.#subscribe(PRIVATE + name);
    }

    presenceChannel() {
        throw new Error('Comet: Echo.join() is not supported; use'
                        + ' Echo.private(), and presence() of comet.js');
    }

    leave(name) {
        this.leaveChannel(name);
        this.leaveChannel(`private-${name}`);
    }

    /** @param name  the channel's name in Laravel: private-orders.7 */
    leaveChannel(name) {
        const own = name.startsWith('private-') ? PRIVATE + name.slice(8)
            : Object.hasOwn(this.channels, name) ? name : PUBLIC + name;
        if (Object.hasOwn(this.channels, own)) {
            this.#drop(own);
            this.connect();
        }
    }

    /** By this id, broadcast()->toOthers() leaves out the sender's page. */
    socketId() {
        return this.#socket;
    }

    connectionStatus() {
        return this.#status;
    }

    onConnectionChange(callback) {
        this.#watchers.add(callback);
        return () => this.#watchers.delete(callback);
    }

    /* ---- channels ---- */

    #subscribe(name) {
        if (!Object.hasOwn(this.channels, name)) {
            this.channels[name] = new CometChannel(name,
                                                   this.options.namespace);
            this.connect();
        }
        return this.channels[name];
    }

    #drop(name) {
        delete this.channels[name];
        delete this.#starts[name];
    }

    #tell(status) {
        if (status !== this.#status) {
            this.#status = status;
            callAll(this.#watchers, status);
        }
    }

    #fail(error) {
        this.#tell('failed');
        for (const channel of Object.values(this.channels)) {
            channel.failed(error);
        }
    }

    /* ---- what Laravel grants ---- */

    /** Gets a token for the private channels, and drops refused channels. */
    async #authorize() {
        const names = Object.keys(this.channels)
            .filter((name) => name.startsWith(PRIVATE));
        if (!names.length) {
            return undefined;
        }
        const { token, refused } = await this.#ask(
            names.map((name) => `private-${name.slice(PRIVATE.length)}`));
        for (const name of refused) {
            const own = PRIVATE + name.slice('private-'.length);
            const channel = this.channels[own];
            this.#drop(own);
            channel?.failed(new CometError(403));
        }
        if (refused.length && this.#comet) {
            this.connect();
        }
        return token;
    }

    async #ask(names) {
        const { authEndpoint, auth, csrfToken, bearerToken } = this.options;
        const headers = new Headers(auth?.headers);
        const csrf = csrfToken ?? globalThis.document?.querySelector(
            'meta[name="csrf-token"]')?.content;
        headers.set('Content-Type', 'application/json');
        headers.set('Accept', 'application/json');
        if (csrf) {
            headers.set('X-CSRF-TOKEN', csrf);
        }
        if (bearerToken) {
            headers.set('Authorization', `Bearer ${bearerToken}`);
        }
        let answer;
        try {
            answer = await fetch(authEndpoint, {
                method: 'POST', headers, credentials: 'same-origin',
                body: JSON.stringify({ channel_name: names,
                                       socket_id: this.#socket }),
            });
        }
        catch (cause) {
            throw new CometError(0, { cause, why: 'Laravel did not answer.' });
        }
        if (answer.status === 403) {
            return { token: undefined, refused: names };
        }
        if (!answer.ok) {
            throw new CometError(answer.status);
        }
        return answer.json();
    }

    /* ---- the connection ---- */

    /** Repeats an action as long as it fails with a temporary error. */
    async #persist(round, action) {
        for (let pause = 500; ; pause = Math.min(2 * pause, 30_000)) {
            try {
                return await action();
            }
            catch (error) {
                if (!error.temporary || round !== this.#round) {
                    throw error;
                }
            }
            await new Promise((done) => setTimeout(
                done, pause * (0.5 + Math.random() / 2)));
        }
    }

    /** Opens a connection that continues where the last one ended. */
    async #open(round) {
        let token = await this.#persist(round, () => this.#authorize());
        const old = this.#comet;
        const now = old ? await this.#persist(round, () => this.#now(old)) : 0;
        if (round !== this.#round) {
            return;
        }
        const names = Object.keys(this.channels);
        for (const name of names) {
            this.#starts[name] ??= now;
        }
        this.#end();
        if (!names.length) {
            this.#tell('disconnected');
            return;
        }
        this.#tell('connecting');
        this.#comet = new Comet(this.options.host, {
            channels: names,
            since: old?.cursor ?? (Number(this.options.since) || undefined),
            // Without a private channel no token is sent.
            token: token === undefined ? undefined : async () => {
                const next = token ?? await this.#authorize();
                token = undefined;
                return next;
            },
        });
        this.#listen(this.#comet);
    }

    #end() {
        const old = this.#comet;
        this.#comet = undefined;    // so its end does not count as a failure
        old?.close();
    }

    /** Finds the newest event: a channel that is added now begins after it. */
    async #now(comet) {
        try {
            return (await comet.history()).timestamp;
        }
        catch (error) {
            if (error.temporary) {
                throw error;
            }
            return 0;           // the last connection was refused
        }
    }

    #listen(comet) {
        const on = (type, act) => comet.addEventListener(type, (event) => {
            if (comet === this.#comet) {
                act(event);
            }
        });
        on('message', ({ message }) => this.#hear(message));
        on('open', () => {
            this.#tell('connected');
            Object.keys(this.#starts).forEach(
                (name) => this.channels[name].opened());
        });
        on('error', () => this.#tell('reconnecting'));
        on('gap', ({ since, floor }) => {
            for (const channel of Object.values(this.channels)) {
                channel.hear('comet.gap', { since, floor });
            }
        });
        on('close', ({ error }) => {
            if (!this.#isDue) {
                this.#fail(error);
            }
        });
    }

    #hear({ channel: name, timestamp, type, body }) {
        const channel = this.channels[name];
        if (!channel || !(timestamp > this.#starts[name])) {
            return;
        }
        let payload = body;
        try {
            payload = JSON.parse(body);
        }
        catch {
            // Another program may have inserted a row whose body is plain text.
        }
        if (payload?.socket !== undefined) {
            const { socket, ...rest } = payload;
            if (socket === this.#socket) {
                return;
            }
            payload = rest;
        }
        channel.hear(type, payload);
    }
}
