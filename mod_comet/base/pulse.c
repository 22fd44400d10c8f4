/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a stream's client is still there. */
#include "base/pulse.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* @return 0: the socket is no TCP socket */
static int read_info(int fd, struct tcp_info *info)
{
    socklen_t size = sizeof(*info);

    memset(info, 0, sizeof(*info)); /* an old kernel fills in fewer fields */
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0;
}

static int is_behind(const struct tcp_info *info)
{
    return info->tcpi_unacked || info->tcpi_notsent_bytes;
}

/* Check the client.  @return whether it has acknowledged none of the bytes that
 * were unacknowledged at the last check */
static int look(comet_pulse_t *pulse, int fd, apr_interval_time_t heartbeat)
{
    apr_interval_time_t every =
        heartbeat < COMET_PULSE_LEAST ? COMET_PULSE_LEAST : heartbeat;
    struct tcp_info info;
    int lost;

    if (!read_info(fd, &info)) {
        pulse->look_at = 0;
        return 0;
    }
    lost = info.tcpi_bytes_acked == pulse->acknowledged;
    /* The next check is due in less than a heartbeat, so that a call one
     * heartbeat from now is not too early. */
    pulse->look_at = comet_monotonic() + every - every / 8;
    pulse->acknowledged =
        is_behind(&info) ? info.tcpi_bytes_acked : APR_UINT64_MAX;
    return lost;
}

void comet_pulse_begin(comet_pulse_t *pulse, int fd,
                       apr_interval_time_t heartbeat)
{
    pulse->acknowledged = APR_UINT64_MAX;
    look(pulse, fd, heartbeat);
}

int comet_pulse_is_lost(comet_pulse_t *pulse, int fd,
                        apr_interval_time_t heartbeat)
{
    return pulse->look_at && comet_monotonic() >= pulse->look_at
           && look(pulse, fd, heartbeat);
}

int comet_pulse_is_behind(int fd)
{
    struct tcp_info info;

    return read_info(fd, &info) && is_behind(&info);
}
