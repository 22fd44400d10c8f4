/* SPDX-License-Identifier: Apache-2.0 */
/* The POSTs that a child knows: what is found again, for how long, and what
 * leaves the table. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <pthread.h>

/* these two files of the glue need nothing of httpd */
#include "wait/sample.c"
#include "wait/familiar.c"

#define PEER "127.0.0.1 127.0.0.1:80 0x1\n"
#define HEAD "POST /comet/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n"
#define ANSWER \
    "HTTP/1.1 201 Created\r\nDate: Sat, 21 Nov 2026 12:17:55 GMT\r\n" \
    "Content-Length: 48\r\n\r\n"
#define OTHER_ANSWER \
    "HTTP/1.1 201 Created\r\nDate: Sat, 21 Nov 2026 12:17:55 GMT\r\n" \
    "Content-Length: 48\r\nX: y\r\n\r\n"

static apr_pool_t *pool;
static mod_comet_familiars_t *table;

static int setup(void **state)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    table = mod_comet_familiars_create(pool);
    return 0;
}

static int teardown(void **state)
{
    mod_comet_familiars_clear(table);
    assert_int_equal(table->count, 0);
    assert_int_equal(table->bytes, 0);
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

/* A POST, in memory of its own that is freed before its head is used again. */
typedef struct post_t {
    char text[COMET_HEAD_MAX + 1000];
    comet_head_post_t post;
} post_t;

static void make(post_t *post, const char *channel, size_t length)
{
    snprintf(post->text, sizeof(post->text), HEAD, channel, length);
    assert_true(comet_head_split_post(comet_text(post->text), &post->post));
}

/* Begin to learn a head.  @param enough  how many equal answers are needed */
static mod_comet_familiar_t *begin(const char *peer, const char *channel,
                                   size_t length, int enough)
{
    post_t *post = malloc(sizeof(*post));
    char *name = strdup(channel);
    comet_message_fields_t fields = { .channel = comet_text(name),
                                      .keep_sec = 7 };
    mod_comet_familiar_t *made;

    make(post, channel, length);
    made = mod_comet_familiar_create(comet_text(peer), &post->post, &fields, 1);
    memset(name, '?', strlen(name));
    free(name);
    memset(post, '?', sizeof(*post));
    free(post);
    if (made) {
        made->until = comet_monotonic() + apr_time_from_sec(60);
        mod_comet_sample_begin(&made->answer, enough == 1, 0);
    }
    return made;
}

/* @return whether the hub may answer such requests */
static int learn_from(const char *peer, const char *channel, size_t length,
                      int enough, const char *answer)
{
    mod_comet_familiar_t *lesson = begin(peer, channel, length, enough);
    int known = mod_comet_familiars_learn(table, lesson, comet_text(answer));

    mod_comet_familiar_unref(lesson);
    return known;
}

static int learn(const char *channel)
{
    return learn_from(PEER, channel, 5, 1, ANSWER);
}

static mod_comet_familiar_t *find_for(const char *peer, const char *channel,
                                      size_t length)
{
    post_t *post = malloc(sizeof(*post));
    mod_comet_familiar_t *found;

    make(post, channel, length);
    found = mod_comet_familiars_find(table, comet_text(peer), &post->post);
    free(post);
    return found;
}

static int is_known(const char *channel)
{
    mod_comet_familiar_t *found = find_for(PEER, channel, 12345);

    mod_comet_familiar_unref(found);
    return found != NULL;
}

static void test_found(void **state)
{
    mod_comet_familiar_t *found;

    assert_false(is_known("chat"));
    assert_true(learn("chat"));
    found = find_for(PEER, "chat", 123456789);
    assert_non_null(found);
    assert_true(comet_text_equal(found->channel, comet_text("chat")));
    assert_true(comet_text_equal(found->shown, comet_text("hat")));
    assert_null(found->type.data);
    assert_int_equal(found->keep_sec, 7);
    mod_comet_familiar_unref(found);
    assert_false(is_known("chat2"));
    assert_null(find_for("127.0.0.2 127.0.0.1:80 0x1\n", "chat", 5));
    assert_null(find_for("127.0.0.1 127.0.0.1:80 0x2\n", "chat", 5));
    assert_null(find_for("", "chat", 5));
}

/* A head stays for those who have found it. */
static void test_two_references(void **state)
{
    mod_comet_familiar_t *first, *second;

    assert_true(learn("chat"));
    first = find_for(PEER, "chat", 5);
    second = find_for(PEER, "chat", 6);
    assert_ptr_equal(first, second);
    assert_true(learn("chat"));
    mod_comet_familiar_unref(first);
    assert_true(comet_text_equal(second->channel, comet_text("chat")));
    first = find_for(PEER, "chat", 5);
    assert_ptr_not_equal(first, second);
    mod_comet_familiars_clear(table);
    assert_false(is_known("chat"));
    assert_true(comet_text_equal(first->channel, comet_text("chat")));
    assert_non_null(second->answer.head.text);
    mod_comet_familiar_unref(first);
    mod_comet_familiar_unref(second);
}

static void test_expires(void **state)
{
    mod_comet_familiar_t *lesson = begin(PEER, "chat", 5, 1);

    lesson->until = comet_monotonic();
    assert_true(mod_comet_familiars_learn(table, lesson, comet_text(ANSWER)));
    mod_comet_familiar_unref(lesson);
    assert_false(is_known("chat"));
    assert_int_equal(table->count, 1);
    assert_true(learn("chat")); /* httpd has decided again */
    assert_true(is_known("chat"));
    assert_int_equal(table->count, 1);
}

/* If other modules may add headers, two answers must be equal although the
 * lengths differed. */
static void test_two_answers(void **state)
{
    assert_false(learn_from(PEER, "chat", 5, 2, ANSWER));
    assert_false(is_known("chat"));
    assert_false(learn_from(PEER, "chat", 5, 2, ANSWER));
    assert_false(learn_from(PEER, "chat", 6, 2, OTHER_ANSWER));
    assert_false(learn_from(PEER, "chat", 5, 2, ANSWER));
    assert_false(is_known("chat"));
    assert_true(learn_from(PEER, "chat", 6, 2, ANSWER));
    assert_true(is_known("chat"));
    /* what is known stays known when it is learnt again */
    assert_true(learn_from(PEER, "chat", 6, 2, ANSWER));
    assert_true(is_known("chat"));
    assert_false(learn_from(PEER, "chat", 7, 2, OTHER_ANSWER));
    assert_false(is_known("chat"));
    assert_int_equal(table->count, 1);
}

/* An answer that cannot be repeated ends what was known. */
static void test_not_repeated(void **state)
{
    assert_true(learn("chat"));
    assert_false(learn_from(PEER, "chat", 5, 1, "HTTP/1.1 403 No\r\n\r\n"));
    assert_false(is_known("chat"));
    assert_int_equal(table->count, 0);
    assert_false(learn_from(PEER, "chat", 5, 1, ""));
    assert_int_equal(table->count, 0);
}

/* The oldest heads leave the table if there are too many. */
static void test_most_heads(void **state)
{
    char name[20];
    int i;

    for (i = 0; i < HEADS_MAX + 10; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        assert_true(learn(name));
        assert_true(is_known(name));
    }
    assert_int_equal(table->count, HEADS_MAX);
    assert_false(is_known("c0"));
    assert_false(is_known("c9"));
    assert_true(is_known("c10"));
    assert_true(learn("c10")); /* now it is the newest one */
    assert_true(learn("more"));
    assert_true(is_known("c10"));
    assert_false(is_known("c11"));
    assert_int_equal(table->count, HEADS_MAX);
}

/* Long heads leave it sooner. */
static void test_most_bytes(void **state)
{
    char name[COMET_HEAD_MAX - 200];
    size_t size = 0;
    int i;

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    for (i = 0; i < 3 * (int)(HEADS_BYTES / sizeof(name)); i++) {
        name[snprintf(name, 12, "%09d", i)] = 'n';
        assert_true(learn(name));
        assert_true(is_known(name));
        size = table->bytes > size ? table->bytes : size;
    }
    assert_true(size <= HEADS_BYTES && size > HEADS_BYTES - 4 * sizeof(name));
}

/* What is too long for the table is refused. */
static void test_too_long(void **state)
{
    char peer[KEY_MAX + 1];
    mod_comet_familiar_t *found;

    memset(peer, 'p', sizeof(peer));
    peer[sizeof(peer) - 1] = '\0';
    assert_null(begin(peer, "chat", 5, 1));
    assert_null(find_for(peer, "chat", 5));
    peer[600] = '\0';
    assert_true(learn_from(peer, "chat", 5, 1, ANSWER));
    found = find_for(peer, "chat", 5);
    assert_non_null(found);
    mod_comet_familiar_unref(found);
}

#define RACERS 4
#define TURNS 3000

static void *race(void *baton)
{
    unsigned seed = (unsigned)(uintptr_t)baton;
    char name[20];
    int i;

    for (i = 0; i < TURNS; i++) {
        snprintf(name, sizeof(name), "r%d", rand_r(&seed) % 8);
        if (rand_r(&seed) % 3) {
            mod_comet_familiar_t *found = find_for(PEER, name, 5);

            if (found) {
                assert_true(comet_text_equal(found->channel, comet_text(name)));
                assert_true(found->answer.head.length > 0);
            }
            mod_comet_familiar_unref(found);
        }
        else if (rand_r(&seed) % 50) {
            learn(name);
        }
        else {
            mod_comet_familiars_clear(table);
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t racers[RACERS];
    uintptr_t i;

    for (i = 0; i < RACERS; i++) {
        pthread_create(&racers[i], NULL, race, (void *)i);
    }
    for (i = 0; i < RACERS; i++) {
        pthread_join(racers[i], NULL);
    }
}

#define FAMILIAR_TEST(name) \
    cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILIAR_TEST(test_found),        FAMILIAR_TEST(test_two_references),
        FAMILIAR_TEST(test_expires),      FAMILIAR_TEST(test_two_answers),
        FAMILIAR_TEST(test_not_repeated), FAMILIAR_TEST(test_most_heads),
        FAMILIAR_TEST(test_most_bytes),   FAMILIAR_TEST(test_too_long),
        FAMILIAR_TEST(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
