/* SPDX-License-Identifier: Apache-2.0 */
/* Publish the messages that outside programs have left in the store's inbox. */
#include "store/writer_priv.h"

/** Looks into the inbox that all take long take at most 1 / SHARE of the
 * writer's time. */
#define SHARE 10
/** The pause after a look that failed.  Most failures make the writer connect
 * again, which must not happen too often. */
#define PAUSE_USEC 500000
/** The time between two attempts to claim the inbox. */
#define CLAIM_USEC 1000000

apr_status_t comet_writer_take_in(comet_writer_t *writer)
{
    apr_int64_t now = comet_monotonic(), end;
    apr_interval_time_t rest, took, least;
    apr_size_t count;
    apr_status_t status;

    if (!comet_store_has_inbox(writer->store) || now < writer->inbox_after) {
        return APR_SUCCESS;
    }
    if (!writer->has_inbox_role) {
        writer->inbox_after = now + CLAIM_USEC;
        writer->has_inbox_role = comet_bus_claim_inbox(writer->config.bus);
        if (!writer->has_inbox_role) {
            return APR_SUCCESS;
        }
    }
    status = comet_store_take_in(writer->store, &count, &rest);
    if (count) {
        comet_bus_notify_commit(writer->config.bus);
    }
    end = comet_monotonic();
    took = end - now;
    /* a single look may be slow because something was stopped meanwhile */
    least = took < writer->inbox_took ? took : writer->inbox_took;
    least *= rest ? SHARE - 1 : 0;
    writer->inbox_took = took;
    writer->inbox_after =
        end
        + (status != APR_SUCCESS && status != COMET_ELOCKED ? PAUSE_USEC
           : rest > least                                   ? rest
                                                            : least);
    return status;
}
