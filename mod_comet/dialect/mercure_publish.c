/* SPDX-License-Identifier: Apache-2.0 */
/* Publish by the Mercure protocol.  The body is a form with topics and data. */
#include "dialect/mercure.h"

#include <apr_strings.h>

#include "output/answer.h"
#include "request/body.h"
#include "wire/event_id.h"
#include "dialect/post.h"
#include "dialect/publish.h"

/* How many bytes a form may have in addition to its `data`, counted before it
 * is encoded.  (A byte can take three when encoded.) */
#define REST_BYTES (64 * 1024)

/** An update to publish. */
typedef struct update_t {
    mod_comet_mercure_t *mercure;
    comet_params_t form;
    comet_message_fields_t fields;
    apr_array_header_t *names; /* comet_text_t: the channels that the topics
                                * name */
    apr_array_header_t *topics; /* comet_text_t */
} update_t;

static int refuse(const update_t *update, int status, const char *text)
{
    comet_metrics_add(COMET_METRIC_publish_refused, 1);
    return mod_comet_mercure_refuse(update->mercure->r, status, text);
}

/* Refuse to publish, because the token does not grant publishing. */
static int refuse_grant(const update_t *update, const char *text)
{
    request_rec *r = update->mercure->r;

    mod_comet_token_challenge(r, "insufficient_scope", text, NULL);
    return update->mercure->is_v1
               ? refuse(update, HTTP_FORBIDDEN, text)
               : refuse(update, HTTP_UNAUTHORIZED,
                        apr_pstrcat(r->pool, "Unauthorized: ", text, NULL));
}

/* --- fields -------------------------------------------------------------------- */


static const char *read_id(const update_t *update, comet_text_t *id)
{
    if (!comet_params_get(&update->form, "id", id) || !id->length) {
        *id = (comet_text_t){ .data = NULL };
        return NULL;
    }
    if (!comet_event_id_is_valid(*id)) {
        return "id: expected at most 255 bytes of UTF-8 without control "
               "characters";
    }
    return id->data[0] == '#' || comet_text_equal(*id, comet_text("earliest"))
               ? "id: must not begin with #, and must not be \"earliest\", "
                 "which is reserved"
               : NULL;
}

static const char *read_type(const update_t *update, comet_text_t *type)
{
    if (!comet_params_get(&update->form, "type", type) || !type->length) {
        return NULL;
    }
    return update->mercure->is_v1
                   && comet_text_equal(*type, comet_text("mercure"))
               ? "type: mercure is reserved"
               : comet_params_check_type(*type);
}

static const char *read_retry(const update_t *update, int *msec)
{
    apr_int64_t number = 0;
    comet_text_t text;
    const char *wrong = NULL;

    if (comet_params_get(&update->form, "retry", &text) && text.length) {
        wrong = comet_params_int(text, "retry", 0, APR_INT32_MAX, &number,
                                 update->mercure->r->pool);
    }
    *msec = (int)number;
    return wrong;
}

/* @return NULL, or what is wrong */
static const char *read_topics(update_t *update)
{
    apr_size_t i;

    for (i = 0; i < update->form.count; i++) {
        const comet_param_t *param = &update->form.list[i];
        comet_text_t name;
        const char *wrong;

        if (!comet_text_equal(param->name, comet_text("topic"))) {
            continue;
        }
        if (update->mercure->is_v1
            && comet_text_equal(param->value, comet_text("*"))) {
            return "topic: a star alone is reserved";
        }
        wrong = mod_comet_mercure_name(update->mercure, param->value, &name);
        if (wrong) {
            return wrong;
        }
        APR_ARRAY_PUSH(update->topics, comet_text_t) = param->value;
        APR_ARRAY_PUSH(update->names, comet_text_t) = name;
    }
    return update->topics->nelts ? NULL : "Missing \"topic\" parameter.";
}

/* --- topics -------------------------------------------------------------------- */

static int is_granted(const update_t *update)
{
    const apr_array_header_t *grants =
        update->mercure->token->claims.mercure.publish;
    int i;

    for (i = 0; i < update->topics->nelts; i++) {
        if (!comet_mercure_covers(
                grants, APR_ARRAY_IDX(update->topics, i, comet_text_t))) {
            return 0;
        }
    }
    return 1;
}

/* Whether one of the topics is in the hub's own namespace. */
static int is_reserved(const update_t *update)
{
    static const char space[] = "/.well-known/mercure";
    int i;

    for (i = 0; i < update->topics->nelts; i++) {
        comet_text_t topic = APR_ARRAY_IDX(update->topics, i, comet_text_t);

        if (topic.length
            && memmem(topic.data, topic.length, space, sizeof(space) - 1)) {
            return 1;
        }
    }
    return 0;
}

/* Make the first topic the message's channel, and the others its alternates. */
static void set_channels(update_t *update)
{
    apr_pool_t *pool = update->mercure->r->pool;
    char *list = NULL;
    int i;

    update->fields.channel = APR_ARRAY_IDX(update->names, 0, comet_text_t);
    if (update->names->nelts > 1) {
        apr_array_header_t *texts =
            apr_array_make(pool, update->names->nelts, sizeof(char *));

        for (i = 1; i < update->names->nelts; i++) {
            APR_ARRAY_PUSH(texts, const char *) =
                APR_ARRAY_IDX(update->names, i, comet_text_t).data;
        }
        list = apr_array_pstrcat(pool, texts, '\n');
    }
    update->fields.update.alternates = comet_text(list);
}

/* --- storing ------------------------------------------------------------------- */

static int answer_id(const update_t *update, const comet_message_t *message)
{
    comet_buffer_t body = { .data = NULL };
    int rv;

    comet_event_id_add(&body, message);
    rv = mod_comet_answer_body(update->mercure->r, HTTP_OK,
                               "text/plain; charset=utf-8", &body);
    comet_buffer_free(&body);
    return rv;
}

static int store(update_t *update)
{
    comet_store_group_t group = { .count = 0 };
    int again, answered;

    return mod_comet_publish_store_one(update->mercure->r, &update->fields,
                                       &group, &again, &answered)
                   == OK
               ? answer_id(update, group.messages[0])
               : answered;
}

/* Check a form and store its update.  The checks have the same order as in the
 * Mercure project's own hub, so that a wrong form gets the same status. */
static int publish_form(update_t *update)
{
    comet_message_fields_t *fields = &update->fields;
    comet_text_t any;
    const char *wrong = read_topics(update);

    if (!wrong) {
        wrong = read_retry(update, &fields->update.retry_msec);
    }
    if (wrong) {
        return refuse(update, HTTP_BAD_REQUEST, wrong);
    }
    if (!is_granted(update)) {
        return refuse_grant(
            update, "the token does not grant publishing to this topic");
    }
    if (is_reserved(update)) {
        return refuse(update, HTTP_FORBIDDEN,
                      "topic: /.well-known/mercure is reserved for the hub");
    }
    wrong = read_id(update, &fields->update.event);
    if (!wrong) {
        wrong = read_type(update, &fields->type);
    }
    if (wrong) {
        return refuse(update, HTTP_BAD_REQUEST, wrong);
    }
    if (!comet_params_get(&update->form, "data", &fields->body)) {
        fields->body = comet_text("");
    }
    fields->update.is_private =
        comet_params_get(&update->form, "private", &any);
    set_channels(update);
    return store(update);
}

/* @return DECLINED: the form was read */
static int read_form(update_t *update)
{
    request_rec *r = update->mercure->r;
    apr_size_t limit =
        (apr_size_t)mod_comet_config_max_message_bytes(r->server);
    comet_text_t body;
    int rv;

    if (strcmp(mod_comet_body_type(r), MOD_COMET_POST_FORM) != 0) {
        return refuse(update, HTTP_BAD_REQUEST,
                      "Content-Type: expected " MOD_COMET_POST_FORM);
    }
    rv = mod_comet_publish_read_body(r, (limit + REST_BYTES) * 3, &body);
    if (rv == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        return mod_comet_publish_refuse_length(r);
    }
    if (rv != OK) {
        return mod_comet_publish_refuse_body(r, rv);
    }
    comet_params_parse(&update->form, body, r->pool);
    return update->form.too_many
               ? refuse(update, HTTP_BAD_REQUEST,
                        "the form has too many fields: at most " APR_STRINGIFY(
                            COMET_PARAMS_MAX) " are allowed")
               : DECLINED;
}

int mod_comet_mercure_publish(mod_comet_mercure_t *mercure)
{
    request_rec *r = mercure->r;
    update_t update = {
        .mercure = mercure,
        .names = apr_array_make(r->pool, 2, sizeof(comet_text_t)),
        .topics = apr_array_make(r->pool, 2, sizeof(comet_text_t)),
    };
    const char *wrong = mod_comet_publish_objection(r);
    int rv;

    if (wrong) {
        return refuse(&update, HTTP_FORBIDDEN, wrong);
    }
    if (!mercure->token) {
        comet_metrics_add(COMET_METRIC_publish_refused, 1);
        return mod_comet_mercure_refuse_anonymous(
            r, "publishers need a token (CometTokenKey)");
    }
    mercure->is_v1 = mercure->token->claims.mercure.is_v1;
    if (!mercure->token->claims.mercure.publish) {
        return refuse_grant(&update, "the token does not grant publishing");
    }
    wrong = mod_comet_publish_find_author(r, &update.fields.author);
    if (wrong) {
        return refuse(&update, HTTP_BAD_REQUEST, wrong);
    }
    rv = read_form(&update);
    return rv == DECLINED ? publish_form(&update) : rv;
}
