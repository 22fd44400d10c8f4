/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP/2 connection with streams that mod_http2 believes closed. */
#include "wire/h2_session.h"

#include <string.h>

void comet_h2_session_init(comet_h2_session_t *session, comet_h2_told_cb *told,
                           void *baton)
{
    *session = (comet_h2_session_t){ .told = told, .baton = baton };
    comet_h2_scanner_init(&session->in, 1);
    comet_h2_scanner_init(&session->out, 0);
    comet_h2_window_init(&session->window);
    APR_RING_INIT(&session->ghosts, comet_h2_ghost_t, link);
}

void comet_h2_session_free(comet_h2_session_t *session)
{
    comet_h2_window_free(&session->window);
    comet_buffer_free(&session->control);
    comet_buffer_free(&session->farewell);
}

/* --- ghosts -------------------------------------------------------------- */

static comet_h2_ghost_t *find(comet_h2_session_t *session, apr_uint32_t stream)
{
    comet_h2_ghost_t *ghost;

    APR_RING_FOREACH(ghost, &session->ghosts, comet_h2_ghost_t, link)
    {
        if (ghost->stream == stream) {
            return ghost;
        }
    }
    return NULL;
}

static void become(comet_h2_session_t *session, comet_h2_ghost_t *ghost,
                   comet_h2_ghost_state_e state)
{
    ghost->state = state;
    session->told(session->baton, ghost);
}

/* Note that a stream has ended for the client as well. */
static void lose(comet_h2_session_t *session, apr_uint32_t stream)
{
    comet_h2_ghost_t *ghost = find(session, stream);

    if (ghost && ghost->state != COMET_H2_OVER
        && ghost->state != COMET_H2_LOST) {
        become(session, ghost, COMET_H2_LOST);
    }
}

apr_int64_t comet_h2_session_claim(comet_h2_session_t *session,
                                   comet_h2_ghost_t *ghost)
{
    const comet_h2_stream_t *found =
        comet_h2_window_find(&session->window, ghost->stream);
    apr_int64_t filler;

    if (!found || found->ours || found->abandoned || session->going
        || session->foreign || find(session, ghost->stream)) {
        return COMET_H2_ENDED;
    }
    if (found->has_body) {
        return COMET_H2_HAS_BODY;
    }
    comet_h2_window_split(&session->window, 1);
    filler = comet_h2_window_filler(&session->window, ghost->stream);
    if (filler == 0) {
        /* at least one byte: without DATA mod_http2 could end the stream with
         * its HEADERS */
        filler = found->credit > 0 ? 1 : COMET_H2_NO_WINDOW;
    }
    if (filler > 0) {
        ghost->state = COMET_H2_CLAIMED;
        APR_RING_INSERT_TAIL(&session->ghosts, ghost, comet_h2_ghost_t, link);
        session->count++;
    }
    comet_h2_window_split(&session->window, session->count > 0);
    return filler;
}

void comet_h2_session_drop(comet_h2_session_t *session, comet_h2_ghost_t *ghost)
{
    if (ghost->state == COMET_H2_OURS) {
        comet_h2_frame_add_reset(&session->control, ghost->stream,
                                 COMET_H2_CANCEL);
        comet_h2_window_end(&session->window, ghost->stream);
    }
    else if (ghost->state == COMET_H2_CLAIMED) {
        comet_h2_window_abandon(&session->window, ghost->stream);
    }
    APR_RING_REMOVE(ghost, link);
    session->count--;
    comet_h2_window_split(&session->window, session->count > 0);
    comet_buffer_free(&ghost->bytes);
    ghost->taken = 0;
}

apr_size_t comet_h2_session_alive(const comet_h2_session_t *session)
{
    const comet_h2_ghost_t *ghost;
    apr_size_t alive = 0;

    APR_RING_FOREACH(ghost, &session->ghosts, comet_h2_ghost_t, link)
    {
        alive +=
            ghost->state == COMET_H2_CLAIMED || ghost->state == COMET_H2_OURS;
    }
    return alive;
}

void comet_h2_session_lose(comet_h2_session_t *session)
{
    comet_h2_ghost_t *ghost;

    session->going = 1;
    APR_RING_FOREACH(ghost, &session->ghosts, comet_h2_ghost_t, link)
    {
        if (ghost->state != COMET_H2_OVER) {
            become(session, ghost, COMET_H2_LOST);
        }
    }
}

/* --- what the client sends ------------------------------------------------ */

static void add_piece(comet_h2_session_t *session, comet_buffer_t *to)
{
    comet_buffer_add(to, (const char *)session->in.bytes, session->in.length);
}

/* Reset a ghost's stream, because the client has broken a rule. */
static void refuse(comet_h2_session_t *session, apr_uint32_t stream,
                   comet_h2_error_e error)
{
    comet_h2_frame_add_reset(&session->control, stream, error);
    lose(session, stream);
}

static void take_update(comet_h2_session_t *session, comet_buffer_t *to)
{
    const comet_h2_scanner_t *in = &session->in;
    comet_h2_decision_t decision =
        comet_h2_window_update(&session->window, in->frame.stream, in->value);

    switch (decision.action) {
    case COMET_H2_FORWARD:
        add_piece(session, to);
        break;
    case COMET_H2_CONSUME:
        break;
    case COMET_H2_REPLACE:
        comet_h2_frame_add_update(to, 0, decision.number);
        break;
    case COMET_H2_RESET:
        refuse(session, in->frame.stream, (comet_h2_error_e)decision.number);
        break;
    case COMET_H2_FAIL:
        comet_h2_frame_add_overflow(to);
        break;
    }
}

/* Refuse what a client sends on a stream that it has ended (RFC 9113, section
 * 5.1, "half-closed (remote)").  mod_http2 ignores it, because it believes the
 * stream closed. */
static void refuse_more(comet_h2_session_t *session, apr_uint32_t stream)
{
    const comet_h2_ghost_t *ghost = find(session, stream);

    if (ghost && ghost->state == COMET_H2_OURS) {
        comet_h2_window_end(&session->window, stream);
        refuse(session, stream, COMET_H2_STREAM_CLOSED);
    }
}

/* Whether this frame is a GOAWAY that must be held back because there are
 * ghosts: mod_http2 knows of no open stream and would end the connection.  If
 * the frame reports an error, take_farewell() passes it on after all.  A frame
 * that is too long goes to mod_http2 at once, which then ends the connection, so
 * no client makes the server keep more than 16 KB. */
static int is_farewell(const comet_h2_session_t *session)
{
    const comet_h2_frame_t *frame = &session->in.frame;

    return frame->type == COMET_H2_GOAWAY && frame->stream == 0
           && frame->length >= COMET_H2_GOAWAY_LEAST
           && frame->length <= COMET_H2_FRAME_LEAST && session->count > 0;
}

static void take_frame(comet_h2_session_t *session, comet_buffer_t *to)
{
    const comet_h2_scanner_t *in = &session->in;
    const comet_h2_frame_t *frame = &in->frame;

    session->skipping = is_farewell(session);
    if (session->skipping) {
        comet_buffer_clear(&session->farewell);
        add_piece(session, &session->farewell);
        return;
    }
    if (frame->type == COMET_H2_DATA || frame->type == COMET_H2_HEADERS) {
        refuse_more(session, frame->stream);
    }
    if (frame->type == COMET_H2_WINDOW_UPDATE && in->has_value) {
        take_update(session, to);
        return;
    }
    if (frame->type == COMET_H2_RST_STREAM && in->has_value) {
        comet_h2_action_e action =
            comet_h2_window_reset(&session->window, frame->stream);

        lose(session, frame->stream);
        if (action == COMET_H2_CONSUME) {
            return;
        }
    }
    if (frame->type == COMET_H2_HEADERS) {
        comet_h2_window_open(&session->window, frame->stream,
                             !(frame->flags & COMET_H2_FLAG_END_STREAM));
    }
    add_piece(session, to);
}

static void take_piece(comet_h2_session_t *session, comet_h2_piece_e piece,
                       comet_buffer_t *to)
{
    switch (piece) {
    case COMET_H2_FRAME:
        take_frame(session, to);
        break;
    case COMET_H2_SETTING:
        session->overflow |=
            comet_h2_window_set(&session->window, session->in.setting,
                                session->in.value)
            == COMET_H2_FAIL;
        add_piece(session, to);
        break;
    case COMET_H2_PREFACE:
        add_piece(session, to);
        break;
    case COMET_H2_FOREIGN:
        session->foreign = 1;
        add_piece(session, to);
        break;
    case COMET_H2_MORE:
    case COMET_H2_PAYLOAD:
        break;
    }
    if (session->overflow && comet_h2_scanner_is_between(&session->in)) {
        session->overflow = 0;
        comet_h2_frame_add_overflow(to);
    }
}

/* Take a part of the payload of GOAWAY.  Pass the frame on as soon as an error
 * code other than NO_ERROR is known. */
static void take_farewell(comet_h2_session_t *session, comet_text_t bytes,
                          comet_buffer_t *to)
{
    static const char no_error[COMET_H2_NUMBER_BYTES];
    comet_buffer_t *farewell = &session->farewell;
    apr_size_t least = COMET_H2_HEADER_BYTES + COMET_H2_GOAWAY_LEAST;

    comet_buffer_add(farewell, bytes.data, bytes.length);
    to->failed |= farewell->failed;
    if (farewell->length >= least
        && memcmp(farewell->data + least - sizeof(no_error), no_error,
                  sizeof(no_error))
               != 0) {
        session->skipping = 0;
        comet_buffer_add(to, farewell->data, farewell->length);
    }
}

static void take_payload(comet_h2_session_t *session, comet_text_t bytes,
                         comet_buffer_t *to)
{
    if (session->skipping) {
        take_farewell(session, bytes, to);
    }
    else {
        comet_buffer_add(to, bytes.data, bytes.length);
    }
}

/* Note whether the client's frame, if it has arrived completely, ends its
 * request. */
static void note_end(comet_h2_session_t *session)
{
    const comet_h2_frame_t *frame = &session->in.frame;

    if ((frame->type == COMET_H2_DATA || frame->type == COMET_H2_HEADERS)
        && (frame->flags & COMET_H2_FLAG_END_STREAM)
        && !comet_h2_scanner_left(&session->in)) {
        comet_h2_window_complete(&session->window, frame->stream);
    }
}

void comet_h2_session_in(comet_h2_session_t *session, comet_text_t bytes,
                         comet_buffer_t *to)
{
    while (bytes.length) {
        comet_h2_piece_e piece = comet_h2_scanner_take(&session->in, &bytes);

        if (piece == COMET_H2_PAYLOAD) {
            apr_size_t length = comet_h2_scanner_left(&session->in);

            if (length > bytes.length) {
                length = bytes.length;
            }
            take_payload(session, (comet_text_t){ bytes.data, length }, to);
            comet_h2_scanner_skip(&session->in, length);
            bytes.data += length;
            bytes.length -= length;
        }
        take_piece(session, piece, to);
        if (piece == COMET_H2_FRAME || piece == COMET_H2_PAYLOAD) {
            note_end(session);
        }
    }
}

comet_h2_extent_e comet_h2_session_extent(const comet_h2_session_t *session,
                                          apr_uint32_t stream)
{
    return session->foreign ? COMET_H2_UNKNOWN
                            : comet_h2_window_extent(&session->window, stream);
}

void comet_h2_session_lend(comet_h2_session_t *session, comet_buffer_t *to)
{
    apr_uint32_t more = comet_h2_scanner_is_between(&session->in)
                            ? comet_h2_window_lend(&session->window)
                            : 0;

    if (more) {
        comet_h2_frame_add_update(to, 0, more);
    }
}

int comet_h2_session_can_lend(const comet_h2_session_t *session)
{
    comet_h2_window_t window = session->window; /* a copy, to find out what
                                                 * lending would give */

    return comet_h2_scanner_is_between(&session->in)
           && comet_h2_window_lend(&window) > 0;
}

/* --- what mod_http2 writes ------------------------------------------------ */

/* Drop DATA, and the end of the stream, if mod_http2 sends them on a claimed or
 * abandoned stream.
 * @param ghost  NULL: the stream was abandoned */
static void swallow(comet_h2_session_t *session, comet_h2_ghost_t *ghost)
{
    const comet_h2_frame_t *frame = &session->out.frame;
    int ends = (frame->flags & COMET_H2_FLAG_END_STREAM) != 0;

    comet_h2_window_swallowed(&session->window, frame->length);
    session->dropping = 1;
    if (ends && !ghost) {
        comet_h2_frame_add_reset(&session->control, frame->stream,
                                 COMET_H2_CANCEL);
        comet_h2_window_end(&session->window, frame->stream);
    }
    else if (ends && ghost->state == COMET_H2_CLAIMED) {
        become(session, ghost,
               comet_h2_window_take(&session->window, frame->stream)
                   ? COMET_H2_OURS
                   : COMET_H2_LOST);
    }
}

static int is_abandoned(const comet_h2_session_t *session, apr_uint32_t stream)
{
    const comet_h2_stream_t *found =
        comet_h2_window_find(&session->window, stream);

    return found && found->abandoned;
}

static void write_frame(comet_h2_session_t *session)
{
    const comet_h2_frame_t *frame = &session->out.frame;
    comet_h2_ghost_t *ghost = find(session, frame->stream);
    int ends = (frame->type == COMET_H2_DATA || frame->type == COMET_H2_HEADERS)
               && (frame->flags & COMET_H2_FLAG_END_STREAM);

    session->dropping = 0;
    if (frame->type == COMET_H2_DATA
        && (ghost || is_abandoned(session, frame->stream))) {
        swallow(session, ghost);
        return;
    }
    if (frame->type == COMET_H2_DATA) {
        comet_h2_window_sent(&session->window, frame->stream, frame->length);
    }
    if (frame->type == COMET_H2_RST_STREAM || ends) {
        comet_h2_window_end(&session->window, frame->stream);
        lose(session, frame->stream);
    }
    session->going |= frame->type == COMET_H2_GOAWAY;
}

int comet_h2_session_out(comet_h2_session_t *session, comet_h2_piece_e piece)
{
    if (piece == COMET_H2_FRAME) {
        write_frame(session);
    }
    session->foreign |= piece == COMET_H2_FOREIGN;
    return !session->dropping;
}

/* --- what mod_comet sends ------------------------------------------------- */

static int has_bytes(const comet_h2_ghost_t *ghost)
{
    return ghost->taken < ghost->bytes.length;
}

static int can_go(const comet_h2_session_t *session,
                  const comet_h2_ghost_t *ghost)
{
    return ghost->state == COMET_H2_OURS
           && (has_bytes(ghost)
                   ? comet_h2_window_room(&session->window, ghost->stream) > 0
                   : ghost->ends);
}

int comet_h2_session_has_frames(const comet_h2_session_t *session)
{
    const comet_h2_ghost_t *ghost;

    if (session->control.length) {
        return 1;
    }
    APR_RING_FOREACH(ghost, &session->ghosts, comet_h2_ghost_t, link)
    {
        if (can_go(session, ghost)) {
            return 1;
        }
    }
    return 0;
}

/* Append one frame with a ghost's bytes. */
static void take_data(comet_h2_session_t *session, comet_h2_ghost_t *ghost,
                      comet_buffer_t *to)
{
    comet_text_t text = { ghost->bytes.data, 0 };
    apr_uint32_t room = comet_h2_window_room(&session->window, ghost->stream);
    int ends;

    if (has_bytes(ghost)) {
        text.data += ghost->taken;
        text.length = ghost->bytes.length - ghost->taken;
    }
    if (text.length > room) {
        text.length = room;
    }
    if (text.length > COMET_H2_FRAME_LEAST) {
        text.length = COMET_H2_FRAME_LEAST;
    }
    ghost->taken += text.length;
    ends = ghost->ends && !has_bytes(ghost);
    comet_h2_frame_add_data(to, ghost->stream, text, COMET_H2_FRAME_LEAST,
                            ends);
    comet_h2_window_spend(&session->window, ghost->stream,
                          (apr_uint32_t)text.length);
    if (!has_bytes(ghost)) {
        comet_buffer_free(&ghost->bytes);
        ghost->taken = 0;
        if (ends) {
            comet_h2_window_end(&session->window, ghost->stream);
        }
        become(session, ghost, ends ? COMET_H2_OVER : COMET_H2_OURS);
    }
}

/* Find the next ghost that can send.  The ghosts take turns: after its turn a
 * ghost goes to the end of the ring. */
static comet_h2_ghost_t *next_ghost(comet_h2_session_t *session)
{
    comet_h2_ghost_t *ghost;

    APR_RING_FOREACH(ghost, &session->ghosts, comet_h2_ghost_t, link)
    {
        if (can_go(session, ghost)) {
            APR_RING_REMOVE(ghost, link);
            APR_RING_INSERT_TAIL(&session->ghosts, ghost, comet_h2_ghost_t,
                                 link);
            return ghost;
        }
    }
    return NULL;
}

void comet_h2_session_take(comet_h2_session_t *session, apr_size_t most,
                           comet_buffer_t *to)
{
    comet_h2_ghost_t *ghost;

    if (!comet_h2_scanner_is_between(&session->out)) {
        return;
    }
    comet_buffer_add(to, session->control.data, session->control.length);
    to->failed |= session->control.failed;
    comet_buffer_clear(&session->control);
    while (to->length < most && (ghost = next_ghost(session)) != NULL) {
        take_data(session, ghost, to);
    }
}
