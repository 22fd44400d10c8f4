/* SPDX-License-Identifier: Apache-2.0 */
/* Read what the client of a WebSocket says. */
#include "wait/hear.h"

#include <errno.h>
#include <sys/socket.h>
#include <util_filter.h>

#include "wait/speaker.h"

/* The hub's thread reads at most this many times before it serves others. */
#define TURNS 4
#define PIECE_BYTES (16 * 1024)

static void take(const mod_comet_child_t *child, mod_comet_talk_t *talk,
                 const char *data, apr_size_t length)
{
    if (mod_comet_talk_feed(talk, (comet_text_t){ data, length })) {
        mod_comet_speaker_submit(child, talk);
    }
}

/* @param length  OUT: how many bytes were taken */
static apr_status_t read_piece(const mod_comet_child_t *child, conn_rec *c,
                               apr_bucket_brigade *brigade,
                               mod_comet_talk_t *talk, apr_size_t *length)
{
    apr_status_t status =
        ap_get_brigade(c->input_filters, brigade, AP_MODE_READBYTES,
                       APR_NONBLOCK_READ, PIECE_BYTES);
    apr_bucket *bucket;

    *length = 0;
    for (bucket = APR_BRIGADE_FIRST(brigade);
         status == APR_SUCCESS && bucket != APR_BRIGADE_SENTINEL(brigade);
         bucket = APR_BUCKET_NEXT(bucket)) {
        const char *data;
        apr_size_t part = 0;

        if (APR_BUCKET_IS_METADATA(bucket)) {
            continue;
        }
        status = apr_bucket_read(bucket, &data, &part, APR_NONBLOCK_READ);
        if (status == APR_SUCCESS && part) {
            take(child, talk, data, part);
            *length += part;
        }
    }
    apr_brigade_cleanup(brigade);
    return status;
}

/* At the end of the input, httpd's core filter first returns no bytes, and EOF
 * only at the second call.  So this tries twice. */
mod_comet_hear_e mod_comet_hear_filters(const mod_comet_child_t *child,
                                        conn_rec *c,
                                        apr_bucket_brigade *brigade,
                                        mod_comet_talk_t *talk)
{
    apr_status_t status = APR_SUCCESS;
    int empty = 0;

    while (status == APR_SUCCESS && empty < 2) {
        apr_size_t length;

        if (!mod_comet_talk_room(talk)) {
            return MOD_COMET_HEAR_FULL;
        }
        status = read_piece(child, c, brigade, talk, &length);
        empty = length ? 0 : empty + 1;
    }
    return status == APR_SUCCESS || APR_STATUS_IS_EAGAIN(status)
               ? MOD_COMET_HEAR_NOTHING
               : MOD_COMET_HEAR_GONE;
}

mod_comet_hear_e mod_comet_hear_socket(const mod_comet_child_t *child, int fd,
                                       mod_comet_talk_t *talk)
{
    char bytes[PIECE_BYTES];
    ssize_t got;
    int turn;

    for (turn = 0; turn < TURNS && mod_comet_talk_room(talk); turn++) {
        do {
            got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        } while (got < 0 && errno == EINTR);
        if (got < 0 && errno == EAGAIN) {
            return MOD_COMET_HEAR_NOTHING;
        }
        if (got <= 0) {
            return MOD_COMET_HEAR_GONE;
        }
        take(child, talk, bytes, (apr_size_t)got);
    }
    return MOD_COMET_HEAR_FULL;
}
