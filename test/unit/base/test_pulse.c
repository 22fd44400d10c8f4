/* SPDX-License-Identifier: Apache-2.0 */
/* The pulse distinguishes clients that are gone or stuck from clients that are
 * merely slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/pulse.h"

#define PATIENCE_MSEC 5000
#define HEARTBEAT apr_time_from_sec(25)

static int server, client; /* the two ends of a connection */

static int setup(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), small = 4096;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size),
                     0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
    server = accept(listener, NULL, NULL);
    assert_true(server >= 0);
    setsockopt(server, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    close(listener);
    return 0;
}

static int teardown(void **state)
{
    close(client);
    close(server);
    return 0;
}

/* Make the client vanish: drop everything that is sent to it. */
static void deafen(void)
{
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = { .len = 1, .filter = &drop };

    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_ATTACH_FILTER, &program,
                                sizeof(program)),
                     0);
}

static void beat(void)
{
    assert_int_equal(send(server, ":\n\n", 3, MSG_DONTWAIT), 3);
}

/* Read at least this many bytes as the client, so that its kernel acknowledges
 * more data. */
static void take(size_t least)
{
    struct pollfd more = { .fd = client, .events = POLLIN };
    char data[1000];
    size_t got = 0;

    while (got < least) {
        ssize_t length;

        assert_int_equal(poll(&more, 1, PATIENCE_MSEC), 1);
        length = recv(client, data, sizeof(data), 0);
        assert_true(length > 0);
        got += (size_t)length;
    }
}

static void await_acknowledgement(void)
{
    struct tcp_info info = { .tcpi_unacked = 1 };
    socklen_t size = sizeof(info);
    int i;

    for (i = 0; i < PATIENCE_MSEC && info.tcpi_unacked; i++) {
        assert_int_equal(
            getsockopt(server, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
        usleep(1000);
    }
    assert_int_equal(info.tcpi_unacked, 0);
}

/* The next check is due in the second half of the interval that begins now. */
static void assert_due(const comet_pulse_t *pulse, apr_interval_time_t every)
{
    apr_time_t now = comet_monotonic();

    assert_in_range(pulse->look_at, now + every / 2, now + every);
}

/* Check the client as if a heartbeat interval had passed. */
static int is_lost(comet_pulse_t *pulse)
{
    assert_false(comet_pulse_is_lost(pulse, server, HEARTBEAT)); /* not yet */
    pulse->look_at = 1;
    return comet_pulse_is_lost(pulse, server, HEARTBEAT);
}

static void fill(void)
{
    char data[1000] = "";

    while (send(server, data, sizeof(data), MSG_DONTWAIT) > 0) {
    }
}

/* --- clients that are alive ---------------------------------------------- */

static void test_silent_and_beating(void **state)
{
    comet_pulse_t pulse;
    int i;

    comet_pulse_begin(&pulse, server, HEARTBEAT);
    assert_due(&pulse, HEARTBEAT);
    for (i = 0; i < 3; i++) {
        assert_false(is_lost(&pulse)); /* nothing was sent */
    }
    for (i = 0; i < 20; i++) {
        beat();
        assert_false(is_lost(&pulse));
        take(3);
        await_acknowledgement();
    }
}

/* The first bytes after a long silence are still in flight when the client is
 * checked. */
static void test_just_sent(void **state)
{
    comet_pulse_t pulse;

    comet_pulse_begin(&pulse, server, HEARTBEAT);
    deafen();
    assert_false(is_lost(&pulse));
    beat();
    assert_false(is_lost(&pulse));
}

static void test_slow(void **state)
{
    comet_pulse_t pulse;
    int i;

    comet_pulse_begin(&pulse, server, HEARTBEAT);
    for (i = 0; i < 20; i++) {
        struct pollfd room = { .fd = server, .events = POLLOUT };

        fill();
        assert_false(is_lost(&pulse));
        do {
            take(500);
        } while (poll(&room, 1, 0) == 0);
    }
}

/* --- clients that are lost ----------------------------------------------- */

static void test_vanished(void **state)
{
    comet_pulse_t pulse;

    comet_pulse_begin(&pulse, server, HEARTBEAT);
    beat();
    take(3);
    deafen();
    assert_false(is_lost(&pulse));
    beat();
    assert_false(is_lost(&pulse));
    beat();
    assert_true(is_lost(&pulse));
}

/* The client's kernel answers, but its receive buffer is full. */
static void test_stuck(void **state)
{
    comet_pulse_t pulse;
    int i;

    comet_pulse_begin(&pulse, server, HEARTBEAT);
    fill();
    /* data that fits into the client's receive buffer takes a moment to
     * arrive */
    for (i = 0; i < 500 && !is_lost(&pulse); i++) {
        usleep(10000);
    }
    assert_in_range(i, 1, 499);
}

static void test_nobody(void **state)
{
    comet_pulse_t pulse = { .look_at = 0 };
    int pair[2];

    assert_false(comet_pulse_is_lost(&pulse, -1, HEARTBEAT));
    comet_pulse_begin(&pulse, server, apr_time_from_msec(1));
    assert_due(&pulse, COMET_PULSE_LEAST);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    comet_pulse_begin(&pulse, pair[0], HEARTBEAT);
    assert_false(comet_pulse_is_lost(&pulse, pair[0], HEARTBEAT));
    assert_int_equal(pulse.look_at, 0);
    close(pair[0]);
    close(pair[1]);
}

static void test_behind(void **state)
{
    char bytes[100000] = { 0 };
    int pair[2];

    assert_false(comet_pulse_is_behind(server));
    while (send(server, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
    }
    assert_true(comet_pulse_is_behind(server)); /* the client reads nothing */
    while (comet_pulse_is_behind(server)
           && recv(client, bytes, sizeof(bytes), 0) > 0) {
    }
    assert_false(comet_pulse_is_behind(server));
    deafen();
    beat(); /* all of it is sent, and is lost on the way */
    assert_true(comet_pulse_is_behind(server));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_false(comet_pulse_is_behind(pair[0]));
    close(pair[0]);
    close(pair[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_silent_and_beating),
        TEST(test_just_sent),
        TEST(test_slow),
        TEST(test_vanished),
        TEST(test_stuck),
        TEST(test_nobody),
        TEST(test_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
