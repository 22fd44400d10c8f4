/* SPDX-License-Identifier: Apache-2.0 */
/* Subscribers that own a socket: only the hub knows them, writes to them and
 * disposes of them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <apr_general.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/hub.h"

/* A miniature stream that writes the number of each message as a line. */
typedef struct stream_t {
    comet_subscriber_t subscriber; /* first member: serve() takes its address */
    char rest[64]; /* the rest of a line that the socket did not accept */
    size_t rest_length;
    int stays; /* how many times the stream ignores COMET_STOPPING */
} stream_t;

static apr_pool_t *pool;
static comet_bus_t *bus;
static comet_hub_t *hub;
static comet_store_t *writer;
static atomic_int seen_off, timeouts, blocked;

/* --- The miniature stream ------------------------------------------------ */

static int send_text(stream_t *stream, const char *text, size_t length)
{
    ssize_t sent = send(stream->subscriber.own_fd, text, length,
                        MSG_DONTWAIT | MSG_NOSIGNAL);

    sent = sent < 0 ? 0 : sent;
    stream->rest_length = length - (size_t)sent;
    memmove(stream->rest, text + sent, stream->rest_length);
    return stream->rest_length == 0;
}

static int is_at_end(const stream_t *stream)
{
    char byte;
    ssize_t got =
        recv(stream->subscriber.own_fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

    return got >= 0 || errno != EAGAIN;
}

/* Send lines.  @return how many messages are sent */
static apr_size_t send_lines(stream_t *stream, const comet_batch_t *batch)
{
    apr_size_t i;

    for (i = 0; i < batch->count; i++) {
        char line[64];
        int length =
            snprintf(line, sizeof(line), "%s\n", batch->messages[i]->body.data);

        stream->subscriber.seen = batch->messages[i]->timestamp;
        if (!send_text(stream, line, (size_t)length)) {
            stream->subscriber.blocked_fd = stream->subscriber.own_fd;
            atomic_fetch_add(&blocked, 1);
            return i + 1;
        }
    }
    return i;
}

static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    stream_t *stream = (stream_t *)subscriber;

    if ((delivery->reasons & COMET_READABLE) && is_at_end(stream)) {
        return COMET_LEAVE;
    }
    if ((delivery->reasons & COMET_STOPPING) && !stream->stays--) {
        return COMET_LEAVE;
    }
    if (delivery->reasons & COMET_STOPPING) {
        subscriber->timeout_at = comet_monotonic() + 300000;
    }
    if (delivery->reasons & COMET_TIMEOUT) {
        atomic_fetch_add(&timeouts, 1);
        return COMET_LEAVE;
    }
    if ((delivery->reasons & COMET_WRITABLE)
        && send_text(stream, stream->rest, stream->rest_length)) {
        subscriber->blocked_fd = -1;
        return COMET_WAIT;
    }
    send_lines(stream, delivery->batch);
    return COMET_WAIT;
}

/* Overwrite the memory, so that a later use of it is noticed. */
static void left(comet_subscriber_t *subscriber)
{
    comet_hub_members(hub, NULL); /* takes the lock: the hub must have released
                                   * it */
    close(subscriber->own_fd);
    memset(subscriber, 0xa5, sizeof(stream_t));
    free(subscriber);
    atomic_fetch_add(&seen_off, 1);
}

static stream_t *new_stream(int fd)
{
    stream_t *stream = calloc(1, sizeof(*stream));

    stream->subscriber.serve = serve;
    stream->subscriber.left = left;
    stream->subscriber.own_fd = fd;
    stream->subscriber.blocked_fd = -1;
    stream->subscriber.limit = 100;
    stream->subscriber.seen = kit_last_of(writer);
    return stream;
}

static apr_status_t join(stream_t *stream)
{
    return comet_hub_join(hub, &stream->subscriber, 0,
                          scratch_select(comet_text("chat")));
}

/* @return the client's end of the connection */
static int connect_client(stream_t **made)
{
    int pair[2], small = 4096;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    *made = new_stream(pair[0]);
    return pair[1];
}

static int joined(void)
{
    stream_t *stream;
    int client = connect_client(&stream);

    assert_int_equal(join(stream), APR_SUCCESS);
    return client;
}

/* --- Before and after ---------------------------------------------------- */

static int setup(void **state)
{
    static const comet_store_config_t *stores[] = { &kit_config };
    comet_hub_config_t config = { .stores = stores, .count = 1 };

    kit_setup(state);
    apr_pool_create(&pool, NULL);
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    writer = kit_open_store(COMET_STORE_WRITE);
    config.buses = &bus;
    assert_int_equal(comet_hub_create(&hub, &config, pool), 0);
    atomic_store(&seen_off, 0);
    atomic_store(&timeouts, 0);
    atomic_store(&blocked, 0);
    return 0;
}

static int teardown(void **state)
{
    if (hub) {
        assert_true(comet_hub_stop(hub, APR_USEC_PER_SEC * 20));
        comet_hub_free(hub);
    }
    comet_store_close(writer);
    close(comet_bus_fd(bus));
    apr_pool_destroy(pool);
    return kit_teardown(state);
}

static void publish(int number)
{
    char body[16];

    snprintf(body, sizeof(body), "%d", number);
    assert_int_equal(kit_append(writer, "chat", body, NULL), 0);
    comet_bus_notify(bus);
}

static apr_size_t owned(void)
{
    apr_size_t count;

    comet_hub_members(hub, &count);
    return count;
}

static void assert_lines(int client, int first, int last)
{
    FILE *lines = fdopen(dup(client), "r");
    int number;

    for (; first <= last; first++) {
        assert_int_equal(fscanf(lines, "%d", &number), 1);
        assert_int_equal(number, first);
    }
    fclose(lines);
}

/* --- Tests --------------------------------------------------------------- */

static void test_gets_messages(void **state)
{
    int client = joined(), i;

    assert_int_equal(owned(), 1);
    for (i = 0; i < 50; i++) {
        publish(i);
    }
    assert_lines(client, 0, 49);
    close(client);
    wait_until(atomic_load(&seen_off) == 1);
    assert_int_equal(comet_hub_members(hub, NULL), 0);
    assert_int_equal(owned(), 0);
}

/* The hub notices at once that a client has closed its socket, without a
 * message or a timer. */
static void test_leaves_at_once(void **state)
{
    int clients[20], i;

    for (i = 0; i < 20; i++) {
        clients[i] = joined();
    }
    for (i = 0; i < 20; i++) {
        close(clients[i]);
        wait_until(atomic_load(&seen_off) == i + 1);
        assert_int_equal(owned(), 19 - i);
    }
}

/* A client that reads nothing does not delay another, and later continues from
 * its cursor. */
static void test_blocked(void **state)
{
    int slow = joined(), quick = joined(), i;

    for (i = 0; i < 3000; i++) {
        publish(100000 + i);
    }
    assert_lines(quick, 100000, 102999);
    assert_int_equal(atomic_load(&blocked) > 0, 1);
    assert_lines(slow, 100000, 102999);
    close(slow);
    close(quick);
    wait_until(atomic_load(&seen_off) == 2);
}

static void test_timer(void **state)
{
    stream_t *stream;
    int client = connect_client(&stream);

    stream->subscriber.timeout_at = comet_monotonic() + 100000;
    assert_int_equal(join(stream), APR_SUCCESS);
    wait_until(atomic_load(&seen_off) == 1);
    assert_int_equal(atomic_load(&timeouts), 1);
    close(client);
}

/* The hub's thread ends only after all subscribers have left. */
static void test_stop(void **state)
{
    stream_t *streams[10];
    int clients[10], i;

    for (i = 0; i < 10; i++) {
        clients[i] = connect_client(&streams[i]);
        streams[i]->stays = i % 2;
        assert_int_equal(join(streams[i]), APR_SUCCESS);
    }
    assert_true(comet_hub_stop(hub, APR_USEC_PER_SEC * 20));
    assert_int_equal(atomic_load(&seen_off), 10);
    assert_int_equal(atomic_load(&timeouts), 5);
    comet_hub_free(hub);
    hub = NULL;
    for (i = 0; i < 10; i++) {
        close(clients[i]);
    }
}

/* A descriptor that cannot be watched is refused. */
static void test_not_a_socket(void **state)
{
    FILE *file = tmpfile();
    stream_t *stream = new_stream(fileno(file));

    assert_int_equal(join(stream), EPERM);
    assert_int_equal(comet_hub_members(hub, NULL), 0);
    assert_int_equal(owned(), 0);
    publish(1);
    free(stream);
    fclose(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_gets_messages), TEST(test_leaves_at_once),
        TEST(test_blocked),       TEST(test_timer),
        TEST(test_stop),          TEST(test_not_a_socket),
    };
    int failed;

    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
