/* SPDX-License-Identifier: Apache-2.0 */
/* The message log as an interface: other programs write, delete, change and
 * lock it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "faulty_vfs.h"

static void test_outside_insert(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t ours, theirs;
    sqlite3 *db = kit_outsider();

    assert_int_equal(kit_append(store, "chat", "ours", &ours), 0);
    kit_must_run(db, "INSERT INTO message(channel, body) VALUES('chat', 42)");
    theirs = kit_last_of(store);
    assert_true(theirs > ours);
    kit_must_run(db, "INSERT INTO message(channel, type, author, body)"
                     " SELECT 7, 't', 'cron', body FROM message");
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "ours,42");
    assert_string_equal(kit_bodies(store, "7", 0, 9), "ours,42");
    assert_string_equal(kit_list.messages[0]->author.data, "cron");
    assert_string_equal(kit_list.messages[0]->type.data, "t");
    assert_true(kit_list.messages[0]->timestamp > theirs);
    assert_non_null(
        strstr(kit_try_run(db, "INSERT INTO message(timestamp, channel, body)"
                               " VALUES(1, 'chat', 'x')"),
               "leave it out"));
    assert_non_null(strstr(
        kit_try_run(db,
                    "INSERT INTO message(channel, body) VALUES('a//b', 'x')"),
        "empty, '.' or '..'"));
    assert_string_not_equal(
        kit_try_run(db,
                    "INSERT INTO message(channel, body) VALUES('c', x'41')"),
        "");
    assert_string_not_equal(
        kit_try_run(db, "INSERT INTO message(channel) VALUES('c')"), "");
    assert_string_not_equal(
        kit_try_run(db, "INSERT INTO message(body) VALUES('c')"), "");
    /* as a comment in the SQL promises: the timestamp can be read in the same
     * transaction */
    kit_must_run(db,
                 "BEGIN; INSERT INTO message(channel, body) VALUES('c', 1)");
    assert_int_equal(kit_number_in(db, "SELECT last FROM comet_clock"),
                     kit_number_in(db, "SELECT timestamp FROM message"
                                       " WHERE channel = 'c'"));
    kit_must_run(db, "COMMIT");
    sqlite3_close(db);
    comet_store_close(store);
}

static void test_outside_delete(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_state_t before, after;

    kit_append_many(store, "chat", 5);
    kit_append_many(store, "spam", 2);
    assert_int_equal(comet_store_state(store, &before), 0);
    kit_run_outside("DELETE FROM message WHERE body IN ('1', '3')"
                    " AND channel = 'chat'");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 2);
    assert_int_equal(after.last, before.last);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,2,4");
    /* deleting directly from the table is counted, too; a channel that becomes
     * empty leaves no trace */
    kit_run_outside("DELETE FROM message_log WHERE channel_id ="
                    " (SELECT id FROM channel WHERE name = 'spam')");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 4);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 1);
    kit_run_outside("DELETE FROM message");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 7);
    assert_int_equal(after.last, before.last);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 0);
    /* an emptied log continues its numbering */
    kit_append_many(store, "chat", 1);
    assert_true(kit_last_of(store) > before.last);
    comet_store_close(store);
}

static void test_immutable(void **state)
{
    static const char *const refused[] = {
        "UPDATE message SET body = 'x'",
        "UPDATE message_log SET body = 'x'",
        "UPDATE comet_clock SET last = last - 1",
        "UPDATE comet_clock SET erased = erased - 1",
        "UPDATE comet_clock SET last = 9007199254740992",
        "UPDATE comet_clock SET last = 'x'",
        "DELETE FROM comet_clock",
        "INSERT INTO comet_clock(one) VALUES(2)",
    };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();
    size_t i;

    kit_append_many(store, "chat", 1);
    kit_must_run(db, "DELETE FROM message WHERE body = 'none';"
                     "UPDATE comet_clock SET erased = 5");
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (!*kit_try_run(db, refused[i])) {
            fail_msg("not refused: %s", refused[i]);
        }
    }
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0");
    sqlite3_close(db);
    comet_store_close(store);
}

/* The system clock was a day ahead, and has been set right again. */
static void test_clock_set_back(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t ahead = apr_time_now() + 86400 * APR_USEC_PER_SEC;
    comet_timestamp_t timestamp;
    char sql[96];
    int i;

    snprintf(sql, sizeof(sql), "UPDATE comet_clock SET last = %lld",
             (long long)ahead);
    kit_run_outside(sql);
    for (i = 1; i <= 5; i++) {
        assert_int_equal(kit_append(store, "chat", "x", &timestamp), 0);
        assert_int_equal(timestamp, ahead + 2 * i - 1);
        kit_run_outside("INSERT INTO message(channel, body) VALUES('chat', 1)");
        assert_int_equal(kit_last_of(store), ahead + 2 * i);
    }
    /* no timestamp is left after the greatest possible one */
    kit_run_outside("UPDATE comet_clock SET last = 9007199254740991");
    assert_int_equal(kit_append(store, "chat", "x", NULL), COMET_EINVALID);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 10);
    comet_store_close(store);
}

static void test_survives_schema_changes(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 100);
    assert_int_equal(kit_last_of(reader), kit_last_of(store));
    kit_run_outside("CREATE INDEX by_author ON message_log(author)");
    kit_append_many(store, "chat", 1);
    kit_run_outside("ANALYZE");
    kit_append_many(store, "chat", 1);
    kit_run_outside("DROP INDEX by_author; VACUUM");
    kit_append_many(store, "chat", 1);
    kit_empty_list();
    assert_int_equal(comet_store_tail(reader, 0, 999, kit_collect, &kit_list),
                     0);
    assert_int_equal(kit_list.count, 103);
    comet_store_close(reader);
    comet_store_close(store);
}

static void test_locked(void **state)
{
    comet_store_t *store, *reader;
    sqlite3 *db;
    int64_t start;

    kit_config.busy_timeout = 100000;
    store = kit_open_store(COMET_STORE_WRITE);
    reader = kit_open_store(COMET_STORE_READ);
    kit_append_many(store, "chat", 1);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE;"
                     "INSERT INTO message(channel, body) VALUES('chat', 'x')");
    start = scratch_usec();
    assert_int_equal(kit_append(store, "chat", "y", NULL), COMET_ELOCKED);
    assert_true(scratch_usec() - start >= 100000);
    assert_true(*comet_store_error(store));
    kit_config.busy_timeout = 3600 * APR_USEC_PER_SEC; /* not used here */
    assert_int_equal(comet_store_reserve(store, 0), COMET_ELOCKED);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "0");
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), 0);
    assert_int_equal(kit_open_status(COMET_STORE_READ), 0);
    kit_must_run(db, "COMMIT");
    assert_int_equal(kit_append(store, "chat", "y", NULL), APR_SUCCESS);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "0,x,y");
    sqlite3_close(db);
    comet_store_close(reader);
    comet_store_close(store);
}

static void test_stopping_ends_waiting(void **state)
{
    atomic_int stopping;
    comet_store_t *store;
    sqlite3 *db;

    atomic_init(&stopping, 0);
    kit_config.busy_timeout = 3600 * APR_USEC_PER_SEC;
    assert_int_equal(
        comet_store_open(&store, &kit_config, COMET_STORE_WRITE, &stopping), 0);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    atomic_store(&stopping, 1);
    assert_int_equal(kit_append(store, "chat", "y", NULL), COMET_ELOCKED);
    sqlite3_close(db);
    comet_store_close(store);
}

static void test_reserve(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();

    sqlite3_busy_timeout(db, 0);
    assert_int_equal(comet_store_reserve(store, 0), 0);
    assert_string_not_equal(kit_try_run(db, "BEGIN IMMEDIATE"), "");
    assert_int_equal(kit_append(store, "chat", "x", NULL), 0);
    kit_must_run(db, "BEGIN IMMEDIATE; ROLLBACK");
    /* appending nothing also releases the lock */
    assert_int_equal(comet_store_reserve(store, 0), 0);
    assert_int_equal(scratch_append(store, NULL, NULL, 0), 0);
    kit_must_run(db, "BEGIN IMMEDIATE; ROLLBACK");
    sqlite3_close(db);
    comet_store_close(store);
}

/* --- Glances at the state ------------------------------------------------- */

static comet_timestamp_t view(comet_store_t *store)
{
    comet_store_state_t state;

    assert_int_equal(comet_store_begin(store, &state), 0);
    comet_store_end(store);
    return state.last;
}

/* A glance returns the state of the last view, until a change is committed. */
static void test_glance(void **state)
{
    comet_store_t *writer = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *store = kit_open_store(COMET_STORE_READ);
    comet_timestamp_t ours;
    comet_store_state_t now;

    assert_int_equal(comet_store_glance(store, &now), 0);
    view(store);
    assert_int_equal(kit_append(writer, "chat", "ours", &ours), 0);
    assert_int_equal(comet_store_glance(store, &now), 0);
    assert_int_equal(view(store), ours);
    assert_int_equal(comet_store_glance(store, &now), 1);
    assert_int_equal(now.last, ours);
    assert_int_equal(now.erased, 0);
    kit_run_outside("BEGIN; DELETE FROM message; ROLLBACK");
    assert_int_equal(comet_store_glance(store, &now), 1);
    kit_run_outside("DELETE FROM message");
    assert_int_equal(comet_store_glance(store, &now), 0);
    view(store);
    assert_int_equal(comet_store_glance(store, &now), 1);
    assert_int_equal(now.erased, 1);
    comet_store_close(store);
    comet_store_close(writer);
}

/* --- Guests: other programs that have the store open ---------------------- */

/* A child of a server that opens the store and may hold it open. */
typedef struct child_t {
    atomic_int open, end;
    int hold;
} child_t;

/* @return whether the child finds guests; 2: it could not look for them */
static int look_for_guests(void *baton)
{
    const struct timespec step = { 0, 1000000 };
    child_t *child = baton;
    comet_store_t *store = NULL;
    int guests = 2;

    if (comet_store_open(&store, &kit_config, COMET_STORE_WRITE, NULL) == 0) {
        guests = comet_store_has_guests(store);
    }
    atomic_store(&child->open, 1);
    while (child->hold && !atomic_load(&child->end)) {
        nanosleep(&step, NULL);
    }
    comet_store_close(store);
    return guests;
}

static int is_in_container(void)
{
    char name[64] = "";

    return readlink("/proc/self/ns/pid", name, sizeof(name) - 1) <= 0
           || strcmp(name, "pid:[4026531836]") != 0;
}

/* A program is a guest only if it is not a child of the same server. */
static void test_guests(void **state)
{
    child_t *one = scratch_shared(2 * sizeof(child_t)), *other = one + 1;
    sqlite3 *db;
    int pid;

    if (is_in_container()) {
        skip();
    }
    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    one->hold = 1;
    pid = scratch_fork(look_for_guests, one);
    wait_until(atomic_load(&one->open));
    assert_int_equal(scratch_reap(scratch_fork(look_for_guests, other)), 0);
    db = kit_outsider(); /* opened by the parent process, which is not a child
                          * of a server */
    assert_int_equal(kit_number_in(db, "SELECT count(*) FROM message"), 0);
    assert_int_equal(scratch_reap(scratch_fork(look_for_guests, other)), 1);
    sqlite3_close(db);
    assert_int_equal(scratch_reap(scratch_fork(look_for_guests, other)), 0);
    atomic_store(&one->end, 1);
    assert_int_equal(scratch_reap(pid), 0);
}

/* A child of a server in a container, which has its own /proc. */
static int look_in_container(void *child)
{
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
                   || mount("proc", "/proc", "proc", 0, NULL)
               ? 2
               : look_for_guests(child);
}

static int make_container(void *child)
{
    return unshare(CLONE_NEWPID | CLONE_NEWNS)
               ? 2
               : scratch_reap(scratch_fork(look_in_container, child));
}

/* A container's /proc lists only the container's own processes, so a child
 * there must always expect guests. */
static void test_guests_in_a_container(void **state)
{
    int guests;

    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    guests = scratch_reap(
        scratch_fork(make_container, scratch_shared(sizeof(child_t))));
    if (guests == 2) {
        skip(); /* this user or machine may not make a container */
    }
    assert_int_equal(guests, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_outside_insert),
        KIT_TEST(test_outside_delete),
        KIT_TEST(test_immutable),
        KIT_TEST(test_clock_set_back),
        KIT_TEST(test_survives_schema_changes),
        KIT_TEST(test_locked),
        KIT_TEST(test_stopping_ends_waiting),
        KIT_TEST(test_reserve),
        KIT_TEST(test_glance),
        KIT_TEST(test_guests),
        KIT_TEST(test_guests_in_a_container),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
