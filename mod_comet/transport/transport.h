/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/transport.h
 * The bytes of a wire format, and nothing else: no I/O, no state.
 *
 * To add one: write comet_transport_NAME.c with its comet_transport_t,
 * declare it below, and let the handler choose it.
 */
#ifndef COMET_TRANSPORT_H
#define COMET_TRANSPORT_H

#include "wire/encode.h"
#include "shared/metrics.h"

/** How a client wants to be told; the same for as long as it waits. */
typedef struct comet_format_t {
    int escape; /* CometEscape: the classic page inserts bodies as HTML */
    int json; /* events: data is the whole message, not only its body */
    const char *callback; /* iframe: the function of the parent's to call */
    apr_size_t hidden_bytes; /* of channels' names: the endpoint's prefix */
} comet_format_t;

/** What a client is told at once. */
typedef struct comet_answer_t {
    const comet_format_t *format;
    comet_message_t *const *messages; /* oldest first */
    apr_size_t count; /* 0: no news */
    /** The client's cursor from now on: the last message's timestamp, or
     * where it stood. */
    comet_timestamp_t cursor;
    /** Messages after its cursor were pruned, up to here; 0: none were. */
    comet_timestamp_t floor;
    /** Before it nothing was looked at yet, of a page of history; 0: all was,
     * or the page is full. */
    comet_timestamp_t rest;
} comet_answer_t;

typedef struct comet_transport_t {
    const char *name; /* as clients and CometTransports call it; NULL: not */
    comet_metric_e gauge; /* what its waiting clients count in */
    const char *content_type;
    const char *policy; /* Content-Security-Policy; NULL: none */
    /** Whether answers go on until the client leaves (else: one, then the
     * request is over). */
    int streams;
    /** Whether the headers come with the one answer, whose length they tell;
     * else they come at once, while the client waits. */
    int whole;
    /** The most messages one answer carries; 0: as many as were asked for. */
    apr_size_t limit;
    /** Append what a stream begins with, before any message: `cursor` and
     * `floor` are those it starts from; NULL: nothing. */
    void (*open)(comet_buffer_t *out, const comet_answer_t *answer);
    /** Append one answer. */
    void (*encode)(comet_buffer_t *out, const comet_answer_t *answer);
    /** Append what a stream ends with when its client is to come back after
     * so many milliseconds; NULL: nothing. */
    void (*close)(comet_buffer_t *out, int retry_msec);
    /** What keeps a silent stream alive and means nothing; NULL: no stream. */
    const char *heartbeat;
} comet_transport_t;

/** Append a message as the JSON object all of today's transports use. */
void comet_transport_add_message(comet_buffer_t *out,
                                 const comet_message_t *message,
                                 const comet_format_t *format);

/**
 * The original chat: {"msg": "…", "timestamp": N}, the next message only;
 * without one, an empty msg and the cursor.
 */
extern const comet_transport_t comet_transport_classic;

/**
 * Today's poll: {"messages": […], "timestamp": N, "gap": false}, and "before": N
 * where it ends with what was not looked at.  Pages insert bodies as text, so
 * `escape` does not count.
 */
extern const comet_transport_t comet_transport_poll;

/**
 * The original clock: a page whose script elements call the parent's
 * comet.printServerTime(unix seconds); the last message's timestamp is the
 * time (when it opens, the cursor), its body is not looked at.
 */
extern const comet_transport_t comet_transport_clock;

/**
 * An event stream (WHATWG HTML, section 9.2).  Each message has its timestamp
 * for an id; its data is its body, or with `json` the whole message.
 */
extern const comet_transport_t comet_transport_events;

/**
 * A forever-iframe: a page that never ends and calls a function of the parent
 * with each message.
 */
extern const comet_transport_t comet_transport_iframe;

/** All that a client may choose from; ends with NULL. */
extern const comet_transport_t *const comet_transports[];

#endif /* COMET_TRANSPORT_H */
