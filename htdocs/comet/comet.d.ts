// SPDX-License-Identifier: Apache-2.0
// Types of comet.js.

/** A stored message. */
export interface CometMessage {
    /** Microseconds since the epoch; the message's identity, and a cursor. */
    timestamp: number;
    /** As named below the endpoint. */
    channel: string;
    /** `message` unless its publisher chose another. */
    type: string;
    /** The user the server has authenticated, if any. */
    author: string | null;
    body: string;
    /** Only if it passes: for how many seconds it is kept. */
    keep?: number;
}

export type CometTransport = 'events' | 'poll' | 'iframe'
    | 'websocket';

export type CometState = 'connecting' | 'open' | 'reconnecting' | 'closed';

export interface CometOptions {
    /**
     * The channels to follow, `room/*` for all below `room/`; `url` is the
     * endpoint then. Without it `url` is that of one channel.
     */
    channels?: string[];
    /**
     * The cursor to go on from; 0: from the oldest message that is kept.
     * Without it the server chooses how far back (CometReplay).
     */
    since?: number;
    /**
     * `auto` (the default): an event stream, or long polls where something in
     * between keeps streams back. `websocket` also publishes on its connection;
     * where it is refused, the object does as with `auto`.
     */
    transport?: 'auto' | CometTransport;
    /**
     * true (the default): one connection for all tabs of the site that follow
     * the same. A text: only for those that give the same, the user's name for
     * example. false: none but this object's own.
     */
    share?: boolean | string;
    /**
     * What every request has (`headers`, `credentials` …), or a function that
     * is asked each time. Who has headers of his own, or a function, shares
     * only if `share` is a text.
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
    /** Seconds a stream may be silent: more than the server's CometHeartbeat. */
    silence?: number;
}

/** A request that failed. */
export class CometError extends Error {
    constructor(status: number, more?: {
        why?: string; said?: string; retryAfter?: number; blocked?: boolean;
        foreign?: boolean; cause?: unknown;
    });
    /** HTTP's, or 0 when there was no whole answer. */
    readonly status: number;
    /** What the server gave as the reason; may be empty. */
    readonly said: string;
    /** Seconds the server asked to wait. */
    readonly retryAfter: number;
    /** True if streams seem to be held back by something on the way. */
    readonly blocked: boolean;
    /** True if something else than the module seems to have refused this. */
    readonly foreign: boolean;
    /** True if asking again may help. */
    readonly temporary: boolean;
    /** True if asking again may help a client that was let in before. */
    readonly passing: boolean;
    /** True if the server may have done what it was asked all the same. */
    readonly unsure: boolean;
}

/** A message, each once, in the order of their timestamps. */
export interface CometMessageEvent extends Event {
    readonly type: 'message';
    readonly message: CometMessage;
    /** The message's body. */
    readonly data: string;
    /** The message's timestamp, as EventSource has it. */
    readonly lastEventId: string;
}

/** Messages after the cursor are not to be had any more. */
export interface CometGapEvent extends Event {
    readonly type: 'gap';
    /** The cursor there was. */
    readonly since: number | undefined;
    /** Nothing before this is sure to be kept, where that is known. */
    readonly floor: number | undefined;
    /** True if the server has another store now; its messages start again. */
    readonly reset: boolean;
}

/** Messages arrive, for the first time, again, or in another way. */
export interface CometOpenEvent extends Event {
    readonly type: 'open';
    readonly transport: CometTransport;
}

/** The connection is lost or was not to be had; it is tried again. */
export interface CometErrorEvent extends Event {
    readonly type: 'error';
    readonly error: CometError;
    /** Milliseconds until then. */
    readonly retryIn: number;
}

/** It is over: by close(), or because the server refused for good. */
export interface CometCloseEvent extends Event {
    readonly type: 'close';
    readonly error: CometError | undefined;
}

/** A message was deleted (the server's CometDeletions). */
export interface CometDeleteEvent extends Event {
    readonly type: 'delete';
    /** The deleted message's. */
    readonly timestamp: number;
    readonly channel: string;
    /** The notice itself. */
    readonly message: CometMessage;
}

/** A message has a new text. Show it if the author is the message's own. */
export interface CometEditEvent extends Event {
    readonly type: 'edit';
    /** The edited message's. */
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
    /** For how many seconds, unless it comes again. */
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
     * For a message that passes ("Ann is typing"): how long it is kept, in
     * seconds or as a text such as `5s` or `10min`.
     */
    keep?: number | string;
    /** Needed where the object has several channels. */
    channel?: string;
    /** Made up if not given. The same key and body are stored once only. */
    idempotencyKey?: string;
    signal?: AbortSignal;
}

export interface CometHistoryOptions {
    /** The newest `limit` messages before this timestamp … */
    before?: number;
    /** … or those after this one. */
    since?: number;
    /** 1 to 1000; 100 if not given. */
    limit?: number;
    /** Words that must all be in the body (the server's CometSearch). */
    q?: string;
    signal?: AbortSignal;
}

export interface CometHistory {
    /** Oldest first. An answer may hold fewer than there are. */
    messages: CometMessage[];
    /** The last one's, or where the question stood. */
    timestamp: number;
    gap: boolean;
    /**
     * Only when a search (`q`) was cut short: nothing before this timestamp
     * was looked at yet. Ask again with it as `before`.
     */
    before?: number;
}

export class Comet extends EventTarget {
    constructor(url: string | URL, options?: CometOptions);

    readonly url: string;
    readonly state: CometState;
    /** The timestamp this object has got to; undefined until it is known. */
    readonly cursor: number | undefined;
    /** What messages come by, this tab's or another's. */
    readonly transport: CometTransport | undefined;
    /** True while the connection is another tab's. */
    readonly shared: boolean;

    /** Stores a message; those of one object in the order of the calls. */
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
    /** Messages that there are, without waiting for any. */
    history(options?: CometHistoryOptions): Promise<CometHistory>;
    /**
     * Notes on the server that the user has read a channel up to a timestamp;
     * up to the cursor if none is given (the server's CometPresence).
     */
    read(timestamp?: number, options?: { channel?: string;
                                         signal?: AbortSignal }): Promise<void>;
    /** How many messages the user has not read, up to 100, and their mark. */
    unread(options?: { channel?: string; signal?: AbortSignal }):
        Promise<{ unread: number; read: number; timestamp: number }>;
    /** Follows who is in a channel (the server's CometPresence). */
    presence(channel?: string): Presence;
    /** Ends it; requests under way go on. */
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
    /** When it came, in microseconds since 1970. */
    since: number;
    /** What the site's application says about it, as JSON. */
    info?: string;
}

/**
 * Who is in a channel. Dispatches `change` whenever that has changed, and
 * `close` with an `error` if the server refuses for good.
 */
export class Presence extends EventTarget {
    private constructor();
    /** By name. */
    readonly members: Map<string, CometMember>;
    /** How many members there are, also where not all are listed. */
    readonly count: number;
    /** How many clients without a user there are. */
    readonly anonymous: number;
    /** False while the list is read, or the channel is too full for it. */
    readonly complete: boolean;
    close(): void;
}

/**
 * What a message means, one of the history for example: the type and the fields
 * of the event `message`, `edit`, `delete` or `typing`.
 */
export function eventOf(message: CometMessage):
    ['message' | 'edit' | 'delete' | 'typing', Record<string, unknown>];

/** A name for one message, for `idempotencyKey`. */
export function newKey(): string;

/** One block of an event stream, with the fields it has. */
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
