/* SPDX-License-Identifier: Apache-2.0 */
/* Converting topics to channel names, and back. */
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/topic.h"
#include "wire/params.h"

/* @return the channel name of a topic; "" if it has none */
static const char *escape(comet_text_t topic)
{
    static char name[COMET_CHANNEL_MAX_BYTES + 1];

    name[comet_topic_escape(topic, name)] = '\0';
    return name;
}

static comet_text_t unescape(const char *name)
{
    static char topic[COMET_CHANNEL_MAX_BYTES];

    return (comet_text_t){ topic,
                           comet_topic_unescape(comet_text(name), topic) };
}

static void test_names(void **state)
{
    static const char *const pairs[][2] = {
        { "a", "a" },
        { "room/42", "room/42" },
        { "https://example.com/books/1", "https:/%/example.com/books/1" },
        { "https://example.com/", "https:/%/example.com/%" },
        { "/books/1", "%/books/1" },
        { "/", "%/%" },
        { "//", "%/%/%" },
        { ".", "%." },
        { "..", "%.." },
        { "...", "..." },
        { "a/./b/../c", "a/%./b/%../c" },
        { "100%", "100%25" },
        { "%", "%25" },
        { "%/", "%25/%" },
        { "%25", "%2525" },
        { "a%2Fb", "a%252Fb" },
        { "@a", "%@a" },
        { "a/@b%c/@", "a/%@b%25c/%@" },
        { "a@b", "a@b" },
        { "%@a", "%25@a" },
        { "", "" },
    };
    size_t i;

    for (i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        assert_string_equal(escape(comet_text(pairs[i][0])), pairs[i][1]);
        if (pairs[i][0][0]) {
            assert_true(comet_text_equal(unescape(pairs[i][1]),
                                         comet_text(pairs[i][0])));
        }
    }
}

/* Channel names that belong to no topic can also be read as topics. */
static void test_other_names(void **state)
{
    assert_true(comet_text_equal(unescape("100%"), comet_text("100%")));
    assert_true(comet_text_equal(unescape("%a/%2"), comet_text("%a/%2")));
    assert_true(comet_text_equal(unescape("a/%%"), comet_text("a/%%")));
}

static void test_too_long(void **state)
{
    char topic[COMET_CHANNEL_MAX_BYTES + 2];

    memset(topic, 'a', sizeof(topic));
    assert_int_equal(strlen(escape((comet_text_t){ topic, 255 })), 255);
    assert_string_equal(escape((comet_text_t){ topic, 256 }), "");
    topic[0] = '%';
    assert_string_equal(escape((comet_text_t){ topic, 255 }), "");
    assert_int_equal(strlen(escape((comet_text_t){ topic, 253 })), 255);
    topic[0] = '/';
    assert_string_equal(escape((comet_text_t){ topic, 255 }), "");
}

/* Every topic has a valid channel name, which converts back to this topic and
 * belongs to no other. */
static void test_random_topics(void **state)
{
    static const char alphabet[] = "/.%2a5@";
    char topic[12], before[12] = "", name[COMET_CHANNEL_MAX_BYTES + 1];
    char last[COMET_CHANNEL_MAX_BYTES + 1] = "";
    int i;

    srand(711);
    for (i = 0; i < 200000; i++) {
        int length = 1 + rand() % 10, k;

        for (k = 0; k < length; k++) {
            topic[k] = alphabet[rand() % (int)(sizeof(alphabet) - 1)];
        }
        topic[length] = '\0';
        snprintf(name, sizeof(name), "%s", escape(comet_text(topic)));
        if (comet_params_check_channel(comet_text(name))
            || comet_name_is_reserved(comet_text(name))
            || !comet_text_equal(unescape(name), comet_text(topic))
            || (strcmp(name, last) == 0) != (strcmp(topic, before) == 0)) {
            fail_msg("%s becomes %s", topic, name);
        }
        memcpy(before, topic, sizeof(topic));
        memcpy(last, name, sizeof(name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_random_topics),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
