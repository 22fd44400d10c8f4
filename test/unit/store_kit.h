/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store_kit.h
 * A store to test with, what was read from the store, and another program that
 * uses its file.
 */
#ifndef STORE_KIT_H
#define STORE_KIT_H

#include "scratch.h"

#include <sqlite3.h>

#include "store/store.h"

#define KIT_MANY 4096

/** The messages that were read. */
typedef struct kit_list_t {
    size_t count, limit;
    comet_message_t *messages[KIT_MANY];
} kit_list_t;

extern kit_list_t kit_list;
extern comet_store_config_t kit_config;
extern char kit_database[800]; /* the database's path */

/** Called before and after each test. */
int kit_setup(void **state);
int kit_teardown(void **state);

#define KIT_TEST(name) \
    cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

void kit_empty_list(void);
/** A comet_store_cb that adds to a kit_list_t, up to the list's limit. */
int kit_collect(void *baton, comet_message_t *message);

/** The bodies in kit_list; they stay valid until the next call. */
const char *kit_joined(const char *separator);

comet_store_t *kit_open_store(comet_store_mode_e mode);
/** Open the store and close it again.  @return the status of opening it */
apr_status_t kit_open_status(comet_store_mode_e mode);

comet_message_t *kit_make(const char *channel, const char *body);

/** A message that the store refuses. */
comet_message_t *kit_make_refused(const char *channel);
/** Append a message.  @param timestamp  may be NULL */
apr_status_t kit_append(comet_store_t *store, const char *channel,
                        const char *body, comet_timestamp_t *timestamp);
/** Append messages with the bodies "0", "1" … */
void kit_append_many(comet_store_t *store, const char *channel, int count);
/** Append equal messages to one channel, in one transaction. */
void kit_append_noise(comet_store_t *store, const char *channel, int count);
comet_timestamp_t kit_last_of(comet_store_t *store);
/** Read a channel's bodies, joined by commas. */
const char *kit_bodies(comet_store_t *store, const char *channel,
                       comet_timestamp_t after, size_t limit);

/** Another program's plain connection to the database. */
sqlite3 *kit_outsider(void);
void kit_must_run(sqlite3 *db, const char *sql);
/** Run SQL.  @return why it was refused; "" if it was not */
const char *kit_try_run(sqlite3 *db, const char *sql);
sqlite3_int64 kit_number_in(sqlite3 *db, const char *sql);
sqlite3_int64 kit_number(const char *sql);
void kit_assert_healthy(void);
void kit_run_outside(const char *sql);

#endif /* STORE_KIT_H */
