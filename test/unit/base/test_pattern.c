/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of topics: URI templates, URL patterns, and "*". */
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pattern.h"

/** A pattern, a topic, and whether they match. */
typedef struct row_t {
    const char *pattern, *topic;
    int matches;
} row_t;

static int matches(const comet_pattern_t *pattern, const char *topic)
{
    return comet_pattern_matches(pattern, comet_text(topic));
}

/* Every topic that a pattern matches begins with the pattern's stem. */
static void check_stem(const comet_pattern_t *pattern, const char *topic)
{
    comet_text_t stem = comet_pattern_stem(pattern);

    if (strncmp(topic, stem.data, stem.length) != 0
        || (stem.length && stem.data[stem.length - 1] != '/')) {
        fail_msg("%s: wrong stem", pattern->text.data);
    }
}

static void check(const comet_pattern_t *pattern, const row_t *row)
{
    if (matches(pattern, row->topic) != row->matches) {
        fail_msg("%s %s %s", row->pattern,
                 row->matches ? "does not match" : "matches", row->topic);
    }
    if (row->matches) {
        check_stem(pattern, row->topic);
    }
}

static const row_t templates[] = {
    { "*", "", 1 },
    { "*", "a/b", 1 },
    { "a", "a", 1 },
    { "a", "b", 0 },
    { "/books/{id}", "/books/1", 1 },
    { "/books/{id}", "/books/", 1 },
    { "/books/{id}", "/books", 0 },
    { "/books/{id}", "/books/1/2", 0 },
    { "/books/{id}", "/books/a-b._~,c", 1 },
    { "/books/{id}", "/books/a b", 0 },
    { "/books/{id}", "/books/%4a%FF", 1 },
    { "/books/{id}", "/books/%4", 0 },
    { "/books/{id}", "/books/%zz", 0 },
    { "/books/{id}", "/books/\xc3\xa4", 0 },
    { "/books/{id}", "/books/a=b", 0 },
    { "/books/{+id}", "/books/1/2?a=b#c", 1 },
    { "/books/{+id}", "/books/a b", 0 },
    { "/books{#id}", "/books#1/2", 1 },
    { "/books{#id}", "/books", 1 },
    { "/books{#id}", "/books1", 0 },
    { "/a{.x,y}", "/a.b.c", 1 },
    { "/a{.x,y}", "/a", 1 },
    { "/a{/x,y}", "/a/1/2", 1 },
    { "/a{/x,y}", "/a/1/2/3", 0 },
    { "/a{/x*}", "/a/1/2/3/k=v", 1 },
    { "/a{/x*}", "/a1", 0 },
    { "/a{/x}/b", "/a/b", 1 },
    { "/a{/x}/b", "/a/1/b", 1 },
    { "/a{;x,y}", "/a;x=1;y=2", 1 },
    { "/a{?q,p}", "/a?q=1&p=2", 1 },
    { "/a{?q,p}", "/a?q=1&p=2&r=3", 0 },
    { "/a{?q}{&p}", "/a?q=1&p=2", 1 },
    { "/a{?q}", "/a&q=1", 0 },
    { "{a}{b}", "xy", 1 },
    { "{a}-{b}", "x-y-z", 1 },
    { "{a}", "", 1 },
    { "{v:3}", "abcdef", 1 },
    { "{a.b_c%41}", "x", 1 },
    { "/{a}.json", "/x.y.json", 1 },
    { "/{a}.json", "/x.xml", 0 },
};

static void test_templates(void **state)
{
    size_t i;

    for (i = 0; i < sizeof(templates) / sizeof(*templates); i++) {
        comet_pattern_t pattern =
            comet_pattern_read(comet_text(templates[i].pattern));

        check(&pattern, &templates[i]);
    }
}

/* A text that is not a valid template matches only itself. */
static void test_no_templates(void **state)
{
    static const char *const texts[] = {
        "a",      "{",      "}",    "{}",      "a{b",    "a}b{c}",
        "{=a}",   "{,a}",   "{!a}", "{@a}",    "{|a}",   "{a,}",
        "{a b}",  "{a:0}",  "{a:}", "{a:x}",   "{a**}",  "{a:10000}",
        "{.}",    "{a..b}", "{a.}", "{%4}",    "x y{a}", "\"{a}",
        "%{a}",   "%4{a}",  "^{a}", "{a}\x7f", "{a}\n",  "<{a}>",
        "{a{b}}", "\\{a}",  "`{a}", "|{a}",    "{a}'",   "{a:1:2}",
    };
    size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        comet_pattern_t pattern = comet_pattern_read(comet_text(texts[i]));

        if (pattern.kind != COMET_PATTERN_EXACT || !matches(&pattern, texts[i])
            || matches(&pattern, "x") || comet_pattern_cost(&pattern)) {
            fail_msg("%s is taken for a template", texts[i]);
        }
    }
}

static const row_t urls[] = {
    { "https://example.com/books/:id", "https://example.com/books/1", 1 },
    { "https://example.com/books/:id", "https://example.com/books/", 0 },
    { "https://example.com/books/:id", "https://example.com/books/1/2", 0 },
    { "https://example.com/books/:id", "https://example.com/books/1?q#h", 1 },
    { "https://example.com/books/:id", "HTTPS://EXAMPLE.com:443/books/1", 1 },
    { "https://example.com/books/:id", "https://example.com:444/books/1", 0 },
    { "https://example.com/books/:id", "http://example.com/books/1", 0 },
    { "https://example.com/Books/:id", "https://example.com/books/1", 0 },
    { "https://EXAMPLE.com/*", "https://example.com/a/b", 1 },
    { "https://example.com", "https://example.com", 1 },
    { "https://example.com", "https://example.com/a", 1 },
    { "https://*.example.com/*", "https://a.b.example.com/x", 1 },
    { "https://:sub.example.com/*", "https://a.b.example.com/x", 0 },
    { "http{s}?://example.com/", "http://example.com/", 1 },
    { "http{s}?://example.com/", "https://example.com", 1 },
    { "*://example.com/", "ws://example.com/", 1 },
    { "https://example.com:8443/*", "https://example.com:8443/a", 1 },
    { "https://example.com:*/a", "https://example.com:1/a", 1 },
    { "https://example.com/a?b=:c", "https://example.com/a?b=1", 1 },
    { "https://example.com/a?b=:c", "https://example.com/a", 0 },
    { "https://example.com/a#b", "https://example.com/a#b", 1 },
    { "https://example.com/a#b", "https://example.com/a#c", 0 },
    { "/books/:id?", "/books", 1 },
    { "/books/:id?", "/books/1", 1 },
    { "/books/:id?", "/books/1/2", 0 },
    { "/books/:id+", "/books/1/2", 1 },
    { "/books/:id+", "/books", 0 },
    { "/books/:id*", "/books", 1 },
    { "/books/:id*", "/books/1/2/3", 1 },
    { "/books/*", "/books/", 1 },
    { "/books/*", "/books/1/2", 1 },
    { "/books/(.*)", "/books/1", 1 },
    { "/books{/old}?/:id", "/books/1", 1 },
    { "/books{/old}?/:id", "/books/old/1", 1 },
    { "/books{/x:id}+", "/books/x1/x2", 1 },
    { "/a\\:b", "/a:b", 1 },
    { "/:a-:b", "/x-y", 1 },
    { "/a\\?b", "/a?b", 1 },
    { "/a", "/a?x", 1 },
    { "/a", "https://example.com/a", 0 },
    { "/a/*", "/A/x://", 0 },
    { "*", "anything", 1 },
};

static void test_url_patterns(void **state)
{
    size_t i;

    for (i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
        comet_pattern_t pattern;
        const char *wrong = comet_pattern_make(&pattern, COMET_PATTERN_URL,
                                               comet_text(urls[i].pattern));

        if (wrong) {
            fail_msg("%s: %s", urls[i].pattern, wrong);
        }
        check(&pattern, &urls[i]);
    }
}

static void test_wrong_url_patterns(void **state)
{
    static const char *const texts[] = {
        "",        "books/:id", "urn:books:1", "/a(b)",      "/a{b",
        "/{a{b}}", "/{(x)}",    "/:id(.*)",    "/:id(\\d+)", "https//x",
    };
    comet_pattern_t pattern;
    size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        if (!comet_pattern_make(&pattern, COMET_PATTERN_URL,
                                comet_text(texts[i]))) {
            fail_msg("%s is accepted", texts[i]);
        }
    }
}

/* A template matches every text that it expands to.  The test makes these texts
 * itself, by the rules of RFC 6570. */
static void test_expansions(void **state)
{
    static const char *const operators[] = { "",  "+", "#", ".",
                                             "/", ";", "?", "&" };
    static const char *const firsts[] = {
        "", "", "#", ".", "/", ";", "?", "&"
    };
    static const char *const separators[] = { ",", ",", ",", ".",
                                              "/", ";", "&", "&" };
    char template[200], topic[400];
    int i;

    srand(710);
    for (i = 0; i < 50000; i++) {
        int parts = 1 + rand() % 4, k;
        comet_pattern_t pattern;

        template[0] = topic[0] = '\0';
        for (k = 0; k < parts; k++) {
            int kind = rand() % 8, count = rand() % 3, n;
            size_t at = strlen(template), end = strlen(topic);

            snprintf(template + at, sizeof(template) - at, "/lit{%sa,b}",
                     operators[kind]);
            snprintf(topic + end, sizeof(topic) - end, "/lit");
            for (n = 0; n < count; n++) {
                end = strlen(topic);
                snprintf(topic + end, sizeof(topic) - end, "%s%s%d%%2F",
                         n ? separators[kind] : firsts[kind],
                         kind >= 5 ? "k=" : "", rand() % 100);
            }
        }
        pattern = comet_pattern_read(comet_text(template));
        assert_int_equal(pattern.kind, COMET_PATTERN_TEMPLATE);
        assert_int_equal(comet_pattern_cost(&pattern), 2 * parts);
        if (!matches(&pattern, topic)) {
            fail_msg("%s does not match %s", template, topic);
        }
        check_stem(&pattern, topic);
        topic[strlen(topic) / 2] = ' ';
        assert_false(matches(&pattern, topic));
    }
}

/** A pattern, and how many of its parts match texts of any length. */
typedef struct cost_t {
    const char *pattern;
    comet_pattern_kind_e kind;
    apr_size_t cost;
} cost_t;

/* The cost counts all parts that make matching slower, in every notation. */
static void test_costs(void **state)
{
    static const cost_t rows[] = {
        { "a", COMET_PATTERN_EXACT, 0 },
        { "/{a}", COMET_PATTERN_TEMPLATE, 1 },
        { "/{a}{b}", COMET_PATTERN_TEMPLATE, 2 },
        { "/{a,b}", COMET_PATTERN_TEMPLATE, 2 },
        { "/{+a,b,c}/{/d,e*}", COMET_PATTERN_TEMPLATE, 5 },
        { "/{+a:3,b:3,c.d}", COMET_PATTERN_TEMPLATE, 3 },
        { "/:a/*", COMET_PATTERN_URL, 2 },
        { "/{/:a}*", COMET_PATTERN_URL, 3 },
        { "/(.*)", COMET_PATTERN_URL, 2 },
    };
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        comet_pattern_t pattern =
            comet_pattern_read(comet_text(rows[i].pattern));

        if (rows[i].kind == COMET_PATTERN_URL) {
            assert_null(comet_pattern_make(&pattern, COMET_PATTERN_URL,
                                           comet_text(rows[i].pattern)));
        }
        assert_int_equal(pattern.kind, rows[i].kind);
        if (comet_pattern_cost(&pattern) != rows[i].cost) {
            fail_msg("%s costs %d", rows[i].pattern,
                     (int)comet_pattern_cost(&pattern));
        }
    }
}

/* Even the slowest template that is allowed takes at most half a second to
 * match. */
static void test_time(void **state)
{
    char text[COMET_PATTERN_MAX_BYTES + 1], topic[COMET_CHANNEL_MAX_BYTES + 1];
    comet_pattern_t pattern;
    clock_t start;
    int i;

    text[0] = '\0';
    for (i = 0; i < 100; i++) {
        strcat(text, "{+a*}");
    }
    strcat(text, "\"");
    text[500] = 'x';
    memset(topic, ',', sizeof(topic));
    topic[COMET_CHANNEL_MAX_BYTES] = '\0';
    pattern = comet_pattern_read(comet_text(text));
    assert_int_equal(pattern.kind, COMET_PATTERN_TEMPLATE);
    start = clock();
    assert_false(matches(&pattern, topic));
    assert_true(clock() - start < CLOCKS_PER_SEC / 2);
}

static void test_too_long(void **state)
{
    char text[COMET_PATTERN_MAX_BYTES + 2];
    comet_pattern_t pattern;

    memset(text, 'a', sizeof(text));
    memcpy(text, "/{a}", 4);
    text[COMET_PATTERN_MAX_BYTES] = '\0';
    pattern = comet_pattern_read(comet_text(text));
    assert_int_equal(pattern.kind, COMET_PATTERN_TEMPLATE);
    text[COMET_PATTERN_MAX_BYTES] = 'a';
    text[COMET_PATTERN_MAX_BYTES + 1] = '\0';
    pattern = comet_pattern_read(comet_text(text));
    assert_int_equal(pattern.kind, COMET_PATTERN_EXACT);
    assert_non_null(
        comet_pattern_make(&pattern, COMET_PATTERN_URL, comet_text(text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_no_templates),
        cmocka_unit_test(test_url_patterns),
        cmocka_unit_test(test_wrong_url_patterns),
        cmocka_unit_test(test_expansions),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
