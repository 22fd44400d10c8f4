/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/figures.h
 * The figures of a store that comet-status shows.
 */
#ifndef MOD_COMET_FIGURES_H
#define MOD_COMET_FIGURES_H

#include "store/readers.h"
#include "server/mod_comet.h"

/** Members are -1 if they are not known. */
typedef struct mod_comet_figures_t {
    comet_timestamp_t cursor; /* the highest timestamp ever assigned */
    comet_store_sizes_t sizes;
} mod_comet_figures_t;

/** Read the figures of a store.  If the store cannot be read, all figures are
 * -1.  Called by a request's thread. */
mod_comet_figures_t mod_comet_figures_read(comet_readers_t *readers);

#endif /* MOD_COMET_FIGURES_H */
