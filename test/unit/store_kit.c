/* SPDX-License-Identifier: Apache-2.0 */
/* A store to test with, and another program that uses its file. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdio.h>
#include <string.h>

#include "faulty_vfs.h"

comet_store_config_t kit_config;
char kit_database[800];

kit_list_t kit_list;

void kit_empty_list(void)
{
    while (kit_list.count) {
        comet_message_unref(kit_list.messages[--kit_list.count]);
    }
    kit_list.limit = KIT_MANY;
}

int kit_collect(void *baton, comet_message_t *message)
{
    kit_list_t *into = baton;

    assert_true(into->count < into->limit);
    into->messages[into->count++] = message;
    return into->count < into->limit;
}

int kit_setup(void **state)
{
    scratch_clear();
    snprintf(kit_database, sizeof(kit_database), "%s",
             scratch_path("comet.db"));
    kit_config = (comet_store_config_t){
        .place = scratch_place(kit_database),
        .sync_full = 1,
        .busy_timeout = 5000000,
    };
    atomic_store(&faulty_now, FAULTY_NOTHING);
    kit_empty_list();
    return 0;
}

int kit_teardown(void **state)
{
    kit_empty_list();
    faulty_forget();
    return 0;
}

comet_store_t *kit_open_store(comet_store_mode_e mode)
{
    comet_store_t *store;
    apr_status_t status = comet_store_open(&store, &kit_config, mode, NULL);

    if (status != APR_SUCCESS) {
        fail_msg("open: %d: %s", status, comet_store_error(NULL));
    }
    return store;
}

apr_status_t kit_open_status(comet_store_mode_e mode)
{
    comet_store_t *store = NULL;
    apr_status_t status = comet_store_open(&store, &kit_config, mode, NULL);

    if (status != APR_SUCCESS) {
        assert_null(store);
        assert_true(*comet_store_error(NULL));
    }
    comet_store_close(store);
    return status;
}

comet_message_t *kit_make(const char *channel, const char *body)
{
    return comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text(body) });
}

comet_message_t *kit_make_refused(const char *channel)
{
    return comet_message_create(
        &(comet_message_fields_t){ .channel = comet_text(channel),
                                   .type = comet_text("gap"),
                                   .body = comet_text("refused") });
}

apr_status_t kit_append(comet_store_t *store, const char *channel,
                        const char *body, comet_timestamp_t *timestamp)
{
    comet_message_t *message = kit_make(channel, body);
    apr_status_t result = APR_SUCCESS;
    apr_status_t status = scratch_append(store, &message, &result, 1);

    if (timestamp) {
        *timestamp = message->timestamp;
    }
    if (status != APR_SUCCESS || result != APR_SUCCESS) {
        assert_int_equal(message->timestamp, 0);
    }
    comet_message_unref(message);
    return status != APR_SUCCESS ? status : result;
}

void kit_append_many(comet_store_t *store, const char *channel, int count)
{
    char body[32];
    int i;

    for (i = 0; i < count; i++) {
        snprintf(body, sizeof(body), "%d", i);
        assert_int_equal(kit_append(store, channel, body, NULL), 0);
    }
}

void kit_append_noise(comet_store_t *store, const char *channel, int count)
{
    comet_message_t *messages[KIT_MANY] = { NULL };
    apr_status_t results[KIT_MANY];
    int i;

    for (i = 0; i < count; i++) {
        messages[i] = kit_make(channel, "noise");
    }
    assert_int_equal(
        scratch_append(store, messages, results, (apr_size_t)count), 0);
    for (i = 0; i < count; i++) {
        comet_message_unref(messages[i]);
    }
}

comet_timestamp_t kit_last_of(comet_store_t *store)
{
    comet_store_state_t now;

    assert_int_equal(comet_store_state(store, &now), 0);
    return now.last;
}

const char *kit_joined(const char *separator)
{
    static char text[4096];
    size_t i;

    text[0] = '\0';
    for (i = 0; i < kit_list.count; i++) {
        size_t length = strlen(text);

        snprintf(text + length, sizeof(text) - length, "%s%s",
                 i ? separator : "", kit_list.messages[i]->body.data);
    }
    return text;
}

const char *kit_bodies(comet_store_t *store, const char *channel,
                       comet_timestamp_t after, size_t limit)
{
    kit_empty_list();
    assert_int_equal(comet_store_read(store,
                                      scratch_select(comet_text(channel)),
                                      after, limit, kit_collect, &kit_list),
                     0);
    return kit_joined(",");
}

sqlite3 *kit_outsider(void)
{
    sqlite3 *db;

    assert_int_equal(
        sqlite3_open_v2(kit_database, &db, SQLITE_OPEN_READWRITE, "unix"),
        SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

void kit_must_run(sqlite3 *db, const char *sql)
{
    char *error = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
        fail_msg("%s: %s", sql, error);
    }
}

const char *kit_try_run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? ""
               : sqlite3_errmsg(db);
}

sqlite3_int64 kit_number_in(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    sqlite3_int64 number;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), 0);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

sqlite3_int64 kit_number(const char *sql)
{
    sqlite3 *db = kit_outsider();
    sqlite3_int64 result = kit_number_in(db, sql);

    sqlite3_close(db);
    return result;
}

void kit_assert_healthy(void)
{
    assert_int_equal(kit_number("SELECT count(*) FROM pragma_integrity_check"
                                " WHERE integrity_check = 'ok'"),
                     1);
}

void kit_run_outside(const char *sql)
{
    sqlite3 *db = kit_outsider();

    kit_must_run(db, sql);
    sqlite3_close(db);
}
