/* SPDX-License-Identifier: Apache-2.0 */
/* The names of a database file, and the folders in its path. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/sqlite/alias.h"
#include "store/sqlite/sqlite.h"

static void test_good(void **state)
{
    assert_int_equal(comet_alias_check(kit_database, 1), COMET_ALIAS_NONE);
    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    assert_int_equal(comet_alias_check(kit_database, 1), COMET_ALIAS_NONE);
    assert_int_equal(comet_alias_check("/proc/self/status", 1),
                     COMET_ALIAS_NONE);
    assert_int_equal(comet_alias_check("comet.db", 1), COMET_ALIAS_NONE);
    assert_int_equal(comet_alias_check("/", 1), COMET_ALIAS_NONE);
    assert_string_equal(comet_alias_text(COMET_ALIAS_NONE), "");
}

/* A second hard link blocks writers, even those that have the file open, but
 * not readers.  Once the link is removed, writing works again. */
static void test_linked(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    const char *other = scratch_path("other.db");

    assert_int_equal(kit_append(store, "chat", "first", NULL), APR_SUCCESS);
    assert_int_equal(link(kit_database, other), 0);
    assert_int_equal(comet_alias_check(kit_database, 1), COMET_ALIAS_LINKED);
    assert_int_equal(kit_append(store, "chat", "lost", NULL), COMET_EALIASED);
    assert_non_null(strstr(comet_store_error(store), "hard link"));
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), COMET_EALIASED);
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_SUCCESS);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(kit_append(store, "chat", "second", NULL), APR_SUCCESS);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "first,second");
    comet_store_close(store);
}

static void test_symbolic(void **state)
{
    const char *real = scratch_path("real.db");

    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    assert_int_equal(rename(kit_database, real), 0);
    assert_int_equal(symlink(real, kit_database), 0);
    assert_int_equal(comet_alias_check(kit_database, 1), COMET_ALIAS_SYMBOLIC);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), COMET_EALIASED);
    assert_int_equal(comet_alias_check(real, 1), COMET_ALIAS_NONE);
}

/* If SQLite finds no folder for temporary files, the error names the variables
 * that choose one. */
static void test_no_temporary_folder(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_sqlite_t *own = (comet_sqlite_t *)store;

    assert_int_equal(comet_sqlite_fail(own, SQLITE_IOERR_GETTEMPPATH),
                     APR_EGENERAL);
    assert_non_null(strstr(comet_store_error(store), "SQLITE_TMPDIR, TMPDIR"));
    assert_int_equal(comet_sqlite_fail(own, SQLITE_IOERR_READ), APR_EGENERAL);
    assert_null(strstr(comet_store_error(store), "TMPDIR"));
    comet_store_close(store);
}

/* The mount table, which is read if statx(2) does not report mount points, as on
 * older kernels. */
static void test_mount_table(void **state)
{
    static char text[] =
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "short line\n"
        "\n"
        "41 22 8:1 /host/comet.db /srv/a\\040b/comet.db rw - ext4 /dev/root rw\n"
        "42 22 8:1 /x /srv/other rw - ext4 /dev/root rw\n";
    static const struct {
        const char *path;
        int is_mount;
    } cases[] = {
        { "/srv/a b/comet.db", 1 }, { "/srv/a\\040b/comet.db", 0 },
        { "/srv/other", 1 },        { "/srv/a b", 0 },
        { "/host/comet.db", 0 },    { "/", 1 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        FILE *table = fmemopen(text, strlen(text), "r");

        assert_non_null(table);
        assert_int_equal(comet_alias_is_mount(table, cases[i].path),
                         cases[i].is_mount);
        fclose(table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_linked, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_symbolic, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_no_temporary_folder, kit_setup,
                                        kit_teardown),
        cmocka_unit_test(test_mount_table),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
