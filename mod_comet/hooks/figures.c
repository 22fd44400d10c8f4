/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of a store that comet-status shows. */
#include "hooks/figures.h"

mod_comet_figures_t mod_comet_figures_read(comet_readers_t *readers)
{
    const mod_comet_figures_t unknown = { -1, { -1, -1, -1 } };
    mod_comet_figures_t figures = unknown;
    comet_store_state_t state = { .last = -1 };
    comet_store_t *store;
    apr_status_t status = comet_readers_take(readers, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_state(store, &state);
        if (status == APR_SUCCESS) {
            status = comet_store_sizes(store, &figures.sizes);
        }
        comet_readers_return(readers, store, status);
    }
    figures.cursor = state.last;
    return status == APR_SUCCESS ? figures : unknown;
}
