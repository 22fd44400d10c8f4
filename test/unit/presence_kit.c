/* SPDX-License-Identifier: Apache-2.0 */
/* Children that keep presence, and clients that are present in channels. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "presence_kit.h"

#include <apr_general.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static apr_pool_t *pool;
static comet_bus_t *bus;
here_child_t here_children[HERE_CHILDREN];
here_client_t here_clients[HERE_SEATS];
sqlite3 *here_outside;
atomic_int here_woken;
int here_removals;
int here_sync_full;

static void wake(void *baton)
{
    atomic_fetch_add(&here_woken, 1);
}

void here_birth(here_child_t *child)
{
    const comet_presence_config_t config = { .store = &kit_config,
                                             .bus = bus,
                                             .stopping = &child->stopping,
                                             .wake = wake };

    atomic_store(&child->stopping, 0);
    child->stalled = 0;
    child->store = kit_open_store(COMET_STORE_WRITE);
    child->presence = comet_presence_create(&config);
    assert_non_null(child->presence);
}

/* @param graceful  0: the child is killed, and writes nothing more */
void here_death(here_child_t *child, int graceful)
{
    int i;

    for (i = 0; i < HERE_SEATS; i++) {
        if (here_clients[i].seat
            && &here_children[here_clients[i].child] == child) {
            comet_presence_leave(here_clients[i].seat);
            here_clients[i].seat = NULL;
        }
    }
    atomic_store(&child->stopping, 1);
    if (graceful) {
        assert_int_equal(comet_presence_end(child->presence, child->store), 0);
    }
    comet_presence_free(child->presence);
    comet_store_close(child->store);
    child->presence = NULL;
}

int here_setup(void **state)
{
    int i;

    kit_setup(state);
    kit_config.presence_grace = HERE_GRACE;
    kit_config.sync_full = here_sync_full;
    memset(here_clients, 0, sizeof(here_clients));
    here_removals = 0;
    apr_pool_create(&pool, NULL);
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    for (i = 0; i < HERE_CHILDREN; i++) {
        here_birth(&here_children[i]);
    }
    here_outside = kit_outsider();
    return 0;
}

int here_teardown(void **state)
{
    int i;

    for (i = 0; i < HERE_CHILDREN; i++) {
        if (here_children[i].presence) {
            here_death(&here_children[i], 1);
        }
    }
    sqlite3_close(here_outside);
    apr_pool_destroy(pool);
    return kit_teardown(state);
}


static void here_step(here_child_t *child)
{
    int removed, changed;

    if (child->presence && !child->stalled
        && comet_monotonic() >= comet_presence_due(child->presence)) {
        assert_int_equal(comet_presence_step(child->presence, child->store,
                                             &removed, &changed),
                         0);
        here_removals += removed;
    }
}

void here_steps(void)
{
    int i;

    for (i = 0; i < HERE_CHILDREN; i++) {
        here_step(&here_children[i]);
    }
}

/* Let time pass. */
void here_run_for(apr_interval_time_t time)
{
    apr_time_t until = comet_monotonic() + time;

    while (comet_monotonic() < until) {
        here_steps();
        poll(NULL, 0, 5);
    }
}

/* Wait until an SQL statement counts the wanted number. */
void here_await(const char *sql, sqlite3_int64 wanted)
{
    apr_time_t until = comet_monotonic() + 30 * SECOND;

    while (kit_number_in(here_outside, sql) != wanted) {
        if (comet_monotonic() > until) {
            fail_msg("%s: not %d", sql, (int)wanted);
        }
        here_steps();
        poll(NULL, 0, 5);
    }
}

const char *here_name_of(int member)
{
    static const char *const names[HERE_MEMBERS] = { "ann", "bob", "cy",
                                                     "d'\"\\", "\xc3\xa9va" };

    return member < 0 ? "" : names[member];
}

const char *here_channel_of(int channel)
{
    static const char *const names[HERE_CHANNELS] = { "room/1", "room/2", "x" };

    return names[channel];
}

here_client_t *here_enter(int child, int channel, int member)
{
    const comet_room_t room = { comet_text(here_channel_of(channel)), 100 };
    here_client_t *client = here_clients;

    while (client->seat) {
        client++;
    }
    assert_true(client < here_clients + HERE_SEATS);
    *client =
        (here_client_t){ .child = child, .channel = channel, .member = member };
    client->seat = comet_presence_enter(
        here_children[child].presence, &room, 1,
        &(comet_visitor_t){ .member = comet_text(here_name_of(member)) });
    assert_non_null(client->seat);
    return client;
}

void here_leave(here_client_t *client)
{
    comet_presence_leave(client->seat);
    client->seat = NULL;
}

int here_is_revoked(const here_client_t *client)
{
    return atomic_load(comet_presence_revoked(client->seat));
}

void here_notice_all(void)
{
    int i;

    for (i = 0; i < HERE_CHILDREN; i++) {
        if (here_children[i].presence) {
            comet_presence_notice(here_children[i].presence);
        }
    }
}


/* Check by one SQL statement that the published joins and leaves add up to the
 * members who are online. */
void here_check_sum(void)
{
    assert_int_equal(
        kit_number_in(
            here_outside,
            "WITH last AS (SELECT channel, author, max(timestamp) AS t"
            "  FROM message WHERE channel LIKE '%/@online'"
            "  GROUP BY channel, author),"
            " told AS (SELECT m.channel, m.author FROM last JOIN message AS m"
            "  ON m.timestamp = t WHERE m.type = 'join'),"
            " here AS (SELECT channel || '/@online', member FROM online)"
            " SELECT (SELECT count(*) FROM (SELECT * FROM told EXCEPT"
            "  SELECT * FROM here)) + (SELECT count(*) FROM"
            "  (SELECT * FROM here EXCEPT SELECT * FROM told))"),
        0);
}

/* Check that no published event says that a member joined twice in a row, or
 * left twice; and that each channel's count of members is right. */
void here_check_order(void)
{
    assert_int_equal(
        kit_number_in(here_outside,
                      "SELECT count(*) FROM (SELECT type, lag(type) OVER"
                      " (PARTITION BY channel, author ORDER BY timestamp)"
                      " AS before FROM message WHERE channel LIKE '%/@online'"
                      " AND type IN ('join', 'leave'))"
                      " WHERE ifnull(before, 'leave') = type"),
        0);
    assert_int_equal(
        kit_number_in(here_outside,
                      "SELECT count(*) FROM presence_channel AS c"
                      " WHERE members <> (SELECT count(*) FROM online"
                      " WHERE channel = c.name)"),
        0);
}

int here_begin(void **state)
{
    apr_initialize();
    scratch_make();
    return 0;
}

int here_end(void **state)
{
    apr_terminate();
    return 0;
}
