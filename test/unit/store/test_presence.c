/* SPDX-License-Identifier: Apache-2.0 */
/* Presence: children that come, go, stall and die, and members that are thrown
 * out. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "presence_kit.h"

#include <stdio.h>
#include <string.h>

static void test_join_and_leave(void **state)
{
    here_client_t *client = here_enter(0, 0, 0);
    apr_time_t left;

    assert_int_equal(atomic_load(&here_woken) > 0, 1);
    here_await(HERE_ONLINE, 1);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("join")), 1);
    left = comet_monotonic();
    here_leave(client);
    here_await(HERE_ONLINE, 0);
    assert_true(comet_monotonic() - left >= HERE_GRACE);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("leave")), 1);
    here_await("SELECT count(*) FROM presence_holder",
               0); /* a child without members needs no lease */
    assert_int_equal(
        kit_number_in(here_outside, "SELECT count(*) FROM last_seen"), 1);
}

/* A client that returns within the grace period, in any child, counts as never
 * having left. */
static void test_comes_back(void **state)
{
    here_client_t *client;
    int i;

    for (i = 0; i < HERE_CHILDREN; i++) {
        here_death(&here_children[i], 1);
    }
    kit_config.presence_grace = 3 * SECOND;
    for (i = 0; i < HERE_CHILDREN; i++) {
        here_birth(&here_children[i]);
    }
    client = here_enter(0, 0, 0);
    here_await(HERE_ONLINE, 1);
    for (i = 1; i < 20; i++) {
        here_leave(client);
        here_run_for(SECOND / 50);
        client = here_enter(i % HERE_CHILDREN, 0, 0);
    }
    here_await("SELECT count(*) FROM presence_row", 1);
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 1);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("join")), 1);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("leave")), 0);
}

/* After a child is killed, its members are removed.  Those with a client in
 * another child stay. */
static void test_killed(void **state)
{
    here_enter(0, 0, 0);
    here_enter(0, 0, 1);
    here_enter(1, 0, 1);
    here_await("SELECT count(*) FROM presence_row", 3);
    here_death(&here_children[0], 0);
    here_await("SELECT count(*) FROM presence_row", 1);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("leave")), 1);
    assert_int_equal(kit_number_in(here_outside, "SELECT count(*) FROM online"
                                                 " WHERE member = 'bob'"),
                     1);
    here_await("SELECT count(*) FROM presence_holder", 1);
}

/* A child that ends publishes no leave.  Its clients have a grace period to
 * return. */
static void test_ends(void **state)
{
    apr_time_t ended;

    here_enter(0, 0, 0);
    here_enter(0, 0, 1);
    here_await(HERE_ONLINE, 2);
    ended = comet_monotonic();
    here_death(&here_children[0], 1);
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 2);
    here_enter(1, 0, 0);
    here_await(HERE_ONLINE, 1);
    assert_true(comet_monotonic() - ended >= HERE_GRACE);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("join")), 2);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("leave")), 1);
}

/* If a child's lease is deleted, and its rows with it, the child enters its
 * members again and throws nobody out. */
static void test_lease_deleted(void **state)
{
    here_client_t *client = here_enter(0, 0, 0);

    here_await(HERE_ONLINE, 1);
    kit_must_run(here_outside, "DELETE FROM presence_holder");
    here_notice_all();
    here_await(HERE_TOLD("join"), 2);
    here_run_for(HERE_GRACE);
    assert_false(here_is_revoked(client));
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 1);
}

/* A row that its child does not know is removed.  A commit of unknown outcome
 * may leave such a row. */
static void test_row_of_nobody(void **state)
{
    here_enter(0, 0, 0);
    here_await(HERE_ONLINE, 1);
    kit_must_run(here_outside,
                 "INSERT INTO presence_row(channel, member, holder, since)"
                 " SELECT 'room/1', 'ghost', id, 0 FROM presence_holder");
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 2);
    here_await(HERE_ONLINE, 1);
    here_check_sum();
}

/* A child that was stopped for a long time counts as dead.  When it continues,
 * it enters its members again and throws nobody out. */
static void test_stalled(void **state)
{
    here_client_t *client = here_enter(0, 0, 0);

    here_await(HERE_ONLINE, 1);
    here_children[0].stalled = 1;
    here_await(HERE_ONLINE, 0);
    here_notice_all();
    here_children[0].stalled = 0;
    here_await(HERE_ONLINE, 1);
    here_run_for(3 * HERE_GRACE);
    assert_false(here_is_revoked(client));
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("join")), 2);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("leave")), 1);
}

static void test_thrown_out(void **state)
{
    here_client_t *ann = here_enter(0, 0, 0), *other = here_enter(0, 1, 0),
                  *tab = here_enter(1, 0, 0), *bob = here_enter(0, 0, 1);

    here_await("SELECT count(*) FROM presence_row", 4);
    kit_must_run(here_outside, "DELETE FROM online WHERE member = 'ann'"
                               " AND channel = 'room/1'");
    here_notice_all();
    here_run_for(3 * HERE_GRACE);
    assert_true(here_is_revoked(ann) && here_is_revoked(tab));
    assert_false(here_is_revoked(other) || here_is_revoked(bob));
    assert_true(here_removals > 0);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("leave")), 1);
    here_enter(1, 0, 0); /* the member may return before its old clients have
                          * left */
    here_await(HERE_ONLINE, 3);
    here_leave(ann);
    here_leave(tab);
    here_run_for(3 * HERE_GRACE);
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 3);
    here_check_order();
}

/* If a child is not told that a member was thrown out, the child notices when
 * it renews its lease. */
static void test_thrown_out_unnoticed(void **state)
{
    here_client_t *ann = here_enter(0, 0, 0);
    apr_time_t until = comet_monotonic() + 30 * SECOND;

    here_await(HERE_ONLINE, 1);
    kit_must_run(here_outside, "DELETE FROM online");
    while (!here_is_revoked(ann) && comet_monotonic() < until) {
        here_run_for(HERE_GRACE / 10);
    }
    assert_true(here_is_revoked(ann));
}

static void test_without_a_name(void **state)
{
    here_client_t *one = here_enter(0, 0, -1), *two = here_enter(0, 0, -1);

    here_enter(1, 0, -1);
    here_await("SELECT sum(clients) FROM presence_anonymous", 3);
    here_await("SELECT count(*) FROM message WHERE type = 'count'"
               " AND body = '{\"count\": 0, \"most\": 100, \"anonymous\": 3}'",
               1);
    here_leave(one);
    here_leave(two);
    here_await("SELECT sum(clients) FROM presence_anonymous", 1);
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 0);
}

static comet_seat_t *enter(comet_presence_t *presence, const comet_room_t *room,
                           comet_text_t member, const char *info)
{
    const comet_visitor_t visitor = { .member = member,
                                      .info = comet_text(info) };

    return comet_presence_enter(presence, room, 1, &visitor);
}

/* A client whose name or channel cannot be stored does not disturb the
 * others. */
static void test_odd_names(void **state)
{
    char longest[COMET_ONLINE_CHANNEL_MAX_BYTES + 2], member[300];
    comet_room_t room = { comet_text("x"), 100 };
    comet_presence_t *presence = here_children[0].presence;
    comet_seat_t *nobody, *ann, *twins;

    memset(longest, 'c', sizeof(longest));
    memset(member, 'm', sizeof(member));
    room.channel = (comet_text_t){ longest, sizeof(longest) - 1 };
    assert_null(enter(presence, &room, comet_text("ann"), NULL));
    assert_null(comet_presence_revoked(NULL));
    room.channel.length--;
    nobody =
        enter(presence, &room, (comet_text_t){ member, sizeof(member) }, NULL);
    ann = enter(presence, &room, (comet_text_t){ member, 255 }, "{\"a\": 1}");
    twins = enter(presence, &room, (comet_text_t){ "a\0b", 3 }, NULL);
    here_await(HERE_ONLINE, 1);
    here_await("SELECT sum(clients) FROM presence_anonymous", 2);
    assert_int_equal(kit_number_in(here_outside, "SELECT count(*) FROM message"
                                                 " WHERE type = 'join'"
                                                 " AND body = '{\"a\": 1}'"),
                     1);
    comet_presence_leave(nobody);
    comet_presence_leave(ann);
    comet_presence_leave(twins);
    comet_presence_leave(NULL);
}

/* Make a client enter as many new channels as it is allowed to, leaving each of
 * them at once, or mark as many channels as it is allowed to.
 * @param marks  whether to set marks
 * @return how many channels it entered or marked */
static int flood(comet_presence_t *presence, const char *prefix,
                 const comet_visitor_t *visitor, int marks)
{
    int i, in = 0;

    for (i = 0; i < 2 * COMET_PRESENCE_BURST; i++) {
        char name[40];
        const apr_size_t length =
            (apr_size_t)snprintf(name, sizeof(name), "%s%d", prefix, i);
        const comet_room_t room = { { name, length }, 100 };

        if (marks) {
            apr_status_t status =
                comet_presence_mark(presence, &room, visitor, 1);

            assert_true(status == APR_SUCCESS || status == COMET_EBUSY);
            in += status == APR_SUCCESS;
        }
        else {
            comet_seat_t *seat =
                comet_presence_enter(presence, &room, 1, visitor);

            in += seat != NULL;
            comet_presence_leave(seat);
        }
    }
    return in;
}

/* Check how many channels flood() entered or marked: a burst, plus those that
 * the rate allows while a slow machine runs the loop. */
static void assert_burst(int in)
{
    assert_true(in >= COMET_PRESENCE_BURST
                && in < COMET_PRESENCE_BURST + 60 * COMET_PRESENCE_RATE);
}

/* A client that enters ever more new channels is stopped after its burst,
 * whether it has a name or not.  Other clients are not affected.  The client
 * may still leave the channels that it is in, and enter them again. */
static void test_ever_new_channels(void **state)
{
    comet_presence_t *presence = here_children[0].presence;
    const comet_room_t first = { comet_text("new/0"), 100 };
    const comet_visitor_t ann = { .member = comet_text("ann"),
                                  .address = comet_text("1234") },
                          bob = { .member = comet_text("bob"),
                                  .address = comet_text("1234") },
                          one = { .address = comet_text("1234") },
                          other = { .address = comet_text("5678") };
    int i;

    assert_burst(flood(presence, "new/", &ann, 0));
    assert_burst(flood(presence, "new/", &one, 0));
    assert_burst(flood(presence, "other/", &other, 0));
    assert_burst(flood(presence, "marked/", &bob, 1));
    for (i = 0; i < 2 * COMET_PRESENCE_BURST; i++) {
        comet_seat_t *seat = comet_presence_enter(presence, &first, 1, &ann);

        assert_non_null(seat);
        comet_presence_leave(seat);
    }
    assert_int_equal(comet_presence_mark(presence, &first, &ann, 5), 0);
}

static apr_status_t mark(int child, const char *channel, const char *member,
                         comet_timestamp_t read_at)
{
    const comet_room_t room = { comet_text(channel), 100 };
    const comet_visitor_t visitor = { .member = comet_text(member),
                                      .info = comet_text("{\"b\": 2}") };

    return comet_presence_mark(here_children[child].presence, &room, &visitor,
                               read_at);
}

/* If a member begins to wait while its mark is about to be written, the
 * member's info is kept. */
static void test_info_of_who_marks(void **state)
{
    const comet_room_t room = { comet_text("marked"), 100 };
    comet_seat_t *ann;

    assert_int_equal(mark(0, "marked", "ann", 100), 0);
    ann = enter(here_children[0].presence, &room, comet_text("ann"),
                "{\"b\": 2}");
    here_await(HERE_ONLINE, 1);
    assert_int_equal(kit_number_in(here_outside, "SELECT count(*) FROM online"
                                                 " WHERE channel = 'marked'"
                                                 " AND info = '{\"b\": 2}'"),
                     1);
    comet_presence_leave(ann);
}

/* A mark only moves forwards, whichever child sets it.  It can also be set for
 * a member who is not present. */
static void test_marks(void **state)
{
    char longest[COMET_ONLINE_CHANNEL_MAX_BYTES + 2];
    comet_timestamp_t read_at;
    apr_int64_t count;

    memset(longest, 'c', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(mark(0, longest, "ann", 1), COMET_EINVALID);
    assert_int_equal(mark(0, "", "ann", 1), COMET_EINVALID);
    assert_int_equal(mark(0, "room/1", "", 1), COMET_EINVALID);
    kit_append_many(here_children[0].store, "room/1", 5);
    assert_int_equal(mark(0, "room/1", "ann", 300), 0);
    assert_int_equal(mark(0, "room/1", "ann", 200), 0);
    here_await("SELECT ifnull(max(read_at), 0) FROM last_seen", 300);
    assert_int_equal(mark(1, "room/1", "ann", 100), 0);
    assert_int_equal(mark(1, "room/1", "bob", 100), 0);
    here_await("SELECT count(*) FROM last_seen", 2);
    assert_int_equal(kit_number_in(here_outside, "SELECT read_at FROM last_seen"
                                                 " WHERE member = 'ann'"),
                     300);
    assert_int_equal(
        comet_online_unread(here_children[0].store, comet_text("room/1"),
                            comet_text("ann"), 3, &read_at, &count),
        0);
    assert_int_equal(read_at, 300);
    assert_int_equal(count, 3); /* counting stops at the limit */
    assert_int_equal(
        comet_online_unread(here_children[0].store, comet_text("room/1"),
                            comet_text("nobody"), 99, &read_at, &count),
        0);
    assert_int_equal(read_at, 0);
    assert_int_equal(count, 5);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("read")), 0);
    here_enter(0, 0, 1);
    here_await(HERE_ONLINE, 1);
    assert_int_equal(mark(0, "room/1", "bob", 400), 0);
    here_await(HERE_TOLD("read"), 1);
}

#define MANY 1200 /* more than two slices */

/* Clients without a name can choose very many channels, but one transaction
 * publishes or removes at most a slice of them. */
static void test_slices(void **state)
{
    comet_store_t *store = here_children[0].store;
    int count = COMET_ONLINE_SLICE, more = 1, calls;
    char text[400];

    snprintf(text, sizeof(text),
             "INSERT INTO presence_holder(id, host, pid, patience)"
             " VALUES(7, 'h', 1, 3600000);"
             "WITH RECURSIVE n(i) AS"
             " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO presence_anonymous(channel, holder, clients)"
             " SELECT 'room/' || i, 7, 1 FROM n",
             MANY - 1);
    kit_must_run(here_outside, text);
    /* a channel with an invalid name does not stop the others from being
     * published */
    kit_must_run(here_outside, "INSERT INTO presence_anonymous(channel, holder,"
                               " clients) VALUES('a//b', 7, 1)");
    for (calls = 0; count == COMET_ONLINE_SLICE; calls++) {
        assert_int_equal(comet_online_publish(store, &count), 0);
        assert_true(count <= COMET_ONLINE_SLICE);
    }
    assert_int_equal(calls, 3);
    assert_int_equal(kit_number_in(here_outside, HERE_TOLD("count")), MANY - 1);
    for (calls = 0; more; calls++) {
        assert_int_equal(comet_online_sweep(store, 7, &more), 0);
        assert_true(kit_number_in(here_outside,
                                  "SELECT count(*) FROM presence_anonymous")
                    >= MANY - (calls + 1) * COMET_ONLINE_SLICE);
    }
    assert_int_equal(calls, 3);
    assert_int_equal(
        kit_number_in(here_outside, "SELECT count(*) FROM presence_holder"), 0);
}

/* When presence is switched off, all members leave. */
static void test_off(void **state)
{
    int i;

    here_enter(0, 0, 0);
    here_await(HERE_ONLINE, 1);
    for (i = 0; i < HERE_CHILDREN; i++) {
        here_death(&here_children[i], 1);
    }
    kit_config.presence_grace = 0;
    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 0);
    here_check_sum();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE_TEST(test_join_and_leave),
        HERE_TEST(test_comes_back),
        HERE_TEST(test_killed),
        HERE_TEST(test_ends),
        HERE_TEST(test_lease_deleted),
        HERE_TEST(test_row_of_nobody),
        HERE_TEST(test_stalled),
        HERE_TEST(test_thrown_out),
        HERE_TEST(test_thrown_out_unnoticed),
        HERE_TEST(test_without_a_name),
        HERE_TEST(test_odd_names),
        HERE_TEST(test_ever_new_channels),
        HERE_TEST(test_info_of_who_marks),
        HERE_TEST(test_marks),
        HERE_TEST(test_slices),
        HERE_TEST(test_off),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, here_begin, here_end);
}
