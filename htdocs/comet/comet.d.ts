// SPDX-License-Identifier: Apache-2.0
// Types of comet.js.

/** A stored message. */
export interface CometMessage {
    /** Microseconds since the epoch; the message's identity, and a cursor. */
    timestamp: number;
    /** The channel's path below the endpoint. */
    channel: string;
    /** `message`, unless the publisher chose another type. */
    type: string;
    /** The user the server has authenticated, if any. */
    author: string | null;
    body: string;
    /** Only in a passing message: for how many seconds it is kept. */
    keep?: number;
}

export type CometTransport = 'events' | 'poll' | 'iframe'
    | 'websocket';

export type CometState = 'connecting' | 'open' | 'reconnecting' | 'closed';

export interface CometOptions {
    /**
     * The channels to follow, `room/*` for all below `room/`. The object's
     * `url` is then that of the endpoint; otherwise it is that of one channel.
     */
    channels?: string[];
    /**
     * The cursor to start after; 0: start with the oldest message that is
     * kept. Without it the server chooses how far back (CometReplay).
     */
    since?: number;
    /**
     * `auto` (the default): an event stream, or long polls if something in
     * between holds streams back. `websocket` also publishes on its connection;
     * if it is refused, the object goes on as with `auto`.
     */
    transport?: 'auto' | CometTransport;
    /**
     * true (the default): one connection for all tabs of the site that follow
     * the same channels. A text: only for those that give the same text, for
     * example the user's name. false: a connection of this object's own.
     */
    share?: boolean | string;
    /**
     * The options of every request (`headers`, `credentials` …), or a function
     * that returns them each time, within 10 s. An object with headers of its own, or with a
     * function, shares only if `share` is a text.
     */
    fetchOptions?: RequestInit
        | (() => RequestInit | Promise<RequestInit>);
    /**
     * The token that the site's application has signed (CometTokenKey), or a
     * function that gets one. The function is called again before the token
     * ends, and when the server refuses it. If it returns nothing, nobody is
     * signed in, and the object closes with status 401. An object with a token
     * shares only if `share` is a text.
     */
    token?: string | (() => string | null | undefined
        | Promise<string | null | undefined>);
    /** The server's CometCallback; for `iframe`. */
    callback?: string;
    /** Seconds after which a stream without a first byte counts as held back. */
    patience?: number;
    /** Seconds that a stream may be silent; more than CometHeartbeat. */
    silence?: number;
}

/** A request that failed. */
export class CometError extends Error {
    constructor(status: number, more?: {
        why?: string; said?: string; retryAfter?: number; blocked?: boolean;
        foreign?: boolean; cause?: unknown;
    });
    /** The HTTP status; 0 if there was no complete answer. */
    readonly status: number;
    /** The reason that the server gave; may be empty. */
    readonly said: string;
    /** How many seconds the server asks to wait. */
    readonly retryAfter: number;
    /** True if something in between seems to hold streams back. */
    readonly blocked: boolean;
    /** True if something other than the module seems to have refused this. */
    readonly foreign: boolean;
    /** True if asking again may help. */
    readonly temporary: boolean;
    /** True if a client that was admitted before may be admitted again. */
    readonly passing: boolean;
    /** True if the server may have done what was asked, although this failed. */
    readonly unsure: boolean;
}

/** A message. Each comes once, in the order of timestamps. */
export interface CometMessageEvent extends Event {
    readonly type: 'message';
    readonly message: CometMessage;
    /** The message's body. */
    readonly data: string;
    /** The message's timestamp as a text, as in EventSource. */
    readonly lastEventId: string;
}

/** Messages after the cursor are no longer kept. */
export interface CometGapEvent extends Event {
    readonly type: 'gap';
    /** The cursor before the gap. */
    readonly since: number | undefined;
    /** Messages before this timestamp may be missing; undefined: not known. */
    readonly floor: number | undefined;
    /** True if the server has another store now, whose messages start again. */
    readonly reset: boolean;
}

/** The connection works: for the first time, again, or by another transport. */
export interface CometOpenEvent extends Event {
    readonly type: 'open';
    readonly transport: CometTransport;
}

/** The connection was lost or could not be made; it is tried again. */
export interface CometErrorEvent extends Event {
    readonly type: 'error';
    readonly error: CometError;
    /** In how many milliseconds the next attempt begins. */
    readonly retryIn: number;
}

/** The object has ended, by close() or because the server refused for good. */
export interface CometCloseEvent extends Event {
    readonly type: 'close';
    readonly error: CometError | undefined;
}

/** A message was deleted (the server's CometDeletions). */
export interface CometDeleteEvent extends Event {
    readonly type: 'delete';
    /** The deleted message's timestamp. */
    readonly timestamp: number;
    readonly channel: string;
    /** The notice itself. */
    readonly message: CometMessage;
}

/** A message has a new text. Show it if the author is that of the message. */
export interface CometEditEvent extends Event {
    readonly type: 'edit';
    /** The edited message's timestamp. */
    readonly timestamp: number;
    readonly channel: string;
    readonly author: string | null;
    /** The new text. */
    readonly data: string;
    /** The edit itself. */
    readonly message: CometMessage;
}

/** Somebody is typing. */
export interface CometTypingEvent extends Event {
    readonly type: 'typing';
    readonly channel: string;
    readonly author: string | null;
    /** For how many seconds, unless the event comes again. */
    readonly keep: number;
    readonly message: CometMessage;
}

export interface CometEventMap {
    message: CometMessageEvent;
    delete: CometDeleteEvent;
    edit: CometEditEvent;
    typing: CometTypingEvent;
    gap: CometGapEvent;
    open: CometOpenEvent;
    error: CometErrorEvent;
    close: CometCloseEvent;
}

export interface CometPublishOptions {
    /** The event's name: `message` if not given. */
    type?: string;
    /**
     * For a passing message ("Ann is typing"): how long it is kept, in seconds
     * or as a text such as `5s` or `10min`.
     */
    keep?: number | string;
    /** Needed if the object has several channels; otherwise not allowed. */
    channel?: string;
    /** Random if not given. The same key and body are stored only once. */
    idempotencyKey?: string;
    signal?: AbortSignal;
}

export interface CometHistoryOptions {
    /** Read the newest `limit` messages before this timestamp, */
    before?: number;
    /** or those after this one. */
    since?: number;
    /** 1 to 1000; 100 if not given. */
    limit?: number;
    /** Words that must all be in the body (the server's CometSearch). */
    q?: string;
    signal?: AbortSignal;
}

export interface CometHistory {
    /** Oldest first. An answer may have fewer messages than there are. */
    messages: CometMessage[];
    /** The last message's timestamp, or the cursor that was asked for. */
    timestamp: number;
    gap: boolean;
    /**
     * Only if a search (`q`) was cut short: messages before this timestamp
     * were not searched yet. Ask again with it as `before`.
     */
    before?: number;
}

export class Comet extends EventTarget {
    constructor(url: string | URL, options?: CometOptions);

    readonly url: string;
    readonly state: CometState;
    /** The timestamp that this object has reached; undefined if not known. */
    readonly cursor: number | undefined;
    /** The transport in use, by this tab or by the leading one. */
    readonly transport: CometTransport | undefined;
    /** True while the connection belongs to another tab. */
    readonly shared: boolean;

    /** Stores a message. Messages are stored in the order of the calls. */
    publish(body: string, options?: CometPublishOptions):
        Promise<{ timestamp: number; channel: string }>;
    /** Replaces the text of a message of the same user on all pages. */
    edit(timestamp: number, body: string, options?: CometPublishOptions):
        Promise<{ timestamp: number; channel: string }>;
    /** Tells the others that the user is typing; call it at every key press. */
    typing(options?: { channel?: string }): void;
    /** Deletes a message, for a moderator (the server's CometModerate). */
    delete(timestamp: number, options?: { channel?: string;
                                          signal?: AbortSignal }): Promise<void>;
    /** Throws a member out of a channel, for a moderator. */
    remove(member: string, options?: { channel?: string;
                                       signal?: AbortSignal }): Promise<void>;
    /** Reads existing messages; does not wait for new ones. */
    history(options?: CometHistoryOptions): Promise<CometHistory>;
    /**
     * Notes on the server that the user has read a channel up to a timestamp;
     * up to the cursor if none is given (the server's CometPresence).
     */
    read(timestamp?: number, options?: { channel?: string;
                                         signal?: AbortSignal }): Promise<void>;
    /** How many messages the user has not read, up to 100, and the read mark. */
    unread(options?: { channel?: string; signal?: AbortSignal }):
        Promise<{ unread: number; read: number; timestamp: number }>;
    /** Follows who is in a channel (the server's CometPresence). */
    presence(channel?: string): Presence;
    /** Ends the object. Requests that have begun continue. */
    close(): void;

    addEventListener<K extends keyof CometEventMap>(
        type: K,
        listener: ((this: Comet, event: CometEventMap[K]) => unknown) | null,
        options?: boolean | AddEventListenerOptions): void;
    addEventListener(
        type: string, listener: EventListenerOrEventListenerObject | null,
        options?: boolean | AddEventListenerOptions): void;
    removeEventListener<K extends keyof CometEventMap>(
        type: K,
        listener: ((this: Comet, event: CometEventMap[K]) => unknown) | null,
        options?: boolean | EventListenerOptions): void;
    removeEventListener(
        type: string, listener: EventListenerOrEventListenerObject | null,
        options?: boolean | EventListenerOptions): void;
}

export interface CometMember {
    member: string;
    /** When the member came, in microseconds since 1970. */
    since: number;
    /** What the site's application says about the member, as JSON. */
    info?: string;
}

/**
 * Who is in a channel. Dispatches `change` whenever this has changed, and
 * `close` with an `error` if the server refuses for good.
 */
export class Presence extends EventTarget {
    private constructor();
    /** By name. */
    readonly members: Map<string, CometMember>;
    /** How many members there are, even if not all are listed. */
    readonly count: number;
    /** How many clients without a user there are. */
    readonly anonymous: number;
    /** False while the list is read, or while it would be too long. */
    readonly complete: boolean;
    close(): void;
}

/**
 * The type and the fields of the event that a message causes: `message`, `edit`,
 * `delete` or `typing`. This also works for messages of the history.
 */
export function eventOf(message: CometMessage):
    ['message' | 'edit' | 'delete' | 'typing', Record<string, unknown>];

/** A key for one message, for `idempotencyKey`. */
export function newKey(): string;

/** One block of an event stream, with those fields that it has. */
export interface EventStreamBlock {
    id?: string;
    event?: string;
    data?: string;
    retry?: number;
}

/** text/event-stream, piece by piece. */
export class EventStreamParser {
    /** Takes the next piece; returns the blocks that it completes. */
    push(text: string): EventStreamBlock[];
}
