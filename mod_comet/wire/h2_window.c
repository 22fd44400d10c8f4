/* SPDX-License-Identifier: Apache-2.0 */
/* The flow-control windows of an HTTP/2 connection that has two writers. */
#include "wire/h2_window.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_STREAMS 8

void comet_h2_window_init(comet_h2_window_t *window)
{
    *window = (comet_h2_window_t){
        .theirs = COMET_H2_WINDOW_FIRST,
        .widest = COMET_H2_WINDOW_FIRST,
        .initial = COMET_H2_WINDOW_FIRST,
        .frame_most = COMET_H2_FRAME_LEAST,
    };
}

void comet_h2_window_free(comet_h2_window_t *window)
{
    free(window->streams);
    window->streams = NULL;
    window->count = window->size = 0;
}

/* --- streams ------------------------------------------------------------- */

static comet_h2_stream_t *find(const comet_h2_window_t *window,
                               apr_uint32_t stream)
{
    apr_size_t low = 0, high = window->count;

    while (low < high) {
        apr_size_t middle = low + (high - low) / 2;

        if (window->streams[middle].id < stream) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low < window->count && window->streams[low].id == stream
               ? &window->streams[low]
               : NULL;
}

const comet_h2_stream_t *comet_h2_window_find(const comet_h2_window_t *window,
                                              apr_uint32_t stream)
{
    return find(window, stream);
}

/* Make room for one more stream.  @return whether there is room */
static int reserve(comet_h2_window_t *window)
{
    apr_size_t size = window->size ? 2 * window->size : FIRST_STREAMS;
    comet_h2_stream_t *streams;

    if (window->count < window->size) {
        return 1;
    }
    if (window->count == COMET_H2_STREAMS_MOST) {
        return 0;
    }
    streams = realloc(window->streams, size * sizeof(*streams));
    if (!streams) {
        return 0;
    }
    window->streams = streams;
    window->size = size;
    return 1;
}

void comet_h2_window_open(comet_h2_window_t *window, apr_uint32_t stream,
                          int has_body)
{
    /* Clients open odd streams in increasing order (section 5.1.1). */
    if (stream % 2 == 0 || stream <= window->latest) {
        return;
    }
    window->latest = stream;
    if (!reserve(window)) {
        window->untracked = 1;
        return;
    }
    window->streams[window->count++] = (comet_h2_stream_t){
        .id = stream,
        .has_body = has_body != 0,
        .credit = window->initial,
    };
}

void comet_h2_window_complete(comet_h2_window_t *window, apr_uint32_t stream)
{
    comet_h2_stream_t *found = find(window, stream);

    if (found) {
        found->complete = 1;
    }
}

static int was_whole(const comet_h2_window_t *window, apr_uint32_t stream)
{
    int i;

    for (i = 0; i < COMET_H2_WHOLE_MOST; i++) {
        if (window->whole[i] == stream) {
            return 1;
        }
    }
    return 0;
}

comet_h2_extent_e comet_h2_window_extent(const comet_h2_window_t *window,
                                         apr_uint32_t stream)
{
    const comet_h2_stream_t *found = find(window, stream);

    if (found ? found->complete : was_whole(window, stream)) {
        return COMET_H2_WHOLE;
    }
    return found || (stream <= window->latest && !window->untracked)
               ? COMET_H2_CUT
               : COMET_H2_UNKNOWN;
}

void comet_h2_window_end(comet_h2_window_t *window, apr_uint32_t stream)
{
    comet_h2_stream_t *found = find(window, stream);

    if (found) {
        window->count--;
        memmove(found, found + 1,
                (apr_size_t)(window->streams + window->count - found)
                    * sizeof(*found));
    }
}

/* --- the connection's window --------------------------------------------- */

void comet_h2_window_split(comet_h2_window_t *window, int is_split)
{
    window->is_split = is_split;
}

/* The largest part of the window that mod_http2 gets at a time, usually a
 * quarter.  By the time mod_comet has spent the rest, the client has granted
 * more (invariant 5). */
static apr_int64_t share(const comet_h2_window_t *window)
{
    apr_int64_t quarter = window->widest / 4;

    if (!window->is_split && quarter < COMET_H2_WINDOW_FIRST) {
        return COMET_H2_WINDOW_FIRST;
    }
    return quarter < COMET_H2_WINDOW_THEIRS_MOST ? quarter
                                                 : COMET_H2_WINDOW_THEIRS_MOST;
}

static comet_h2_decision_t update_connection(comet_h2_window_t *window,
                                             apr_uint32_t increment)
{
    apr_int64_t credit = window->theirs + window->ours + increment, part;

    if (credit > COMET_H2_31_BITS) {
        return (comet_h2_decision_t){ .action = COMET_H2_FAIL };
    }
    if (credit > window->widest) {
        window->widest = credit;
    }
    part = share(window) - window->theirs;
    if (part < 0) {
        part = 0;
    }
    if (part > increment) {
        part = increment;
    }
    window->theirs += part;
    window->ours += increment - part;
    if (part == increment) {
        return (comet_h2_decision_t){ .action = COMET_H2_FORWARD };
    }
    return (comet_h2_decision_t){
        .action = part ? COMET_H2_REPLACE : COMET_H2_CONSUME,
        .number = (apr_uint32_t)part,
    };
}

apr_uint32_t comet_h2_window_lend(comet_h2_window_t *window)
{
    apr_int64_t most = share(window), little = most / 4;
    /* what can be lent; if the window is split, a reserve stays for our
     * streams */
    apr_int64_t part = window->ours - (window->is_split ? little : 0);

    if (window->theirs >= little || part <= 0) {
        return 0;
    }
    if (part > most - window->theirs) {
        part = most - window->theirs;
    }
    window->theirs += part;
    window->ours -= part;
    return (apr_uint32_t)part;
}

void comet_h2_window_swallowed(comet_h2_window_t *window, apr_uint32_t length)
{
    window->theirs -= length;
    window->ours += length;
}

/* --- what the client sends ----------------------------------------------- */

comet_h2_decision_t comet_h2_window_update(comet_h2_window_t *window,
                                           apr_uint32_t stream,
                                           apr_uint32_t increment)
{
    comet_h2_stream_t *found = stream ? find(window, stream) : NULL;

    if (!stream && increment) {
        return update_connection(window, increment);
    }
    if (!found || !found->ours) {
        if (found) {
            found->credit += increment;
        }
        return (comet_h2_decision_t){ .action = COMET_H2_FORWARD };
    }
    if (!increment) {
        /* increment 0 makes mod_http2 end the connection, whatever the
         * stream */
        return (comet_h2_decision_t){ .action = COMET_H2_REPLACE };
    }
    found->credit += increment;
    if (found->credit > COMET_H2_31_BITS) {
        comet_h2_window_end(window, stream);
        return (comet_h2_decision_t){
            .action = COMET_H2_RESET,
            .number = COMET_H2_FLOW_CONTROL_ERROR,
        };
    }
    return (comet_h2_decision_t){ .action = COMET_H2_CONSUME };
}

/* Handle SETTINGS_INITIAL_WINDOW_SIZE: every open stream's window changes by
 * the difference (section 6.9.2). */
static comet_h2_action_e set_initial(comet_h2_window_t *window,
                                     apr_uint32_t value)
{
    comet_h2_action_e action = COMET_H2_FORWARD;
    apr_int64_t more = (apr_int64_t)value - window->initial;
    apr_size_t i;

    if (value > COMET_H2_31_BITS) {
        return action; /* mod_http2 itself ends the connection because of this
                        * value */
    }
    window->initial = value;
    for (i = 0; i < window->count; i++) {
        comet_h2_stream_t *stream = &window->streams[i];

        stream->credit += more;
        if (stream->ours && stream->credit > COMET_H2_31_BITS) {
            action = COMET_H2_FAIL;
        }
    }
    return action;
}

comet_h2_action_e comet_h2_window_set(comet_h2_window_t *window,
                                      apr_uint16_t setting, apr_uint32_t value)
{
    switch (setting) {
    case COMET_H2_SETTING_INITIAL_WINDOW_SIZE:
        return set_initial(window, value);
    case COMET_H2_SETTING_MAX_FRAME_SIZE:
        if (value >= COMET_H2_FRAME_LEAST && value <= COMET_H2_FRAME_MOST) {
            window->frame_most = value;
        }
        return COMET_H2_FORWARD;
    default:
        return COMET_H2_FORWARD;
    }
}

comet_h2_action_e comet_h2_window_reset(comet_h2_window_t *window,
                                        apr_uint32_t stream)
{
    const comet_h2_stream_t *found = find(window, stream);
    int ours = found && found->ours;

    if (found && found->complete && !ours) {
        window->whole[window->next_whole++ % COMET_H2_WHOLE_MOST] = stream;
    }
    comet_h2_window_end(window, stream);
    return ours ? COMET_H2_CONSUME : COMET_H2_FORWARD;
}

/* --- what mod_http2 writes ----------------------------------------------- */

void comet_h2_window_sent(comet_h2_window_t *window, apr_uint32_t stream,
                          apr_uint32_t length)
{
    comet_h2_stream_t *found = find(window, stream);

    window->theirs -= length;
    if (found) {
        found->credit -= length;
    }
}

int comet_h2_window_take(comet_h2_window_t *window, apr_uint32_t stream)
{
    comet_h2_stream_t *found = find(window, stream);

    if (found) {
        found->ours = 1;
    }
    return found != NULL;
}

void comet_h2_window_abandon(comet_h2_window_t *window, apr_uint32_t stream)
{
    comet_h2_stream_t *found = find(window, stream);

    if (found) {
        found->abandoned = 1;
    }
}

/* --- our streams --------------------------------------------------------- */

apr_int64_t comet_h2_window_filler(const comet_h2_window_t *window,
                                   apr_uint32_t stream)
{
    const comet_h2_stream_t *found = find(window, stream);
    apr_int64_t filler = window->theirs - share(window);
    apr_int64_t most;

    if (!found) {
        return -1;
    }
    most = found->credit - COMET_H2_WINDOW_OPENING;
    if (filler > most) {
        filler = most;
    }
    if (window->theirs > window->widest / 2
        && window->theirs - filler > window->widest / 2) {
        return -1; /* the client grants more only once half of its window is
                    * used, and this filler would not use that much */
    }
    return filler > 0 ? filler : 0;
}

apr_uint32_t comet_h2_window_room(const comet_h2_window_t *window,
                                  apr_uint32_t stream)
{
    const comet_h2_stream_t *found = find(window, stream);
    apr_int64_t room = window->frame_most;

    if (!found || !found->ours || found->credit <= 0) {
        return 0;
    }
    if (room > found->credit) {
        room = found->credit;
    }
    return (apr_uint32_t)(room < window->ours ? room : window->ours);
}

void comet_h2_window_spend(comet_h2_window_t *window, apr_uint32_t stream,
                           apr_uint32_t length)
{
    comet_h2_stream_t *found = find(window, stream);

    window->ours -= length;
    if (found) {
        found->credit -= length;
    }
}
