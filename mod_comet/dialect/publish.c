/* SPDX-License-Identifier: Apache-2.0 */
/* Store the messages of a request. */
#include "dialect/publish.h"

#include <apr_strings.h>

#include "base/name.h"
#include "request/access.h"
#include "server/child.h"
#include "dialect/reading.h"
#include "request/limits.h"
#include "output/answer.h"
#include "request/reasons.h"
#include "request/body.h"
#include "wait/h2.h"
#include "wait/park.h"

int mod_comet_publish_refuse(request_rec *r, int status, const char *reason)
{
    comet_metrics_add(COMET_METRIC_publish_refused, 1);
    return mod_comet_answer_error(r, status, "%s", reason);
}

int mod_comet_publish_refuse_length(request_rec *r)
{
    return mod_comet_publish_refuse(
        r, HTTP_REQUEST_ENTITY_TOO_LARGE,
        apr_psprintf(r->pool,
                     "the message is too long: at most "
                     "%" APR_INT64_T_FMT
                     " bytes are allowed (CometMaxMessageSize)",
                     mod_comet_config_max_message_bytes(r->server)));
}

int mod_comet_publish_refuse_by_store(request_rec *r, apr_status_t status)
{
    if (status == COMET_EMOVED) {
        mod_comet_reading_drop(r);
    }
    return mod_comet_publish_refuse(
        r, mod_comet_reasons_store_code(status),
        mod_comet_reasons_store_text(status, r->pool));
}

const char *mod_comet_publish_objection(const request_rec *r)
{
    return mod_comet_config_publish(r)
               ? mod_comet_access_refuse_publish(r)
               : "publishing is off here (CometPublish)";
}

/* Refuse an encoded body.  The answer says which codings are accepted (RFC
 * 9110, 15.5.16). */
static int refuse_encoding(request_rec *r)
{
    apr_table_setn(r->headers_out, "Accept-Encoding", "identity");
    return mod_comet_publish_refuse(
        r, HTTP_UNSUPPORTED_MEDIA_TYPE,
        apr_psprintf(r->pool,
                     "Content-Encoding: %s is not decoded here: send the body "
                     "without it, or let httpd decode it (SetInputFilter "
                     "DEFLATE)",
                     apr_table_get(r->headers_in, "Content-Encoding")));
}

int mod_comet_publish_read_body(request_rec *r, apr_size_t limit,
                                comet_text_t *body)
{
    int rv = mod_comet_body_read(r, limit, body);

    return rv == OK && mod_comet_h2_is_cut(r) ? HTTP_BAD_REQUEST : rv;
}

int mod_comet_publish_refuse_body(request_rec *r, int status)
{
    if (status == HTTP_UNSUPPORTED_MEDIA_TYPE) {
        return refuse_encoding(r);
    }
    return status == AP_FILTER_ERROR ? status /* it was answered already */
           : status == HTTP_SERVICE_UNAVAILABLE
               ? mod_comet_publish_refuse_by_store(r, APR_ENOMEM)
               : mod_comet_publish_refuse(
                   r, status, "the request's body could not be read");
}

const char *mod_comet_publish_find_author(const request_rec *r,
                                          comet_text_t *author)
{
    *author = comet_text(r->user);
    return author->length > COMET_AUTHOR_MAX_BYTES
                   || !comet_encode_is_utf8(*author)
               ? "author: the user's name must be UTF-8 of at "
                 "most 255 bytes"
               : NULL;
}

static apr_status_t unref_message(void *message)
{
    comet_message_unref(message);
    return APR_SUCCESS;
}

int mod_comet_publish_make_message(request_rec *r,
                                   const comet_message_fields_t *fields,
                                   comet_message_t **message)
{
    *message = comet_message_create(fields);
    if (*message) {
        apr_pool_cleanup_register(r->pool, *message, unref_message,
                                  apr_pool_cleanup_null);
    }
    return *message != NULL;
}

/* Find out why a request may not publish to its channels.  Only the server, and
 * programs that write to the database, publish to sibling channels. */
static const char *find_reserved(const comet_store_group_t *group)
{
    apr_size_t i;

    for (i = 0; i < group->count; i++) {
        if (comet_name_is_reserved(group->messages[i]->channel)) {
            return "channel: no segment of its name may begin with @: the "
                   "server publishes to such channels itself";
        }
    }
    return NULL;
}

int mod_comet_publish_store(request_rec *r, comet_store_group_t *group,
                            int *again, int *answered)
{
    comet_writer_t *writer = mod_comet_child_store(r)->writer;
    mod_comet_story_t *story = &mod_comet_request(r)->story;
    const char *wrong = find_reserved(group);
    apr_status_t status;

    if (wrong) {
        *answered = mod_comet_publish_refuse(r, HTTP_FORBIDDEN, wrong);
        return DONE;
    }
    wrong = mod_comet_limits_publish(r, group->count);
    if (wrong) {
        *answered = mod_comet_publish_refuse(r, HTTP_TOO_MANY_REQUESTS, wrong);
        return DONE;
    }
    if (group->key.text.data) {
        comet_store_hash(group);
    }
    if (!mod_comet_park_finish_publish(r, group, &status)) {
        status = comet_writer_publish(
            writer, group, mod_comet_config_publish_timeout(r->server));
    }
    *again = status == COMET_EREPEATED;
    if (status == APR_SUCCESS) {
        comet_metrics_add(COMET_METRIC_published, (int)group->count);
        story->end = MOD_COMET_END_published;
        story->messages = (apr_int64_t)group->count;
    }
    else if (*again) {
        comet_metrics_add(COMET_METRIC_repeated, 1);
        story->end = MOD_COMET_END_repeated;
    }
    else {
        *answered = mod_comet_publish_refuse_by_store(r, status);
        return DONE;
    }
    story->cursor = group->messages[group->count - 1]->timestamp;
    return OK;
}

int mod_comet_publish_store_one(request_rec *r,
                                const comet_message_fields_t *fields,
                                comet_store_group_t *group, int *again,
                                int *answered)
{
    const char *wrong = comet_params_check_body(fields->body);
    comet_message_t **room = apr_palloc(r->pool, sizeof(*room));

    if (fields->body.length
        > (apr_size_t)mod_comet_config_max_message_bytes(r->server)) {
        *answered = mod_comet_publish_refuse_length(r);
        return DONE;
    }
    if (wrong) {
        *answered = mod_comet_publish_refuse(r, HTTP_BAD_REQUEST, wrong);
        return DONE;
    }
    if (!mod_comet_publish_make_message(r, fields, room)) {
        *answered = mod_comet_publish_refuse_by_store(r, APR_ENOMEM);
        return DONE;
    }
    group->messages = room;
    group->count = 1;
    return mod_comet_publish_store(r, group, again, answered);
}
