/* SPDX-License-Identifier: Apache-2.0 */
/* The counters in Prometheus' text format. */
#include "hooks/prometheus.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "transport/transport.h"
#include "server/child.h"
#include "hooks/figures.h"
#include "hooks/ways.h"

static void add_all(comet_buffer_t *out, const char *const parts[],
                    apr_size_t count)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        comet_buffer_puts(out, parts[i]);
    }
}

#define ADD(out, ...) \
    do { \
        const char *const parts[] = { __VA_ARGS__ }; \
        add_all(out, parts, sizeof(parts) / sizeof(*parts)); \
    } while (0)

/* Begin a metric.
 * @param name  with the suffix that its type demands */
static void begin(comet_buffer_t *out, const char *name, const char *type,
                  const char *help)
{
    ADD(out, "# HELP comet_", name, " ", help, "\n# TYPE comet_", name, " ",
        type, "\n");
}

/* Add a label's value: a backslash precedes backslashes and quotes, and a line
 * break is \n. */
static void add_value(comet_buffer_t *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n') {
            comet_buffer_puts(out, "\\n");
            continue;
        }
        if (*value == '\\' || *value == '"') {
            comet_buffer_puts(out, "\\");
        }
        comet_buffer_add(out, value, 1);
    }
}

/* @param label  NULL: the metric has none, and value is empty */
static void add_sample(comet_buffer_t *out, const char *name, const char *label,
                       const char *value, apr_int64_t number)
{
    ADD(out, "comet_", name);
    if (label) {
        ADD(out, "{", label, "=\"");
        add_value(out, value);
        comet_buffer_puts(out, "\"}");
    }
    comet_buffer_puts(out, " ");
    comet_buffer_add_int(out, number);
    comet_buffer_puts(out, "\n");
}

/* --- clients that wait ---------------------------------------------------- */

#define WAITING "waiting_"

static int is_transport(const char *name)
{
    return strncmp(name, WAITING, sizeof(WAITING) - 1) == 0;
}

static int is_way(const char *name)
{
    int i = 0;

    while (i < MOD_COMET_WAY_COUNT
           && strcmp(mod_comet_ways_get((mod_comet_ways_e)i)->name, name)
                  != 0) {
        i++;
    }
    return i < MOD_COMET_WAY_COUNT;
}

static void add_clients(comet_buffer_t *out, const comet_metrics_total_t *total)
{
    int i;

    begin(out, "waiting_clients", "gauge", "Clients that wait, by transport");
    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        const char *name = comet_metric_info[i].name;

        if (is_transport(name)) {
            add_sample(out, "waiting_clients", "transport",
                       name + sizeof(WAITING) - 1, total->values[i]);
        }
    }
    begin(out, "held_clients", "gauge",
          "How many clients wait, by the way in which the server holds them");
    for (i = 0; i < MOD_COMET_WAY_COUNT; i++) {
        add_sample(out, "held_clients", "way",
                   mod_comet_ways_get((mod_comet_ways_e)i)->name,
                   mod_comet_ways_count((mod_comet_ways_e)i, total));
    }
    begin(out, "held_clients_max", "gauge",
          "The maximum number of clients that may wait in each way; the number "
          "of parked clients includes ghosts");
    for (i = 0; i < MOD_COMET_WAY_COUNT; i++) {
        const mod_comet_way_t *way = mod_comet_ways_get((mod_comet_ways_e)i);

        add_sample(out, "held_clients_max", "way", way->name, way->capacity);
    }
}

/* --- counters ------------------------------------------------------------- */

static void add_counters(comet_buffer_t *out,
                         const comet_metrics_total_t *total)
{
    int i;

    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        const comet_metric_info_t *info = &comet_metric_info[i];
        comet_buffer_t name = { .data = NULL };

        if (is_transport(info->name) || is_way(info->name)) {
            continue;
        }
        comet_buffer_puts(&name, info->name);
        if (info->kind == COMET_METRIC_KIND_COUNTER) {
            comet_buffer_puts(&name, "_total");
        }
        comet_buffer_add(&name, "", 1);
        if (!name.failed) {
            begin(out, name.data,
                  info->kind == COMET_METRIC_KIND_COUNTER ? "counter" : "gauge",
                  info->help);
            add_sample(out, name.data, NULL, "", total->values[i]);
        }
        out->failed |= name.failed;
        comet_buffer_free(&name);
    }
}

/* --- stores --------------------------------------------------------------- */

/* The figures of each store that are shown.  A negative figure is unknown. */
static const struct {
    apr_size_t offset; /* in mod_comet_figures_t */
    const char *name;
    const char *help;
} figures_told[] = {
    { offsetof(mod_comet_figures_t, cursor), "store_cursor",
      "The last timestamp that the store has assigned, in microseconds" },
    { offsetof(mod_comet_figures_t, sizes.database_bytes),
      "store_database_bytes", "Size of the database" },
    { offsetof(mod_comet_figures_t, sizes.log_bytes), "store_log_bytes",
      "Size of the log that is not yet part of the database" },
    { offsetof(mod_comet_figures_t, sizes.channels), "store_channels",
      "Channels that have messages, or had some" },
};

static void add_stores(comet_buffer_t *out)
{
    const mod_comet_child_t *child = mod_comet_child();
    apr_size_t count = child ? child->store_count : 0, i, k;
    mod_comet_figures_t *figures = calloc(count + 1, sizeof(*figures));

    if (!figures) {
        out->failed = 1;
        return;
    }
    for (i = 0; i < count; i++) {
        figures[i] = mod_comet_figures_read(child->stores[i].readers);
    }
    for (k = 0; k < sizeof(figures_told) / sizeof(*figures_told) && count;
         k++) {
        begin(out, figures_told[k].name, "gauge", figures_told[k].help);
        for (i = 0; i < count; i++) {
            apr_int64_t value =
                *(const apr_int64_t *)(const void *)((const char *)&figures[i]
                                                     + figures_told[k].offset);

            if (value >= 0) {
                add_sample(out, figures_told[k].name, "store",
                           child->stores[i].config->place.name, value);
            }
        }
    }
    free(figures);
}

void mod_comet_prometheus_add(comet_buffer_t *out,
                              const comet_metrics_total_t *total)
{
    begin(out, "build_info", "gauge", "The version of mod_comet; always 1");
    add_sample(out, "build_info", "version", MOD_COMET_VERSION, 1);
    begin(out, "children", "gauge", "Processes that serve clients");
    add_sample(out, "children", NULL, "", total->children);
    add_clients(out, total);
    add_counters(out, total);
    add_stores(out);
}
