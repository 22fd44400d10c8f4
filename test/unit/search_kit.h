/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file search_kit.h
 * Searches of store_kit's store.  Their results are in kit_list.
 */
#ifndef SEARCH_KIT_H
#define SEARCH_KIT_H

#include "store_kit.h"

/** Where the last search can be continued; 0: it was complete. */
extern comet_timestamp_t search_rest;

/** Open a store.  @param search  whether messages are indexed */
comet_store_t *search_open(int search, comet_store_mode_e mode);

/** Do upkeep until everything is indexed, or until what is left of an index is
 * removed.
 * @return how many steps it took */
int search_tidy(comet_store_t *store);

apr_status_t search_try(comet_store_t *store, const char *channel,
                        const char *words, size_t limit);
/** Search.  @return the bodies found, joined by '|' */
const char *search_for(comet_store_t *store, const char *channel,
                       const char *words, size_t limit);
/** Search.  @return how many messages were found */
size_t search_count(comet_store_t *store, const char *channel,
                    const char *words);

/** Insert "word w1", "word w2" … as another program, in one transaction. */
void search_fill(const char *channel, int count);

/** How many tables, triggers and so on the index consists of. */
sqlite3_int64 search_pieces(void);

#endif /* SEARCH_KIT_H */
