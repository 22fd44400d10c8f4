/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite fulfils the contract of an engine. */
#include "contract.h"

#include <sqlite3.h>
#include <stdio.h>

static char path[800];

static const char *begin(void)
{
    return NULL;
}

static void end(void)
{
}

static comet_place_t make(void)
{
    scratch_clear();
    snprintf(path, sizeof(path), "%s", scratch_path("comet.db"));
    return scratch_place(path);
}

static const char *run(const char *sql)
{
    static char words[200];
    sqlite3 *db;
    char *error = NULL;

    sqlite3_open(path, &db);
    sqlite3_busy_timeout(db, 5000);
    sqlite3_exec(db, sql, NULL, NULL, &error);
    snprintf(words, sizeof(words), "%s", error ? error : "");
    sqlite3_free(error);
    sqlite3_close(db);
    return words;
}

int main(void)
{
    return contract_run(&(contract_engine_t){
        .begin = begin, .end = end, .make = make, .run = run });
}
