/* SPDX-License-Identifier: Apache-2.0 */
/* A POST to the endpoint: a message, a form, or a batch of lines. */
#include "dialect/post.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include "wire/ndjson.h"
#include "request/body.h"
#include "request/dialect.h"
#include "request/limits.h"
#include "output/answer.h"
#include "dialect/publish.h"
#include "dialect/judge.h"
#include "wait/park.h"

/* The largest batch. */
#define BATCH_MAX_BYTES (1024 * 1024)

/** A POST to the endpoint. */
typedef struct post_t {
    request_rec *r;
    const mod_comet_request_t *request;
    comet_text_t channel; /* the channel of the request's URL, under its name in
                           * the store */
    comet_text_t author;
    comet_store_group_t group;
} post_t;

/* Get the channel's name as the client knows it: without the endpoint's
 * prefix. */
static comet_text_t shown_name(const post_t *post)
{
    apr_size_t hidden = strlen(post->request->mapping->channel);

    return (comet_text_t){ post->channel.data + hidden,
                           post->channel.length - hidden };
}

/* Answer {"timestamp": N, "channel": "chat"}, or the "timestamps" of a
 * batch. */
static int created(const post_t *post, int batch, int again)
{
    comet_buffer_t body = { .data = NULL };
    apr_size_t i;
    int rv;

    if (batch) {
        comet_buffer_puts(&body, "{\"timestamps\": [");
        for (i = 0; i < post->group.count; i++) {
            comet_buffer_puts(&body, i ? ", " : "");
            comet_buffer_add_int(&body, post->group.messages[i]->timestamp);
        }
        comet_buffer_puts(&body, "]");
        comet_encode_stored_end(&body, shown_name(post));
    }
    else {
        comet_encode_stored(&body, post->group.messages[0]->timestamp,
                            shown_name(post));
    }
    rv = mod_comet_answer_body(post->r, again ? HTTP_OK : HTTP_CREATED,
                               "application/json; charset=utf-8", &body);
    comet_buffer_free(&body);
    return rv;
}

static int is_text(const char *type)
{
    return !*type || strncmp(type, "text/", 5) == 0
           || strcmp(type, "application/json") == 0
           || strcmp(type, "application/xml") == 0;
}

/* Explain why a body that is declared to be a form has no message. */
static const char *explain_form(comet_text_t body)
{
    apr_size_t i = 0;

    while (i < body.length && apr_isspace(body.data[i])) {
        i++;
    }
    return i < body.length && strchr("{[", body.data[i])
               ? "the form has no field msg: JSON needs Content-Type: "
                 "application/json (curl -d sends a form by itself)"
               : "the form has no field msg: send the message in msg=, or send "
                 "it alone with Content-Type: text/plain";
}

/* Read what the query or the form says about the message.
 * @param type      OUT: data NULL: not given
 * @param keep_sec  OUT: 0: not given */
static const char *find_options(const post_t *post, const comet_params_t *form,
                                comet_text_t *type, int *keep_sec)
{
    const comet_params_t *query = &post->request->query;
    const char *wrong = NULL;
    comet_text_t keep;

    if (comet_params_get(query, "type", type)
        || comet_params_get(form, "type", type)) {
        wrong = comet_params_check_type(*type);
    }
    if (!wrong
        && (comet_params_get(query, "keep", &keep)
            || comet_params_get(form, "keep", &keep))) {
        wrong = comet_params_keep(keep, keep_sec);
        wrong =
            wrong ? apr_pstrcat(post->r->pool, "keep: ", wrong, NULL) : NULL;
    }
    return wrong;
}

/* Find the message in the body.  In a form, the message is the field msg.  A
 * form without fields is an empty message (curl -d '' sends one). */
static const char *find_message(const post_t *post, int form, comet_text_t body,
                                comet_message_fields_t *fields)
{
    comet_params_t fields_of_form = { .count = 0 };

    fields->body = body;
    if (form) {
        comet_params_parse(&fields_of_form, body, post->r->pool);
        if (fields_of_form.too_many) {
            return "the form has too many fields: at most " APR_STRINGIFY(
                COMET_PARAMS_MAX) " are allowed";
        }
        if (body.length
            && !comet_params_get(&fields_of_form, "msg", &fields->body)) {
            return explain_form(body);
        }
    }
    return find_options(post, &fields_of_form, &fields->type,
                        &fields->keep_sec);
}

static int publish_one(post_t *post, int form)
{
    request_rec *r = post->r;
    comet_message_fields_t fields = { .channel = post->channel,
                                      .author = post->author };
    /* a form is longer than its message: a byte can become %XX, and the fields
     * have names */
    apr_size_t limit =
        (apr_size_t)mod_comet_config_max_message_bytes(r->server);
    comet_text_t body;
    const char *wrong;
    int again, answered;
    apr_time_t holds_until = form ? 0 : mod_comet_park_may_publish(r);
    int rv =
        mod_comet_publish_read_body(r, form ? limit * 3 + 4096 : limit, &body);

    if (rv == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        return mod_comet_publish_refuse_length(r);
    }
    if (rv != OK) {
        return mod_comet_publish_refuse_body(r, rv);
    }
    wrong = find_message(post, form, body, &fields);
    if (wrong) {
        return mod_comet_publish_refuse(r, HTTP_BAD_REQUEST, wrong);
    }
    if (mod_comet_publish_store_one(r, &fields, &post->group, &again, &answered)
        != OK) {
        return answered;
    }
    if (holds_until) {
        mod_comet_park_learn_publish(r, &fields, holds_until);
    }
    return created(post, 0, again);
}

static int refuse_line(request_rec *r, int status,
                       const comet_ndjson_line_t *line, const char *reason)
{
    return mod_comet_publish_refuse(
        r, status,
        apr_psprintf(r->pool, "line %" APR_SIZE_T_FMT ": channel: %s",
                     line->number, reason));
}

/*
 * Decide whether a line may be published to the channel that it names.  The
 * channel's own URL decides this.
 * @param judged    the channels that were allowed so far
 * @param answered  OUT: what the handler returns, unless OK is returned
 * @return OK; or DONE: the request was answered
 */
static int judge(post_t *post, const comet_ndjson_line_t *line,
                 apr_hash_t *judged, int *answered)
{
    request_rec *r = post->r;
    const char *wrong;
    int status;

    if (comet_text_equal(line->channel, shown_name(post))
        || apr_hash_get(judged, line->channel.data,
                        (apr_ssize_t)line->channel.length)) {
        return OK;
    }
    if (!mod_comet_config_multi(r)) {
        *answered = refuse_line(r, HTTP_FORBIDDEN, line,
                                "only the URL's own channel may be published "
                                "to here (CometMulti)");
        return DONE;
    }
    if (line->channel.length + strlen(post->request->mapping->channel)
        > COMET_CHANNEL_MAX_BYTES) {
        *answered = refuse_line(r, HTTP_BAD_REQUEST, line, "too long");
        return DONE;
    }
    wrong = mod_comet_limits_channels(r, apr_hash_count(judged) + 2, r->pool);
    if (wrong) {
        *answered = mod_comet_publish_refuse(r, HTTP_TOO_MANY_REQUESTS, wrong);
        return DONE;
    }
    status = mod_comet_judge_channel(r, post->request->mapping, line->channel,
                                     NULL, 0, &wrong);
    if (status != OK) {
        *answered = refuse_line(
            r, status, line,
            apr_psprintf(r->pool, "\"%s\" may not be published to%s%s",
                         line->channel.data, wrong ? " from here: " : "",
                         wrong ? wrong : ""));
        return DONE;
    }
    apr_hash_set(judged, line->channel.data, (apr_ssize_t)line->channel.length,
                 line);
    return OK;
}

/* Make the messages of a batch.
 * @param type, keep_sec  the defaults for lines without their own
 * @return as judge() */
static int gather(post_t *post, const comet_ndjson_t *lines, comet_text_t type,
                  int keep_sec, int *answered)
{
    request_rec *r = post->r;
    apr_hash_t *judged = apr_hash_make_custom(r->pool, comet_message_hash_key);
    apr_size_t i;

    post->group.messages =
        apr_palloc(r->pool, lines->count * sizeof(comet_message_t *));
    for (i = 0; i < lines->count; i++) {
        const comet_ndjson_line_t *line = &lines->list[i];
        comet_message_fields_t fields = {
            .channel = post->channel,
            .type = line->type.data ? line->type : type,
            .author = post->author,
            .body = line->body,
            .keep_sec = line->keep_sec ? line->keep_sec : keep_sec
        };

        if (line->channel.data) {
            if (judge(post, line, judged, answered) != OK) {
                return DONE;
            }
            fields.channel =
                comet_text(apr_pstrcat(r->pool, post->request->mapping->channel,
                                       line->channel.data, NULL));
        }
        if (!mod_comet_publish_make_message(r, &fields,
                                            &post->group.messages[i])) {
            *answered = mod_comet_publish_refuse_by_store(r, APR_ENOMEM);
            return DONE;
        }
        post->group.count++;
    }
    return OK;
}

static int publish_lines(post_t *post)
{
    request_rec *r = post->r;
    comet_ndjson_t lines;
    const comet_params_t no_form = { .count = 0 };
    comet_text_t body, type;
    const char *wrong;
    int again, answered, keep_sec = 0;
    int rv = mod_comet_publish_read_body(r, BATCH_MAX_BYTES, &body);

    if (rv == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        return mod_comet_publish_refuse(
            r, rv,
            apr_psprintf(r->pool,
                         "the batch is too long: at most %d bytes "
                         "are allowed",
                         BATCH_MAX_BYTES));
    }
    if (rv != OK) {
        return mod_comet_publish_refuse_body(r, rv);
    }
    wrong = comet_ndjson_parse(
        &lines, body, (apr_size_t)mod_comet_config_max_message_bytes(r->server),
        r->pool);
    if (lines.no_memory) {
        return mod_comet_publish_refuse_by_store(r, APR_ENOMEM);
    }
    if (wrong) {
        return mod_comet_publish_refuse(
            r,
            lines.too_long ? HTTP_REQUEST_ENTITY_TOO_LARGE : HTTP_BAD_REQUEST,
            wrong);
    }
    wrong = find_options(post, &no_form, &type, &keep_sec);
    if (wrong) {
        return mod_comet_publish_refuse(r, HTTP_BAD_REQUEST, wrong);
    }
    if (gather(post, &lines, type, keep_sec, &answered) != OK
        || mod_comet_publish_store(r, &post->group, &again, &answered) != OK) {
        return answered;
    }
    return created(post, 1, again);
}

static const char *find_key(const request_rec *r, comet_text_t *key)
{
    const char *value = apr_table_get(r->headers_in, "Idempotency-Key");
    apr_size_t i;

    if (!value) {
        return NULL;
    }
    *key = comet_text(value);
    for (i = 0; i < key->length && value[i] > ' ' && value[i] <= '~'; i++) {
    }
    return key->length == 0 || i < key->length
                   || key->length > COMET_KEY_MAX_BYTES
               ? "Idempotency-Key: expected 1 to 255 visible ASCII characters"
               : NULL;
}

static int refuse_media(request_rec *r, const char *reason)
{
    apr_table_setn(r->headers_out, "Accept-Post", MOD_COMET_POST_ACCEPTS);
    return mod_comet_publish_refuse(r, HTTP_UNSUPPORTED_MEDIA_TYPE, reason);
}

static const char *explain_media(const char *media)
{
    return strncmp(media, "multipart/", sizeof("multipart/") - 1) == 0
               ? "Content-Type: multipart is not understood: send the form as "
                 "application/x-www-form-urlencoded (new URLSearchParams(new "
                 "FormData(form)), curl --data-urlencode msg=TEXT), or send "
                 "the message alone as text/plain"
               : "Content-Type: expected text/* or application/json in "
                 "UTF-8, application/x-www-form-urlencoded or "
                 "application/x-ndjson";
}

int mod_comet_post_body(request_rec *r, const mod_comet_request_t *request,
                        comet_text_t channel)
{
    post_t post = { .r = r, .request = request, .channel = channel };
    const char *media = mod_comet_body_type(r),
               *wrong = mod_comet_publish_objection(r);
    int form = strcmp(media, MOD_COMET_POST_FORM) == 0,
        lines = strcmp(media, MOD_COMET_POST_LINES) == 0;

    if (wrong) {
        return mod_comet_publish_refuse(r, HTTP_FORBIDDEN, wrong);
    }
    if (!form && !lines && !is_text(media)) {
        return refuse_media(r, explain_media(media));
    }
    if (!mod_comet_body_is_utf8(r)) {
        return refuse_media(r, "Content-Type: the charset must be UTF-8: "
                               "convert the text before you send it");
    }
    wrong = mod_comet_publish_find_author(r, &post.author);
    if (!wrong) {
        wrong = find_key(r, &post.group.key.text);
    }
    if (wrong) {
        return mod_comet_publish_refuse(r, HTTP_BAD_REQUEST, wrong);
    }
    post.group.key.channel = channel;
    post.group.key.author = post.author;
    return lines ? publish_lines(&post) : publish_one(&post, form);
}
