/* SPDX-License-Identifier: Apache-2.0 */
/* Carry out what moderators ask for: delete a message, or throw a member
 * out. */
#include "dialect/moderate.h"

#include "base/name.h"
#include "server/child.h"
#include "request/reasons.h"
#include "output/answer.h"
#include "dialect/members.h"
#include "dialect/publish.h"

/* Read what a request asks to remove.
 * @return NULL, or what is wrong with it (400) */
static const char *read_removal(const request_rec *r,
                                const mod_comet_request_t *request,
                                const mod_comet_ask_t *ask,
                                comet_removal_t *removal)
{
    comet_timestamp_t timestamp = -1;
    const char *wrong;

    if (comet_params_get(&request->query, "remove", &removal->member)) {
        return comet_params_check_user(removal->member)
                   ? "remove: expected the name of a member"
               : mod_comet_members_channel(ask->channel, &removal->channel)
                   ? NULL
                   : "remove: append /@online to the channel's name in the "
                     "path";
    }
    wrong = mod_comet_ask_parse_cursor(r, request, "delete", &timestamp);
    removal->channel = ask->channel;
    removal->timestamp = timestamp;
    return wrong               ? wrong
           : timestamp <= 0    ? "delete: expected the timestamp of a message"
           : ask->channel.data ? NULL
                               : "channel: append a channel's name to the "
                                 "endpoint's path";
}

int mod_comet_moderate_change(request_rec *r, const comet_store_group_t *group,
                              const char *missing)
{
    apr_status_t status =
        comet_writer_publish(mod_comet_child_store(r)->writer, group,
                             mod_comet_config_publish_timeout(r->server));
    char buffer[200];

    if (status == COMET_EFULL) {
        return mod_comet_answer_error(
            r, HTTP_CONFLICT,
            "there are %d rules already, which is the most that can be set over "
            "HTTP: remove some, or use a pattern",
            COMET_RULES_MOST);
    }
    if (status == APR_NOTFOUND) {
        return mod_comet_answer_error(r, HTTP_NOT_FOUND, "%s", missing);
    }
    if (status != APR_SUCCESS) {
        return mod_comet_answer_error(
            r, mod_comet_reasons_store_code(status),
            status == COMET_EUNSURE
                ? "it is not known whether the change was made: %s"
                : "the change was not made: %s",
            comet_strerror(status, buffer, sizeof(buffer)));
    }
    mod_comet_answer_headers(r);
    r->status = HTTP_NO_CONTENT;
    return OK;
}

int mod_comet_moderate(request_rec *r, const mod_comet_request_t *request,
                       const mod_comet_ask_t *ask)
{
    comet_store_group_t group = { .count = 0 };
    const char *wrong = mod_comet_publish_objection(r);
    int rv;

    if (!wrong && !mod_comet_config_moderate(r)) {
        wrong = "moderating is off here (CometModerate)";
    }
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_FORBIDDEN, "%s", wrong);
    }
    rv = ap_discard_request_body(r);
    if (rv != OK) {
        return rv;
    }
    wrong = read_removal(r, request, ask, &group.removal);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    return mod_comet_moderate_change(r, &group,
                                     group.removal.member.data
                                         ? "remove: the member is not online"
                                         : "delete: there is no such message");
}
