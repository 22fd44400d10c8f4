/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of all children, for people and for machines. */
#include "hooks/status.h"

#include <apr_optional_hooks.h>
#include <apr_strings.h>
#include <mod_status.h>

#include "server/child.h"
#include "output/answer.h"

#define WAITING "waiting_"

/* Read the highest timestamp of a store; -1: it cannot be read. */
static comet_timestamp_t read_cursor(comet_readers_t *readers)
{
    comet_store_state_t state = { .last = -1 };
    comet_store_t *store;
    apr_status_t status = comet_readers_take(readers, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_state(store, &state);
        comet_readers_return(readers, store, status);
    }
    return status == APR_SUCCESS ? state.last : -1;
}

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

static void add_json_stores(comet_buffer_t *out)
{
    const mod_comet_child_t *child = mod_comet_child();
    apr_size_t i;

    comet_buffer_puts(out, ",\n  \"stores\": [");
    for (i = 0; child && i < child->store_count; i++) {
        comet_buffer_puts(out, i ? ", {\"path\": " : "{\"path\": ");
        comet_encode_json(out, comet_text(child->stores[i].config->place.name));
        add_json_field(out, "cursor", read_cursor(child->stores[i].readers),
                       ", ");
        comet_buffer_puts(out, "}");
    }
    comet_buffer_puts(out, "]");
}

static void add_json(comet_buffer_t *out, const comet_metrics_total_t *total)
{
    int i;

    comet_buffer_puts(out, "{\n");
    add_json_waiting(out, total);
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

/* --- Prometheus (text exposition format 0.0.4) --------------------------- */

static void add_prometheus_line(comet_buffer_t *out, const char *name,
                                int is_counter, const char *help,
                                apr_int64_t value)
{
    const char *suffix = is_counter ? "_total" : "";
    const char *type = is_counter ? "counter" : "gauge";
    const char *const parts[] = {
        "# HELP comet_",   name, suffix, " ", help,
        "\n# TYPE comet_", name, suffix, " ", type,
        "\ncomet_",        name, suffix, " ",
    };
    apr_size_t i;

    for (i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        comet_buffer_puts(out, parts[i]);
    }
    comet_buffer_add_int(out, value);
    comet_buffer_puts(out, "\n");
}

static void add_prometheus(comet_buffer_t *out,
                           const comet_metrics_total_t *total)
{
    int i;

    add_prometheus_line(out, "children", 0, "Processes that serve clients",
                        total->children);
    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        const comet_metric_info_t *info = &comet_metric_info[i];

        add_prometheus_line(out, info->name,
                            info->kind == COMET_METRIC_KIND_COUNTER, info->help,
                            total->values[i]);
    }
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
    (prometheus ? add_prometheus : add_json)(&out, &total);
    rv = mod_comet_answer_body(r, HTTP_OK,
                               prometheus ? "text/plain; version=0.0.4"
                                          : "application/json; charset=utf-8",
                               &out);
    comet_buffer_free(&out);
    return rv;
}

/* --- in mod_status ------------------------------------------------------- */

static int add_to_status(request_rec *r, int flags)
{
    comet_metrics_total_t total;
    int i;

    if (!mod_comet_child_metrics()) {
        return OK;
    }
    comet_metrics_sum(mod_comet_child_metrics(), &total);
    if (!(flags & AP_STATUS_SHORT)) {
        ap_rputs("<hr>\n<h2>mod_comet</h2>\n<table>\n", r);
    }
    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        ap_rprintf(r,
                   flags & AP_STATUS_SHORT
                       ? "Comet_%s: %" APR_INT64_T_FMT "\n"
                       : "<tr><td>%s</td><td>%" APR_INT64_T_FMT "</td></tr>\n",
                   flags & AP_STATUS_SHORT ? comet_metric_info[i].name
                                           : comet_metric_info[i].help,
                   total.values[i]);
    }
    if (!(flags & AP_STATUS_SHORT)) {
        ap_rputs("</table>\n", r);
    }
    return OK;
}

void mod_comet_status_register(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ap, status_hook, add_to_status, NULL, NULL,
                      APR_HOOK_MIDDLE);
}
