/* SPDX-License-Identifier: Apache-2.0 */
/* The index of words: it holds exactly what the log holds, whatever happens to
 * the log.  It is built and removed in steps. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "search_kit.h"

#include <stdatomic.h>
#include <stdio.h>

/** Check that the index holds exactly what the log holds. */
static void assert_index_right(void)
{
    kit_run_outside("INSERT INTO message_search(message_search, rank)"
                    " VALUES('integrity-check', 1)");
    assert_int_equal(kit_number("SELECT count(*) FROM message_search_docsize"),
                     kit_number("SELECT count(*) FROM message_log"));
    assert_int_equal(kit_number("SELECT count(*) FROM message_search_docsize"
                                " WHERE id NOT IN"
                                " (SELECT id FROM message_log)"),
                     0);
}

/** How many messages contain a word, according to the index. */
static sqlite3_int64 indexed(const char *word)
{
    char sql[128];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM message_search"
             " WHERE message_search MATCH '%s'",
             word);
    return kit_number(sql);
}

static void test_outsiders(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);

    search_fill("a", 50);
    kit_append(store, "a", "word ours", NULL);
    assert_int_equal(search_count(store, "a", "word"), 51);
    assert_string_equal(search_for(store, "a", "W7", 9), "word w7");
    kit_run_outside("DELETE FROM message WHERE body = 'word w7'");
    kit_run_outside("DELETE FROM message WHERE body LIKE '%w4_'");
    assert_string_equal(search_for(store, "a", "w7", 9), "");
    assert_int_equal(search_count(store, "a", "word"), 40);
    assert_index_right();
    kit_run_outside("DELETE FROM message");
    assert_int_equal(search_count(store, "a", "word"), 0);
    assert_index_right();
    comet_store_close(store);
    kit_assert_healthy();
}

/* A message that was rolled back is not in the index. */
static void test_refused(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    comet_message_t *messages[] = { kit_make("a", "good one"),
                                    kit_make("a", "good two"),
                                    kit_make_refused("a") };
    comet_store_group_t groups[] = { { .messages = messages, .count = 1 },
                                     { .messages = messages + 1, .count = 2 } };
    comet_store_group_t *list[] = { &groups[0], &groups[1] };
    size_t i;

    assert_int_equal(comet_store_append(store, list, 2), 0);
    assert_int_equal(groups[0].result, APR_SUCCESS);
    assert_int_equal(groups[1].result, COMET_EINVALID);
    assert_string_equal(search_for(store, "a", "good", 9), "good one");
    assert_index_right();
    for (i = 0; i < 3; i++) {
        comet_message_unref(messages[i]);
    }
    comet_store_close(store);
}

/* Older messages are indexed in steps, the newest first. */
static void test_filled_in_steps(void **state)
{
    comet_store_t *store = search_open(0, COMET_STORE_WRITE);
    comet_store_t *reader;
    int more, steps = 0;

    search_fill("a", 4500);
    comet_store_close(store);
    store = search_open(1, COMET_STORE_WRITE);
    reader = search_open(1, COMET_STORE_READ);
    assert_int_equal(indexed("word"), 0);
    do {
        comet_store_state_t before, after;

        assert_int_equal(comet_store_state(store, &before), 0);
        assert_int_equal(comet_store_tidy(store, &more), 0);
        steps++;
        if (steps == 1) {
            assert_string_equal(search_for(reader, "a", "w4400", 9),
                                "word w4400");
            assert_int_equal(indexed("w100"), 0);
        }
        if (steps == 2) { /* delete a message that is not indexed yet, and
                           * another that is */
            kit_run_outside("DELETE FROM message WHERE body IN"
                            " ('word w1', 'word w4499')");
            kit_append(store, "a", "word new", NULL);
            comet_store_close(store);
            store = search_open(1, COMET_STORE_WRITE);
        }
        else { /* indexing changes no message */
            assert_int_equal(comet_store_state(store, &after), 0);
            assert_int_equal(after.erased, before.erased);
            assert_int_equal(after.last, before.last);
        }
    } while (more);
    assert_in_range(steps, 5, 7);
    assert_string_equal(search_for(reader, "a", "w2", 9), "word w2");
    assert_string_equal(search_for(reader, "a", "w1", 9), "");
    assert_string_equal(search_for(reader, "a", "new", 9), "word new");
    assert_index_right();
    assert_int_equal(search_tidy(store), 1);
    comet_store_close(reader);
    comet_store_close(store);
}

/* If bodies are long, a step indexes fewer of them. */
static void test_filled_by_bytes(void **state)
{
    comet_store_t *store = search_open(0, COMET_STORE_WRITE);

    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 20) INSERT INTO message(channel, body)"
                    " SELECT 'a', 'y ' || printf('%.*c', 100000, 'x') FROM n");
    comet_store_close(store);
    store = search_open(1, COMET_STORE_WRITE);
    assert_in_range(search_tidy(store), 20, 22);
    assert_int_equal(kit_number("SELECT count(*) FROM message_search"
                                " WHERE message_search MATCH 'y'"),
                     20);
    assert_index_right();
    comet_store_close(store);
}

/* Neither a trigger nor a step indexes the end of a long body.  When the
 * message is deleted, the words of that end are not looked up either. */
static void test_long_bodies(void **state)
{
    static const char insert[] =
        "INSERT INTO message(channel, body) VALUES"
        "('a', 'early ' || printf('%.*c', 32761, 'x') || ' late'),"
        "('a', 'early ' || printf('%.*c', 32756, 'x') || ' just ' || 'late')";
    comet_store_t *store = search_open(0, COMET_STORE_WRITE);

    kit_run_outside(insert);
    comet_store_close(store);
    store = search_open(1, COMET_STORE_WRITE);
    search_tidy(store);
    kit_run_outside(insert);
    assert_int_equal(indexed("early"), 4);
    assert_int_equal(indexed("just"), 2);
    assert_int_equal(indexed("late"), 0);
    assert_index_right();
    kit_run_outside("DELETE FROM message WHERE body LIKE '%just%'");
    assert_int_equal(indexed("early"), 2);
    assert_index_right();
    comet_store_close(store);
}

/* A client can choose words that collide in FTS5's hash table.  The effect is
 * bounded, because the words of one commit are written in many parts, so that
 * they never all meet in that table. */
static void test_many_words(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);

    kit_run_outside("INSERT INTO message_search(message_search, rank)"
                    " VALUES('automerge', 0)");
    kit_run_outside("INSERT INTO message_search(message_search, rank)"
                    " VALUES('crisismerge', 1000)");
    kit_run_outside(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 1000), body(k, text) AS"
        " (SELECT k, group_concat(printf('word%dof%d', i, k), ' ') FROM n,"
        " (SELECT i AS k FROM n WHERE i <= 20) GROUP BY k)"
        " INSERT INTO message(channel, body) SELECT 'a', text FROM body");
    assert_true(kit_number("SELECT count(DISTINCT segid)"
                           " FROM message_search_idx")
                >= 5);
    assert_int_equal(indexed("word999of20"), 1);
    assert_index_right();
    comet_store_close(store);
}

static void test_retention(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    int more, steps = 0;

    search_fill("a", 30);
    search_fill("b", 5);
    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 20) INSERT INTO message(channel, body)"
                    " SELECT 'a', 'y ' || printf('%.*c', 100000, 'x') FROM n");
    search_fill("c", 30);
    kit_config.retain_count = 3;
    do {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
        steps++;
        assert_in_range(steps, 1, 100);
    } while (more);
    assert_true(steps >= 17);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 9);
    assert_int_equal(search_count(store, "c", "word"), 3);
    assert_int_equal(search_count(store, "a", "word"), 0);
    assert_index_right();
    comet_store_close(store);
}

static void test_removed_in_steps(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    comet_store_t *reader = search_open(1, COMET_STORE_READ);

    search_fill("a", 2500);
    comet_store_close(store);
    store = search_open(0, COMET_STORE_WRITE);
    /* from now on, writing does not need FTS5 */
    assert_int_equal(kit_number("SELECT count(*) FROM sqlite_master"
                                " WHERE type = 'trigger'"
                                " AND sql LIKE '%search%'"),
                     0);
    kit_config.search = 1;
    assert_int_equal(search_try(reader, "a", "w7", 9), APR_ENOENT);
    kit_config.search = 0;
    search_fill("a", 5);
    assert_in_range(search_tidy(store), 4, 40);
    assert_int_equal(search_pieces(), 0);
    comet_store_close(reader);
    comet_store_close(store);
    kit_assert_healthy();
    store = search_open(1, COMET_STORE_WRITE);
    search_tidy(store);
    assert_int_equal(search_count(store, "a", "w3"), 2);
    assert_index_right();
    comet_store_close(store);
}

/* If searching is switched on again before the old index is gone, a new one is
 * built. */
static void test_on_off_on(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    int more;

    search_fill("a", 3000);
    comet_store_close(store);
    store = search_open(0, COMET_STORE_WRITE);
    assert_int_equal(comet_store_tidy(store, &more), 0);
    assert_int_equal(more, 1);
    search_fill("a", 10);
    comet_store_close(store);
    store = search_open(1, COMET_STORE_WRITE);
    search_fill("a", 10);
    search_tidy(store);
    assert_int_equal(search_count(store, "a", "w5"), 3);
    assert_index_right();
    comet_store_close(store);
}

/* Run in several processes at once, which build the index together. */
static int open_and_fill(void *baton)
{
    comet_store_t *store;
    int more = 1;

    if (comet_store_open(&store, &kit_config, COMET_STORE_WRITE, NULL)
        != APR_SUCCESS) {
        fprintf(stderr, "%s\n", comet_store_error(NULL));
        return 1;
    }
    while (more) {
        apr_status_t status = comet_store_tidy(store, &more);

        if (status == COMET_ELOCKED) {
            more = 1;
        }
        else if (status != APR_SUCCESS
                 || kit_append(store, "a", "mine", NULL) != APR_SUCCESS) {
            fprintf(stderr, "%d %s\n", status, comet_store_error(store));
            return 2;
        }
    }
    comet_store_close(store);
    return 0;
}

static void test_rivals(void **state)
{
    int pids[4];
    size_t i;

    comet_store_close(search_open(0, COMET_STORE_WRITE));
    search_fill("a", 5000);
    kit_config.search = 1;
    for (i = 0; i < 4; i++) {
        pids[i] = scratch_fork(open_and_fill, NULL);
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_index_right();
    assert_int_equal(kit_number("SELECT indexed_from FROM search_progress"), 0);
}

static int change_schema(void *baton)
{
    atomic_int *changing = baton;
    int i;

    for (i = 0; i < 150; i++) {
        kit_run_outside("CREATE TRIGGER probe AFTER DELETE ON message_log"
                        " BEGIN SELECT 1; END");
        kit_run_outside("DROP TRIGGER probe");
    }
    atomic_store(changing, 0);
    return 0;
}

/* If the schema changes while readers open the store, at worst they have to
 * open it a second time. */
static void test_schema_changes(void **state)
{
    comet_store_t *writer = search_open(1, COMET_STORE_WRITE);
    atomic_int *changing = scratch_shared(sizeof(*changing));
    comet_store_state_t now;
    int pid;

    atomic_store(changing, 1);
    pid = scratch_fork(change_schema, changing);
    while (atomic_load(changing)) {
        comet_store_t *store = NULL;
        apr_status_t status = comet_store_open(&store, &kit_config,
                                               COMET_STORE_READ_AT_ONCE, NULL);

        if (status == APR_SUCCESS) {
            status = comet_store_begin(store, &now);
        }
        if (status == APR_SUCCESS) {
            comet_store_end(store);
        }
        else if (status != COMET_ELOCKED && status != COMET_EMOVED) {
            fail_msg("%d %s", status, comet_store_error(store));
        }
        comet_store_close(store);
    }
    assert_int_equal(scratch_reap(pid), 0);
    comet_store_close(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_outsiders),       KIT_TEST(test_refused),
        KIT_TEST(test_filled_in_steps), KIT_TEST(test_filled_by_bytes),
        KIT_TEST(test_long_bodies),     KIT_TEST(test_many_words),
        KIT_TEST(test_retention),       KIT_TEST(test_removed_in_steps),
        KIT_TEST(test_on_off_on),       KIT_TEST(test_rivals),
        KIT_TEST(test_schema_changes),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
