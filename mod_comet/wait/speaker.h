/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/speaker.h
 * The thread that does what the clients of WebSockets say: one for each store
 * of a child, started when the first of them says something.  It publishes what
 * all of them have said meanwhile in one commit, and answers each.
 */
#ifndef MOD_COMET_SPEAKER_H
#define MOD_COMET_SPEAKER_H

#include "server/child.h"
#include "wait/talk.h"

/** The speakers of a child. */
typedef struct mod_comet_speakers_t mod_comet_speakers_t;

/** Make them, in the child's pool, without their threads. */
void mod_comet_speaker_prepare(mod_comet_child_t *child);

/** Have a talk's client answered.  Any thread but the speaker's. */
void mod_comet_speaker_submit(const mod_comet_child_t *child,
                              mod_comet_talk_t *talk);

/**
 * Let at most so many threads wait for a speaker's answers at a time, that
 * publishers of a store that hangs leave the rest to the site.
 * @return 0: this one may not wait; else call mod_comet_speaker_leave()
 */
int mod_comet_speaker_enter(mod_comet_child_t *child);
void mod_comet_speaker_leave(mod_comet_child_t *child);

/**
 * End the threads; no lock is taken, since prefork may call it in a signal
 * handler.  Before the writers are stopped.
 * @param limit  how long to wait
 * @return whether they have ended
 */
int mod_comet_speaker_stop(mod_comet_child_t *child, apr_interval_time_t limit);

#endif /* MOD_COMET_SPEAKER_H */
