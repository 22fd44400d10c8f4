/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: clients that read several channels, and wildcards. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Do as the glue does: finish a client that must be authorised again. */
static void finish_recheck(client_t *client, const comet_delivery_t *delivery)
{
    if (delivery->reasons & COMET_RECHECK) {
        atomic_fetch_add(&client->recheck, 1);
        client->outcome = COMET_REST;
        client->finished = 1;
    }
}

static client_t *finishing(const char *words, comet_timestamp_t seen)
{
    client_t *client = client_new(seen);

    client->hook = finish_recheck;
    client_join_words(client, words);
    return client;
}

#define MIXED 3000
#define NAMES 12

/* The clients' selections. */
static const char *const mixed_words[] = {
    "c0",
    "c0 c1",
    "c1 c2 c3",
    "c0 c1 c2 c3 c4 c5 c6 c7 r/1 r/2 costarring",
    "r/1 r/2",
    "liquid c5",
    "c0 c1 c2 c3 c4 c5 c6 c7 r/1 r/2 costarring "
    "liquid *",
    "r/1 r/2 r/* c7",
    "nobody's",
};
enum { CLIENTS = sizeof(mixed_words) / sizeof(*mixed_words) };

/* What each client should get. */
static comet_timestamp_t mixed_expected[CLIENTS][MIXED];
static int mixed_counts[CLIENTS];

/* Append random messages on many channels, and note which clients should get
 * each of them.
 * @return the first message's timestamp */
static comet_timestamp_t append_mixed(client_t *const *clients)
{
    static const char *const names[NAMES] = {
        "c0", "c1", "c2",  "c3",  "c4",         "c5",
        "c6", "c7", "r/1", "r/2", "costarring", "liquid",
    };
    unsigned int seed = 20261121;
    comet_timestamp_t first = 0;
    int i, k;

    memset(mixed_counts, 0, sizeof(mixed_counts));
    for (i = 0; i < MIXED; i++) {
        const char *name = names[(rand_r(&seed) >> 8) % NAMES];
        comet_text_t text = comet_text(name);
        comet_timestamp_t sent = i % 10 ? hub_append(name) : hub_publish(name);

        first = first ? first : sent;
        for (k = 0; k < CLIENTS; k++) {
            if (comet_selection_match(clients[k]->subscriber.channel->selection,
                                      text, comet_message_hash(text))
                == COMET_SELECTION_NAMED) {
                mixed_expected[k][mixed_counts[k]++] = sent;
            }
        }
    }
    return first;
}

/* Random messages on many channels, and clients with every kind of selection:
 * each client gets its own messages, in order, once. */
static void test_selections(void **state)
{
    client_t *clients[CLIENTS], *late[CLIENTS];
    comet_timestamp_t first;
    int k;

    for (k = 0; k < CLIENTS; k++) {
        clients[k] = client_new(hub_last());
        clients[k]->subscriber.limit = 1 + (apr_uint32_t)(k * 7) % 100;
        client_join_words(clients[k], mixed_words[k]);
    }
    first = append_mixed(clients);
    comet_bus_notify(hub_buses[0]);
    for (k = 0; k < CLIENTS; k++) {
        late[k] = client_joined_words(mixed_words[k],
                                      first - 1); /* no longer in the ring */
    }
    for (k = 0; k < CLIENTS; k++) {
        wait_until(client_got(clients[k]) == mixed_counts[k]
                   && client_got(late[k]) == mixed_counts[k]);
    }
    for (k = 0; k < CLIENTS; k++) {
        client_leave(clients[k]);
        client_leave(late[k]);
        client_check(clients[k], mixed_expected[k], mixed_counts[k]);
        client_check(late[k], mixed_expected[k], mixed_counts[k]);
        client_free(clients[k]);
        client_free(late[k]);
    }
    assert_int_equal(mixed_counts[CLIENTS - 1], 0);
    assert_int_equal(mixed_counts[6], MIXED);
    assert_int_equal(comet_hub_members(hub, NULL), 0);
}

/* A message wakes only the clients it concerns. */
static void test_wakes_only_those_concerned(void **state)
{
    static const char *const others[] = { "a b",     "x",   "x y z", "s/*",
                                          "x r/1/*", "R/1", "r" };
    client_t *concerned, *named, *clients[7];
    int i;

    wait_until(hub_in_step());
    concerned = client_joined_words("x r/1 r/*", hub_last());
    named = client_joined_words("r/1", hub_last());
    for (i = 0; i < 7; i++) {
        clients[i] = client_joined_words(others[i], hub_last());
    }
    for (i = 0; i < 10; i++) {
        hub_publish("r/1");
        wait_until(client_got(concerned) == i + 1
                   && client_got(named) == i + 1);
    }
    for (i = 0; i < 7; i++) {
        client_leave(clients[i]);
        assert_int_equal(atomic_load(&clients[i]->served), 0);
        client_free(clients[i]);
    }
    client_leave(concerned);
    /* the selection matches the channel in two ways, but each message wakes the
     * client only once */
    assert_int_equal(atomic_load(&concerned->served), 10);
    client_free(concerned);
    client_leave_and_free(named);
}

/* A client is finished before it would get a message of a channel that did not
 * exist when its selection was authorised.  It gets all messages before that
 * one. */
static void check_recheck(const char *words, comet_timestamp_t seen,
                          const comet_timestamp_t *expected, int count)
{
    client_t *client = finishing(words, seen);

    wait_until(atomic_load(&client->recheck));
    client_leave(client);
    assert_int_equal(atomic_load(&client->recheck), 1);
    client_check(client, expected, count);
    assert_int_equal(client->subscriber.seen,
                     count ? expected[count - 1] : seen);
    client_free(client);
}

static void test_recheck(void **state)
{
    client_t *client = finishing("a r/1 r/*", hub_last());
    client_t *witness = client_joined_words("r/2", hub_last());
    comet_timestamp_t sent[3];

    sent[0] = hub_publish("a");
    sent[1] = hub_publish("r/1");
    wait_until(client_got(client) == 2);
    assert_int_equal(atomic_load(&client->recheck), 0);
    hub_publish("r/2");
    wait_until(atomic_load(&client->recheck) == 1);
    hub_publish("a");
    hub_publish("r/2");
    wait_until(client_got(witness) == 2);
    client_leave(client);
    assert_int_equal(atomic_load(&client->recheck), 1);
    client_check(client, sent, 2);
    client_free(client);
    client_leave_and_free(witness);
    /* the same for a client that joins later: the ring has the messages */
    check_recheck("a r/1 r/*", sent[0] - 1, sent, 2);
    check_recheck("a *", sent[0] - 1, sent, 1);
    check_recheck("*", sent[0] - 1, NULL, 0);
    /* a client with small batches, which needs several before the message of
     * the new channel */
    client = client_new(sent[0] - 1);
    client->hook = finish_recheck;
    client->subscriber.limit = 1;
    client_join_words(client, "a r/1 r/*");
    wait_until(atomic_load(&client->recheck) == 1);
    client_leave(client);
    client_check(client, sent, 2);
    client_free(client);
}

/* The message of the new channel, at which a client is finished, is only in the
 * log. */
static void test_outgrown_far_back(void **state)
{
    static comet_timestamp_t sent[4];
    comet_batch_t none = { .count = 0 };
    comet_selection_t *selection = scratch_choose("a");
    comet_reading_t reading = { .selection = selection, .batch = &none };
    comet_store_state_t now;
    int i;

    sent[0] = hub_append("a");
    sent[1] = hub_append("r/1");
    hub_append("r/2");
    for (i = 0; i < COMET_RING_MESSAGES + 10; i++) {
        hub_append("noise");
    }
    sent[2] = hub_publish("a");
    wait_until(hub_in_step());
    now = hub_state(0);
    assert_int_equal(comet_hub_recall(hub, 0, &now, sent[1], 0, &reading),
                     0); /* the ring does not reach back that far */
    comet_selection_unref(selection);
    check_recheck("a r/1 r/*", sent[0] - 1, sent, 2);
    check_recheck("r/*", sent[0] - 1, NULL, 0);
    check_recheck("a *", sent[0] - 1, sent, 1);
    /* a client that names the channel need not be authorised again */
    {
        client_t *client = finishing("a r/1 r/2 r/*", sent[1]);

        wait_until(client_got(client) == 2);
        client_leave(client);
        assert_int_equal(atomic_load(&client->recheck), 0);
        assert_int_equal(client->got[1], sent[2]);
        client_free(client);
    }
}

/* A recall for a poll ends before the message of an unknown channel, and sets
 * `recheck`. */
static void test_recall_recheck(void **state)
{
    comet_message_t *room[10];
    comet_batch_t batch = { .messages = room, .size = 10 };
    comet_selection_t *selection = scratch_choose("a r/*");
    comet_reading_t reading = { .selection = selection, .batch = &batch };
    comet_timestamp_t before = hub_last();
    comet_store_state_t now;

    hub_publish("a");
    hub_publish("r/1");
    hub_publish("a");
    wait_until(hub_in_step());
    now = hub_state(0);
    assert_int_equal(comet_hub_recall(hub, 0, &now, before, 0, &reading), 1);
    assert_int_equal(batch.count, 1);
    assert_int_equal(reading.recheck, 1);
    comet_batch_clear(&batch);
    comet_selection_unref(selection);
}

/* If any message after the cursor was erased, a recall that asks for the whole
 * log since the cursor is not answered. */
static void test_recall_whole(void **state)
{
    comet_message_t *room[10];
    comet_batch_t batch = { .messages = room, .size = 10 };
    comet_selection_t *selection = scratch_choose("a");
    comet_reading_t reading = { .selection = selection, .batch = &batch };
    comet_timestamp_t before = hub_publish("a"), after;
    comet_store_state_t now;
    sqlite3 *db;

    hub_publish("b");
    assert_int_equal(sqlite3_open(hub_paths[0], &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM message WHERE channel = 'b'",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    comet_bus_notify(hub_buses[0]);
    wait_until(hub_in_step());
    after = hub_publish("a");
    wait_until(hub_in_step());
    now = hub_state(0);
    assert_int_equal(comet_hub_recall(hub, 0, &now, before, 1, &reading), 0);
    assert_int_equal(comet_hub_recall(hub, 0, &now, after, 1, &reading), 1);
    assert_int_equal(comet_hub_recall(hub, 0, &now, before, 0, &reading), 1);
    assert_int_equal(batch.count, 1);
    comet_batch_clear(&batch);
    comet_selection_unref(selection);
}

#define USERS 3000

/* Thousands of selections share one channel.  Each client gets its own messages
 * and the common ones. */
static void test_many_selections(void **state)
{
    static client_t *clients[USERS];
    comet_timestamp_t news[2], own;
    char words[64];
    int i;

    for (i = 0; i < USERS; i++) {
        sprintf(words, "news user/%d", i);
        clients[i] = client_joined_words(words, hub_last());
    }
    assert_int_equal(comet_hub_members(hub, NULL), USERS);
    news[0] = hub_publish("news");
    own = hub_publish("user/1234");
    news[1] = hub_publish("news");
    for (i = 0; i < USERS; i++) {
        comet_timestamp_t mine[] = { news[0], own, news[1] };

        wait_until(atomic_load(&clients[i]->newest) == news[1]);
        client_leave(clients[i]);
        if (i == 1234) {
            client_check(clients[i], mine, 3);
        }
        else {
            client_check(clients[i], news, 2);
        }
        client_free(clients[i]);
    }
    assert_int_equal(comet_hub_members(hub, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_selections),
        HUB_TEST(test_wakes_only_those_concerned),
        HUB_TEST(test_recheck),
        HUB_TEST(test_outgrown_far_back),
        HUB_TEST(test_recall_recheck),
        HUB_TEST(test_recall_whole),
        HUB_TEST(test_many_selections),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
