/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing a batch of messages: one JSON object per line. */
#include "wire/ndjson.h"

#include <apr_strings.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Whether an allocation of jansson has failed in this thread.  Jansson does not
 * always report it: its scanner drops a byte for which it cannot allocate
 * memory, and the remaining text may be valid.
 */
static __thread int starved;

static void *allocate(size_t size)
{
    void *memory = malloc(size);

    starved |= memory == NULL;
    return memory;
}

void comet_ndjson_init(void)
{
    json_set_alloc_funcs(allocate, free);
}

void comet_ndjson_watch_memory(void)
{
    starved = 0;
}

int comet_ndjson_lacked_memory(void)
{
    return starved;
}

/* Copy a member's text into the pool.  @return NULL, or what is wrong */
static const char *take_text(const json_t *value, comet_text_t *text,
                             apr_pool_t *pool)
{
    if (!json_is_string(value)) {
        return "expected a text";
    }
    text->length = json_string_length(value);
    text->data = apr_pstrmemdup(pool, json_string_value(value), text->length);
    return NULL;
}

const char *comet_ndjson_take_keep(const struct json_t *value, int *seconds)
{
    char digits[24];

    if (json_is_string(value)) {
        return comet_params_keep((comet_text_t){ json_string_value(value),
                                                 json_string_length(value) },
                                 seconds);
    }
    snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT,
             json_integer_value(value)); /* 0 if the value is not an integer */
    return comet_params_keep(comet_text(digits), seconds);
}

static const char *take_member(comet_ndjson_line_t *line, const char *name,
                               const json_t *value, apr_pool_t *pool)
{
    comet_text_t *text = strcmp(name, "body") == 0      ? &line->body
                         : strcmp(name, "type") == 0    ? &line->type
                         : strcmp(name, "channel") == 0 ? &line->channel
                                                        : NULL;
    const char *wrong = text ? take_text(value, text, pool)
                        : strcmp(name, "keep") == 0
                            ? comet_ndjson_take_keep(value, &line->keep_sec)
                            : "there is no such member: expected body, type, "
                              "channel or keep";

    return wrong ? apr_psprintf(pool, "%s: %s", name, wrong) : NULL;
}

static const char *check(const comet_ndjson_line_t *line, apr_size_t most_bytes,
                         int *too_long, apr_pool_t *pool)
{
    const char *wrong = NULL;

    if (!line->body.data) {
        return "body: the message has no body";
    }
    if (line->body.length > most_bytes) {
        *too_long = 1;
        return apr_psprintf(pool,
                            "body: the message is too long: at most "
                            "%" APR_SIZE_T_FMT
                            " bytes are allowed (CometMaxMessageSize)",
                            most_bytes);
    }
    wrong = comet_params_check_body(line->body);
    if (wrong) {
        return apr_psprintf(pool, "body: %s", wrong);
    }
    if (line->type.data && (wrong = comet_params_check_type(line->type))) {
        return apr_psprintf(pool, "type: %s", wrong);
    }
    if (line->channel.data
        && (wrong = comet_params_check_channel(line->channel))) {
        return apr_psprintf(pool, "channel: %s", wrong);
    }
    return NULL;
}

static const char *parse_line(comet_ndjson_line_t *line, comet_text_t text,
                              apr_pool_t *pool)
{
    json_error_t error;
    json_t *object =
        json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, &error);
    const char *wrong = NULL;
    const char *name;
    json_t *value;

    if (!object) {
        return apr_psprintf(pool, "expected a JSON object: %s", error.text);
    }
    if (!json_is_object(object)) {
        wrong = "expected a JSON object";
    }
    else {
        json_object_foreach(object, name, value)
        {
            wrong = take_member(line, name, value, pool);
            if (wrong) {
                break;
            }
        }
    }
    json_decref(object);
    return wrong;
}

static int is_blank(comet_text_t text)
{
    apr_size_t i = 0;

    while (i < text.length && strchr(" \t\r", text.data[i])
           && text.data[i] != '\0') {
        i++;
    }
    return i == text.length;
}

/* Cut off the first line.  @param rest data becomes NULL after the last line */
static comet_text_t cut_line(comet_text_t *rest)
{
    comet_text_t line = *rest;
    const char *end = line.length ? memchr(line.data, '\n', line.length) : NULL;

    if (end) {
        line.length = (apr_size_t)(end - line.data);
        rest->data = end + 1;
        rest->length -= line.length + 1;
    }
    else {
        *rest = (comet_text_t){ NULL, 0 };
    }
    return line;
}

const char *comet_ndjson_parse(comet_ndjson_t *lines, comet_text_t text,
                               apr_size_t most_bytes, apr_pool_t *pool)
{
    apr_size_t number = 0;
    const char *wrong = NULL;

    *lines = (comet_ndjson_t){
        .list = apr_palloc(pool, COMET_LIMIT_MAX * sizeof(comet_ndjson_line_t))
    };
    while (text.data && !wrong) {
        comet_text_t one = cut_line(&text);
        comet_ndjson_line_t line = { .number = number + 1 };

        number++;
        if (is_blank(one)) {
            continue;
        }
        if (lines->count == COMET_LIMIT_MAX) {
            lines->too_long = 1;
            wrong = apr_psprintf(pool, "at most %d messages are allowed",
                                 COMET_LIMIT_MAX);
            break;
        }
        comet_ndjson_watch_memory();
        wrong = parse_line(&line, one, pool);
        if (comet_ndjson_lacked_memory()) {
            lines->no_memory = 1;
            wrong = "no memory is left";
        }
        if (!wrong) {
            wrong = check(&line, most_bytes, &lines->too_long, pool);
        }
        lines->list[lines->count++] = line;
    }
    if (!wrong && lines->count == 0) {
        number = 1;
        wrong = "there is no message";
    }
    return wrong ? apr_psprintf(pool, "line %" APR_SIZE_T_FMT ": %s", number,
                                wrong)
                 : NULL;
}
