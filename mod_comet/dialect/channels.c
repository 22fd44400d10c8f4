/* SPDX-License-Identifier: Apache-2.0 */
/* List the channels that exist. */
#include "dialect/channels.h"

#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "wire/encode.h"
#include "output/answer.h"
#include "dialect/reading.h"
#include "dialect/select.h"

/* Find a channel's newest message without a `keep`.
 * @param last  OUT: its timestamp; 0: there is none */
static apr_status_t find_last(comet_store_t *store, comet_text_t channel,
                              comet_timestamp_t *last)
{
    comet_selection_t *one = comet_selection_create(&channel, 1, NULL, 0);
    apr_status_t status;
    int any;

    if (!one) {
        return APR_ENOMEM;
    }
    status = comet_store_replay(store, one, 0, last, &any);
    comet_selection_unref(one);
    *last = any ? *last : 0;
    return status;
}

static void add(comet_buffer_t *body, comet_text_t channel,
                comet_timestamp_t last)
{
    comet_buffer_puts(body, "{\"channel\": ");
    comet_encode_json(body, channel);
    comet_buffer_puts(body, ", \"last\": ");
    comet_buffer_add_int(body, last);
    comet_buffer_puts(body, "}");
}

static int compare(const void *a, const void *b)
{
    const comet_text_t *one = &((const comet_selected_t *)a)->text,
                       *other = &((const comet_selected_t *)b)->text;
    apr_size_t shorter =
        one->length < other->length ? one->length : other->length;
    int order = memcmp(one->data, other->data, shorter);

    return order                         ? order
           : one->length < other->length ? -1
                                         : one->length > other->length;
}

/* List the channels of a selection, sorted by name, in one view of the store.
 * A channel is left out if all its messages have a `keep`. */
static apr_status_t list(request_rec *r, mod_comet_ask_t *ask,
                         comet_buffer_t *body)
{
    apr_size_t count = ask->selection->name_count, i;
    comet_selected_t *names =
        apr_pmemdup(r->pool, ask->selection->names, count * sizeof(*names));
    comet_store_state_t state;
    comet_store_t *store;
    const char *comma = "";
    apr_status_t status = mod_comet_reading_take(r, ask, &store);

    qsort(names, count, sizeof(*names), compare);
    if (status == APR_SUCCESS) {
        status = comet_store_begin(store, &state);
    }
    if (status == APR_SUCCESS) {
        for (i = 0; i < count && status == APR_SUCCESS; i++) {
            comet_text_t shown = names[i].text;
            comet_timestamp_t last = 0;

            status = find_last(store, shown, &last);
            shown.data += ask->format.hidden_bytes;
            shown.length -= ask->format.hidden_bytes;
            if (last) {
                comet_buffer_puts(body, comma);
                comma = ",\n  ";
                add(body, shown, last);
            }
        }
        comet_buffer_puts(body, "],\n \"timestamp\": ");
        comet_buffer_add_int(body, state.last);
        comet_store_end(store);
    }
    mod_comet_reading_return(r, store, status);
    return status;
}

/* Select the channels that the wildcard stands for, as a request to read them
 * would.
 * @return DECLINED: go on; or what the handler returns: the request was
 *         answered */
static int choose(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask)
{
    mod_comet_request_t reading = *request;
    comet_param_t parameter = { .name = comet_text("channel") };

    if (!comet_params_get(&request->query, "channels", &parameter.value)
        || !parameter.value.length || ask->channel.data
        || parameter.value.data[parameter.value.length - 1] != '*') {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                      "channels: expected * or a prefix such "
                                      "as room/*, at the endpoint's own URL");
    }
    reading.query = (comet_params_t){ .list = &parameter, .count = 1 };
    ask->transport = &comet_transport_poll;
    ask->format.hidden_bytes = (apr_uint32_t)strlen(request->mapping->channel);
    ask->history = 1; /* the request does not wait */
    return mod_comet_select_find(r, &reading, ask);
}

int mod_comet_channels_answer(request_rec *r,
                              const mod_comet_request_t *request,
                              mod_comet_ask_t *ask)
{
    comet_buffer_t body = { .data = NULL };
    apr_status_t status;
    int rv = choose(r, request, ask);

    if (rv != DECLINED) {
        return rv;
    }
    comet_buffer_puts(&body, "{\"channels\": [");
    status = list(r, ask, &body);
    comet_buffer_puts(&body, "}\n");
    if (status != APR_SUCCESS) {
        rv = mod_comet_reading_refuse(r, ask, status, "the channels");
    }
    else {
        rv = mod_comet_answer_count(r, &body);
    }
    if (rv == DECLINED) {
        rv = mod_comet_answer_reader(r, "application/json; charset=utf-8",
                                     &body);
    }
    comet_buffer_free(&body);
    return rv;
}
