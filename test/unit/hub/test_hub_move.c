/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: clients that read up to a cursor, and then another selection. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <stdlib.h>

static comet_selection_t *next; /* what clients read after the move; NULL:
                                 * nothing */
static atomic_int reached;

/* Do as the glue does: once the client has got everything up to `until`, let it
 * read the next selection. */
static void move(client_t *client, const comet_delivery_t *delivery)
{
    comet_subscriber_t *subscriber = &client->subscriber;

    if (!(delivery->reasons & COMET_REACHED)) {
        return;
    }
    if (subscriber->seen != subscriber->until) {
        hub_fault("reached, but its cursor is elsewhere");
    }
    atomic_fetch_add(&reached, 1);
    subscriber->until = 0;
    subscriber->moves_to = next ? comet_selection_ref(next) : NULL;
}

static client_t *moving(const char *words, comet_timestamp_t seen,
                        comet_timestamp_t until, apr_uint32_t limit)
{
    client_t *client = client_new(seen);

    atomic_store(&reached, 0);
    client->hook = move;
    client->subscriber.until = until;
    client->subscriber.limit = limit;
    client_join_words(client, words);
    return client;
}

#define COUNT 40

/* A client is behind on one channel.  It first gets that channel up to the
 * cursor of the others, from memory or from the file, whatever the size of its
 * batches.  Then it gets all channels, in order.  Whatever the two cursors are,
 * no message is lost or repeated. */
static void test_until(void **state)
{
    comet_timestamp_t sent[COUNT], expected[COUNT];
    client_t *client;
    apr_uint32_t limit;
    int from_file, at, i, count;

    for (i = 0; i < COUNT; i++) {
        sent[i] = hub_publish(i % 2 ? "odd" : "even");
    }
    wait_until(hub_in_step());
    next = scratch_choose("even odd");
    for (from_file = 0; from_file < 2; from_file++) {
        for (at = 1; at < COUNT; at++) {
            limit = at % 3 ? (apr_uint32_t)(at % 3) : 1000;
            client = moving("odd", from_file ? 0 : sent[0], sent[at], limit);
            for (count = 0, i = 1; i < COUNT; i++) {
                if (i > at || i % 2) {
                    expected[count++] = sent[i];
                }
            }
            wait_until(client_got(client) == count);
            client_leave(client);
            assert_int_equal(atomic_load(&reached), 1);
            client_check(client, expected, count);
            client_free(client);
        }
    }
    comet_selection_unref(next);
}

/* `until` may be a message that the hub has not seen yet: the client gets that
 * message before it moves. `until` may also be the client's own cursor; then
 * the client moves at once. */
static void test_until_later(void **state)
{
    comet_timestamp_t first, expected[2];
    client_t *client;

    next = scratch_choose("other");
    first = hub_publish("mine");
    wait_until(hub_in_step());
    expected[0] = hub_append("mine"); /* without a notification */
    client = moving("mine", first, expected[0], 10);
    wait_until(atomic_load(&reached) == 1);
    expected[1] = hub_publish("other");
    wait_until(client_got(client) == 2);
    client_leave(client);
    client_check(client, expected, 2);
    client_free(client);
    /* the client is not behind */
    client = moving("mine", expected[1], expected[1], 10);
    wait_until(atomic_load(&reached) == 1);
    client_leave_and_free(client);
    comet_selection_unref(next);
}

/* A client whose `until` is set gets no message after that cursor, even if it
 * does not leave. */
static void test_limit_holds(void **state)
{
    comet_timestamp_t sent = hub_publish("mine");
    client_t *client;

    next = NULL;
    wait_until(hub_in_step());
    client = client_new(sent);
    client->subscriber.until = sent;
    client_join(client, "mine");
    hub_publish("mine");
    wait_until(hub_in_step() && atomic_load(&client->served) > 0);
    client_leave(client);
    assert_int_equal(client_got(client), 0);
    client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_until),
        HUB_TEST(test_until_later),
        HUB_TEST(test_limit_holds),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
