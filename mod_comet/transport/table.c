/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transports, and how to find one by name. */
#include "transport/transport.h"

#include <apr_strings.h>

const comet_transport_t *const comet_transports[COMET_TRANSPORT_COUNT] = {
#define TRANSPORT(name, help) &comet_transport_##name,
#include "tables/transports.def"
#undef TRANSPORT
};

const comet_metric_e comet_transport_gauges[COMET_TRANSPORT_COUNT] = {
#define TRANSPORT(name, help) COMET_METRIC_waiting_##name,
#include "tables/transports.def"
#undef TRANSPORT
};

const comet_transport_t *comet_transport_find(comet_text_t name)
{
    int i;

    for (i = 0; i < COMET_TRANSPORT_COUNT; i++) {
        const char *own = comet_transports[i]->name;

        if (own && comet_text_equal(name, comet_text(own))) {
            return comet_transports[i];
        }
    }
    return NULL;
}

const char *comet_transport_label(const comet_transport_t *transport)
{
    static const char *const labels[COMET_TRANSPORT_COUNT] = {
#define TRANSPORT(name, help) #name,
#include "tables/transports.def"
#undef TRANSPORT
    };
    int i = 0;

    while (comet_transports[i] != transport) {
        i++;
    }
    return labels[i];
}

apr_int64_t comet_transport_bit(const comet_transport_t *transport)
{
    int i = 0;

    while (comet_transports[i] != transport) {
        i++;
    }
    return APR_INT64_C(1) << i;
}

apr_int64_t comet_transport_usual(void)
{
    apr_int64_t bits = 0;
    int i;

    for (i = 0; i < COMET_TRANSPORT_COUNT; i++) {
        if (!comet_transports[i]->upgrades) {
            bits |= comet_transport_bit(comet_transports[i]);
        }
    }
    return bits;
}

const char *comet_transport_names(const char *conjunction, apr_pool_t *pool)
{
    const char *names = comet_transports[0]->name;
    int i;

    for (i = 1; i < COMET_TRANSPORT_COUNT && comet_transports[i]->name; i++) {
        int last =
            i + 1 == COMET_TRANSPORT_COUNT || !comet_transports[i + 1]->name;

        names = last ? apr_pstrcat(pool, names, " ", conjunction, " ",
                                   comet_transports[i]->name, NULL)
                     : apr_pstrcat(pool, names, ", ", comet_transports[i]->name,
                                   NULL);
    }
    return names;
}
