/* SPDX-License-Identifier: Apache-2.0 */
/* Keep a parked client beyond the MPM's Timeout, as long as it acknowledges
 * data. */
#include "wait/ack.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <sys/socket.h>

#include "shared/metrics.h"
#include "output/outbox.h"

void mod_comet_ack_begin(mod_comet_ack_t *ack, apr_interval_time_t timeout)
{
    ack->every = timeout / 3;
    ack->due = comet_monotonic() + ack->every;
}

void mod_comet_ack_arm(mod_comet_ack_t *ack, int fd, apr_size_t length)
{
    int kept = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
    int on = kept | SOF_TIMESTAMPING_TX_ACK;
    apr_time_t now = comet_monotonic();

    if (now >= ack->due || length > MOD_COMET_PIECE_BYTES) {
        ack->due = now + ack->every;
        ack->armed = ack->asking = 1;
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &on, sizeof(on));
    }
    else if (ack->asking) {
        ack->asking = 0;
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &kept, sizeof(kept));
    }
}

int mod_comet_ack_disarm(mod_comet_ack_t *ack, int fd)
{
    char data[256], control[256];
    int off = 0, any = 0;
    struct iovec piece = { data, sizeof(data) };
    struct msghdr header = { .msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control) };

    while (recvmsg(fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) {
        header.msg_controllen = sizeof(control);
        any = 1;
    }
    if (any) {
        ack->armed = ack->asking = 0;
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &off, sizeof(off));
        comet_metrics_add(COMET_METRIC_rearmed, 1);
    }
    return any;
}
