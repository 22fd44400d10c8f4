/* SPDX-License-Identifier: Apache-2.0 */
/* Groups that are stored completely or not at all, and keys by which a repeated
 * group is stored only once. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdio.h>
#include <string.h>

#include "comet_schema.h"
#include "faulty_vfs.h"

#define GROUP_MAX 8
#define DAY_USEC (APR_INT64_C(86400) * APR_USEC_PER_SEC)

/* --- Helpers ---------------------------------------------------------- */

/** A group of messages, and its results. */
typedef struct made_t {
    comet_message_t *messages[GROUP_MAX];
    comet_store_group_t group;
} made_t;

/**
 * @param bodies  separated by spaces; the store refuses "-"
 * @param key     NULL: the group has no key
 */
static made_t make_group(const char *channel, const char *author,
                         const char *bodies, const char *key)
{
    made_t made = { .group = { .count = 0 } };
    char copy[256], *rest = NULL, *word;

    snprintf(copy, sizeof(copy), "%s", bodies);
    for (word = strtok_r(copy, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest)) {
        assert_in_range(made.group.count, 0, GROUP_MAX - 1);
        made.messages[made.group.count++] =
            comet_message_create(&(comet_message_fields_t){
                .channel = comet_text(channel),
                .author = comet_text(author),
                .type = comet_text(strcmp(word, "-") == 0 ? "gap" : NULL),
                .body = comet_text(word),
            });
    }
    made.group.key.text = comet_text(key);
    made.group.key.channel = comet_text(channel);
    made.group.key.author = comet_text(author);
    return made;
}

static comet_store_group_t *ready(made_t *made)
{
    made->group.messages = made->messages;
    comet_store_hash(&made->group);
    return &made->group;
}

static void drop(made_t *made)
{
    while (made->group.count) {
        comet_message_unref(made->messages[--made->group.count]);
    }
}

/** @param first  set to the first message's timestamp; may be NULL */
static apr_status_t publish(comet_store_t *store, const char *channel,
                            const char *author, const char *bodies,
                            const char *key, comet_timestamp_t *first)
{
    made_t made = make_group(channel, author, bodies, key);
    comet_store_group_t *group = ready(&made);
    apr_status_t status = comet_store_append(store, &group, 1);
    size_t i;

    if (status == APR_SUCCESS) {
        status = group->result;
    }
    for (i = 0; i < group->count; i++) {
        comet_timestamp_t timestamp = group->messages[i]->timestamp;

        if (status == APR_SUCCESS || status == COMET_EREPEATED) {
            assert_int_equal(timestamp, group->messages[0]->timestamp
                                            + (comet_timestamp_t)i);
            assert_true(timestamp > 0);
        }
        else {
            assert_int_equal(timestamp, 0);
        }
    }
    if (first) {
        *first = group->messages[0]->timestamp;
    }
    drop(&made);
    return status;
}

static sqlite3_int64 keys(void)
{
    return kit_number("SELECT count(*) FROM idempotency_key");
}

/* --- Groups ----------------------------------------------------------- */

static void test_group(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t first;

    assert_int_equal(publish(store, "a", NULL, "1 2 3", NULL, &first), 0);
    assert_int_equal(kit_last_of(store), first + 2);
    assert_string_equal(kit_bodies(store, "a", 0, 9), "1,2,3");
    assert_int_equal(publish(store, "a", NULL, "4 - 5", NULL, NULL),
                     COMET_EINVALID);
    assert_int_equal(publish(store, "new", NULL, "4 5 -", "k", NULL),
                     COMET_EINVALID);
    assert_int_equal(kit_last_of(store), first + 2);
    assert_string_equal(kit_bodies(store, "a", 0, 9), "1,2,3");
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 1);
    assert_int_equal(keys(), 0);
    comet_store_close(store);
}

/* A refused group does not affect others in the same commit. */
static void test_refused_beside_others(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    made_t made[] = {
        make_group("a", NULL, "1 2", NULL), make_group("new", NULL, "3 -", "k"),
        make_group("new", NULL, "4", "k"),  make_group("b", NULL, "-", NULL),
        make_group("a", NULL, "5 6", "l"),  make_group("a", NULL, "5 6", "l"),
        make_group("a", NULL, "7", "l"),    make_group("a", NULL, "8", NULL)
    };
    static const apr_status_t expected[] = { APR_SUCCESS,     COMET_EINVALID,
                                             APR_SUCCESS,     COMET_EINVALID,
                                             APR_SUCCESS,     COMET_EREPEATED,
                                             COMET_EMISMATCH, APR_SUCCESS };
    comet_store_group_t *groups[8];
    size_t i;

    for (i = 0; i < 8; i++) {
        groups[i] = ready(&made[i]);
    }
    assert_int_equal(comet_store_append(store, groups, 8), 0);
    for (i = 0; i < 8; i++) {
        assert_int_equal(groups[i]->result, expected[i]);
    }
    assert_int_equal(groups[5]->messages[1]->timestamp,
                     groups[4]->messages[1]->timestamp);
    assert_int_equal(groups[6]->messages[0]->timestamp, 0);
    assert_string_equal(kit_bodies(store, "a", 0, 9), "1,2,5,6,8");
    assert_string_equal(kit_bodies(store, "new", 0, 9), "4");
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 2);
    assert_int_equal(kit_last_of(store), groups[7]->messages[0]->timestamp);
    assert_int_equal(kit_number("SELECT max(timestamp) - min(timestamp)"
                                " FROM message"),
                     kit_last_of(store) - groups[0]->messages[0]->timestamp);
    for (i = 0; i < 8; i++) {
        drop(&made[i]);
    }
    comet_store_close(store);
}

/* --- Keys ------------------------------------------------------------- */

/* A trigger publishes an answer to each message.  The messages of a group have
 * consecutive timestamps all the same, and a repeat is told these. */
static void test_beside_a_trigger(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t first, again;

    kit_run_outside("CREATE TRIGGER bot AFTER INSERT ON message_log"
                    " WHEN NEW.author IS NULL BEGIN"
                    " INSERT INTO message(channel, author, body)"
                    " VALUES('chat', 'bot', 're ' || NEW.body); END");
    assert_int_equal(publish(store, "chat", NULL, "a b c", "k", &first), 0);
    assert_int_equal(publish(store, "chat", NULL, "a b c", "k", &again),
                     COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_string_equal(kit_bodies(store, "chat", 0, 9),
                        "a,b,c,re a,re b,re c");
    assert_string_equal(kit_bodies(store, "chat", first, 9),
                        "b,c,re a,re b,re c");
    comet_store_close(store);
    kit_assert_healthy();
}

static void test_repeated(void **state)
{
    static const struct {
        const char *channel, *author, *bodies, *key;
        apr_status_t status;
    } others[] = {
        { "a", "anna", "x", "k", COMET_EREPEATED },
        { "a", "anna", "y", "k", COMET_EMISMATCH },
        { "a", "anna", "x x", "k", COMET_EMISMATCH },
        { "a", "bob", "x", "k", APR_SUCCESS },
        { "a", NULL, "x", "k", APR_SUCCESS },
        { "a", NULL, "x", "k", COMET_EREPEATED },
        { "b", "anna", "x", "k", APR_SUCCESS },
        { "a", "anna", "x", "K", APR_SUCCESS },
        { "a", "anna", "x", "k ", APR_SUCCESS },
        { "a", "anna", "x", NULL, APR_SUCCESS },
        { "a", "anna", "x", NULL, APR_SUCCESS },
        { "a", "anna", "x", "k", COMET_EREPEATED },
    };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t first, again;
    size_t i;

    assert_int_equal(publish(store, "a", "anna", "x", "k", &first), 0);
    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        comet_timestamp_t before = kit_last_of(store);

        assert_int_equal(publish(store, others[i].channel, others[i].author,
                                 others[i].bodies, others[i].key, &again),
                         others[i].status);
        assert_true((kit_last_of(store) > before)
                    == (others[i].status == APR_SUCCESS));
    }
    assert_int_equal(again, first);
    comet_store_close(store);
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(publish(store, "a", "anna", "x", "k", &again),
                     COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_int_equal(publish(store, "a", "anna", "1 2 3", "batch", &first), 0);
    assert_int_equal(publish(store, "a", "anna", "1 2 3", "batch", &again),
                     COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_int_equal(publish(store, "a", "anna", "1 23", "batch", NULL),
                     COMET_EMISMATCH);
    comet_store_close(store);
}

/* The hash of a group depends on where each of its texts ends, and on which
 * field holds which text. */
static void test_hash(void **state)
{
    static const comet_message_fields_t fields[] = {
        { .channel = { "a", 1 }, .type = { "t", 1 }, .body = { "xy", 2 } },
        { .channel = { "at", 2 }, .type = { "x", 1 }, .body = { "y", 1 } },
        { .channel = { "a", 1 }, .type = { "tx", 2 }, .body = { "y", 1 } },
        { .channel = { "a", 1 }, .type = { "", 0 }, .body = { "txy", 3 } },
        { .channel = { "a1:t", 4 }, .type = { "x", 1 }, .body = { "y", 1 } },
    };
    unsigned char hashes[5][COMET_HASH_BYTES];
    size_t i, j;

    for (i = 0; i < 5; i++) {
        comet_message_t *message = comet_message_create(&fields[i]);
        comet_store_group_t group = { .messages = &message, .count = 1 };

        comet_store_hash(&group);
        memcpy(hashes[i], group.key.hash, COMET_HASH_BYTES);
        comet_message_unref(message);
        for (j = 0; j < i; j++) {
            assert_memory_not_equal(hashes[i], hashes[j], COMET_HASH_BYTES);
        }
    }
}

/* A key is kept for as long as its message, and for one more day. */
static void test_outlives_the_message(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t first, again;
    apr_int64_t left;
    int more;

    assert_int_equal(publish(store, "a", NULL, "x y", "k", &first), 0);
    kit_run_outside("DELETE FROM message WHERE body = 'x'");
    assert_int_equal(kit_number("SELECT count(expires) FROM idempotency_key"),
                     0);
    kit_run_outside("DELETE FROM message");
    left = kit_number("SELECT expires FROM idempotency_key") - apr_time_now();
    assert_true(left > DAY_USEC - 60 * APR_USEC_PER_SEC && left <= DAY_USEC);
    assert_int_equal(comet_store_tidy(store, &more), 0);
    assert_int_equal(more, 0);
    assert_int_equal(publish(store, "a", NULL, "x y", "k", &again),
                     COMET_EREPEATED);
    assert_int_equal(again, first);
    /* a day later the key no longer counts, even before it is removed */
    kit_run_outside("UPDATE idempotency_key"
                    " SET expires = expires - 86400000001");
    assert_int_equal(publish(store, "a", NULL, "z", "k", &again), 0);
    assert_true(again > first);
    assert_int_equal(publish(store, "a", NULL, "z", "k", &first),
                     COMET_EREPEATED);
    assert_int_equal(first, again);
    assert_int_equal(keys(), 1);
    /* upkeep removes a key that has expired */
    kit_run_outside("UPDATE idempotency_key SET expires = 5");
    assert_int_equal(comet_store_tidy(store, &more), 0);
    assert_int_equal(more, 0);
    assert_int_equal(keys(), 0);
    comet_store_close(store);
}

/* The clock was a year ahead and is set back.  Still, no key is kept for a
 * year. */
static void test_clock_set_back(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t first, again;
    apr_int64_t left;
    int more;

    assert_int_equal(publish(store, "a", NULL, "x", "k", &first), 0);
    kit_run_outside("DELETE FROM message;"
                    "UPDATE idempotency_key"
                    " SET expires = expires + 365 * 86400000000");
    assert_int_equal(comet_store_tidy(store, &more), 0);
    assert_int_equal(more, 0);
    left = kit_number("SELECT expires FROM idempotency_key") - apr_time_now();
    assert_true(left > DAY_USEC - 60 * APR_USEC_PER_SEC && left <= DAY_USEC);
    assert_int_equal(publish(store, "a", NULL, "x", "k", &again),
                     COMET_EREPEATED);
    assert_int_equal(again, first);
    comet_store_close(store);
}

static void test_tidied_in_steps(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int more, steps = 0;

    kit_run_outside(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 2503)"
        " INSERT INTO idempotency_key"
        " SELECT i, 1, 'a', '', 'k' || i, zeroblob(20),"
        " CASE WHEN i > 3 THEN i END FROM n");
    do {
        assert_int_equal(comet_store_tidy(store, &more), 0);
        steps++;
    } while (more);
    assert_in_range(steps, 3, 4);
    assert_int_equal(keys(), 3);
    comet_store_close(store);
}

/* When retention removes messages, their keys stay for a day. */
static void test_outlives_retention(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t first, again;
    int more = 1;

    assert_int_equal(publish(store, "a", NULL, "x", "k", &first), 0);
    kit_append_many(store, "a", 3);
    kit_config.retain_count = 1;
    while (more) {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
    assert_string_equal(kit_bodies(store, "a", 0, 9), "2");
    assert_int_equal(publish(store, "a", NULL, "x", "k", &again),
                     COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_int_equal(kit_number("SELECT count(expires) FROM idempotency_key"),
                     1);
    comet_store_close(store);
}

/* --- Faults and concurrent publishers ------------------------------------- */

#define RIVALS 4
#define RIVAL_KEYS 60

static int publish_all_keys(void *baton)
{
    comet_store_t *store;
    char key[16];
    int i;

    if (comet_store_open(&store, &kit_config, COMET_STORE_WRITE, NULL)
        != APR_SUCCESS) {
        return 100;
    }
    for (i = 0; i < RIVAL_KEYS; i++) {
        apr_status_t status;

        snprintf(key, sizeof(key), "k%d", i);
        do {
            status = publish(store, "a", NULL, key, key, NULL);
        } while (status == COMET_ELOCKED);
        if (status != APR_SUCCESS && status != COMET_EREPEATED) {
            return 101;
        }
    }
    comet_store_close(store);
    return 0;
}

/* If several processes publish the same messages under the same keys, each
 * message is stored once. */
static void test_rivals(void **state)
{
    int pids[RIVALS];
    size_t i;

    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    for (i = 0; i < RIVALS; i++) {
        pids[i] = scratch_fork(publish_all_keys, NULL);
    }
    for (i = 0; i < RIVALS; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(kit_number("SELECT count(*) FROM message"), RIVAL_KEYS);
    assert_int_equal(kit_number("SELECT count(DISTINCT body) FROM message"),
                     RIVAL_KEYS);
    assert_int_equal(keys(), RIVAL_KEYS);
}

/* Whatever became of the first attempt, the message is stored exactly once
 * after a second attempt. */
static void test_unknown_outcome(void **state)
{
    static const faulty_e faults[] = { FAULTY_SYNC, FAULTY_WRITE };
    size_t i;

    for (i = 0; i < 2; i++) {
        comet_store_t *store;
        comet_timestamp_t first, again;
        apr_status_t status;

        kit_setup(NULL);
        store = kit_open_store(COMET_STORE_WRITE);
        atomic_store(&faulty_now, (int)faults[i]);
        assert_int_equal(publish(store, "a", NULL, "x", "k", NULL),
                         COMET_EUNSURE);
        comet_store_close(store);
        atomic_store(&faulty_now, FAULTY_NOTHING);
        store = kit_open_store(COMET_STORE_WRITE);
        status = publish(store, "a", NULL, "x", "k", &first);
        assert_true(status == APR_SUCCESS || status == COMET_EREPEATED);
        assert_int_equal(publish(store, "a", NULL, "x", "k", &again),
                         COMET_EREPEATED);
        assert_int_equal(again, first);
        assert_string_equal(kit_bodies(store, "a", 0, 9), "x");
        comet_store_close(store);
    }
}

/* --- A database of version 1 ------------------------------------------ */

static void test_migrated(void **state)
{
    sqlite3 *db;
    comet_store_t *store;

    assert_int_equal(comet_schema[0].version, 1);
    assert_int_equal(sqlite3_open(kit_database, &db), SQLITE_OK);
    kit_must_run(db, comet_schema[0].sql);
    kit_must_run(db, "PRAGMA application_id = 0x434f4d54;"
                     "PRAGMA user_version = 1;"
                     "INSERT INTO message(channel, body) VALUES('a', 'old')");
    sqlite3_close(db);
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(publish(store, "a", NULL, "new", "k", NULL), 0);
    assert_int_equal(publish(store, "a", NULL, "new", "k", NULL),
                     COMET_EREPEATED);
    assert_string_equal(kit_bodies(store, "a", 0, 9), "old,new");
    assert_true(kit_number("PRAGMA user_version") >= 3);
    assert_int_equal(publish(store, "b", NULL, "", NULL, NULL), 0);
    assert_string_equal(kit_bodies(store, "b", 0, 9), "");
    comet_store_close(store);
    kit_assert_healthy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_group),
        KIT_TEST(test_refused_beside_others),
        KIT_TEST(test_repeated),
        KIT_TEST(test_beside_a_trigger),
        KIT_TEST(test_hash),
        KIT_TEST(test_outlives_the_message),
        KIT_TEST(test_clock_set_back),
        KIT_TEST(test_tidied_in_steps),
        KIT_TEST(test_outlives_retention),
        KIT_TEST(test_rivals),
        KIT_TEST(test_unknown_outcome),
        KIT_TEST(test_migrated),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
