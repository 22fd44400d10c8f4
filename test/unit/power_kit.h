/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file power_kit.h
 * A store_kit store on a disk whose power fails, and what was published to it.
 */
#ifndef POWER_KIT_H
#define POWER_KIT_H

#include "store_kit.h"

#define POWER_CHANNELS 4
#define POWER_GROUPS_MAX 8192

/** Messages that are published together.  A group's number is its index in
 * power_sent. */
typedef struct power_group_t {
    unsigned channel, count, keyed;
    size_t length; /* the length of each body */
    comet_timestamp_t last; /* the last message's timestamp; 0: the group is not
                             * acknowledged */
    int known; /* whether it had been acknowledged when the power failed */
    unsigned present; /* bit set: which of its messages are in the file after
                       * the power failure */
    int has_key; /* whether its key is in the file after the power failure */
} power_group_t;

extern const char *const power_channels[POWER_CHANNELS];

/** The list of all groups.  While power_run_until_cut() runs, it belongs to the
 * publishers. */
extern power_group_t power_sent[POWER_GROUPS_MAX];
extern unsigned power_sent_count;

/** Called before all tests of a program. */
int power_begin(void **state);

/** Publish a group of the list.  A body begins with the group's number and the
 * message's number within the group.
 * @param store  a store that holds the write lock; NULL: the writer
 * publishes */
apr_status_t power_publish(unsigned number, comet_store_t *store);

/** Make the power fail at one of the next operations of the disk.
 * @param operations  the power fails within this many operations */
void power_arm(unsigned *seed, int operations);

/** Whether the power has failed. Any thread. */
int power_failed(void);

/** Let publishers work until the power fails, while another child prunes and
 * checkpoints.
 * @param operations  the power fails within this many operations of the disk */
void power_run_until_cut(unsigned *seed, int operations);

/** Replace the database with what the power failure has left. */
void power_restart(void);

#endif /* POWER_KIT_H */
