/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of all children, for people and for machines. */
#include "hooks/status.h"

#include <apr_optional_hooks.h>
#include <apr_strings.h>
#include <mod_status.h>

#include "server/child.h"
#include "output/answer.h"
#include "hooks/figures.h"
#include "hooks/prometheus.h"
#include "hooks/ways.h"

#define WAITING "waiting_"

/* --- JSON ---------------------------------------------------------------- */

static void add_json_field(comet_buffer_t *out, const char *name,
                           apr_int64_t value, const char *separator)
{
    comet_buffer_puts(out, separator);
    comet_encode_json(out, comet_text(name));
    comet_buffer_puts(out, ": ");
    comet_buffer_add_int(out, value);
}

static void add_json_waiting(comet_buffer_t *out,
                             const comet_metrics_total_t *total)
{
    const char *separator = "";
    int i;

    comet_buffer_puts(out, "  \"waiting\": {");
    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        const char *name = comet_metric_info[i].name;

        if (strncmp(name, WAITING, sizeof(WAITING) - 1) == 0) {
            add_json_field(out, name + sizeof(WAITING) - 1, total->values[i],
                           separator);
            separator = ", ";
        }
    }
    comet_buffer_puts(out, "}");
}

/* Add a number of a store unless it is negative, which means unknown. */
static void add_json_known(comet_buffer_t *out, const char *name,
                           apr_int64_t value)
{
    if (value >= 0) {
        add_json_field(out, name, value, ", ");
    }
}

static void add_json_stores(comet_buffer_t *out)
{
    const mod_comet_child_t *child = mod_comet_child();
    apr_size_t i;

    comet_buffer_puts(out, ",\n  \"stores\": [");
    for (i = 0; child && i < child->store_count; i++) {
        const mod_comet_figures_t figures =
            mod_comet_figures_read(child->stores[i].readers);

        comet_buffer_puts(out, i ? ", {\"path\": " : "{\"path\": ");
        comet_encode_json(out, comet_text(child->stores[i].config->place.name));
        add_json_field(out, "cursor", figures.cursor, ", ");
        add_json_known(out, "database_bytes", figures.sizes.database_bytes);
        add_json_known(out, "log_bytes", figures.sizes.log_bytes);
        add_json_known(out, "channels", figures.sizes.channels);
        comet_buffer_puts(out, "}");
    }
    comet_buffer_puts(out, "]");
}

/* Add, for each way, how many clients wait in it and how many may. */
static void add_json_ways(comet_buffer_t *out,
                          const comet_metrics_total_t *total)
{
    int i;

    comet_buffer_puts(out, ",\n  \"ways\": {");
    for (i = 0; i < MOD_COMET_WAY_COUNT; i++) {
        const mod_comet_way_t *way = mod_comet_ways_get((mod_comet_ways_e)i);

        comet_buffer_puts(out, i ? ", " : "");
        comet_encode_json(out, comet_text(way->name));
        add_json_field(out, "waiting",
                       mod_comet_ways_count((mod_comet_ways_e)i, total), ": {");
        add_json_field(out, "capacity", way->capacity, ", ");
        comet_buffer_puts(out, "}");
    }
    comet_buffer_puts(out, "}");
}

static void add_json(comet_buffer_t *out, const comet_metrics_total_t *total)
{
    int i;

    comet_buffer_puts(out, "{\n  \"version\": \"" MOD_COMET_VERSION "\",\n");
    add_json_waiting(out, total);
    add_json_ways(out, total);
    add_json_field(out, "children", total->children, ",\n  ");
    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        const char *name = comet_metric_info[i].name;

        if (strncmp(name, WAITING, sizeof(WAITING) - 1) != 0) {
            add_json_field(out, name, total->values[i], ",\n  ");
        }
    }
    add_json_stores(out);
    comet_buffer_puts(out, "\n}\n");
}

/* --- the handler --------------------------------------------------------- */

static int wants_prometheus(request_rec *r, const char **wrong)
{
    const char *accept = apr_table_get(r->headers_in, "Accept");
    comet_params_t query;
    comet_text_t format;

    comet_params_parse(&query, comet_text(r->args ? r->args : ""), r->pool);
    if (!comet_params_get(&query, "format", &format)) {
        return accept && strstr(accept, "text/plain")
               && !strstr(accept, "json");
    }
    if (comet_text_equal(format, comet_text("prometheus"))) {
        return 1;
    }
    if (!comet_text_equal(format, comet_text("json"))) {
        *wrong = "format: expected json or prometheus";
    }
    return 0;
}

int mod_comet_status_handler(request_rec *r)
{
    comet_metrics_total_t total = { .children = 0 };
    comet_buffer_t out = { .data = NULL };
    const char *wrong = NULL;
    int prometheus, rv;

    if (!r->handler || strcmp(r->handler, "comet-status") != 0) {
        return DECLINED;
    }
    mod_comet_answer_claim(r);
    if (r->method_number != M_GET) {
        return mod_comet_answer_not_allowed(r, "GET, HEAD");
    }
    prometheus = wants_prometheus(r, &wrong);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    if (mod_comet_child_metrics()) {
        comet_metrics_sum(mod_comet_child_metrics(), &total);
    }
    (prometheus ? mod_comet_prometheus_add : add_json)(&out, &total);
    rv = mod_comet_answer_body(r, HTTP_OK,
                               prometheus ? "text/plain; version=0.0.4"
                                          : "application/json; charset=utf-8",
                               &out);
    comet_buffer_free(&out);
    return rv;
}

/* --- in mod_status ------------------------------------------------------- */

static void add_status_row(request_rec *r, int is_short, const char *name,
                           const char *help, apr_int64_t value)
{
    ap_rprintf(r,
               is_short ? "Comet_%s: %" APR_INT64_T_FMT "\n"
                        : "<tr><td>%s</td><td>%" APR_INT64_T_FMT "</td></tr>\n",
               is_short ? name : help, value);
}

static void add_ways(request_rec *r, int is_short,
                     const comet_metrics_total_t *total)
{
    int i;

    for (i = 0; i < MOD_COMET_WAY_COUNT; i++) {
        const mod_comet_way_t *way = mod_comet_ways_get((mod_comet_ways_e)i);

        add_status_row(r, is_short,
                       apr_pstrcat(r->pool, "way_", way->name, NULL),
                       apr_pstrcat(r->pool, "Waiting now: ", way->help, NULL),
                       mod_comet_ways_count((mod_comet_ways_e)i, total));
        add_status_row(
            r, is_short, apr_pstrcat(r->pool, "capacity_", way->name, NULL),
            apr_pstrcat(r->pool, "May wait: ", way->help, NULL), way->capacity);
    }
}

static int add_to_status(request_rec *r, int flags)
{
    int is_short = flags & AP_STATUS_SHORT;
    comet_metrics_total_t total;
    int i;

    if (!mod_comet_child_metrics()) {
        return OK;
    }
    comet_metrics_sum(mod_comet_child_metrics(), &total);
    if (!is_short) {
        ap_rputs("<hr>\n<h2>mod_comet</h2>\n<table>\n", r);
    }
    add_ways(r, is_short, &total);
    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        add_status_row(r, is_short, comet_metric_info[i].name,
                       comet_metric_info[i].help, total.values[i]);
    }
    if (!is_short) {
        ap_rputs("</table>\n", r);
    }
    return OK;
}

void mod_comet_status_register(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ap, status_hook, add_to_status, NULL, NULL,
                      APR_HOOK_MIDDLE);
}
