/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/speaker.h
 * The thread that publishes what the clients of WebSockets send.  There is one
 * for each store of a child; it is started when the first client sends
 * something.  It publishes in one commit all messages that have arrived from
 * any client since the last commit; then it answers each client.
 */
#ifndef MOD_COMET_SPEAKER_H
#define MOD_COMET_SPEAKER_H

#include "server/child.h"
#include "wait/talk.h"

/** The speakers of a child. */
typedef struct mod_comet_speakers_t mod_comet_speakers_t;

/** Make the speakers, in the child's pool.  Their threads are not started
 * yet. */
void mod_comet_speaker_prepare(mod_comet_child_t *child);

/** Queue a talk whose client has said something.  Any thread except the
 * speaker's. */
void mod_comet_speaker_submit(const mod_comet_child_t *child,
                              mod_comet_talk_t *talk);

/**
 * Ask to wait for a speaker's answers.  Only a limited number of threads may do
 * so, so that a store that hangs does not hold all threads.
 * @return 0: this thread may not wait; otherwise it calls
 *         mod_comet_speaker_leave() afterwards
 */
int mod_comet_speaker_enter(mod_comet_child_t *child);
void mod_comet_speaker_leave(mod_comet_child_t *child);

/**
 * End the threads.  This takes no lock, since on prefork it may run in a signal
 * handler.  Called before the writers are stopped.
 * @param limit  how long to wait
 * @return whether they have ended
 */
int mod_comet_speaker_stop(mod_comet_child_t *child, apr_interval_time_t limit);

#endif /* MOD_COMET_SPEAKER_H */
