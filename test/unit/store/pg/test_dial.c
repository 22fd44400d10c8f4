/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection begins: the hosts of a place are tried in turn, and a thread
 * looks up their names. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/pg/pg.h"

static int begin(void **state)
{
    scratch_make();
    return 0;
}

static unsigned count(const char *conninfo)
{
    comet_pg_place_t place = { .conninfo = conninfo };
    comet_pg_hosts_t hosts = comet_pg_find_hosts(&place);

    comet_pg_free_hosts(&hosts);
    return hosts.count;
}

/* Hosts are counted in a connection string, a URI and a service file. */
static void test_counts_hosts(void **state)
{
    const char *path = scratch_path("services");
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "[three]\nhost=a,b,c\nport=1,2,3\n[one]\ndbname=x\n");
    fclose(file);
    setenv("PGSERVICEFILE", path, 1);
    assert_int_equal(count("host=a"), 1);
    assert_int_equal(count("host=a,b port=1,2"), 2);
    assert_int_equal(count("hostaddr=192.0.2.1,192.0.2.2,192.0.2.3"), 3);
    assert_int_equal(count("host=/run/a,/run/b"), 2);
    assert_int_equal(count("postgresql://u@h1:1,h2:2/d"), 2);
    assert_int_equal(count("dbname=site"), 1);
    assert_int_equal(count("service=three"), 3);
    assert_int_equal(count("service=one"), 1);
    assert_int_equal(count("service=none"), 1);
    unsetenv("PGSERVICEFILE");
}

static comet_pg_attempt_t *attempt_at(const comet_pg_place_t *place,
                                      unsigned host)
{
    comet_pg_hosts_t hosts = comet_pg_find_hosts(place);
    comet_pg_attempt_t *attempt = comet_pg_attempt_create(place, &hosts, host);

    comet_pg_free_hosts(&hosts);
    return attempt;
}

/* @return the connection of an attempt that has ended */
static PGconn *take(comet_pg_attempt_t *attempt)
{
    PGconn *connection = NULL;

    assert_non_null(attempt);
    assert_true(comet_pg_attempt_take(attempt, 30 * SECOND, &connection));
    assert_non_null(connection);
    return connection;
}

/* Attempt number i goes to host number i, modulo the number of hosts, and to
 * that host's port. */
static void test_takes_turns(void **state)
{
    comet_pg_place_t place = {
        .conninfo = "host=127.0.0.1,127.0.0.2,/none port=9,19,29 dbname=site",
    };
    comet_pg_place_t named = {
        .conninfo = "host=localhost,127.0.0.3 port=39 dbname=site",
    };
    static const char *const hosts[] = { "127.0.0.1", "127.0.0.2", "/none" };
    static const char *const ports[] = { "9", "19", "29" };
    PGconn *connection;
    unsigned i;

    for (i = 0; i < 7; i++) {
        connection = take(attempt_at(&place, i));
        assert_string_equal(PQhost(connection), hosts[i % 3]);
        assert_string_equal(PQport(connection), ports[i % 3]);
        assert_string_equal(PQdb(connection), "site");
        PQfinish(connection);
    }
    connection = take(attempt_at(&named, 0));
    assert_string_equal(PQhost(connection), "localhost");
    assert_string_equal(PQport(connection), "39");
    PQfinish(connection);
    connection = take(attempt_at(&named, 1));
    assert_string_equal(PQhost(connection), "127.0.0.3");
    assert_string_equal(PQport(connection), "39");
    PQfinish(connection);
}

/* An attempt may be abandoned at any moment. */
static void test_abandons(void **state)
{
    comet_pg_place_t named = { .conninfo = "host=localhost port=9" };
    comet_pg_place_t place = { .conninfo = "host=127.0.0.1 port=9" };
    comet_pg_attempt_t *attempt;
    int i;

    comet_pg_attempt_abandon(NULL);
    for (i = 0; i < 50; i++) {
        comet_pg_attempt_abandon(attempt_at(&place, 0));
        do { /* repeat until the thread of an earlier attempt has ended */
            attempt = attempt_at(&named, 0);
        } while (!attempt);
        if (i % 2) {
            usleep((useconds_t)i * 20); /* the attempt may have ended, or not */
        }
        comet_pg_attempt_abandon(attempt);
    }
    PQfinish(take(attempt_at(&named, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_hosts),
        cmocka_unit_test(test_takes_turns),
        cmocka_unit_test(test_abandons),
    };

    return cmocka_run_group_tests(tests, begin, NULL);
}
