/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file remote_kit.h
 * A remote engine for tests of the hub: a database in a file, behind a gate
 * that a test closes to make all reading hang.
 */
#ifndef REMOTE_KIT_H
#define REMOTE_KIT_H

#include "store/engine.h"

/** The engine.  Its places are those of scratch_place(), except for their
 * engine. */
const comet_engine_t *remote_engine(void);

/** While the gate is closed, calls that begin a view of the log hang.  Such a
 * call ends with APR_TIMEUP once *stopping is set. */
void remote_close_gate(void);
void remote_open_gate(void);

/** While the engine is broken, each connection fails as if the server had
 * ended. */
void remote_break(int broken);

/** While this is set, a fetcher that has begun its view hangs before it reads;
 * remote_held() tells how many do. */
void remote_hold_reads(int hold);
int remote_held(void);

/** How many calls hang at the gate now. */
int remote_hanging(void);

/** How many looks at the log have begun. */
int remote_looks(void);

/** How many looks have begun a view, for which a remote engine needs several
 * queries. */
int remote_views(void);

/** How many times messages were read by a READ connection (a fetcher's). */
int remote_reads(void);

/** Give the watch a hint of another server's commit. */
void remote_hint(void);

/** How many times the watch was to tell other servers of a commit. */
int remote_told(void);

/** Ring the bell as another server does that announces a commit. */
void remote_announce(void);

/** How many times the watch was to announce a commit to other servers. */
int remote_announced(void);

/** How many looks could wait for a commit. */
int remote_awaited(void);

#endif /* REMOTE_KIT_H */
