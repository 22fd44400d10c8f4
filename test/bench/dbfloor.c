/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk and SQLite alone can do: how long an fdatasync takes, and how
 * many durable rows SQLite stores in a second.
 *
 * usage: dbfloor FOLDER SECONDS [PAUSE_MS]
 *
 * Prints JSON: the time of a write and fdatasync of 4 KiB, and the rate of
 * transactions of 32 rows with synchronous=FULL in WAL mode.  With PAUSE_MS
 * instead two times on a machine at rest, where the program sleeps for that long
 * before each: that of an fdatasync alone after three pages were appended, and
 * that of a transaction of one row with synchronous=NORMAL in WAL mode.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIMES_MAX 1000000
#define ROWS 32

static double times[TIMES_MAX];
static char path[4096];

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void fail(const char *what)
{
    fprintf(stderr, "dbfloor: %s\n", what);
    exit(1);
}

/* The median of the times that were measured, in microseconds. */
static double median_us(size_t count)
{
    if (count == 0) {
        fail("cannot write");
    }
    qsort(times, count, sizeof(*times), by_size);
    return times[count / 2] * 1e6;
}

/* The median time to append 4 KiB durably, in microseconds. */
static double median_fdatasync_us(double seconds)
{
    static char page[4096];
    double end = seconds_now() + seconds, start;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    size_t count = 0;

    while (fd >= 0 && count < TIMES_MAX && (start = seconds_now()) < end) {
        if (write(fd, page, sizeof(page)) != (ssize_t)sizeof(page)
            || fdatasync(fd) != 0) {
            break;
        }
        times[count++] = seconds_now() - start;
    }
    close(fd);
    unlink(path);
    return median_us(count);
}

static void rest(long pause_ms)
{
    const struct timespec pause = { pause_ms / 1000,
                                    pause_ms % 1000 * 1000000 };

    nanosleep(&pause, NULL);
}

/* The median time of an fdatasync after three pages were appended, as a commit
 * of one message appends them, in microseconds.  Before each one the program
 * sleeps. */
static double median_fdatasync_at_rest_us(double seconds, long pause_ms)
{
    static char pages[3 * 4096];
    double end = seconds_now() + seconds, start;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    size_t count = 0;

    while (fd >= 0 && count < TIMES_MAX && seconds_now() < end) {
        rest(pause_ms);
        if (write(fd, pages, sizeof(pages)) != (ssize_t)sizeof(pages)) {
            break;
        }
        start = seconds_now();
        if (fdatasync(fd) != 0) {
            break;
        }
        times[count++] = seconds_now() - start;
    }
    close(fd);
    unlink(path);
    return median_us(count);
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fail(sqlite3_errmsg(db));
    }
}

static void insert(sqlite3 *db, sqlite3_stmt *statement, sqlite3_int64 id)
{
    static const char body[100] = "x";

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_text(statement, 2, body, (int)sizeof(body), SQLITE_STATIC);
    if (sqlite3_step(statement) != SQLITE_DONE) {
        fail(sqlite3_errmsg(db));
    }
    sqlite3_reset(statement);
}

/* Make a database with one table.
 * @param statement  OUT: inserts a row */
static sqlite3 *create(const char *settings, sqlite3_stmt **statement)
{
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK) {
        fail("cannot open a database");
    }
    run(db, settings);
    run(db, "CREATE TABLE m(id INTEGER PRIMARY KEY, channel TEXT, body TEXT)");
    if (sqlite3_prepare_v2(db, "INSERT INTO m VALUES(?1, 'room', ?2)", -1,
                           statement, NULL)
        != SQLITE_OK) {
        fail(sqlite3_errmsg(db));
    }
    return db;
}

/* The median time of a transaction of one row, in microseconds.  Before each one
 * the program sleeps. */
static double median_commit_at_rest_us(double seconds, long pause_ms)
{
    double end = seconds_now() + seconds, start;
    sqlite3_stmt *statement;
    sqlite3 *db = create("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                         &statement);
    size_t count = 0;

    while (count < TIMES_MAX && seconds_now() < end) {
        rest(pause_ms);
        start = seconds_now();
        insert(db, statement, (sqlite3_int64)count + 1);
        times[count++] = seconds_now() - start;
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    unlink(path);
    return median_us(count);
}

static double rows_per_second(double seconds)
{
    double start, now;
    sqlite3_stmt *statement;
    sqlite3_int64 id = 0;
    sqlite3 *db =
        create("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", &statement);
    int i;

    start = seconds_now();
    do {
        run(db, "BEGIN IMMEDIATE");
        for (i = 0; i < ROWS; i++) {
            insert(db, statement, ++id);
        }
        run(db, "COMMIT");
        now = seconds_now();
    } while (now < start + seconds);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    unlink(path);
    return (double)id / (now - start);
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
    long pause_ms = argc == 4 ? strtol(argv[3], NULL, 10) : 0;

    if (argc < 3 || argc > 4 || seconds <= 0 || (argc == 4 && pause_ms <= 0)) {
        fprintf(stderr, "usage: dbfloor FOLDER SECONDS [PAUSE_MS]\n");
        return 2;
    }
    snprintf(path, sizeof(path), "%s/dbfloor.db", argv[1]);
    if (pause_ms) {
        printf("{\"fdatasync_at_rest_p50_us\": %.1f, ",
               median_fdatasync_at_rest_us(seconds / 2, pause_ms));
        printf("\"commit_at_rest_p50_us\": %.1f}\n",
               median_commit_at_rest_us(seconds / 2, pause_ms));
        return 0;
    }
    printf("{\"fdatasync_p50_us\": %.1f, ", median_fdatasync_us(seconds / 2));
    printf("\"rows_per_second\": %.0f}\n", rows_per_second(seconds / 2));
    return 0;
}
