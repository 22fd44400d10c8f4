/* SPDX-License-Identifier: Apache-2.0 */
/* List who is in a channel now. */
#include "dialect/members.h"

#include "base/buffer.h"
#include "wire/encode.h"
#include "request/presence.h"
#include "output/answer.h"
#include "dialect/reading.h"

#define SUFFIX_BYTES (sizeof(COMET_ONLINE_SUFFIX) - 1)
#define LIMIT_DEFAULT COMET_LIMIT_MAX

/** An answer that is being built. */
typedef struct members_t {
    comet_buffer_t list; /* the members, in JSON */
    apr_int64_t count; /* how many members the list has */
    comet_online_totals_t totals;
    comet_store_state_t state;
} members_t;

int mod_comet_members_channel(comet_text_t sibling, comet_text_t *channel)
{
    if (!sibling.data || sibling.length <= SUFFIX_BYTES
        || memcmp(sibling.data + sibling.length - SUFFIX_BYTES,
                  COMET_ONLINE_SUFFIX, SUFFIX_BYTES)
               != 0) {
        return 0;
    }
    *channel = (comet_text_t){ sibling.data, sibling.length - SUFFIX_BYTES };
    return 1;
}

static int add_member(void *baton, const comet_online_member_t *member)
{
    members_t *members = baton;
    comet_buffer_t *list = &members->list;

    comet_buffer_puts(list, members->count++ ? ",\n  {\"member\": "
                                             : "\n  {\"member\": ");
    comet_encode_json(list, member->member);
    comet_buffer_puts(list, ", \"since\": ");
    comet_buffer_add_int(list, member->since);
    if (member->info.data) {
        comet_buffer_puts(list, ", \"info\": ");
        comet_encode_json(list, member->info);
    }
    comet_buffer_puts(list, "}");
    return 1;
}

/* @param limit  0: no member is listed */
static apr_status_t look_up(request_rec *r, mod_comet_ask_t *ask,
                            comet_text_t channel, comet_text_t after,
                            apr_size_t limit, members_t *members)
{
    comet_store_t *store;
    apr_status_t status = mod_comet_reading_take(r, ask, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_begin(store, &members->state);
    }
    if (status == APR_SUCCESS) {
        status = comet_online_list(store, channel, after, limit, add_member,
                                   members, &members->totals);
        comet_store_end(store);
    }
    mod_comet_reading_return(r, store, status);
    return status;
}

static int answer(request_rec *r, const members_t *members, int is_listed)
{
    comet_buffer_t body = { .data = NULL };
    int rv;

    comet_buffer_puts(&body, "{");
    if (is_listed) {
        comet_buffer_puts(&body, "\"members\": [");
        comet_buffer_add(&body, members->list.data, members->list.length);
        comet_buffer_puts(&body, "],\n ");
    }
    comet_buffer_puts(&body, "\"count\": ");
    comet_buffer_add_int(&body, members->totals.members);
    comet_buffer_puts(&body, ", \"most\": ");
    comet_buffer_add_int(&body, members->totals.most);
    comet_buffer_puts(&body, ", \"anonymous\": ");
    comet_buffer_add_int(&body, members->totals.anonymous);
    comet_buffer_puts(&body, ", \"timestamp\": ");
    comet_buffer_add_int(&body, members->state.last);
    comet_buffer_puts(&body, "}\n");
    body.failed |= members->list.failed;
    rv = mod_comet_answer_count(r, &body);
    if (rv == DECLINED) {
        rv = mod_comet_answer_reader(r, "application/json; charset=utf-8",
                                     &body);
    }
    comet_buffer_free(&body);
    return rv;
}

int mod_comet_members_answer(request_rec *r, const mod_comet_request_t *request,
                             mod_comet_ask_t *ask)
{
    apr_int64_t mode = mod_comet_config_presence(r), limit = LIMIT_DEFAULT;
    comet_text_t channel, after = { NULL, 0 };
    members_t members = { .count = 0 };
    const char *wrong;
    apr_status_t status;
    int rv;

    if (mode == MOD_COMET_PRESENCE_OFF) {
        return mod_comet_answer_error(r, HTTP_FORBIDDEN,
                                      "members: presence is off here "
                                      "(CometPresence)");
    }
    if (!mod_comet_members_channel(ask->channel, &channel)) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                      "members: append /@online to the "
                                      "channel's name in the path");
    }
    wrong = mod_comet_ask_parse_int(r, request, "limit", 1, COMET_LIMIT_MAX,
                                    &limit);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    comet_params_get(&request->query, "after", &after);
    if (!comet_params_is_text(after)) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                      "after: expected the name of a member");
    }
    status = look_up(r, ask, channel, after,
                     mode == MOD_COMET_PRESENCE_ON ? (apr_size_t)limit : 0,
                     &members);
    if (members.totals.most < 0) { /* nobody is there */
        members.totals.most = mode == MOD_COMET_PRESENCE_ON
                                  ? mod_comet_config_presence_most(r)
                                  : 0;
    }
    if (status != APR_SUCCESS) {
        rv = mod_comet_reading_refuse(r, ask, status, "the members");
    }
    else {
        rv = answer(r, &members, mode == MOD_COMET_PRESENCE_ON);
    }
    comet_buffer_free(&members.list);
    return rv;
}
