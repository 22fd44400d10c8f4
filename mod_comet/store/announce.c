/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Announce a commit when it begins.
 *
 * If a remote store has rested, a single message waits less for the disk than
 * for all those who must be told of it one after the other: every child, the
 * other servers, their children.  So they are told while the database server
 * commits, and wait there for the end of the commit.  Under load this would
 * only cause more looks at the store.
 */
#include "store/engine.h"
#include "store/writer_priv.h"

void comet_writer_announce(comet_writer_t *writer, apr_size_t count)
{
    if (count == 1 && writer->group_count == 1 && writer->groups[0]->count
        && writer->store_config.place.engine->is_remote
        && comet_bus_rests(writer->config.bus)) {
        comet_bus_announce_commit(writer->config.bus);
    }
}
