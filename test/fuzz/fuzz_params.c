/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the decoding of query strings and forms, and the checks of their values.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include <apr_general.h>

#include "wire/encode.h"
#include "wire/params.h"
#include "reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Write a text with every byte escaped, so that decoding returns the text. */
static void params_write(comet_buffer_t *out, comet_text_t text)
{
    static const char digits[] = "0123456789ABCDEF";
    apr_size_t i;

    for (i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        char escape[3] = { '%', digits[c >> 4], digits[c & 15] };

        comet_buffer_add(out, escape, sizeof(escape));
    }
}

/* Check that what was decoded can be written and decoded again unchanged. */
static void params_round_trip(const comet_params_t *params, apr_pool_t *pool)
{
    comet_buffer_t written = { 0 };
    comet_params_t again;
    apr_size_t i;

    for (i = 0; i < params->count; i++) {
        params_write(&written, params->list[i].name);
        comet_buffer_puts(&written, "=");
        params_write(&written, params->list[i].value);
        comet_buffer_puts(&written, "&");
    }
    comet_params_parse(&again, (comet_text_t){ written.data, written.length },
                       pool);
    MUST(again.count == params->count);
    for (i = 0; i < again.count; i++) {
        MUST(comet_text_equal(again.list[i].name, params->list[i].name));
        MUST(comet_text_equal(again.list[i].value, params->list[i].value));
    }
    comet_buffer_free(&written);
}

static void params_check_numbers(comet_text_t text, apr_pool_t *pool)
{
    comet_timestamp_t cursor = -2;
    apr_int64_t number = -2;
    apr_size_t i;

    if (!comet_params_cursor(text, "since", &cursor, pool)) {
        MUST(cursor >= -1 && cursor <= COMET_TIMESTAMP_MAX);
        MUST((cursor == -1) == (text.length == 0));
        for (i = 0; i < text.length; i++) {
            MUST(text.data[i] >= '0' && text.data[i] <= '9');
        }
    }
    else {
        MUST(cursor == -2);
    }
    if (!comet_params_int(text, "limit", 1, COMET_LIMIT_MAX, &number, pool)) {
        MUST(number >= 1 && number <= COMET_LIMIT_MAX);
        MUST(number == cursor);
    }
}

static void params_check_texts(comet_text_t text)
{
    int valid =
        reference_utf8_valid((const unsigned char *)text.data, text.length);

    if (!comet_params_check_channel(text)) {
        MUST(valid && text.length >= 1);
        MUST(text.length <= COMET_CHANNEL_MAX_BYTES);
        /* a valid channel name is also a valid type, unless the server reserves
         * that type */
        MUST(!comet_params_check_type(text)
             || comet_text_equal(text, comet_text("gap")));
        MUST(text.data[0] != '/' && text.data[text.length - 1] != '/');
        MUST(!memchr(text.data, '\n', text.length));
    }
    if (!comet_params_check_type(text)) {
        MUST(!comet_params_check_body(text)); /* a valid type is a valid body */
    }
    if (!comet_params_check_body(text)) {
        MUST(valid);
        MUST(!memchr(text.data, '\0', text.length));
    }
    else {
        MUST(!valid || !text.data || memchr(text.data, '\0', text.length));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    comet_text_t encoded = { (const char *)data, size }, value;
    comet_params_t params;
    apr_pool_t *pool;
    apr_size_t total = 0, i;

    MUST(apr_initialize() == APR_SUCCESS);
    MUST(apr_pool_create(&pool, NULL) == APR_SUCCESS);
    params_check_numbers(encoded, pool);
    params_check_texts(encoded);
    comet_params_parse(&params, encoded, pool);
    for (i = 0; i < params.count; i++) {
        const comet_param_t *param = &params.list[i];

        total += param->name.length + param->value.length;
        params_check_numbers(param->value, pool);
        params_check_texts(param->name);
        params_check_texts(param->value);
    }
    MUST(total <= size);
    MUST(!comet_params_get(&params, "msg", &value) == !value.data);
    params_round_trip(&params, pool);
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}
