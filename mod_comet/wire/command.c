/* SPDX-License-Identifier: Apache-2.0 */
/* Parse a client's commands on a WebSocket. */
#include "wire/command.h"

#include <apr_strings.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "wire/encode.h"
#include "wire/ndjson.h"

/* Copy a member's text into the pool.  @return NULL, or what is wrong */
static const char *take_text(const char *name, const json_t *value,
                             comet_text_t *text, apr_pool_t *pool)
{
    if (!json_is_string(value)) {
        return apr_psprintf(pool, "%s: expected a text", name);
    }
    text->length = json_string_length(value);
    text->data = apr_pstrmemdup(pool, json_string_value(value), text->length);
    return NULL;
}

static const char *take_member(comet_command_t *command, const char *name,
                               const json_t *value, apr_pool_t *pool)
{
    comet_text_t *text = strcmp(name, "body") == 0      ? &command->body
                         : strcmp(name, "type") == 0    ? &command->type
                         : strcmp(name, "channel") == 0 ? &command->channel
                         : strcmp(name, "key") == 0     ? &command->key
                                                        : NULL;
    const char *wrong;

    if (strcmp(name, "keep") == 0) {
        wrong = comet_ndjson_take_keep(value, &command->keep_sec);
        return wrong ? apr_pstrcat(pool, "keep: ", wrong, NULL) : NULL;
    }
    return text ? take_text(name, value, text, pool)
                : apr_psprintf(pool,
                               "%s: publish has no such member: expected "
                               "body, type, channel, key or keep",
                               name);
}

static const char *take_publish(comet_command_t *command, json_t *publish,
                                apr_pool_t *pool)
{
    const char *wrong = NULL, *name;
    json_t *value;

    if (!json_is_object(publish)) {
        return "publish: expected an object with a member body";
    }
    json_object_foreach(publish, name, value)
    {
        wrong = take_member(command, name, value, pool);
        if (wrong) {
            break;
        }
    }
    return wrong;
}

/* Take the "ref", which is sent back with the answer.  Only a text or a number
 * is accepted. */
static const char *take_ref(comet_command_t *command, const json_t *ref,
                            apr_pool_t *pool)
{
    char *text;
    int right = json_is_string(ref) || json_is_number(ref);

    text = right ? json_dumps(ref, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    right = text && strlen(text) <= COMET_COMMAND_REF_BYTES;
    command->ref = right ? apr_pstrdup(pool, text) : NULL;
    free(text);
    return right ? NULL : "ref: expected a number or a short text";
}

/* Take the names of channels.  @return NULL, or what is wrong */
static const char *take_channels(comet_command_t *command, const char *name,
                                 const json_t *list, apr_pool_t *pool)
{
    const char *wrong = NULL;
    size_t i;

    if (!json_is_array(list) || !json_array_size(list)
        || json_array_size(list) > COMET_COMMAND_CHANNELS) {
        return apr_psprintf(pool, "%s: expected a list of 1 to %d channels",
                            name, COMET_COMMAND_CHANNELS);
    }
    command->channel_count = json_array_size(list);
    command->channels =
        apr_palloc(pool, command->channel_count * sizeof(comet_text_t));
    for (i = 0; i < command->channel_count && !wrong; i++) {
        wrong = take_text(name, json_array_get(list, i), &command->channels[i],
                          pool);
    }
    return wrong;
}

/* Take a cursor: a number, or a text as in a parameter of the URL. */
static const char *take_since(comet_command_t *command, const json_t *since,
                              apr_pool_t *pool)
{
    comet_text_t text = { json_string_value(since), json_string_length(since) };

    if (json_is_integer(since)) {
        text = comet_text(apr_psprintf(pool, "%" APR_INT64_T_FMT,
                                       (apr_int64_t)json_integer_value(since)));
    }
    if (!text.data) {
        return "since: expected a timestamp";
    }
    return text.length
               ? comet_params_cursor(text, "since", &command->since, pool)
               : NULL;
}

/* Count the members that an object may have besides its verb. */
static size_t count_others(const json_t *object, int has_since)
{
    return (json_object_get(object, "ref") ? 1U : 0U)
           + (has_since && json_object_get(object, "since") ? 1U : 0U);
}

/* Read the value of the object's only verb. */
static const char *take_verb(comet_command_t *command, json_t *object,
                             apr_pool_t *pool)
{
    json_t *publish = json_object_get(object, "publish");
    json_t *subscribe = json_object_get(object, "subscribe");
    json_t *unsubscribe = json_object_get(object, "unsubscribe");
    json_t *since = json_object_get(object, "since");
    const char *wrong;

    if (!publish && !subscribe && !unsubscribe) {
        return "expected {\"publish\": {\"body\": \"TEXT\"}}, "
               "{\"subscribe\": [\"CHANNEL\"]} or "
               "{\"unsubscribe\": [\"CHANNEL\"]}";
    }
    if (json_object_size(object) != 1 + count_others(object, !!subscribe)) {
        return "there is an unknown member, or more than one of publish, "
               "subscribe and unsubscribe: send one of these; ref may be added "
               "to it, and since to subscribe";
    }
    if (publish) {
        return take_publish(command, publish, pool);
    }
    command->kind =
        subscribe ? COMET_COMMAND_SUBSCRIBE : COMET_COMMAND_UNSUBSCRIBE;
    wrong = subscribe
                ? take_channels(command, "subscribe", subscribe, pool)
                : take_channels(command, "unsubscribe", unsubscribe, pool);
    return wrong || !since ? wrong : take_since(command, since, pool);
}

static const char *read_object(comet_command_t *command, json_t *object,
                               apr_pool_t *pool)
{
    json_t *ref = json_object_get(object, "ref");
    const char *wrong = NULL;

    if (!json_is_object(object)) {
        return "expected a JSON object";
    }
    if (ref) {
        wrong = take_ref(command, ref, pool);
    }
    return wrong ? wrong : take_verb(command, object, pool);
}

static const char *check_key(comet_text_t key)
{
    apr_size_t i;

    for (i = 0; i < key.length && key.data[i] > ' ' && key.data[i] <= '~';
         i++) {
    }
    return key.length == 0 || i < key.length || key.length > COMET_KEY_MAX_BYTES
               ? "expected 1 to 255 visible ASCII characters"
               : NULL;
}

static const char *check(comet_command_t *command, apr_size_t most_bytes,
                         apr_pool_t *pool)
{
    const char *name = "body", *wrong = NULL;

    if (command->kind != COMET_COMMAND_PUBLISH) {
        return NULL;
    }
    if (!command->body.data) {
        return "body: the message has no body";
    }
    if (command->body.length > most_bytes) {
        command->too_long = 1;
        return apr_psprintf(pool,
                            "body: the message is too long: at most "
                            "%" APR_SIZE_T_FMT
                            " bytes are allowed (CometMaxMessageSize)",
                            most_bytes);
    }
    wrong = comet_params_check_body(command->body);
    if (!wrong && command->type.data) {
        name = "type";
        wrong = comet_params_check_type(command->type);
    }
    if (!wrong && command->channel.data) {
        name = "channel";
        wrong = comet_params_check_channel(command->channel);
    }
    if (!wrong && command->key.data) {
        name = "key";
        wrong = check_key(command->key);
    }
    return wrong ? apr_psprintf(pool, "%s: %s", name, wrong) : NULL;
}

const char *comet_command_parse(comet_command_t *command, comet_text_t text,
                                apr_size_t most_bytes, apr_pool_t *pool)
{
    json_error_t error;
    json_t *object;
    const char *wrong;

    *command = (comet_command_t){ .since = -1 };
    comet_ndjson_watch_memory();
    object = json_loadb(text.data, text.length,
                        JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    wrong = object
                ? read_object(command, object, pool)
                : apr_psprintf(pool, "expected a JSON object: %s", error.text);
    json_decref(object);
    if (comet_ndjson_lacked_memory()) {
        command->no_memory = 1;
        return "no memory is left";
    }
    return wrong ? wrong : check(command, most_bytes, pool);
}

/* --- answers -------------------------------------------------------------- */

static int has(comet_text_t text, const char *part)
{
    return text.length
           && memmem(text.data, text.length, part, strlen(part)) != NULL;
}

/* Few texts contain one of the two verbs, and only those texts are parsed. */
int comet_command_is_live(comet_text_t text)
{
    json_t *object;
    int is_live;

    if (!has(text, "\"subscribe\"") && !has(text, "\"unsubscribe\"")) {
        return 0;
    }
    object = json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, NULL);
    is_live = !json_object_get(object, "publish")
              && (json_object_get(object, "subscribe")
                  || json_object_get(object, "unsubscribe"));
    json_decref(object);
    return is_live;
}

void comet_command_add_end(comet_buffer_t *out, const char *ref)
{
    if (ref) {
        comet_buffer_puts(out, ",\"ref\":");
        comet_buffer_puts(out, ref);
    }
    comet_buffer_puts(out, "}");
}

void comet_command_add_error(comet_buffer_t *out, const char *error, int status,
                             long retry_sec, const char *ref)
{
    comet_buffer_puts(out, "{\"error\":");
    comet_encode_json(out, comet_text(error));
    comet_buffer_puts(out, ",\"status\":");
    comet_buffer_add_int(out, status);
    if (retry_sec) {
        comet_buffer_puts(out, ",\"retry\":");
        comet_buffer_add_int(out, retry_sec);
    }
    comet_command_add_end(out, ref);
}
