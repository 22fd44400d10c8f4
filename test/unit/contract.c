/* SPDX-License-Identifier: Apache-2.0 */
/* What store/store.h promises, whatever the engine. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contract.h"

#include <apr_general.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 3000

static const contract_engine_t *engine;
static const char *skipped; /* why, or NULL */
static comet_store_config_t config;
static comet_store_t *store; /* the writer */

/* --- Helpers -------------------------------------------------------------- */

typedef struct list_t {
    size_t count, limit; /* it stops at its limit */
    comet_message_t *messages[MANY];
} list_t;

static list_t list;

static void empty_list(void)
{
    while (list.count) {
        comet_message_unref(list.messages[--list.count]);
    }
    list.limit = MANY;
}

static int collect(void *baton, comet_message_t *message)
{
    assert_true(list.count < MANY);
    list.messages[list.count++] = message;
    return list.count < list.limit;
}

static comet_store_t *open_store(comet_store_mode_e mode)
{
    comet_store_t *opened;
    apr_status_t status = comet_store_open(&opened, &config, mode, NULL);

    if (status != APR_SUCCESS) {
        fail_msg("%d: %s", status, comet_store_error(NULL));
    }
    return opened;
}

static int setup(void **state)
{
    if (skipped) {
        print_message("# SKIP %s\n", skipped);
        return 0;
    }
    config = (comet_store_config_t){ .place = engine->make(),
                                     .busy_timeout = 2 * SECOND };
    store = open_store(COMET_STORE_WRITE);
    empty_list();
    return 0;
}

static int teardown(void **state)
{
    empty_list();
    if (!skipped) {
        comet_store_close(store);
        store = NULL;
    }
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
/* The first statement of each test. */
#define UNLESS_SKIPPED() \
    do { \
        if (skipped) { \
            skip(); \
        } \
    } while (0)

static comet_message_t *make(const char *channel, const char *body)
{
    return comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text(body) });
}

static comet_timestamp_t append(const char *channel, const char *body)
{
    comet_message_t *message = make(channel, body);
    apr_status_t result;
    comet_timestamp_t timestamp;

    assert_int_equal(scratch_append(store, &message, &result, 1), 0);
    assert_int_equal(result, 0);
    timestamp = message->timestamp;
    comet_message_unref(message);
    return timestamp;
}

/* Messages "0", "1" … in one group. */
static comet_timestamp_t append_many(const char *channel, int count)
{
    comet_message_t **messages = calloc((size_t)count, sizeof(*messages));
    comet_store_group_t group = { .messages = messages,
                                  .count = (apr_size_t)count };
    comet_store_group_t *groups[] = { &group };
    comet_timestamp_t last;
    char body[12];
    int i;

    for (i = 0; i < count; i++) {
        snprintf(body, sizeof(body), "%d", i);
        messages[i] = make(channel, body);
    }
    assert_int_equal(comet_store_append(store, groups, 1), 0);
    assert_int_equal(group.result, 0);
    last = messages[count - 1]->timestamp;
    assert_int_equal(last - messages[0]->timestamp, count - 1);
    while (count--) {
        comet_message_unref(messages[count]);
    }
    free(messages);
    return last;
}

/* The bodies in the list, joined by commas. */
static const char *bodies(void)
{
    static char text[4000];
    size_t i, length = 0;

    text[0] = '\0';
    for (i = 0; i < list.count && length + 300 < sizeof(text); i++) {
        length += (size_t)snprintf(text + length, 300, "%s%.*s", i ? "," : "",
                                   (int)list.messages[i]->body.length,
                                   list.messages[i]->body.data);
    }
    return text;
}

static const char *read_words(const char *words, comet_timestamp_t after,
                              apr_size_t limit)
{
    comet_selection_t *selection = scratch_choose(words);

    empty_list();
    assert_int_equal(
        comet_store_read(store, selection, after, limit, collect, NULL), 0);
    comet_selection_unref(selection);
    return bodies();
}

static const char *page_words(const char *words, comet_timestamp_t after,
                              comet_timestamp_t before, apr_size_t limit)
{
    comet_selection_t *selection = scratch_choose(words);

    empty_list();
    assert_int_equal(
        comet_store_page(store, selection, after, before, limit, collect, NULL),
        0);
    comet_selection_unref(selection);
    return bodies();
}

static comet_store_state_t state_now(void)
{
    comet_store_state_t now;

    assert_int_equal(comet_store_state(store, &now), 0);
    return now;
}

static comet_timestamp_t floor_of(const char *words)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t floor;

    assert_int_equal(comet_store_floor(store, selection, &floor), 0);
    comet_selection_unref(selection);
    return floor;
}

static void must_run(const char *sql)
{
    const char *refused = engine->run(sql);

    if (*refused) {
        fail_msg("%s: %s", sql, refused);
    }
}

/* What a program outside has inserted is published. */
static void take_in(void)
{
    apr_size_t count;
    int more = comet_store_has_inbox(store);

    while (more) {
        assert_int_equal(comet_store_take_in(store, &count, &more), 0);
    }
}

static void prune_all(comet_timestamp_t now)
{
    int more = 1, steps = 0;

    while (more) {
        assert_int_equal(comet_store_prune(store, now, &more), 0);
        assert_true(++steps < 1000);
    }
}

/* --- Order ---------------------------------------------------------------- */

static void test_order(void **state)
{
    comet_timestamp_t first, last, now = apr_time_now();

    UNLESS_SKIPPED();
    assert_int_equal(state_now().last, 0);
    first = append("chat", "a");
    assert_true(first >= now - SECOND && first <= apr_time_now() + SECOND);
    append("news", "b");
    last = append("chat", "c");
    assert_true(last > first);
    assert_int_equal(state_now().last, last);
    assert_string_equal(read_words("chat", 0, 9), "a,c");
    assert_string_equal(read_words("chat", first, 9), "c");
    assert_string_equal(read_words("chat", last, 9), "");
    assert_string_equal(read_words("*", 0, 2), "a,b");
    assert_string_equal(read_words("none", 0, 9), "");
}

/* Each text comes back byte for byte, an author and a type too. */
static void test_bytes(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "it's \\ \"quoted\" {a,NULL} \x01\x7f\n\r\t",
        "NULL",
        "\xc3\xa4\xf0\x9f\x98\x80",
    };
    const size_t large = COMET_BODY_MAX_BYTES;
    char *long_text = malloc(large + 1);
    comet_message_t *message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text("a b/\xc3\xa4{}\""),
        .type = comet_text("it's"),
        .author = comet_text("\\anna"),
        .body = comet_text("x"),
    });
    apr_status_t result;
    size_t i;

    if (skipped) {
        free(long_text);
        comet_message_unref(message);
    }
    UNLESS_SKIPPED();
    for (i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        append("chat", texts[i]);
        read_words("chat", state_now().last - 1, 9);
        assert_int_equal(list.count, 1);
        assert_string_equal(list.messages[0]->body.data, texts[i]);
        assert_null(list.messages[0]->author.data);
        assert_string_equal(list.messages[0]->type.data, "message");
    }
    assert_int_equal(scratch_append(store, &message, &result, 1), 0);
    read_words("*", message->timestamp - 1, 9);
    assert_string_equal(list.messages[0]->channel.data, "a b/\xc3\xa4{}\"");
    assert_string_equal(list.messages[0]->type.data, "it's");
    assert_string_equal(list.messages[0]->author.data, "\\anna");
    memset(long_text, 'l', large);
    long_text[large] = '\0';
    append("long", long_text);
    read_words("long", 0, 9);
    assert_int_equal(list.messages[0]->body.length, large);
    assert_string_equal(list.messages[0]->body.data, long_text);
    free(long_text);
    comet_message_unref(message);
}

/* --- Groups --------------------------------------------------------------- */

/* A group with a message that is refused leaves nothing; others in the same call
 * are stored. */
static void test_groups(void **state)
{
    static const char *const wrong[] = { "a//b", "..", "x/./y", "tab\there" };
    comet_message_t *messages[4];
    comet_store_group_t good = { .messages = messages, .count = 1 };
    comet_store_group_t bad = { .messages = messages + 1, .count = 2 };
    comet_store_group_t fine = { .messages = messages + 3, .count = 1 };
    comet_store_group_t *groups[] = { &good, &bad, &fine };
    size_t i, j;

    UNLESS_SKIPPED();
    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        messages[0] = make("chat", "good");
        messages[1] = make("chat", "bad");
        messages[2] = make(wrong[i], "worse");
        messages[3] = make("chat", "fine");
        assert_int_equal(comet_store_append(store, groups, 3), 0);
        assert_int_equal(good.result, 0);
        assert_int_equal(bad.result, COMET_EINVALID);
        assert_int_equal(fine.result, 0);
        assert_int_equal(messages[1]->timestamp, 0);
        assert_true(messages[3]->timestamp > messages[0]->timestamp);
        for (j = 0; j < 4; j++) {
            comet_message_unref(messages[j]);
        }
    }
    assert_string_equal(read_words("*", 0, 99),
                        "good,fine,good,fine,good,fine,good,fine");
}

static comet_store_group_t keyed(comet_message_t **message, const char *key,
                                 const char *author, const char *body)
{
    comet_store_group_t group = {
        .messages = message,
        .count = 1,
        .key = { .text = comet_text(key),
                 .channel = comet_text("chat"),
                 .author = comet_text(author) },
    };

    *message = make("chat", body);
    comet_store_hash(&group);
    return group;
}

static apr_status_t publish_keyed(const char *key, const char *author,
                                  const char *body,
                                  comet_timestamp_t *timestamp)
{
    comet_message_t *message;
    comet_store_group_t group = keyed(&message, key, author, body);
    comet_store_group_t *groups[] = { &group };

    assert_int_equal(comet_store_append(store, groups, 1), 0);
    *timestamp = message->timestamp;
    comet_message_unref(message);
    return group.result;
}

static void test_keys(void **state)
{
    comet_timestamp_t first, again;
    comet_message_t *messages[3];
    comet_store_group_t one, other, third;
    comet_store_group_t *groups[] = { &one, &other, &third };

    UNLESS_SKIPPED();
    assert_int_equal(publish_keyed("k", NULL, "a", &first), 0);
    assert_int_equal(publish_keyed("k", NULL, "a", &again), COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_int_equal(publish_keyed("k", NULL, "b", &again), COMET_EMISMATCH);
    assert_int_equal(publish_keyed("k", "anna", "b", &again), 0);
    /* twice in one call, beside one without */
    one = keyed(&messages[0], "twice", NULL, "c");
    other = keyed(&messages[1], "twice", NULL, "c");
    third = (comet_store_group_t){ .messages = &messages[2], .count = 1 };
    messages[2] = make("chat", "d");
    assert_int_equal(comet_store_append(store, groups, 3), 0);
    assert_int_equal(one.result, 0);
    assert_int_equal(other.result, COMET_EREPEATED);
    assert_int_equal(third.result, 0);
    assert_int_equal(messages[1]->timestamp, messages[0]->timestamp);
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
    comet_message_unref(messages[2]);
    assert_string_equal(read_words("chat", 0, 9), "a,b,c,d");
    /* the key outlives its message */
    must_run("DELETE FROM message WHERE body = 'a'");
    assert_int_equal(publish_keyed("k", NULL, "a", &again), COMET_EREPEATED);
    assert_int_equal(again, first);
}

/* --- Reading -------------------------------------------------------------- */

/* Several channels and prefixes, dense and rare ones, forwards and backwards. */
static void test_selections(void **state)
{
    comet_timestamp_t middle;
    int i;

    UNLESS_SKIPPED();
    append("room/1", "a");
    append("room/2", "b");
    append("rare/1", "c");
    append_many("noise", 1500);
    middle = append("room/1", "d");
    append_many("noise", 1500);
    append("rare/2", "e");
    append("room", "f");
    assert_string_equal(read_words("room/1 rare/1", 0, 9), "a,c,d");
    assert_string_equal(read_words("room/* rare/2", 0, 9), "a,b,d,e");
    assert_string_equal(read_words("room/* rare/2", 0, 3), "a,b,d");
    assert_string_equal(read_words("room/* rare/* room", middle, 9), "e,f");
    assert_string_equal(page_words("room/* rare/*", 0, COMET_TIMESTAMP_MAX, 3),
                        "c,d,e");
    assert_string_equal(page_words("room/* rare/*", 0, middle, 2), "b,c");
    assert_string_equal(page_words("room/1", 0, middle, 9), "a");
    assert_string_equal(page_words("room/1", middle - 1, middle, 9), "");
    read_words("*", 0, 2500);
    assert_int_equal(list.count, 2500);
    for (i = 1; i < 2500; i++) {
        assert_true(list.messages[i]->timestamp
                    > list.messages[i - 1]->timestamp);
    }
    empty_list();
    list.limit = 700; /* the callee has enough */
    assert_int_equal(comet_store_tail(store, 0, 2500, collect, NULL), 0);
    assert_int_equal(list.count, 700);
}

/* A page's bodies fit into a batch, and reading goes on over long ones. */
static void test_long_bodies(void **state)
{
    char *body = malloc(100001);
    comet_timestamp_t before = COMET_TIMESTAMP_MAX;
    int i, pages = 0, seen = 0;

    if (skipped) {
        free(body);
    }
    UNLESS_SKIPPED();
    memset(body, 'b', 100000);
    body[100000] = '\0';
    for (i = 0; i < 7; i++) {
        append(i % 2 ? "one" : "two", body);
    }
    read_words("*", 0, 99);
    assert_int_equal(list.count, 7);
    read_words("one two", 0, 99);
    assert_int_equal(list.count, 7);
    read_words("two", 0, 99);
    assert_int_equal(list.count, 4);
    for (;;) {
        comet_selection_t *selection = scratch_choose("one two");
        size_t bytes = 0, j;

        empty_list();
        assert_int_equal(
            comet_store_page(store, selection, 0, before, 99, collect, NULL),
            0);
        comet_selection_unref(selection);
        if (!list.count) {
            break;
        }
        for (j = 0; j < list.count; j++) {
            bytes += list.messages[j]->body.length;
        }
        assert_true(bytes < COMET_BATCH_BYTES);
        before = list.messages[0]->timestamp;
        seen += (int)list.count;
        pages++;
    }
    assert_int_equal(seen, 7);
    assert_int_equal(pages, 4);
    free(body);
}

static comet_timestamp_t replay(const char *words, apr_int64_t count, int *any)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t cursor;

    assert_int_equal(comet_store_replay(store, selection, count, &cursor, any),
                     0);
    comet_selection_unref(selection);
    return cursor;
}

static void test_replay(void **state)
{
    comet_timestamp_t a, b, c, cursor;
    apr_int64_t has;
    int any;

    UNLESS_SKIPPED();
    assert_int_equal(replay("chat", 5, &any), 0);
    assert_int_equal(any, 0);
    assert_int_equal(replay("chat x/*", 5, &any), 0);
    assert_int_equal(any, 0);
    a = append("chat", "a");
    b = append("x/y", "b");
    c = append("chat", "c");
    assert_int_equal(replay("chat", 1, &any), a);
    assert_int_equal(any, 1);
    assert_int_equal(replay("chat", 0, &any), c);
    assert_int_equal(replay("chat", 2, &any), 0);
    assert_int_equal(any, 1);
    assert_int_equal(replay("chat x/*", 1, &any), b);
    assert_int_equal(replay("chat x/*", 2, &any), a);
    assert_int_equal(replay("*", 2, &any), a);
    assert_int_equal(any, 1);
    assert_int_equal(comet_store_recent(store, 2, &cursor), 0);
    assert_int_equal(cursor, a);
    assert_int_equal(comet_store_recent(store, 3, &cursor), 0);
    assert_int_equal(cursor, 0);
    assert_int_equal(comet_store_has(store, b, &has), 0);
    assert_int_equal(has, 1);
    assert_int_equal(comet_store_has(store, b + 1, &has), 0);
    assert_int_equal(has, 0);
}

static char names[200];

static int add_name(void *baton, comet_text_t name)
{
    size_t length = strlen(names);

    snprintf(names + length, sizeof(names) - length, "%.*s,", (int)name.length,
             name.data);
    return ++*(int *)baton < 3;
}

static void test_channels(void **state)
{
    int count = 0;

    UNLESS_SKIPPED();
    append("b/2", "x");
    append("b/10", "x");
    append("a", "x");
    append("b/\xc3\xa4", "x");
    append("B/1", "x");
    names[0] = '\0';
    assert_int_equal(
        comet_store_channels(store, comet_text("b/"), 9, add_name, &count), 0);
    assert_string_equal(names, "b/10,b/2,b/\xc3\xa4,");
    names[0] = '\0';
    count = 0;
    assert_int_equal(
        comet_store_channels(store, comet_text(""), 2, add_name, &count), 0);
    assert_string_equal(names, "B/1,a,");
    must_run("DELETE FROM message WHERE channel = 'a'");
    names[0] = '\0';
    count = -9;
    assert_int_equal(
        comet_store_channels(store, comet_text(""), 9, add_name, &count), 0);
    assert_string_equal(names, "B/1,b/10,b/2,b/\xc3\xa4,");
}

/* A view does not change while others publish. */
static void test_views(void **state)
{
    comet_store_t *reader;
    comet_store_state_t before, after;
    apr_int64_t has;
    comet_timestamp_t late;

    UNLESS_SKIPPED();
    append("chat", "a");
    reader = open_store(COMET_STORE_READ);
    assert_int_equal(comet_store_begin(reader, &before), 0);
    late = append("chat", "b");
    assert_int_equal(comet_store_has(reader, late, &has), 0);
    assert_int_equal(has, 0);
    assert_int_equal(comet_store_is_usable(reader), 1);
    comet_store_end(reader);
    assert_int_equal(comet_store_begin(reader, &after), 0);
    assert_int_equal(comet_store_has(reader, late, &has), 0);
    assert_int_equal(has, 1);
    comet_store_end(reader);
    assert_int_equal(after.last, late);
    assert_true(before.last < late);
    comet_store_close(reader);
}

/* --- Programs outside ----------------------------------------------------- */

static void test_outside_insert(void **state)
{
    static const char *const refused[] = {
        "INSERT INTO message(timestamp, channel, body) VALUES(1, 'chat', 'x')",
        "INSERT INTO message(channel, body) VALUES('', 'x')",
        "INSERT INTO message(channel, body) VALUES('a//b', 'x')",
        "INSERT INTO message(channel, type, body) VALUES('chat', 'gap', 'x')",
        "INSERT INTO message(channel, author, body) VALUES('chat', '', 'x')",
        "INSERT INTO message(channel, body) VALUES('chat', NULL)",
    };
    comet_timestamp_t first;
    size_t i;

    UNLESS_SKIPPED();
    first = append("chat", "a");
    must_run("INSERT INTO message(channel, body) VALUES('chat', 'b')");
    must_run("BEGIN;"
             " INSERT INTO message(channel, author, type, body)"
             "  VALUES('chat', 'anna', 'note', 'c');"
             " INSERT INTO message(channel, body) VALUES('chat', '');"
             " COMMIT");
    must_run("BEGIN;"
             " INSERT INTO message(channel, body) VALUES('chat', 'never');"
             " ROLLBACK");
    take_in();
    append("chat", "e");
    for (i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        if (!*engine->run(refused[i])) {
            fail_msg("not refused: %s", refused[i]);
        }
    }
    assert_string_not_equal(engine->run("UPDATE message SET body = 'x'"), "");
    take_in();
    assert_string_equal(read_words("chat", 0, 9), "a,b,c,,e");
    assert_true(list.messages[1]->timestamp > first);
    assert_string_equal(list.messages[2]->author.data, "anna");
    assert_string_equal(list.messages[2]->type.data, "note");
    assert_string_equal(list.messages[1]->type.data, "message");
}

/* What is deleted is gone and counted, and its timestamp is not given again. */
static void test_outside_delete(void **state)
{
    comet_store_state_t before, after;
    comet_timestamp_t newest;

    UNLESS_SKIPPED();
    append("chat", "a");
    newest = append("chat", "spam");
    before = state_now();
    must_run("DELETE FROM message WHERE body = 'spam'");
    after = state_now();
    assert_true(after.erased > before.erased);
    assert_int_equal(after.last, newest);
    assert_int_equal(floor_of("chat"), 0); /* which is no gap */
    assert_true(append("chat", "b") > newest);
    assert_string_equal(read_words("chat", 0, 9), "a,b");
    must_run("DELETE FROM message");
    assert_true(state_now().last > newest);
    assert_string_equal(read_words("*", 0, 9), "");
}

/* --- Retention ------------------------------------------------------------ */

static void test_retain_count(void **state)
{
    comet_timestamp_t last;
    comet_store_state_t before;

    UNLESS_SKIPPED();
    config.retain_count = 3;
    last = append_many("busy", 2500);
    append("calm", "a");
    append("calm", "b");
    before = state_now();
    prune_all(apr_time_now());
    assert_string_equal(read_words("busy", 0, 99), "2497,2498,2499");
    assert_string_equal(read_words("calm", 0, 99), "a,b");
    assert_int_equal(floor_of("busy"), last - 3);
    assert_int_equal(floor_of("calm"), 0);
    assert_int_equal(floor_of("calm busy"), last - 3);
    assert_true(state_now().erased > before.erased);
    /* a later round looks at what is new */
    append_many("busy", 4);
    append_many("calm", 4);
    prune_all(apr_time_now());
    assert_string_equal(read_words("busy", 0, 99), "1,2,3");
    assert_string_equal(read_words("calm", 0, 99), "1,2,3");
    before = state_now();
    prune_all(apr_time_now());
    assert_int_equal(state_now().erased, before.erased);
}

static void test_retain_age(void **state)
{
    comet_timestamp_t a, b;

    UNLESS_SKIPPED();
    a = append("chat", "a");
    b = append("chat", "b");
    append("old", "c");
    config.retain_age = 1;
    assert_true(b > a);
    while (append("chat", "d") <= b + 1) {
    }
    prune_all(COMET_TIMESTAMP_MAX);
    assert_string_equal(read_words("chat", 0, 99), "d");
    assert_string_equal(read_words("old", 0, 99), "c"); /* its newest */
    assert_true(floor_of("chat") >= b);
}

/* --- Search --------------------------------------------------------------- */

static const char *search(const char *words, const char *text,
                          comet_timestamp_t before)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t rest;
    apr_status_t status;

    empty_list();
    status = comet_store_search(store, selection, comet_text(text), 0, before,
                                9, collect, NULL, &rest);
    comet_selection_unref(selection);
    if (status != APR_SUCCESS) {
        return status == COMET_EINVALID ? "invalid" : comet_store_error(store);
    }
    assert_int_equal(rest, 0);
    return bodies();
}

static void fill_index(void)
{
    int more = 1;

    while (more) {
        assert_int_equal(comet_store_tidy(store, &more), 0);
    }
}

static void test_search(void **state)
{
    int round;
    comet_timestamp_t middle = 0;

    UNLESS_SKIPPED();
    assert_string_equal(search("*", "x", COMET_TIMESTAMP_MAX),
                        comet_store_error(store));
    config.search = 1;
    comet_store_close(store);
    store = open_store(COMET_STORE_WRITE);
    append("chat", "Deploy of foo-bar finished");
    middle = append("news", "D\xc3\xa9ploiement fini: foo.bar");
    append("chat", "the bar is not foo; it's 10 o'clock");
    for (round = 0; round < 2; round++) { /* before and after indexing */
        assert_string_equal(search("chat", "deploy", COMET_TIMESTAMP_MAX),
                            "Deploy of foo-bar finished");
        assert_string_equal(search("*", "deplo*", middle),
                            "Deploy of foo-bar finished");
        search("*", "deplo*", COMET_TIMESTAMP_MAX);
        assert_int_equal(list.count, 2);
        search("*", "foo-bar", COMET_TIMESTAMP_MAX);
        assert_int_equal(list.count, 2); /* as a phrase */
        search("*", "BAR foo", COMET_TIMESTAMP_MAX);
        assert_int_equal(list.count, 3);
        assert_string_equal(
            search("news", "d\xc3\xa9ploiement", COMET_TIMESTAMP_MAX),
            search("news", "deploiement", COMET_TIMESTAMP_MAX));
        assert_int_equal(list.count, 1);
        assert_string_equal(search("*", "absent", COMET_TIMESTAMP_MAX), "");
        assert_string_equal(search("*", "10 it's", COMET_TIMESTAMP_MAX),
                            "the bar is not foo; it's 10 o'clock");
        assert_string_equal(search("*", " - ", COMET_TIMESTAMP_MAX), "");
        assert_string_equal(search("*", "  ", COMET_TIMESTAMP_MAX), "invalid");
        assert_string_equal(search("*", "a b c d e f g h i j k l m n o p q",
                                   COMET_TIMESTAMP_MAX),
                            "invalid");
        fill_index();
    }
    must_run("DELETE FROM message WHERE channel = 'news'");
    assert_string_equal(search("news", "foo", COMET_TIMESTAMP_MAX), "");
}

/* --- Many writers --------------------------------------------------------- */

#define WRITERS 3
#define ROUNDS 60

/* Append, each through a connection of its own. */
static void *write_some(void *baton)
{
    comet_store_t *own;
    apr_status_t status =
        comet_store_open(&own, &config, COMET_STORE_WRITE, NULL);
    int i;

    for (i = 0; i < ROUNDS && status == APR_SUCCESS; i++) {
        comet_message_t *messages[2] = { make(baton, "x"), make(baton, "y") };
        comet_store_group_t group = { .messages = messages, .count = 2 };
        comet_store_group_t *groups[] = { &group };

        do {
            status = comet_store_append(own, groups, 1);
        } while (status == COMET_ELOCKED);
        comet_message_unref(messages[0]);
        comet_message_unref(messages[1]);
    }
    if (status == APR_SUCCESS) {
        comet_store_close(own);
    }
    return (void *)(intptr_t)status;
}

/* A reader that follows several writers by its cursor misses nothing: what
 * becomes visible later has a later timestamp. */
static void test_no_gaps(void **state)
{
    static char channels[WRITERS][4] = { "w/1", "w/2", "w/3" };
    pthread_t threads[WRITERS];
    comet_timestamp_t cursor = 0;
    int64_t end = scratch_usec() + 60 * SECOND;
    size_t seen = 0, i;

    UNLESS_SKIPPED();
    for (i = 0; i < WRITERS; i++) {
        pthread_create(&threads[i], NULL, write_some, channels[i]);
    }
    while (seen < (size_t)WRITERS * ROUNDS * 2 && scratch_usec() < end) {
        empty_list();
        assert_int_equal(comet_store_tail(store, cursor, 100, collect, NULL),
                         0);
        for (i = 0; i < list.count; i++) {
            assert_true(list.messages[i]->timestamp > cursor);
            cursor = list.messages[i]->timestamp;
        }
        seen += list.count;
    }
    for (i = 0; i < WRITERS; i++) {
        void *status;

        pthread_join(threads[i], &status);
        assert_int_equal((intptr_t)status, 0);
    }
    assert_int_equal(seen, WRITERS * ROUNDS * 2);
}

int contract_run(const contract_engine_t *which)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),          TEST(test_bytes),
        TEST(test_groups),         TEST(test_keys),
        TEST(test_selections),     TEST(test_long_bodies),
        TEST(test_replay),         TEST(test_channels),
        TEST(test_views),          TEST(test_outside_insert),
        TEST(test_outside_delete), TEST(test_retain_count),
        TEST(test_retain_age),     TEST(test_search),
        TEST(test_no_gaps),
    };
    int failed;

    apr_initialize();
    scratch_make();
    engine = which;
    skipped = engine->begin();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!skipped) {
        engine->end();
    }
    apr_terminate();
    return failed;
}
