/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/pulse.h
 * Whether the client of a stream is still there, and takes what is sent.
 *
 * One that has vanished says nothing, and one that is stuck acknowledges
 * nothing new; TCP itself would go on trying for a quarter of an hour, and its
 * TCP_USER_TIMEOUT takes one that reads slowly for one that does not read.  So
 * once in a heartbeat the bytes acknowledged are compared with those at the
 * look before: of what was under way then, some must have arrived.  Since
 * something is sent in every heartbeat, who is gone is noticed within two.
 */
#ifndef COMET_PULSE_H
#define COMET_PULSE_H

#include "base/comet.h"

/** However short the heartbeat is: a few packets lost in a row are no end. */
#define COMET_PULSE_LEAST apr_time_from_sec(2)

/** One stream's.  Owned by whoever writes to it.  Zero-initialised it is
 * nobody's, and never lost. */
typedef struct comet_pulse_t {
    apr_interval_time_t every; /* between two looks */
    apr_time_t look_at; /* by comet_monotonic() */
    apr_uint64_t acknowledged; /* bytes, at the last look */
    int owing; /* whether anything was under way then */
} comet_pulse_t;

/**
 * Begin to look after a stream.
 * @param every  its heartbeat; at least COMET_PULSE_LEAST lies between looks
 */
void comet_pulse_begin(comet_pulse_t *pulse, int fd, apr_interval_time_t every);

/**
 * Have a look if it is time for one.  To be asked after something was sent,
 * and once in a heartbeat while the client does not take all.
 * @return whether nothing was acknowledged since the last look of what was
 *         under way then; never, where fd is no TCP socket
 */
int comet_pulse_is_lost(comet_pulse_t *pulse, int fd);

#endif /* COMET_PULSE_H */
