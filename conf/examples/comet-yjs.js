// SPDX-License-Identifier: Apache-2.0
// A provider for Yjs over comet.js: comet-wordpress.php makes the block editor
// use it.  A document is the sum of its channel's messages, in any order: each
// is an update of Yjs in Base64.  Now and then a message has the whole
// document (type `state`), so that older messages may be removed
// (CometRetain).

import { Comet, newKey } from './comet.js';

/** After how many updates a whole document is published. */
const STATE_AFTER = 200;
const LONGEST_PAUSE = 30_000;

const encode = (bytes) => btoa(Array.from(
    bytes, (byte) => String.fromCharCode(byte)).join(''));
const decode = (text) => Uint8Array.from(atob(text),
                                         (letter) => letter.charCodeAt(0));

class Provider {
    #Y;
    #doc;
    #log;               // the document that the channel's messages make
    #comet;
    #pending = [];      // updates that are not published yet
    #isPublishing = false;
    #count = 0;         // messages since the last whole document
    #stateAfter;
    #goal;              // the timestamp of the newest message when #begin() ran
    #isComplete = false;    // all messages up to #goal have been read
    #isOver = false;
    #status = { status: 'connecting' };
    #watchers = new Set();

    constructor(doc, comet, { Y, stateAfter = STATE_AFTER }) {
        this.#Y = Y;
        this.#doc = doc;
        this.#comet = comet;
        this.#stateAfter = stateAfter;
        doc.on('update', this.#heed);
        comet.addEventListener('message', ({ message }) => this.#hear(message));
        comet.addEventListener('gap', () => this.#begin());
        comet.addEventListener('open', () => this.#tell('connected'));
        comet.addEventListener('error', ({ retryIn }) => this.#tell(
            'disconnected', { willAutoRetryInMs: retryIn }));
        comet.addEventListener('close', () => this.#tell('disconnected'));
        this.#begin();
    }

    /** The functions that the editor calls. */
    get result() {
        return {
            destroy: () => this.#destroy(),
            on: (event, callback) => {
                if (event === 'status') {
                    this.#watchers.add(callback);
                    callback(this.#status);
                }
            },
        };
    }

    #tell(status, more) {
        this.#status = { status, ...more };
        for (const callback of this.#watchers) {
            callback(this.#status);
        }
    }

    /** Publishes the pending updates, and ends. */
    #destroy() {
        this.#isOver = true;
        this.#doc.off('update', this.#heed);
        this.#watchers.clear();
        this.#publish().finally(() => this.#comet.close());
    }

    /* ---- what arrives ---- */

    /** Begins to read the channel's messages; publishes nothing meanwhile. */
    #begin() {
        const log = this.#log = new this.#Y.Doc();
        log.on('update', (update, origin) => {
            if (origin === this.#doc && log === this.#log) {
                this.#pending.push(update);
            }
        });
        this.#isComplete = false;
        this.#goal = undefined;
        this.#persist(() => this.#comet.history({
            before: Number.MAX_SAFE_INTEGER, limit: 1,
        })).then((page) => {
            if (page && log === this.#log) {
                this.#goal = page.messages.at(-1)?.timestamp ?? 0;
                this.#look();
            }
        });
    }

    #hear({ timestamp, type, body }) {
        let update;
        try {
            update = decode(body);
            this.#Y.applyUpdate(this.#log, update, this);
        }
        catch {
            return;     // another program's message
        }
        this.#Y.applyUpdate(this.#doc, update, this);
        this.#count = type === 'state' ? 0 : this.#count + 1;
        this.#look(timestamp);
    }

    /** Once all messages up to #goal have been read, publishes what the channel
     * lacks. */
    #look(timestamp = this.#comet.cursor ?? 0) {
        if (!this.#isComplete && timestamp >= this.#goal) {
            this.#isComplete = true;
            this.#heed(this.#Y.encodeStateAsUpdate(this.#doc), this.#doc);
        }
    }

    /* ---- what the editor does ---- */

    /** Publishes an update of the document that the editor has made. */
    #heed = (update, origin) => {
        if (origin !== this && this.#isComplete) {
            this.#Y.applyUpdate(this.#log, update, this.#doc);
            this.#publish();
        }
    };

    /** Publishes one message at a time; merges updates that come meanwhile. */
    async #publish() {
        while (this.#pending.length && !this.#isPublishing) {
            this.#isPublishing = true;
            const isState = this.#count >= this.#stateAfter;
            const update = isState ? this.#Y.encodeStateAsUpdate(this.#log)
                : this.#Y.mergeUpdates(this.#pending);
            const options = { type: isState ? 'state' : 'update',
                              idempotencyKey: newKey() };
            this.#pending = [];
            await this.#persist(() => this.#comet.publish(encode(update),
                                                          options));
            this.#isPublishing = false;
        }
    }

    /** Repeats an action until it succeeds; returns undefined if it never
     * can. */
    async #persist(action) {
        for (let pause = 500; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
            try {
                return await action();
            }
            catch (error) {
                if (!error.temporary) {
                    this.#tell('disconnected');
                    return undefined;
                }
            }
            await new Promise((done) => setTimeout(
                done, pause * (0.5 + Math.random() / 2)));
        }
    }
}

/**
 * Connects a document.  This is a provider creator of @wordpress/sync.
 * @param options  from the editor: {objectType, objectId, ydoc}
 * @param settings  {Y: the editor's own Yjs, url: of CometEndpoint, ask: gets
 *     {channel, token} for {type, id} from the site, and rejects with
 *     {data: {status}} if the user may not edit the object}
 */
export async function connect({ objectType, objectId, ydoc }, settings) {
    const ask = () => settings.ask({
        type: objectType, ...objectId !== null && { id: objectId },
    });
    let first;
    try {
        first = await ask();
    }
    catch (error) {
        if (error?.data?.status >= 400 && error.data.status < 500) {
            return { destroy() {}, on() {} };   // edited without collaboration
        }
        throw error;
    }
    const path = first.channel.split('/').map(encodeURIComponent).join('/');
    const comet = new Comet(`${settings.url}/${path}`, {
        since: 0,
        async token() {
            const { token } = first ?? await ask();
            first = undefined;
            return token;
        },
    });
    return new Provider(ydoc, comet, settings).result;
}
