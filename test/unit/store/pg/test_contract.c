/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL fulfils the contract of an engine.  If PostgreSQL is installed,
 * the tests run on a private server (test/tools/pg_cluster). */
#include "contract.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/pg/engine.h"

#define TOOL "test/tools/pg_cluster"
#define SKIPPED 77

static char folder[800], conninfo[900];
static PGconn *outside; /* a connection of the schema's owner */
static apr_pool_t *pool;

/* Run pg_cluster.  @return its exit status; @a line is set to its output */
static int run_tool(const char *what, char *line, size_t size)
{
    char command[1000];
    FILE *output;
    int status;

    snprintf(command, sizeof(command), TOOL " %s %s", what, folder);
    output = popen(command, "r");
    if (!output) {
        return -1;
    }
    line[0] = '\0';
    if (fgets(line, (int)size, output)) {
        line[strcspn(line, "\n")] = '\0';
    }
    status = pclose(output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *run(const char *sql)
{
    static char words[300];
    PGresult *result = PQexec(outside, sql);

    snprintf(words, sizeof(words), "%s", PQresultErrorMessage(result));
    PQclear(result);
    if (PQtransactionStatus(outside) != PQTRANS_IDLE) {
        PQclear(PQexec(outside, "ROLLBACK"));
    }
    return words;
}

static void lay_index(void)
{
    char command[2000];

    snprintf(command, sizeof(command),
             "psql -X -q -v ON_ERROR_STOP=1 -h %s -d site %s"
             " -f sql/postgresql/search.sql -f sql/postgresql/grants.sql >&2",
             folder, geteuid() == 0 ? "-U postgres" : "");
    assert_int_equal(system(command), 0);
}

static const char *begin(void)
{
    static char reason[300];
    char options[1000], user[] = "user=comet_httpd";
    int status;

    /* PostgreSQL's user must be able to reach the folder */
    snprintf(folder, sizeof(folder), "/tmp/comet-pg-%d", (int)getpid());
    status = run_tool("start", conninfo, sizeof(conninfo));
    if (status == SKIPPED) {
        snprintf(reason, sizeof(reason), "%.250s", conninfo);
        return reason;
    }
    if (status != 0) {
        fprintf(stderr, "no server: %s\n", conninfo);
        exit(1);
    }
    snprintf(options, sizeof(options), "%.*s options='-c search_path=comet'",
             (int)(strlen(conninfo) - strlen(user)), conninfo);
    if (geteuid() == 0) {
        strcat(options, " user=postgres");
    }
    outside = PQconnectdb(options);
    lay_index();
    apr_pool_create(&pool, NULL);
    return NULL;
}

static void end(void)
{
    char line[300], command[900];

    PQfinish(outside);
    apr_pool_destroy(pool);
    run_tool("stop", line, sizeof(line));
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (system(command) != 0) {
        fprintf(stderr, "%s is left\n", folder);
    }
}

static comet_place_t make(void)
{
    comet_place_t place = { .engine = &comet_engine_pg };

    assert_string_equal(
        run("TRUNCATE comet.log, comet.floor, comet.idempotency_key,"
            " comet.inbox, comet.search, comet.channel_retention,"
            " comet.server;"
            "UPDATE comet.clock SET last = 0, erased = 0;"
            "UPDATE comet.setting SET deletions = false;"
            "UPDATE comet.search_progress SET low = 1, high = 0"),
        "");
    assert_null(place.engine->parse(&place, conninfo, "/", pool));
    return place;
}

int main(void)
{
    return contract_run(&(contract_engine_t){
        .begin = begin, .end = end, .make = make, .run = run });
}
