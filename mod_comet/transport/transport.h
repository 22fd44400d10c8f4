/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/transport.h
 * The bytes of a wire format, and nothing else: no I/O, no state.
 *
 * To add one: write transport/NAME.c with its comet_transport_t, and a line in
 * tables/transports.def.
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
    const char *cache_control; /* NULL: what all streams, or all polls have */
    const char *expires; /* NULL: none */
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

/** The number of transports. */
enum {
#define TRANSPORT(name, help) COMET_TRANSPORT_INDEX_##name,
#include "tables/transports.def"
#undef TRANSPORT
    COMET_TRANSPORT_COUNT
};

#define TRANSPORT(name, help) \
    extern const comet_transport_t comet_transport_##name;
#include "tables/transports.def"
#undef TRANSPORT

/** All of them; those that clients may choose from (with a name) come first. */
extern const comet_transport_t *const comet_transports[COMET_TRANSPORT_COUNT];

/** The gauges that count their waiting clients. */
extern const comet_metric_e comet_transport_gauges[COMET_TRANSPORT_COUNT];

/**
 * The transport that clients and CometTransports call by a name.
 * @param name  compared without regard to case
 * @return NULL: there is none
 */
const comet_transport_t *comet_transport_find(comet_text_t name);

/** A transport's bit in a setting of CometTransports. */
apr_int64_t comet_transport_bit(const comet_transport_t *transport);

/**
 * The names clients may choose from, for messages: "poll, events or iframe".
 * @param conjunction  before the last name: "or"
 * @return allocated from @a pool
 */
const char *comet_transport_names(const char *conjunction, apr_pool_t *pool);

#endif /* COMET_TRANSPORT_H */
