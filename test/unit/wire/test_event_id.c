/* SPDX-License-Identifier: Apache-2.0 */
/* The ids of messages in the Mercure protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/event_id.h"

static void test_round_trip(void **state)
{
    static const comet_timestamp_t some[] = {
        1, 999, 1000, 1764432000123456, COMET_TIMESTAMP_MAX,
    };
    char room[COMET_EVENT_ID_BYTES + 1], last[COMET_EVENT_ID_BYTES + 1] = "";
    comet_timestamp_t back;
    size_t i;

    for (i = 0; i < sizeof(some) / sizeof(*some); i++) {
        comet_text_t id = comet_event_id_write(some[i], room);

        assert_int_equal(id.length, COMET_EVENT_ID_BYTES);
        assert_true(comet_event_id_read(id, &back));
        assert_int_equal(back, some[i]);
        assert_true(strcmp(last, room) < 0); /* ids sort by time */
        memcpy(last, room, sizeof(last));
    }
    assert_string_equal(comet_event_id_write(1764432000123456, room).data,
                        "urn:uuid:019ad057-b47b-71c8-8c6f-6d6574636f6d");
}

static void test_others(void **state)
{
    static const char *const others[] = {
        "",
        "1764432000123456",
        "earliest",
        "urn:uuid:019ad057-b47b-71c8-8c6f-6d6574636f6e", /* the id of another
                                                          * hub */
        "urn:uuid:019AD057-ba7b-71c8-8c6f-6d6574636f6d",
        "urn:uuid:019ad057-b47b-7fff-8c6f-6d6574636f6d",
        "urn:uuid:ffffffff-ffff-71c8-8c6f-6d6574636f6d",
        "urn:uuid: 19ad057-ba7b-71c8-8c6f-6d6574636f6d",
        "urn:uuid:-19ad057-ba7b-71c8-8c6f-6d6574636f6d",
        "urn:uuid:019ad057-b47b-41c8-8c6f-6d6574636f6d",
        "urn:uuid:019ad057-b47b-71c8-8c6f-6d6574636f6d ",
    };
    size_t i;

    for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
        comet_timestamp_t found = 7;

        assert_false(comet_event_id_read(comet_text(others[i]), &found));
        assert_int_equal(found, 7);
    }
}

static void test_valid(void **state)
{
    char text[COMET_EVENT_ID_MAX_BYTES + 1];

    memset(text, 'a', sizeof(text));
    assert_true(comet_event_id_is_valid((comet_text_t){ text, 255 }));
    assert_false(comet_event_id_is_valid((comet_text_t){ text, 256 }));
    assert_false(comet_event_id_is_valid(comet_text("")));
    assert_true(comet_event_id_is_valid(comet_text("[\"a,b\"] \xc3\xa4")));
    assert_false(comet_event_id_is_valid(comet_text("a\nb")));
    assert_false(comet_event_id_is_valid(comet_text("a\x7f")));
    assert_false(comet_event_id_is_valid(comet_text("\xc3")));
    assert_false(comet_event_id_is_valid((comet_text_t){ "a\0b", 3 }));
}

static void test_adds(void **state)
{
    comet_message_fields_t fields = { .timestamp = 1000,
                                      .channel = comet_text("a"),
                                      .body = comet_text("b") };
    comet_message_t *made = comet_message_create(&fields), *given;
    comet_buffer_t out = { .data = NULL };

    fields.update.event = comet_text("mine");
    given = comet_message_create(&fields);
    comet_event_id_add(&out, made);
    comet_event_id_add(&out, given);
    assert_int_equal(out.length, COMET_EVENT_ID_BYTES + 4);
    assert_memory_equal(out.data + COMET_EVENT_ID_BYTES, "mine", 4);
    comet_buffer_free(&out);
    comet_message_unref(made);
    comet_message_unref(given);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_adds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
