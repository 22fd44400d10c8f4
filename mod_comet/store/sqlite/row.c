/* SPDX-License-Identifier: Apache-2.0 */
/* The rows that queries return: create a row's message, and find out whether a
 * selection contains that message. */
#include "store/sqlite/sqlite.h"

#include <string.h>

comet_text_t comet_sqlite_column(sqlite3_stmt *row, int index)
{
    comet_text_t text;

    text.data = (const char *)sqlite3_column_text(row, index);
    text.length = (apr_size_t)sqlite3_column_bytes(row, index);
    return text;
}

comet_message_t *comet_sqlite_message(sqlite3_stmt *row)
{
    comet_message_fields_t fields = {
        .timestamp = sqlite3_column_int64(row, 0),
        .channel = comet_sqlite_column(row, 1),
        .type = comet_sqlite_column(row, 2),
        .author = comet_sqlite_column(row, 3),
        .body = comet_sqlite_column(row, 4),
        .update = {
            .is_private = sqlite3_column_int(row, 5),
            .alternates = comet_sqlite_column(row, 6),
            .event = comet_sqlite_column(row, 7),
            .retry_msec = sqlite3_column_int(row, 8),
        },
        .keep_sec = sqlite3_column_int(row, 9),
        .expires = sqlite3_column_int64(row, 10),
    };

    if (!fields.channel.data || !fields.type.data || !fields.body.data) {
        return NULL; /* the schema allows no NULL here, so SQLite lacked memory
                      * to convert the value */
    }
    return comet_message_create(&fields);
}

int comet_sqlite_is_over(sqlite3_stmt *row, apr_time_t now)
{
    return comet_message_time_is_over(sqlite3_column_int(row, 9),
                                      sqlite3_column_int64(row, 10), now);
}

int comet_sqlite_is_of(const comet_selection_t *selection, sqlite3_stmt *row)
{
    comet_address_t address = {
        .channel = comet_sqlite_column(row, 1),
        .is_private = sqlite3_column_int(row, 5),
    };

    if (!address.channel.data) {
        return 1; /* no memory: the caller's attempt to read the row will
                   * fail */
    }
    address.hash = comet_message_hash(address.channel);
    if (selection->by_topics) {
        address.alternates = comet_sqlite_column(row, 6);
    }
    return comet_selection_judge(selection, &address) != COMET_SELECTION_NONE;
}

void comet_sqlite_bind_prefix(comet_sqlite_t *store, sql_e which,
                              comet_text_t prefix, char *room)
{
    apr_size_t length = prefix.length;

    comet_sqlite_bind_text(store, which, 1, prefix);
    if (length > COMET_CHANNEL_MAX_BYTES) {
        /* nothing matches, since no name is as long as this prefix */
        comet_sqlite_bind_text(store, which, 2, prefix);
        return;
    }
    /* the upper bound is the first text after all those that begin with the
     * prefix */
    while (length && (unsigned char)prefix.data[length - 1] == 0xff) {
        length--;
    }
    if (length) {
        memcpy(room, prefix.data, length);
        room[length - 1] = (char)(room[length - 1] + 1);
        comet_sqlite_bind_text(store, which, 2, (comet_text_t){ room, length });
    }
    else { /* any blob is greater than any text */
        sqlite3_bind_zeroblob(store->statements[which], 2, 0);
    }
}
