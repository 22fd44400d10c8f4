/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation, call of SQLite and access to a file fails in turn while the
 * log is read and searched.  A reading that fails has returned a prefix of the
 * complete result. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults_store.h"

#include <apr_general.h>
#include <stdio.h>
#include <string.h>

/* --- Reading ---------------------------------------------------------- */

static apr_status_t (*read_some)(void);
static char got[40000], expected[40000];

static void note(const char *text, apr_size_t length)
{
    size_t at = strlen(got);

    faults_must(at + length + 2 < sizeof(got));
    memcpy(got + at, text, length);
    memcpy(got + at + length, ";", 2);
}

static void note_number(apr_int64_t number)
{
    char text[32];

    note(text, (apr_size_t)snprintf(text, sizeof(text), "%ld", (long)number));
}

static int note_message(void *baton, comet_message_t *message)
{
    note_number(message->timestamp);
    note(message->channel.data, message->channel.length);
    note(message->author.data ? message->author.data : "nobody",
         message->author.data ? message->author.length : 6);
    note_number((apr_int64_t)message->body.length);
    comet_message_unref(message);
    return 1;
}

static int note_name(void *baton, comet_text_t name)
{
    note(name.data, name.length);
    return 1;
}

static comet_selection_t *atom, *several, *wild, *rare;

static apr_status_t read_atom(void)
{
    return comet_store_read(faults_store, atom, 0, 100, note_message, NULL);
}

static apr_status_t read_several(void)
{
    return comet_store_read(faults_store, several, 0, 100, note_message, NULL);
}

static apr_status_t read_wild(void)
{
    return comet_store_read(faults_store, wild, 0, 100, note_message, NULL);
}

static apr_status_t read_rare(void)
{
    return comet_store_read(faults_store, rare, 0, 100, note_message, NULL);
}

static apr_status_t read_tail(void)
{
    return comet_store_tail(faults_store, 0, 100, note_message, NULL);
}

static apr_status_t read_page(void)
{
    return comet_store_page(faults_store, several, 0, COMET_TIMESTAMP_MAX, 5,
                            note_message, NULL);
}

static apr_status_t read_rare_page(void)
{
    return comet_store_page(faults_store, rare, 0, COMET_TIMESTAMP_MAX, 5,
                            note_message, NULL);
}

static apr_status_t read_names(void)
{
    return comet_store_channels(faults_store, (comet_text_t){ "b/", 2 }, 100,
                                note_name, NULL);
}

/* Read what a request handler reads, in one snapshot as the handler does. */
static apr_status_t read_cursors(void)
{
    comet_store_state_t now;
    comet_timestamp_t replay = 0, rare_replay = 0, floor = 0, recent = 0;
    int any = 0;
    apr_status_t status = comet_store_begin(faults_store, &now);

    if (status != APR_SUCCESS) {
        return status;
    }
    status = comet_store_replay(faults_store, atom, 3, &replay, &any);
    if (status == APR_SUCCESS) {
        status = comet_store_replay(faults_store, rare, 1, &rare_replay, &any);
    }
    if (status == APR_SUCCESS) {
        status = comet_store_floor(faults_store, several, &floor);
    }
    if (status == APR_SUCCESS) {
        status = comet_store_recent(faults_store, 7, &recent);
    }
    comet_store_end(faults_store);
    if (status == APR_SUCCESS) {
        note_number(now.last);
        note_number(replay);
        note_number(rare_replay);
        note_number(floor);
        note_number(recent);
    }
    return status;
}

static apr_status_t read_again(void)
{
    apr_status_t status;

    got[0] = '\0';
    status = faults_store_ensure();
    if (status == APR_SUCCESS) {
        status = read_some();
        faults_store_judge(status);
    }
    return status;
}

/* A reading is complete, or it reports a failure after it has returned a prefix
 * of the result. */
static void check_read(apr_status_t status)
{
    faults_must(strncmp(got, expected, strlen(got)) == 0);
    faults_must(status != APR_SUCCESS || strcmp(got, expected) == 0);
}

static void fill(void)
{
    static char large[6000];
    char body[16];
    int i;

    memset(large, 'x', sizeof(large) - 1);
    kit_must_run(faults_store_outside, "BEGIN");
    for (i = 0; i < 300; i++) {
        sqlite3_stmt *insert;

        snprintf(body, sizeof(body), "%d", i);
        assert_int_equal(
            sqlite3_prepare_v2(faults_store_outside,
                               "INSERT INTO message(channel, author, body)"
                               " VALUES(?1, ?2, ?3)",
                               -1, &insert, NULL),
            0);
        sqlite3_bind_text(insert, 1,
                          i >= 8       ? "noise"
                          : i % 4 == 0 ? "a"
                          : i % 4 == 1 ? "b/1"
                          : i % 4 == 2 ? "b/2"
                                       : "c",
                          -1, SQLITE_STATIC);
        if (i % 2) {
            sqlite3_bind_text(insert, 2, "anna", -1, SQLITE_STATIC);
        }
        sqlite3_bind_text(insert, 3, i < 8 ? large : body, -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_finalize(insert);
    }
    kit_must_run(faults_store_outside, "COMMIT");
}

static void test_read(void **state)
{
    static const struct {
        const char *name;
        apr_status_t (*read)(void);
    } reads[] = {
        { "read a channel", read_atom },
        { "read several", read_several },
        { "read a wildcard", read_wild },
        { "read rare ones", read_rare },
        { "read the tail", read_tail },
        { "read a page", read_page },
        { "read rare ones' page", read_rare_page },
        { "list channels", read_names },
        { "find cursors", read_cursors },
    };
    size_t i;

    fill();
    atom = scratch_choose("a");
    several = scratch_choose("a c noise");
    wild = scratch_choose("a b/*");
    rare = scratch_choose("a c d");
    faults_store_close();
    faults_store_mode = COMET_STORE_READ;
    for (i = 0; i < sizeof(reads) / sizeof(*reads); i++) {
        read_some = reads[i].read;
        assert_int_equal(read_again(), APR_SUCCESS);
        memcpy(expected, got, sizeof(expected));
        assert_true(strlen(expected) > 5);
        faults_store_close();
        faults_run(&(faults_scenario_t){
            .name = reads[i].name,
            .kinds = FAULTS_ALL,
            .prepare = faults_store_open,
            .act = read_again,
            .check = check_read,
            .finish = faults_store_close,
        });
        faults_store_close();
    }
    comet_selection_unref(atom);
    comet_selection_unref(several);
    comet_selection_unref(wild);
    comet_selection_unref(rare);
}

/* --- Searching -------------------------------------------------------- */

static apr_status_t find_words(void)
{
    comet_timestamp_t rest;

    return comet_store_search(faults_store, several, comet_text("needle"), 0,
                              COMET_TIMESTAMP_MAX, 5, note_message, NULL,
                              &rest);
}

static apr_status_t tidy_up(void)
{
    apr_status_t status = faults_store_ensure();
    int more = 1, steps;

    for (steps = 0; status == APR_SUCCESS && more; steps++) {
        faults_must(steps < 100);
        status = comet_store_tidy(faults_store, &more);
    }
    if (status != APR_SUCCESS) {
        faults_store_judge(status);
    }
    return status;
}

static void remove_index(void)
{
    faults_store_close();
    kit_config.search = 0;
    faults_must(tidy_up() == APR_SUCCESS);
    faults_must(kit_number_in(faults_store_outside,
                              "SELECT count(*) FROM sqlite_master"
                              " WHERE name LIKE 'message_search%'")
                == 0);
    faults_store_close();
    kit_config.search = 1;
}

/* Once the index reports that it is complete, every message is found. */
static void check_index(apr_status_t status)
{
    if (status == APR_SUCCESS) {
        got[0] = '\0';
        faults_must(kit_number_in(faults_store_outside,
                                  "SELECT indexed_from FROM search_progress")
                    == 0);
        faults_must(find_words() == APR_SUCCESS);
        faults_must(strcmp(got, expected) == 0);
    }
}

static void test_search(void **state)
{
    fill();
    kit_append_many(faults_store, "a", 2);
    several = scratch_choose("a c noise");
    assert_int_equal(kit_append(faults_store, "a", "a needle", NULL), 0);
    assert_int_equal(kit_append(faults_store, "b", "a needle elsewhere", NULL),
                     0);
    assert_int_equal(kit_append(faults_store, "c", "needle and thread", NULL),
                     0);
    faults_store_close();
    kit_config.search = 1;
    read_some = find_words;
    assert_int_equal(tidy_up(), APR_SUCCESS);
    assert_int_equal(read_again(), APR_SUCCESS);
    memcpy(expected, got, sizeof(expected));
    assert_true(strlen(expected) > 5);
    faults_run(&(faults_scenario_t){
        .name = "index",
        .kinds = FAULTS_ALL,
        .prepare = remove_index,
        .act = tidy_up,
        .check = check_index,
        .finish = faults_store_close,
        .most = 25,
    });
    faults_store_mode = COMET_STORE_READ;
    faults_run(&(faults_scenario_t){
        .name = "search",
        .kinds = FAULTS_ALL,
        .prepare = faults_store_open,
        .act = read_again,
        .check = check_read,
        .finish = faults_store_close,
    });
    comet_selection_unref(several);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULTS_STORE_TEST(test_read),
        FAULTS_STORE_TEST(test_search),
    };
    int failed;

    faults_install();
    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
