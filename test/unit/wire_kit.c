/* SPDX-License-Identifier: Apache-2.0 */
/* Messages and answers, and the bytes in which a transport encodes them. */
#include "wire_kit.h"

#include <string.h>

const comet_format_t wire_escaping = { .escape = 1 };
const comet_format_t wire_plain = { .escape = 0 };

comet_message_t *wire_message(comet_timestamp_t timestamp, const char *author,
                              const char *body)
{
    comet_message_fields_t fields = {
        .timestamp = timestamp,
        .channel = comet_text("chat"),
        .author = comet_text(author),
        .body = comet_text(body),
    };
    comet_message_t *message = comet_message_create(&fields);

    assert_non_null(message);
    return message;
}

void wire_check_answer(const comet_transport_t *transport,
                       const comet_answer_t *answer, const char *expected)
{
    comet_buffer_t buffer = { 0 };

    transport->encode(&buffer, answer);
    assert_false(buffer.failed);
    comet_buffer_add(&buffer, "", 1);
    assert_string_equal(buffer.data, expected);
    assert_int_equal(buffer.length, strlen(expected) + 1);
    comet_buffer_free(&buffer);
}
