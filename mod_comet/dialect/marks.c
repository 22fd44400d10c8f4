/* SPDX-License-Identifier: Apache-2.0 */
/* Read marks: how far a user has read a channel. */
#include "dialect/marks.h"

#include "base/buffer.h"
#include "base/name.h"
#include "server/child.h"
#include "request/access.h"
#include "request/limits.h"
#include "request/presence.h"
#include "output/answer.h"
#include "dialect/reading.h"

/* Unread messages are counted up to this number, so that pages can show
 * "99+". */
#define UNREAD_MOST 100

/* Find out why the client cannot have a read mark in the channel of its URL.
 * @param status  OUT: the HTTP status
 * @return NULL: the client can */
static const char *find_objection(const request_rec *r,
                                  const mod_comet_ask_t *ask, int *status)
{
    *status = HTTP_FORBIDDEN;
    if (mod_comet_config_presence(r) == MOD_COMET_PRESENCE_OFF) {
        return "presence is off here (CometPresence)";
    }
    if (!mod_comet_presence_member(r).length) {
        return "only an authenticated user has a read mark, and the name must "
               "be UTF-8 of at most 255 bytes";
    }
    *status = HTTP_BAD_REQUEST;
    return !ask->channel.data || comet_name_is_sibling(ask->channel)
                   || ask->channel.length > COMET_ONLINE_CHANNEL_MAX_BYTES
               ? "append the name of a channel to the endpoint's path; it must "
                 "have at most 247 bytes, and not be a sibling such as "
                 "room/@online"
               : NULL;
}

/* Find the newest timestamp in the store. */
static apr_status_t find_last(request_rec *r, mod_comet_ask_t *ask,
                              comet_store_state_t *state)
{
    comet_store_t *store;
    apr_status_t status = mod_comet_reading_take(r, ask, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_state(store, state);
    }
    mod_comet_reading_return(r, store, status);
    return status;
}

static apr_status_t mark(request_rec *r, const mod_comet_ask_t *ask,
                         comet_timestamp_t read_at)
{
    int is_on = mod_comet_config_presence(r) == MOD_COMET_PRESENCE_ON;
    const comet_room_t room = {
        .channel = ask->channel,
        .most = is_on ? mod_comet_config_presence_most(r) : 0,
    };
    mod_comet_presence_visitor_t visitor;

    mod_comet_presence_visitor(r, &visitor);
    return comet_presence_mark(
        comet_writer_presence(mod_comet_child_store(r)->writer), &room,
        &visitor.who, read_at);
}

int mod_comet_marks_set(request_rec *r, const mod_comet_request_t *request,
                        mod_comet_ask_t *ask)
{
    comet_timestamp_t read_at = -1;
    comet_store_state_t state;
    const char *wrong = mod_comet_access_refuse_publish(r);
    apr_status_t status;
    int rv = HTTP_FORBIDDEN;

    if (!wrong) {
        wrong = find_objection(r, ask, &rv);
    }
    if (wrong) {
        return mod_comet_answer_error(r, rv, "read: %s", wrong);
    }
    rv = ap_discard_request_body(r);
    if (rv != OK) {
        return rv;
    }
    wrong = mod_comet_ask_parse_cursor(r, request, "read", &read_at);
    if (wrong || read_at < 0) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s",
                                      wrong ? wrong
                                            : "read: expected a timestamp");
    }
    wrong = mod_comet_limits_mark(r);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_TOO_MANY_REQUESTS, "read: %s",
                                      wrong);
    }
    status = find_last(r, ask, &state);
    if (status == APR_SUCCESS && read_at > state.last) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                      "read: this timestamp is later than the "
                                      "newest message");
    }
    if (status == APR_SUCCESS) {
        status = mark(r, ask, read_at);
    }
    if (status == COMET_EBUSY) {
        return mod_comet_answer_error(
            r, HTTP_TOO_MANY_REQUESTS,
            "read: this user has set marks in too many "
            "channels; try again in one second");
    }
    if (status != APR_SUCCESS) {
        return mod_comet_reading_refuse(r, ask, status, "the marks");
    }
    mod_comet_answer_headers(r);
    r->status = HTTP_NO_CONTENT;
    return OK;
}

static apr_status_t look_up(request_rec *r, mod_comet_ask_t *ask,
                            comet_timestamp_t *read_at, apr_int64_t *count,
                            comet_store_state_t *state)
{
    comet_store_t *store;
    apr_status_t status = mod_comet_reading_take(r, ask, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_begin(store, state);
    }
    if (status == APR_SUCCESS) {
        status = comet_online_unread(store, ask->channel,
                                     mod_comet_presence_member(r), UNREAD_MOST,
                                     read_at, count);
        comet_store_end(store);
    }
    mod_comet_reading_return(r, store, status);
    return status;
}

int mod_comet_marks_answer(request_rec *r, mod_comet_ask_t *ask)
{
    comet_buffer_t body = { .data = NULL };
    comet_store_state_t state;
    comet_timestamp_t read_at;
    apr_int64_t count;
    apr_status_t status;
    int rv;
    const char *wrong = find_objection(r, ask, &rv);

    if (wrong) {
        return mod_comet_answer_error(r, rv, "unread: %s", wrong);
    }
    status = look_up(r, ask, &read_at, &count, &state);
    if (status != APR_SUCCESS) {
        return mod_comet_reading_refuse(r, ask, status, "the marks");
    }
    comet_buffer_puts(&body, "{\"unread\": ");
    comet_buffer_add_int(&body, count);
    comet_buffer_puts(&body, ", \"read\": ");
    comet_buffer_add_int(&body, read_at);
    comet_buffer_puts(&body, ", \"timestamp\": ");
    comet_buffer_add_int(&body, state.last);
    comet_buffer_puts(&body, "}\n");
    rv = mod_comet_answer_body(r, HTTP_OK, "application/json; charset=utf-8",
                               &body);
    comet_buffer_free(&body);
    return rv;
}
