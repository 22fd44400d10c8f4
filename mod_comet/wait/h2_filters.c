/* SPDX-License-Identifier: Apache-2.0 */
/* The filters between mod_http2 and mod_ssl or the socket: they turn buckets
 * into bytes for the session, and bytes into buckets. */
#include "wait/h2_priv.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output/filters.h"
#include "output/outbox.h"

/* Append bytes to a brigade, as a bucket that then owns them.
 * @return APR_SUCCESS or APR_ENOMEM */
static apr_status_t add_bucket(conn_rec *c, apr_bucket_brigade *bb,
                               comet_buffer_t *bytes)
{
    if (bytes->failed) {
        comet_buffer_free(bytes);
        c->aborted = 1;
        return APR_ENOMEM;
    }
    if (bytes->length) {
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_heap_create(bytes->data,
                                                           bytes->length, free,
                                                           c->bucket_alloc));
        *bytes = (comet_buffer_t){ .data = NULL };
    }
    return APR_SUCCESS;
}

/* Send the bytes that were examined.  The call may wait for the client. */
static apr_status_t flush_out(mod_comet_h2_t *h2)
{
    apr_status_t status;

    APR_BRIGADE_INSERT_TAIL(h2->out_bb,
                            apr_bucket_flush_create(h2->c->bucket_alloc));
    status = ap_pass_brigade(h2->out->next, h2->out_bb);
    apr_brigade_cleanup(h2->out_bb);
    return status;
}

/* Send the bytes that were examined, then frames of ghosts.  As for mod_http2's
 * own frames, the call may wait for the client. */
static apr_status_t inject(mod_comet_h2_t *h2)
{
    apr_status_t status;

    do {
        comet_buffer_t frames = { .data = NULL };

        pthread_mutex_lock(&h2->lock);
        comet_h2_session_take(&h2->session, MOD_COMET_PIECE_BYTES, &frames);
        pthread_mutex_unlock(&h2->lock);
        if (!frames.length && !frames.failed) {
            return APR_SUCCESS;
        }
        status = add_bucket(h2->c, h2->out_bb, &frames);
        if (status == APR_SUCCESS) {
            status = flush_out(h2);
        }
    } while (status == APR_SUCCESS);
    return status;
}

/* --- what mod_http2 writes ------------------------------------------------ */

/* A bucket that mod_http2 has written, while its bytes are examined. */
typedef struct written_t {
    apr_bucket *bucket; /* the part of the bucket that was neither passed on nor
                         * dropped yet */
    apr_size_t seen; /* how many bytes at the start of `bucket` go to the client
                      * as they are */
} written_t;

/* Pass on to the client those bytes that were seen, in their bucket. */
static void pass_seen(mod_comet_h2_t *h2, written_t *written)
{
    apr_bucket *rest = written->bucket;

    if (!written->seen) {
        return;
    }
    if (written->seen < rest->length) {
        apr_bucket_split(rest, written->seen);
    }
    written->bucket = APR_BUCKET_NEXT(rest);
    written->seen = 0;
    APR_BUCKET_REMOVE(rest);
    APR_BRIGADE_INSERT_TAIL(h2->out_bb, rest);
}

/* Drop the next bytes, which follow those that were seen. */
static void drop_next(mod_comet_h2_t *h2, written_t *written, apr_size_t length)
{
    apr_bucket *dropped;

    pass_seen(h2, written);
    dropped = written->bucket;
    if (length < dropped->length) {
        apr_bucket_split(dropped, length);
    }
    written->bucket = APR_BUCKET_NEXT(dropped);
    apr_bucket_delete(dropped);
}

/* Pass on or drop payload without reading it.
 * @return how many bytes of payload there were */
static apr_size_t take_payload(mod_comet_h2_t *h2, written_t *written,
                               apr_size_t length)
{
    apr_size_t left = comet_h2_scanner_left(&h2->session.out);

    length = length < left ? length : left;
    if (!length) {
        return 0;
    }
    comet_h2_scanner_skip(&h2->session.out, length);
    if (h2->session.dropping) {
        drop_next(h2, written, length);
    }
    else {
        written->seen += length;
    }
    return length;
}

/* Take the next bytes, which belong to a frame's header.  A header that spans
 * two buckets is put together before the session sees it. */
static apr_status_t take_header(mod_comet_h2_t *h2, written_t *written,
                                comet_text_t *bytes)
{
    comet_h2_scanner_t *out = &h2->session.out;
    apr_size_t length = bytes->length;
    comet_h2_piece_e piece = comet_h2_scanner_take(out, bytes);
    comet_buffer_t whole = { .data = NULL };
    int keep = 0;

    length -= bytes->length;
    if (piece != COMET_H2_MORE) {
        pthread_mutex_lock(&h2->lock);
        keep = comet_h2_session_out(&h2->session, piece);
        pthread_mutex_unlock(&h2->lock);
    }
    if (keep && length == out->length) {
        written->seen += length;
        return APR_SUCCESS;
    }
    drop_next(h2, written, length);
    if (keep) {
        comet_buffer_add(&whole, (const char *)out->bytes, out->length);
    }
    return add_bucket(h2->c, h2->out_bb, &whole);
}

/* What a connection with ghosts does between two frames of mod_http2. */
typedef enum {
    GO_ON,
    SEND, /* many bytes were examined, and are sent first */
    INJECT /* frames of ghosts are sent first */
} pause_e;

static pause_e find_pause(mod_comet_h2_t *h2, const written_t *written)
{
    apr_off_t length = 0;
    int has_ghosts, has_frames;

    if (!comet_h2_scanner_is_between(&h2->session.out)) {
        return GO_ON;
    }
    pthread_mutex_lock(&h2->lock);
    has_ghosts = h2->session.count > 0;
    has_frames = comet_h2_session_has_frames(&h2->session);
    pthread_mutex_unlock(&h2->lock);
    if (has_frames) {
        return INJECT;
    }
    apr_brigade_length(h2->out_bb, 0, &length);
    return has_ghosts
                   && length + (apr_off_t)written->seen >= MOD_COMET_PIECE_BYTES
               ? SEND
               : GO_ON;
}

/* Let frames of ghosts overtake the rest of what mod_http2 writes.  By default
 * mod_http2 writes 128 KB at a time, which a slow client takes a while to
 * read. */
static apr_status_t make_way(mod_comet_h2_t *h2, written_t *written)
{
    pause_e pause = find_pause(h2, written);
    apr_status_t status = APR_SUCCESS;

    if (pause == GO_ON) {
        return APR_SUCCESS;
    }
    pass_seen(h2, written);
    if (pause == SEND) {
        status = flush_out(h2);
    }
    return status == APR_SUCCESS ? inject(h2) : status;
}

/* Pass on a bucket whose length is known.  Its data need not be in memory
 * yet. */
static apr_status_t pass_data(mod_comet_h2_t *h2, apr_bucket *bucket)
{
    written_t written = { .bucket = bucket };
    comet_text_t bytes = { NULL, bucket->length };
    apr_size_t length = take_payload(h2, &written, bytes.length);
    apr_status_t status = APR_SUCCESS;

    bytes.length -= length;
    if (bytes.length) {
        pass_seen(h2, &written);
        status = apr_bucket_read(written.bucket, &bytes.data, &bytes.length,
                                 APR_BLOCK_READ);
    }
    while (status == APR_SUCCESS && bytes.length) {
        if (comet_h2_scanner_left(&h2->session.out)) {
            length = take_payload(h2, &written, bytes.length);
            bytes.data += length;
            bytes.length -= length;
        }
        else {
            status = make_way(h2, &written);
            if (status == APR_SUCCESS) {
                status = take_header(h2, &written, &bytes);
            }
        }
    }
    if (status == APR_SUCCESS) {
        pass_seen(h2, &written);
    }
    return status;
}

/* Pass on the first bucket of what mod_http2 has written. */
static apr_status_t pass_bucket(mod_comet_h2_t *h2, apr_bucket *bucket)
{
    apr_status_t status = APR_SUCCESS;
    apr_size_t length;
    const char *data;

    if (APR_BUCKET_IS_METADATA(bucket)) {
        APR_BUCKET_REMOVE(bucket);
        APR_BRIGADE_INSERT_TAIL(h2->out_bb, bucket);
        return APR_SUCCESS;
    }
    if (bucket->length == (apr_size_t)-1) {
        status = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
    }
    if (status == APR_SUCCESS && !bucket->length) {
        apr_bucket_delete(bucket);
        return APR_SUCCESS;
    }
    return status == APR_SUCCESS ? pass_data(h2, bucket) : status;
}

/* Make mod_http2 read if more window can be lent to it, since it may be waiting
 * for window. */
static void wake_for_window(mod_comet_h2_t *h2)
{
    pthread_mutex_lock(&h2->lock);
    if (comet_h2_session_can_lend(&h2->session)) {
        mod_comet_h2_wake_locked(h2);
    }
    pthread_mutex_unlock(&h2->lock);
}

apr_status_t mod_comet_h2_filter_out(ap_filter_t *f, apr_bucket_brigade *bb)
{
    mod_comet_h2_t *h2 = f->ctx;
    apr_status_t status = APR_SUCCESS;

    mod_comet_h2_restore(h2);
    while (status == APR_SUCCESS && !APR_BRIGADE_EMPTY(bb)) {
        status = pass_bucket(h2, APR_BRIGADE_FIRST(bb));
    }
    if (status == APR_SUCCESS) {
        status = ap_pass_brigade(f->next, h2->out_bb);
    }
    apr_brigade_cleanup(h2->out_bb);
    if (status == APR_SUCCESS && !h2->c->aborted) {
        status = inject(h2);
        wake_for_window(h2);
    }
    return status;
}

/* --- what the client sends ------------------------------------------------ */

static apr_status_t take_bucket(mod_comet_h2_t *h2, apr_bucket *bucket,
                                apr_bucket_brigade *bb, comet_buffer_t *to)
{
    const char *data;
    apr_size_t length;
    apr_status_t status;

    if (APR_BUCKET_IS_METADATA(bucket)) {
        status = add_bucket(h2->c, bb, to);
        APR_BUCKET_REMOVE(bucket);
        APR_BRIGADE_INSERT_TAIL(bb, bucket);
        return status;
    }
    status = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
    if (status == APR_SUCCESS) {
        pthread_mutex_lock(&h2->lock);
        comet_h2_session_in(&h2->session, (comet_text_t){ data, length }, to);
        pthread_mutex_unlock(&h2->lock);
        apr_bucket_delete(bucket);
    }
    return status;
}

/* Pass on those bytes that are for mod_http2. */
static apr_status_t take_brigade(mod_comet_h2_t *h2, apr_bucket_brigade *bb)
{
    comet_buffer_t to = { .data = NULL };
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && !APR_BRIGADE_EMPTY(h2->in_bb)) {
        status = take_bucket(h2, APR_BRIGADE_FIRST(h2->in_bb), bb, &to);
    }
    if (status == APR_SUCCESS) {
        return add_bucket(h2->c, bb, &to);
    }
    comet_buffer_free(&to);
    return status;
}

static apr_status_t lend(mod_comet_h2_t *h2, apr_bucket_brigade *bb)
{
    comet_buffer_t update = { .data = NULL };

    pthread_mutex_lock(&h2->lock);
    comet_h2_session_lend(&h2->session, &update);
    pthread_mutex_unlock(&h2->lock);
    return add_bucket(h2->c, bb, &update);
}

apr_status_t mod_comet_h2_filter_in(ap_filter_t *f, apr_bucket_brigade *bb,
                                    ap_input_mode_t mode, apr_read_type_e block,
                                    apr_off_t length)
{
    mod_comet_h2_t *h2 = f->ctx;
    apr_uint64_t count;
    apr_status_t status;
    int more;

    mod_comet_h2_restore(h2);
    if (mode != AP_MODE_READBYTES) {
        return ap_get_brigade(f->next, bb, mode, block, length);
    }
    if (read(h2->event, &count, sizeof(count)) < 0) {
        /* the eventfd was not written */
    }
    if (h2->ack.armed) {
        /* otherwise the ACK that the hub asked for would make each poll return
         * at once */
        mod_comet_ack_disarm(&h2->ack, h2->fd);
    }
    status = lend(h2, bb);
    if (status != APR_SUCCESS || !APR_BRIGADE_EMPTY(bb)) {
        return status;
    }
    /* If all bytes that came were for mod_comet, read again: mod_ssl may have
     * more in its buffers, where no poll sees them. */
    do {
        status = inject(h2);
        if (status != APR_SUCCESS) {
            return status;
        }
        status = ap_get_brigade(f->next, h2->in_bb, mode, block, length);
        more = status == APR_SUCCESS && !APR_BRIGADE_EMPTY(h2->in_bb);
        if (more) {
            status = take_brigade(h2, bb);
        }
        apr_brigade_cleanup(h2->in_bb);
    } while (status == APR_SUCCESS && more && APR_BRIGADE_EMPTY(bb));
    return status;
}

/* --- without TLS ---------------------------------------------------------- */

/* Whether the client's first bytes begin HTTP/2.  mod_http2 compares the same
 * bytes. */
static int is_preface(apr_bucket_brigade *bb)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    char bytes[sizeof(preface) - 1];
    apr_size_t length = sizeof(bytes);

    return apr_brigade_flatten(bb, bytes, &length) == APR_SUCCESS
           && length == sizeof(bytes) && memcmp(bytes, preface, length) == 0;
}

apr_status_t mod_comet_h2_filter_preface(ap_filter_t *f, apr_bucket_brigade *bb,
                                         ap_input_mode_t mode,
                                         apr_read_type_e block,
                                         apr_off_t length)
{
    apr_status_t status = ap_get_brigade(f->next, bb, mode, block, length);

    if (mode == AP_MODE_SPECULATIVE && status == APR_SUCCESS
        && is_preface(bb)) {
        ap_remove_input_filter(f);
        mod_comet_h2_begin(f->c, f->c->base_server);
    }
    return status;
}

int mod_comet_h2_decline(conn_rec *c)
{
    ap_filter_t *f = c->keepalives ? NULL : c->input_filters;

    while (f && f->frec->filter_func.in_func != mod_comet_h2_filter_preface) {
        f = f->next;
    }
    if (f) {
        ap_remove_input_filter(f);
    }
    return DECLINED;
}
