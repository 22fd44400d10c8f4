/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding query strings and forms, and checking their values. */
#include "wire/params.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>

#include "wire/encode.h"

/* --- decoding ------------------------------------------------------------ */

/* The value of a hexadecimal digit; -1 for any other character. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* Decode in place: decoded text is never longer than encoded text. */
static comet_text_t decode(char *data, apr_size_t length)
{
    apr_size_t from, to = 0;

    for (from = 0; from < length; from++) {
        char c = data[from];

        if (c == '+') {
            c = ' ';
        }
        else if (c == '%' && length - from > 2) {
            int high = hex_digit(data[from + 1]);
            int low = hex_digit(data[from + 2]);

            if (high >= 0 && low >= 0) {
                c = (char)(unsigned char)(high * 16 + low);
                from += 2;
            }
        }
        data[to++] = c;
    }
    return (comet_text_t){ data, to };
}

/* The length of the text up to the next '&' or the end. */
static apr_size_t pair_length(const char *data, apr_size_t length)
{
    const char *end = memchr(data, '&', length);

    return end ? (apr_size_t)(end - data) : length;
}

static apr_size_t count_pairs(comet_text_t encoded)
{
    apr_size_t count = 0, at = 0;

    /* One more than the maximum shows that there are too many. */
    while (at < encoded.length && count <= COMET_PARAMS_MAX) {
        apr_size_t length = pair_length(encoded.data + at, encoded.length - at);

        count += length > 0;
        at += length + 1;
    }
    return count;
}

static comet_param_t decode_pair(char *data, apr_size_t length)
{
    char *equals = memchr(data, '=', length);
    apr_size_t name = equals ? (apr_size_t)(equals - data) : length;
    apr_size_t value = equals ? name + 1 : length;
    comet_param_t param;

    param.name = decode(data, name);
    param.value = decode(data + value, length - value);
    return param;
}

static int is_named(const comet_param_t *param, const char *name)
{
    /* most names that are looked for differ in the first character */
    return (!param->name.length || *param->name.data == *name)
           && comet_text_equal(param->name, comet_text(name));
}

void comet_params_parse(comet_params_t *params, comet_text_t encoded,
                        apr_pool_t *pool)
{
    comet_param_t *list;
    char *data;
    apr_size_t at = 0, count = count_pairs(encoded);

    *params = (comet_params_t){ .too_many = count > COMET_PARAMS_MAX };
    if (!count || params->too_many) {
        return;
    }
    list = apr_palloc(pool, count * sizeof(*list));
    data = apr_pmemdup(pool, encoded.data, encoded.length);
    params->list = list;
    while (at < encoded.length) {
        apr_size_t length = pair_length(data + at, encoded.length - at);

        if (length) {
            list[params->count++] = decode_pair(data + at, length);
        }
        at += length + 1;
    }
}

char *comet_params_hide(const char *text, const char *name, apr_pool_t *pool)
{
    apr_size_t length = strcspn(text, " "), at = 0;
    char *hidden = apr_palloc(pool, 2 * strlen(text) + 2), *to = hidden;
    char *scratch = apr_pstrmemdup(pool, text, length);

    while (at <= length) {
        apr_size_t pair = pair_length(text + at, length - at);
        comet_param_t param = decode_pair(scratch + at, pair);

        if (is_named(&param, name)) {
            const char *equals = memchr(text + at, '=', pair);
            apr_size_t kept =
                equals ? (apr_size_t)(equals + 1 - (text + at)) : pair;

            memcpy(to, text + at, kept);
            to += kept;
            *to++ = '-';
        }
        else {
            memcpy(to, text + at, pair);
            to += pair;
        }
        at += pair + 1;
        if (at <= length) {
            *to++ = '&';
        }
    }
    memcpy(to, text + length, strlen(text + length) + 1);
    return hidden;
}

int comet_params_get(const comet_params_t *params, const char *name,
                     comet_text_t *value)
{
    apr_size_t i;

    for (i = params->count; i-- > 0;) {
        if (is_named(&params->list[i], name)) {
            *value = params->list[i].value;
            return 1;
        }
    }
    *value = (comet_text_t){ NULL, 0 };
    return 0;
}

/* --- numbers ------------------------------------------------------------- */

/*
 * Parse digits: at least one, and nothing else.
 * @return whether the text is a number that is not greater than @a maximum
 */
static int read_digits(comet_text_t text, apr_int64_t maximum,
                       apr_int64_t *number)
{
    apr_int64_t sum = 0;
    apr_size_t i;

    for (i = 0; i < text.length; i++) {
        int digit = text.data[i] - '0';

        if (digit < 0 || digit > 9 || digit > maximum
            || sum > (maximum - digit) / 10) {
            return 0;
        }
        sum = sum * 10 + digit;
    }
    *number = sum;
    return text.length > 0;
}

const char *comet_params_cursor(comet_text_t value, const char *name,
                                comet_timestamp_t *cursor, apr_pool_t *pool)
{
    if (value.length == 0) {
        *cursor = -1;
        return NULL;
    }
    return comet_params_int(value, name, 0, COMET_TIMESTAMP_MAX, cursor, pool);
}

const char *comet_params_int(comet_text_t value, const char *name,
                             apr_int64_t minimum, apr_int64_t maximum,
                             apr_int64_t *number, apr_pool_t *pool)
{
    apr_int64_t read;

    if (read_digits(value, maximum, &read) && read >= minimum) {
        *number = read;
        return NULL;
    }
    return apr_psprintf(pool,
                        "%s must be a whole number from %" APR_INT64_T_FMT
                        " to %" APR_INT64_T_FMT ", written in digits only",
                        name, minimum, maximum);
}

/* --- texts --------------------------------------------------------------- */

#define TEXT_OF(number) #number
#define SIZES(maximum) " must be 1 to " TEXT_OF(maximum) " bytes long"

/*
 * Whether UTF-8 contains a control character: C0, DEL, or C1, which is 0xC2 and
 * a byte below 0xA0.
 */
static int has_control(comet_text_t text)
{
    apr_size_t i;

    for (i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c < 0x20 || c == 0x7F
            || (c == 0xC2 && i + 1 < text.length
                && (unsigned char)text.data[i + 1] < 0xA0)) {
            return 1;
        }
    }
    return 0;
}

/* Whether a segment of a path is empty, "." or "..". */
static int is_bad_segment(const char *data, apr_size_t length)
{
    return length == 0 || (length == 1 && data[0] == '.')
           || (length == 2 && data[0] == '.' && data[1] == '.');
}

static int has_bad_segment(comet_text_t path)
{
    apr_size_t start = 0, i;

    for (i = 0; i < path.length; i++) {
        if (path.data[i] == '/') {
            if (is_bad_segment(path.data + start, i - start)) {
                return 1;
            }
            start = i + 1;
        }
    }
    return is_bad_segment(path.data + start, path.length - start);
}

int comet_params_is_text(comet_text_t value)
{
    return comet_encode_is_utf8(value)
           && (!value.length || !memchr(value.data, '\0', value.length));
}

const char *comet_params_check_topic(comet_text_t topic)
{
    return comet_encode_is_utf8(topic) && !has_control(topic)
               ? NULL
               : "topic: must be UTF-8 without control characters";
}

const char *comet_params_check_channel(comet_text_t name)
{
    if (name.length == 0 || name.length > COMET_CHANNEL_MAX_BYTES) {
        return "the channel's name" SIZES(COMET_CHANNEL_MAX_BYTES);
    }
    if (!comet_encode_is_utf8(name)) {
        return "the channel's name must be UTF-8";
    }
    if (has_control(name)) {
        return "the channel's name must not contain control characters";
    }
    if (has_bad_segment(name)) {
        return "the channel's name must not have an empty, . or .. segment";
    }
    return NULL;
}

const char *comet_params_check_user(comet_text_t user)
{
    return user.length == 0 || user.length > COMET_AUTHOR_MAX_BYTES
                   || !comet_encode_is_utf8(user) || has_control(user)
               ? "expected a text of 1 to 255 bytes without control characters"
               : NULL;
}

const char *comet_params_check_type(comet_text_t type)
{
    if (type.length == 0 || type.length > COMET_TYPE_MAX_BYTES) {
        return "the type" SIZES(COMET_TYPE_MAX_BYTES);
    }
    if (!comet_encode_is_utf8(type)) {
        return "the type must be UTF-8";
    }
    if (has_control(type)) {
        return "the type must not contain control characters";
    }
    if (comet_text_equal(type, comet_text("gap"))) {
        return "the type gap is reserved: the server reports missing messages "
               "with it";
    }
    if (type.data[0] == '@') {
        return "the type must not begin with @: the server publishes such "
               "messages itself";
    }
    return NULL;
}

/* Parse digits and a unit.
 * @param has_days  whether d (days) is allowed as a unit
 * @return whether the time is between one second and @a most_sec */
static int read_seconds(comet_text_t value, apr_int64_t most_sec, int has_days,
                        apr_int64_t *seconds)
{
    static const struct {
        const char *name;
        int seconds;
    } units[] = {
        { "", 1 }, { "s", 1 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 }
    };
    apr_size_t known = sizeof(units) / sizeof(*units) - !has_days, i;
    comet_text_t digits = value, unit;
    apr_int64_t number;
    apr_size_t count = 0;

    while (count < value.length && apr_isdigit(value.data[count])) {
        count++;
    }
    digits.length = count;
    unit = (comet_text_t){ value.data + count, value.length - count };
    for (i = 0; i < known; i++) {
        if (comet_text_equal(unit, comet_text(units[i].name))
            && read_digits(digits, most_sec / units[i].seconds, &number)
            && number > 0) {
            *seconds = number * units[i].seconds;
            return 1;
        }
    }
    return 0;
}

const char *comet_params_keep(comet_text_t value, int *seconds)
{
    apr_int64_t read;

    if (!read_seconds(value, COMET_KEEP_MAX_SEC, 0, &read)) {
        return "expected a time from 1s to 24h, such as 5s or 10min";
    }
    *seconds = (int)read;
    return NULL;
}

const char *comet_params_age(comet_text_t value, apr_int64_t *seconds)
{
    return read_seconds(value, COMET_AGE_MAX_SEC, 1, seconds)
               ? NULL
               : "expected a time from 1s to 36500d, such as 12h or 30d";
}

const char *comet_params_check_body(comet_text_t body)
{
    if (!body.data) {
        return "there is no message";
    }
    if (!comet_encode_is_utf8(body)) {
        return "the message must be UTF-8";
    }
    if (memchr(body.data, '\0', body.length)) {
        return "the message must not contain a NUL character";
    }
    return NULL;
}
