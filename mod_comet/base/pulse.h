/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/pulse.h
 * Whether a stream's client is still there and reads what is sent.
 *
 * A client that has vanished says nothing, and a client that is stuck
 * acknowledges nothing new.  TCP itself would go on trying for a quarter of an
 * hour, and TCP_USER_TIMEOUT cannot tell a slow reader from one that has
 * stopped.  So once per heartbeat the number of acknowledged bytes is compared
 * with the number at the previous check: it must have grown if bytes were
 * unacknowledged at that check.  Since a stream sends something in every
 * heartbeat, a client that is gone is noticed within two heartbeats.
 */
#ifndef COMET_PULSE_H
#define COMET_PULSE_H

#include "base/comet.h"

/** The shortest time between two checks, so that losing a few packets in a row
 * does not end a stream. */
#define COMET_PULSE_LEAST apr_time_from_sec(2)

/** The pulse of one stream, owned by the thread that writes to it.
 * Zero-initialised, it belongs to no stream and is never lost. */
typedef struct comet_pulse_t {
    apr_time_t look_at; /* when the next check is due, by comet_monotonic(); 0:
                         * never */
    apr_uint64_t acknowledged; /* how many bytes were acknowledged at the last
                                * check; APR_UINT64_MAX: none were
                                * unacknowledged then */
} comet_pulse_t;

/**
 * Begin to check a stream's client.
 * @param heartbeat  the stream's heartbeat; checks are at least
 *                   COMET_PULSE_LEAST apart
 */
void comet_pulse_begin(comet_pulse_t *pulse, int fd,
                       apr_interval_time_t heartbeat);

/**
 * Check the client if a check is due.  Call this after sending, and once per
 * heartbeat while the client has not taken everything.
 * @param heartbeat  as for comet_pulse_begin()
 * @return whether the client has acknowledged none of the bytes that were
 *         unacknowledged at the last check; always 0 if @a fd is no TCP socket
 */
int comet_pulse_is_lost(comet_pulse_t *pulse, int fd,
                        apr_interval_time_t heartbeat);

/** Whether the client has not acknowledged everything yet: the kernel holds bytes
 * that it cannot send yet, or may have to send again.  Any thread.
 * @return 0: all bytes have arrived, or @a fd is no TCP socket */
int comet_pulse_is_behind(int fd);

#endif /* COMET_PULSE_H */
