/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/hear.h
 * Read what the client of a WebSocket says, without blocking, and hand it to
 * the speaker.
 */
#ifndef MOD_COMET_HEAR_H
#define MOD_COMET_HEAR_H

#include "server/child.h"
#include "wait/talk.h"

typedef enum {
    MOD_COMET_HEAR_NOTHING, /* everything that the client has sent so far was
                             * read */
    MOD_COMET_HEAR_FULL, /* there may be more to read, but the talk has no room
                          * for it, or it is another client's turn */
    MOD_COMET_HEAR_GONE /* the client has closed its side */
} mod_comet_hear_e;

/** Read from httpd's filters.  Called by the thread that owns the connection.
 * @param brigade  empty, and empty again afterwards */
mod_comet_hear_e mod_comet_hear_filters(const mod_comet_child_t *child,
                                        conn_rec *c,
                                        apr_bucket_brigade *brigade,
                                        mod_comet_talk_t *talk);

/** Read from a socket.  Called by the hub's thread. */
mod_comet_hear_e mod_comet_hear_socket(const mod_comet_child_t *child, int fd,
                                       mod_comet_talk_t *talk);

#endif /* MOD_COMET_HEAR_H */
