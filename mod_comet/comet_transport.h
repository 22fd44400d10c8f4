/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file comet_transport.h
 * The bytes of a wire format, and nothing else: no I/O, no state.
 *
 * To add one: write comet_transport_NAME.c with its comet_transport_t,
 * declare it below, and let the handler choose it.
 */
#ifndef COMET_TRANSPORT_H
#define COMET_TRANSPORT_H

#include "comet_encode.h"
#include "comet_metrics.h"

/** What a client is told at once. */
typedef struct comet_answer_t {
    comet_message_t *const *messages; /* oldest first */
    apr_size_t count; /* 0: no news */
    /** The client's cursor from now on: the last message's timestamp, or
     * where it stood. */
    comet_timestamp_t cursor;
    int gap; /* messages after its cursor were pruned */
    int escape; /* CometEscape: bodies are inserted as HTML by the page */
} comet_answer_t;

typedef struct comet_transport_t {
    comet_metric_e gauge; /* what its waiting clients count in */
    const char *content_type;
    /** Whether answers go on until the client leaves (else: one, then the
     * request is over). */
    int streams;
    /** The most messages one answer carries; 0: as many as were asked for. */
    apr_size_t limit;
    /** Append what a stream begins with, before any answer; NULL: nothing. */
    void (*open)(comet_buffer_t *out);
    /** Append one answer. */
    void (*encode)(comet_buffer_t *out, const comet_answer_t *answer);
    /** What keeps a silent stream alive and means nothing; NULL: no stream. */
    const char *heartbeat;
} comet_transport_t;

/**
 * The original chat: {"msg": "…", "timestamp": N}, the next message only;
 * without one, an empty msg and the cursor.
 */
extern const comet_transport_t comet_transport_classic;

/**
 * Today's poll: {"messages": […], "timestamp": N, "gap": false}.  Pages insert
 * bodies as text, so `escape` does not count.
 */
extern const comet_transport_t comet_transport_poll;

/**
 * The original clock: a page whose script elements call the parent's
 * comet.printServerTime(unix seconds); the last message's timestamp is the
 * time (or the cursor, when there is none), its body is not looked at.
 */
extern const comet_transport_t comet_transport_clock;

#endif /* COMET_TRANSPORT_H */
