/* SPDX-License-Identifier: Apache-2.0 */
/* The output filters between mod_comet and the client. */
#include "output/chain.h"

#include <apr_strings.h>
#include <dlfcn.h>
#include <pthread.h>

#define COMPRESSORS \
    "deflate", "brotli_compress", "bytype:deflate", "bytype:brotli_compress"

static int is_one_of(const char *name, const char *const *names)
{
    while (*names && strcasecmp(name, *names) != 0) {
        names++;
    }
    return *names != NULL;
}

/* These filters delay nothing: compressors are told to stand aside (no-gzip),
 * and mod_headers and mod_expires are quick. */
#define HARMLESS \
    "old_write", COMPRESSORS, "fixup_headers_out", "fixup_headers_err", \
        "mod_expires", "logio_ttfb_out", "comet_cookies", "comet_opening"

/* These filters are httpd's own. They frame the answer, or hand it to the
 * socket. */
#define FRAMING \
    "content_length", "http_header", "http_outerror", "byterange", "chunk", \
        "reqtimeout", "core", "comet_fast", "cache_remove_url", \
        "cache_invalidate"

/* These filters are mod_ssl's.  They encrypt. */
#define ENCRYPTING "ssl/tls filter", "ssl/tls coalescing filter"

static int is_known(const ap_filter_t *filter)
{
    static const char *const known[] = { HARMLESS, FRAMING, NULL };

    return is_one_of(filter->frec->name, known);
}

static int is_plain(const ap_filter_t *filter, int tls)
{
    static const char *const encrypting[] = { ENCRYPTING, NULL };

    return is_known(filter)
           || (tls && is_one_of(filter->frec->name, encrypting));
}

int mod_comet_chain_is_plain(const request_rec *r, int tls)
{
    const ap_filter_t *filter = r->output_filters;

    while (filter && is_plain(filter, tls)) {
        filter = filter->next;
    }
    return filter == NULL;
}

int mod_comet_chain_reads_plain(const request_rec *r)
{
    static const char *const passing[] = { "http_in", "reqtimeout",
                                           "log_input_output", "core_in",
                                           NULL };
    const ap_filter_t *filter = r->input_filters;

    while (filter && is_one_of(filter->frec->name, passing)) {
        filter = filter->next;
    }
    return filter == NULL;
}

int mod_comet_chain_ends_plain(const request_rec *r, int tls)
{
    const ap_filter_t *filter = r->output_filters;

    while (
        filter
        && (filter->frec->ftype < AP_FTYPE_PROTOCOL || is_plain(filter, tls))) {
        filter = filter->next;
    }
    return filter == NULL;
}

int mod_comet_chain_is_clear(const conn_rec *c)
{
    const ap_filter_t *filter = c->output_filters;

    while (filter && is_plain(filter, 0)) {
        filter = filter->next;
    }
    return filter == NULL;
}

/* Whether a filter belongs to a stream of mod_http2.  Such filters hand the
 * answer to the thread of the connection. */
static int is_http2(const ap_filter_t *filter)
{
    return strncasecmp(filter->frec->name, "h2_", 3) == 0;
}

/* Find the first filter that might hold bytes back, or sleep.  @return NULL:
 * none */
static const ap_filter_t *find_obstacle(const request_rec *r)
{
    /* these filters encrypt or copy.  Others at the same level are not safe:
     * mod_ratelimit's filter sleeps, and some of mod_qos's hold bytes back */
    static const char *const passing[] = { ENCRYPTING, "dumpio_out", NULL };
    const ap_filter_t *filter = r->output_filters;

    while (filter
           && (is_known(filter) || is_http2(filter)
               || is_one_of(filter->frec->name, passing))) {
        filter = filter->next;
    }
    return filter;
}

int mod_comet_chain_is_direct(const request_rec *r)
{
    return find_obstacle(r) == NULL;
}

/* Whether a filter handles content.  Such filters come first, because httpd
 * keeps a chain in the order of its filters' types. */
static int is_of_content(const ap_filter_t *filter)
{
    return filter && filter->frec->ftype < AP_FTYPE_PROTOCOL;
}

static int has_filter(const request_rec *r, const char *const *names)
{
    const ap_filter_t *filter = r->output_filters;

    while (filter && !is_one_of(filter->frec->name, names)) {
        filter = filter->next;
    }
    return filter != NULL;
}

int mod_comet_chain_has_computed(const request_rec *r)
{
    static const char *const computing[] = { "fixup_headers_out", NULL };

    return has_filter(r, computing);
}

int mod_comet_chain_is_compressed(const request_rec *r)
{
    static const char *const compressors[] = { COMPRESSORS, NULL };

    return apr_table_get(r->headers_in, "Accept-Encoding")
           && has_filter(r, compressors);
}

/* --- logging -------------------------------------------------------------- */

/* Find the module that a filter belongs to, by the file that contains its code.
 * @return the file's name, such as "mod_sed.so" */
static const char *find_module(const ap_filter_t *filter)
{
    void *code = NULL;
    Dl_info file;
    const char *base;

    memcpy(&code, &filter->frec->filter_func.out_func, sizeof(code));
    if (!dladdr(code, &file) || !file.dli_fname) {
        return "an unknown module";
    }
    base = strrchr(file.dli_fname, '/');
    return base ? base + 1 : file.dli_fname;
}

static const char *describe(const ap_filter_t *filter, apr_pool_t *p)
{
    return apr_psprintf(p, "\"%s\" of %s", filter->frec->name,
                        find_module(filter));
}

const char *mod_comet_chain_find_program(const request_rec *r)
{
    const ap_filter_t *filter = r->output_filters;

    while (filter && strcmp(find_module(filter), "mod_ext_filter.so") != 0) {
        filter = filter->next;
    }
    return filter ? describe(filter, r->pool) : NULL;
}

const char *mod_comet_chain_find_obstacle(const request_rec *r)
{
    const ap_filter_t *obstacle = find_obstacle(r);

    return obstacle ? describe(obstacle, r->pool) : NULL;
}

void mod_comet_chain_tell(const request_rec *r)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const ap_filter_rec_t *told[16]; /* [lock] */
    const ap_filter_t *obstacle = find_obstacle(r);
    apr_size_t i;
    int is_new = 0;

    if (!obstacle) {
        return;
    }
    pthread_mutex_lock(&lock);
    for (i = 0; i < sizeof(told) / sizeof(*told); i++) {
        if (!told[i]) {
            told[i] = obstacle->frec;
            is_new = 1;
        }
        if (told[i] == obstacle->frec) {
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    if (is_new) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "COMET0131: each event stream of %s holds a thread, "
                      "since the output filter %s may hold back bytes; "
                      "take it off this path (see the manual, \"Other "
                      "modules\")",
                      r->uri, describe(obstacle, r->pool));
    }
}

/* --- changing ------------------------------------------------------------- */

void mod_comet_chain_clear(request_rec *r)
{
    r->output_filters = r->proto_output_filters;
}

/* Whether a filter changes text: one of mod_charset_lite, mod_xml2enc or
 * mod_include. */
static int is_editor(const ap_filter_t *filter)
{
    static const char *const editors[] = { "xlateout",        "bytype:xlateout",
                                           "xlatein",         "xml2enc",
                                           "bytype:xml2enc",  "includes",
                                           "bytype:includes", NULL };

    return is_one_of(filter->frec->name, editors);
}

/* Switch off Options Includes for this request, since mod_filter may run
 * mod_include's filter under any name.  Other requests share the settings, so
 * this one gets its own copy. */
static void forbid_includes(request_rec *r)
{
    core_dir_config *core;

    if (!(ap_allow_options(r) & OPT_INCLUDES)) {
        return;
    }
    core = apr_pmemdup(r->pool, ap_get_core_module_config(r->per_dir_config),
                       sizeof(*core));
    core->opts =
        (allow_options_t)(core->opts & ~(OPT_INCLUDES | OPT_INC_WITH_EXEC));
    r->per_dir_config = ap_merge_per_dir_configs(
        r->pool, r->per_dir_config, ap_create_per_dir_config(r->pool));
    ap_set_core_module_config(r->per_dir_config, core);
}

void mod_comet_chain_keep_text(request_rec *r)
{
    ap_filter_t *filter, *next;

    for (filter = r->output_filters; is_of_content(filter); filter = next) {
        next = filter->next;
        if (is_editor(filter)) {
            ap_remove_output_filter(filter);
        }
    }
    for (filter = r->input_filters; is_of_content(filter); filter = next) {
        next = filter->next;
        if (is_editor(filter)) {
            ap_remove_input_filter(filter);
        }
    }
    forbid_includes(r);
}
