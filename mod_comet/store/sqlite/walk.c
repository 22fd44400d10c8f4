/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walk over the messages of a selection, in the order of their timestamps.
 *
 * One channel is read by the index of channels.  Several channels are read in
 * one scan of the log.  At the end of the log, where nearly every reader is,
 * the scan costs no more than reading one channel.  But the scan is slow if
 * messages of the channels are rare in a long log.  So when the scan has taken
 * as long as reading by the index would have, the remaining messages are merged
 * from the index.
 *
 * A walk for the hub is done in parts (comet_budget_t), because the hub serves
 * nobody while it reads.  A part merges only a limited number of channels.  If
 * there may be more channels, the part continues the scan instead.
 */
#include "store/sqlite/sqlite.h"

#include <stdlib.h>
#include <string.h>

#include "base/name.h"

/* How many rows a scan passes in the time that one index look-up takes. */
#define ROWS_PER_PROBE 4
/* How many channels a prefix is assumed to stand for. */
#define GUESSED_CHANNELS 64
/* How many messages a walk passes between two looks at the clock.  Each part of
 * a walk passes at least this many. */
#define ROWS_PER_LOOK 64
/* The most channels under a selection's prefixes and patterns that a part of a
 * walk examines, in order to find those that it merges. */
#define PART_CHANNELS 1000
/* For SQL's LIMIT: all rows. */
#define ALL_ROWS APR_SIZE_MAX

static apr_status_t visit_row(comet_sqlite_walk_t *walk, sqlite3_stmt *row)
{
    walk->left--;
    return walk->visit(walk->baton, sqlite3_column_int64(row, 0), row);
}

static void move(comet_sqlite_walk_t *walk, comet_timestamp_t id)
{
    if (walk->backwards) {
        walk->before = id;
    }
    else {
        walk->after = id;
    }
}

/* Note that a message was visited or passed over, and decide whether this part
 * of the walk ends with it. */
static void pass(comet_sqlite_walk_t *walk)
{
    walk->passed++;
    walk->is_part = walk->part_ends && walk->passed % ROWS_PER_LOOK == 0
                    && comet_monotonic() >= walk->part_ends;
}

static apr_status_t conclude(comet_sqlite_t *store, apr_status_t status,
                             int code)
{
    if (status == APR_EOF) {
        return APR_SUCCESS;
    }
    if (status == APR_SUCCESS && code != SQLITE_ROW && code != SQLITE_DONE) {
        return comet_sqlite_fail(store, code);
    }
    return status == APR_ENOMEM ? comet_sqlite_fail_text(
               store, status, "no memory for a message")
                                : status;
}

static void bind_bounds(comet_sqlite_t *store, sql_e which,
                        const comet_sqlite_walk_t *walk, apr_size_t rows)
{
    comet_sqlite_bind_int(store, which, 1, walk->after);
    comet_sqlite_bind_int(store, which, 2, walk->before);
    comet_sqlite_bind_int(store, which, 3, (apr_int64_t)rows);
    comet_sqlite_bind_int(store, which, 5, walk->now);
}

/* Walk over one channel.  Private messages are skipped here and not by the
 * statement, since a channel may have very many, and they must count towards a
 * part. */
static apr_status_t walk_channel(comet_sqlite_t *store,
                                 comet_sqlite_walk_t *walk)
{
    sql_e which = walk->backwards ? SQL_READ_BACK : SQL_READ;
    sqlite3_stmt *row = store->statements[which];
    apr_status_t status = APR_SUCCESS;
    int code = SQLITE_ROW;

    bind_bounds(store, which, walk, ALL_ROWS);
    comet_sqlite_bind_text(store, which, 4, walk->selection->names[0].text);
    while (status == APR_SUCCESS && walk->left && !walk->is_part
           && (code = comet_sqlite_step(store, which)) == SQLITE_ROW) {
        move(walk, sqlite3_column_int64(row, 0));
        if (!sqlite3_column_int(row, 5)) {
            status = visit_row(walk, row);
        }
        if (status == APR_SUCCESS) {
            pass(walk);
        }
    }
    status = conclude(store, status, code);
    comet_sqlite_reset(store, which);
    return status;
}

/* --- One scan for all ------------------------------------------------- */

/* How many rows to scan before changing from the scan to a merge. */
static apr_size_t patience(const comet_sqlite_walk_t *walk)
{
    const comet_selection_t *selection = walk->selection;

    if (selection->everything) {
        return walk->left; /* every row matches */
    }
    return walk->left
           + ROWS_PER_PROBE
                 * (selection->name_count
                    + (selection->prefix_count + selection->pattern_count)
                          * GUESSED_CHANNELS);
}

/* @param rows  the scan ends after this many rows
 * @param more  set to whether the scan ended for that reason, so that the
 *              caller must continue with a merge */
static apr_status_t walk_log(comet_sqlite_t *store, comet_sqlite_walk_t *walk,
                             apr_size_t rows, int *more)
{
    sql_e which = walk->backwards ? SQL_TAIL_BACK : SQL_TAIL;
    sqlite3_stmt *row = store->statements[which];
    apr_status_t status = APR_SUCCESS;
    int code = SQLITE_ROW;

    bind_bounds(store, which, walk, rows);
    while (status == APR_SUCCESS && walk->left && !walk->is_part
           && (code = comet_sqlite_step(store, which)) == SQLITE_ROW) {
        rows--;
        move(walk, sqlite3_column_int64(row, 0));
        if (comet_sqlite_is_of(walk->selection, row)) {
            status = visit_row(walk, row);
        }
        if (status == APR_SUCCESS) {
            pass(walk);
        }
    }
    *more = status == APR_SUCCESS && code == SQLITE_DONE && rows == 0;
    status = conclude(store, status, code);
    comet_sqlite_reset(store, which);
    return status;
}

/* --- Merging channels ------------------------------------------------- */

/** A channel, and the timestamp of its next message. */
typedef struct source_t {
    apr_int64_t channel;
    comet_timestamp_t next;
    int may_hide; /* some of its messages may be private or passing */
} source_t;

typedef struct sources_t {
    source_t *list; /* a heap once merging has begun */
    apr_size_t count, size;
    apr_size_t looks; /* how many more channels under prefixes and patterns may
                       * be examined; 0: perhaps not all were examined */
    int backwards;
} sources_t;

static int add_source(sources_t *sources, apr_int64_t channel, int may_hide)
{
    if (sources->count == sources->size) {
        apr_size_t size = sources->size ? sources->size * 2 : 64;
        source_t *list = realloc(sources->list, size * sizeof(*list));

        if (!list) {
            return 0;
        }
        sources->list = list;
        sources->size = size;
    }
    sources->list[sources->count++] = (source_t){ channel, 0, may_hide };
    return 1;
}

/* Order by channel.  If a channel occurs twice, an entry whose ->may_hide is 0
 * comes first. */
static int by_channel(const void *a, const void *b)
{
    const source_t *one = a, *other = b;

    return one->channel < other->channel   ? -1
           : one->channel > other->channel ? 1
                                           : one->may_hide - other->may_hide;
}

/* Add channels whose names begin with a prefix.  For a selection by topics, add
 * those that it reads; otherwise, those that have messages and are not
 * siblings. */
static apr_status_t add_under(comet_sqlite_t *store, sources_t *sources,
                              const comet_selection_t *selection,
                              comet_text_t prefix)
{
    sql_e which = selection->by_topics ? SQL_UNDER_TOPIC : SQL_UNDER;
    sqlite3_stmt *row = store->statements[which];
    char bound[COMET_CHANNEL_MAX_BYTES];
    int code = SQLITE_ROW, room = 1;

    comet_sqlite_bind_prefix(store, which, prefix, bound);
    comet_sqlite_bind_int(store, which, 3, selection->by_topics ? 0 : -1);
    while (room && sources->looks
           && (code = comet_sqlite_step(store, which)) == SQLITE_ROW) {
        comet_text_t name = comet_sqlite_column(row, 1);

        sources->looks--;
        if (selection->by_topics ? comet_selection_reads(selection, name)
                                 : !comet_name_is_sibling(name)) {
            room = add_source(sources, sqlite3_column_int64(row, 0), 1);
        }
    }
    comet_sqlite_reset(store, which);
    return conclude(store, room ? APR_SUCCESS : APR_ENOMEM, code);
}

static apr_status_t add_pattern(comet_sqlite_t *store, sources_t *sources,
                                const comet_selection_t *selection,
                                apr_size_t pattern)
{
    char room[COMET_CHANNEL_MAX_BYTES];

    return add_under(store, sources, selection,
                     comet_selection_stem(selection, pattern, room));
}

static apr_status_t add_named(comet_sqlite_t *store, sources_t *sources,
                              comet_text_t name)
{
    apr_int64_t channel = 0, may_hide = 0;
    apr_status_t status;

    comet_sqlite_bind_text(store, SQL_CHANNEL, 1, name);
    status = comet_sqlite_query(store, SQL_CHANNEL, &channel, &may_hide);
    if (status == APR_SUCCESS && channel
        && !add_source(sources, channel, may_hide != 0)) {
        status = conclude(store, APR_ENOMEM, SQLITE_DONE);
    }
    return status;
}

/* Set source->next to the channel's next message in the walk; 0: none.  A walk
 * in parts also finds private messages here, and skips them later, so that they
 * count towards a part. */
static apr_status_t find_next(comet_sqlite_t *store,
                              const comet_sqlite_walk_t *walk, source_t *source)
{
    static const sql_e statements[2][3] = {
        { SQL_NEXT, SQL_NEXT_PUBLIC, SQL_NEXT_TOPIC },
        { SQL_PREVIOUS, SQL_PREVIOUS_PUBLIC, SQL_PREVIOUS_TOPIC },
    };
    int kind = walk->selection->by_topics ? 2
               : walk->part_ends          ? 0
                                          : source->may_hide;
    sql_e which = statements[walk->backwards != 0][kind];

    source->next = 0;
    comet_sqlite_bind_int(store, which, 1, source->channel);
    comet_sqlite_bind_int(store, which, 2, walk->after);
    comet_sqlite_bind_int(store, which, 3, walk->before);
    if (kind == 1) {
        comet_sqlite_bind_int(store, which, 5, walk->now);
    }
    return comet_sqlite_query(store, which, &source->next, NULL);
}

/* Find the channels of the walk that still have messages in its range.  Each
 * channel is listed once. */
static apr_status_t find_sources(comet_sqlite_t *store,
                                 const comet_sqlite_walk_t *walk,
                                 sources_t *sources)
{
    const comet_selection_t *selection = walk->selection;
    apr_status_t status = APR_SUCCESS;
    apr_size_t found = 0, i;

    for (i = 0; i < selection->name_count && status == APR_SUCCESS; i++) {
        status = add_named(store, sources, selection->names[i].text);
    }
    for (i = 0; i < selection->prefix_count && status == APR_SUCCESS; i++) {
        status =
            add_under(store, sources, selection, selection->prefixes[i].text);
    }
    for (i = 0; i < selection->pattern_count && status == APR_SUCCESS; i++) {
        status = add_pattern(store, sources, selection, i);
    }
    if (sources->count) {
        qsort(sources->list, sources->count, sizeof(source_t), by_channel);
    }
    for (i = 0; i < sources->count && status == APR_SUCCESS; i++) {
        source_t source = sources->list[i];

        if (i && source.channel == sources->list[i - 1].channel) {
            continue;
        }
        status = find_next(store, walk, &source);
        sources->list[i] = source;
    }
    for (i = 0; i < sources->count; i++) {
        if (sources->list[i].next) {
            sources->list[found++] = sources->list[i];
        }
    }
    sources->count = found;
    return status;
}

static int comes_first(const sources_t *sources, apr_size_t a, apr_size_t b)
{
    return sources->backwards ? sources->list[a].next > sources->list[b].next
                              : sources->list[a].next < sources->list[b].next;
}

static void sift_down(sources_t *sources, apr_size_t at)
{
    for (;;) {
        apr_size_t first = at, child = 2 * at + 1;
        source_t moved = sources->list[at];

        if (child < sources->count && comes_first(sources, child, first)) {
            first = child;
        }
        if (child + 1 < sources->count
            && comes_first(sources, child + 1, first)) {
            first = child + 1;
        }
        if (first == at) {
            return;
        }
        sources->list[at] = sources->list[first];
        sources->list[first] = moved;
        at = first;
    }
}

static apr_status_t visit_id(comet_sqlite_t *store, comet_sqlite_walk_t *walk,
                             comet_timestamp_t id)
{
    sqlite3_stmt *row = store->statements[SQL_MESSAGE];
    apr_status_t status = APR_SUCCESS;
    int code;

    if (walk->ids_only) {
        walk->left--;
        return walk->visit(walk->baton, id, NULL);
    }
    comet_sqlite_bind_int(store, SQL_MESSAGE, 1, id);
    code = comet_sqlite_step(store, SQL_MESSAGE);
    if (code == SQLITE_ROW) {
        /* the message might be private or over, or might have the channel only
         * as an alternate */
        if (comet_sqlite_is_of(walk->selection, row)
            && !comet_sqlite_is_over(row, walk->now)) {
            status = visit_row(walk, row);
        }
    }
    else if (code != SQLITE_DONE) {
        status = comet_sqlite_fail(store, code);
    }
    comet_sqlite_reset(store, SQL_MESSAGE);
    return status;
}

static apr_status_t merge(comet_sqlite_t *store, comet_sqlite_walk_t *walk,
                          sources_t *sources)
{
    apr_status_t status = APR_SUCCESS;
    comet_timestamp_t visited = 0;
    apr_size_t i;

    for (i = sources->count / 2; i-- > 0;) {
        sift_down(sources, i);
    }
    while (status == APR_SUCCESS && sources->count && walk->left
           && !walk->is_part) {
        source_t *first = &sources->list[0];

        move(walk, first->next);
        if (first->next != visited) { /* one message may be found by two
                                       * channels */
            status = visit_id(store, walk, first->next);
        }
        visited = first->next;
        if (status == APR_SUCCESS) {
            pass(walk);
            status = find_next(store, walk, first);
        }
        if (status == APR_SUCCESS && first->next == 0) {
            *first = sources->list[--sources->count];
        }
        sift_down(sources, 0);
    }
    return conclude(store, status, SQLITE_DONE);
}

/* Merge the channels, by several statements in one view of the log.
 * @param more  set to whether there may be too many channels to merge, so that
 *              nothing was merged */
static apr_status_t walk_channels(comet_sqlite_t *store,
                                  comet_sqlite_walk_t *walk, int *more)
{
    sources_t sources = {
        .backwards = walk->backwards,
        .looks = walk->part_ends ? PART_CHANNELS : APR_SIZE_MAX,
    };
    int alone = sqlite3_get_autocommit(store->db);
    apr_status_t status =
        alone ? comet_sqlite_run_or_fail(store, SQL_BEGIN) : APR_SUCCESS;

    if (status == APR_SUCCESS) {
        status = find_sources(store, walk, &sources);
    }
    *more = !sources.looks;
    if (status == APR_SUCCESS && !*more) {
        status = merge(store, walk, &sources);
    }
    if (alone) {
        comet_sqlite_roll_back(store);
    }
    free(sources.list);
    return status;
}

apr_status_t comet_sqlite_walk(comet_sqlite_t *store, comet_sqlite_walk_t *walk)
{
    const comet_selection_t *selection = walk->selection;
    apr_status_t status;
    int more = 0;

    if (comet_selection_is_atom(selection) && selection->name_count) {
        return walk_channel(store, walk);
    }
    status = walk_log(store, walk, patience(walk), &more);
    if (status == APR_SUCCESS && more && !walk->is_part) {
        status = walk_channels(store, walk, &more);
        if (status == APR_SUCCESS && more) {
            status = walk_log(store, walk, ALL_ROWS, &more);
        }
    }
    return status;
}
