/* SPDX-License-Identifier: Apache-2.0 */
/* The access-log line of a stream that outlives its request. */
#include "output/log.h"

#include <apr_optional.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_protocol.h>
#include <stdlib.h>

#include "wire/encode.h"
#include "wire/logline.h"
#include "server/mpm.h"
#include "server/pool.h"
#include "output/log_check.h"
#include "output/log_queue.h"
#include "output/notes.h"

APR_DECLARE_OPTIONAL_FN(void, ap_logio_add_bytes_out,
                        (conn_rec * c, apr_off_t bytes));

struct mod_comet_log_t {
    server_rec *server;
    server_rec *base_server; /* the connection's */
    apr_time_t request_time;
    long id; /* the connection's */
    int status;
    int method_number;
    int proto_num;
    int keepalives;
    apr_port_t client_port, local_port, useragent_port;
    apr_port_t named_port; /* the port that the Host header names */
    char text[]; /* texts and tables, one after the other */
};

/* A line that is complete: the stream has ended. */
typedef struct line_t {
    mod_comet_log_line_t queued; /* the first member: the queue stores its
                                  * address */
    mod_comet_log_t *kept;
    mod_comet_log_end_t end;
} line_t;

/* the parent sets these variables, and the children inherit them */
static int can_keep;
static const char *waits; /* what mod_comet_log_waits() returns */
static unsigned needs; /* bits of comet_logline_e: what the logs show */
static int shows_notes; /* whether a log may show notes that mod_comet sets */

struct mod_comet_log_writer_t {
    mod_comet_log_queue_t *queue;
    apr_pool_t *pool; /* [the queue's thread] for the line that is being
                       * written */
    ap_HOOK_pre_connection_t *count_bytes; /* mod_logio's; or NULL */
    /* mod_logio's, too; or NULL */
    APR_OPTIONAL_FN_TYPE(ap_logio_add_bytes_out) * add_bytes_out;
};

/* --- what can be done ------------------------------------------------- */

const char *mod_comet_log_check(apr_pool_t *p)
{
    const char *obstacle =
        mod_comet_log_check_config(mod_comet_log_transaction, &needs, p);

    can_keep = !obstacle;
    shows_notes = obstacle || (needs & COMET_LOGLINE_NOTES);
    waits = mod_comet_log_check_waits(mod_comet_log_transaction, p);
    return obstacle;
}

const char *mod_comet_log_waits(void)
{
    return waits;
}

/* Find the pre_connection hook in which mod_logio makes its counters for each
 * connection.  A rebuilt connection needs them, too. */
static ap_HOOK_pre_connection_t *find_byte_counter(void)
{
    const apr_array_header_t *hooks = ap_hook_get_pre_connection();
    int i;

    for (i = 0; hooks && i < hooks->nelts; i++) {
        const ap_LINK_pre_connection_t *hook =
            &APR_ARRAY_IDX(hooks, i, ap_LINK_pre_connection_t);

        if (strcmp(hook->szName, "mod_logio.c") == 0) {
            return hook->pFunc;
        }
    }
    return NULL;
}

static void write_line(void *baton, mod_comet_log_line_t *queued);

void mod_comet_log_start(mod_comet_child_t *child, server_rec *server)
{
    mod_comet_log_writer_t *writer = apr_pcalloc(child->pool, sizeof(*writer));

    *writer = (mod_comet_log_writer_t){
        .pool = mod_comet_pool_create(child->pool, "comet_log"),
        .count_bytes = find_byte_counter(),
        .add_bytes_out = APR_RETRIEVE_OPTIONAL_FN(ap_logio_add_bytes_out),
    };
    if (writer->pool) {
        writer->queue =
            mod_comet_log_queue_start(child->pool, server, write_line, writer);
    }
    child->log = writer->queue ? writer : NULL;
}

int mod_comet_log_stop(mod_comet_child_t *child, apr_interval_time_t limit)
{
    return !child->log || mod_comet_log_queue_stop(child->log->queue, limit);
}

int mod_comet_log_can_write(const mod_comet_log_writer_t *writer)
{
    return writer && can_keep;
}

/* --- keeping ---------------------------------------------------------- */

/* Append a text to those already kept.  A plus precedes each text; a minus
 * stands for NULL. */
static void keep_text(comet_buffer_t *text, const char *string)
{
    comet_buffer_puts(text, string ? "+" : "-");
    if (string) {
        comet_buffer_add(text, string, strlen(string) + 1);
    }
}

static const char *take_text(const char **at)
{
    const char *text = *at + 1;

    if (**at == '-') {
        (*at)++;
        return NULL;
    }
    *at = text + strlen(text) + 1;
    return text;
}

static void keep_table(comet_buffer_t *text, const apr_table_t *table)
{
    const apr_array_header_t *rows = apr_table_elts(table);
    const apr_table_entry_t *row = (const apr_table_entry_t *)rows->elts;
    int i;

    for (i = 0; i < rows->nelts; i++) {
        if (row[i].key && row[i].val) {
            keep_text(text, row[i].key);
            keep_text(text, row[i].val);
        }
    }
    keep_text(text, NULL);
}

static void take_table(apr_table_t *table, const char **at)
{
    const char *key;

    apr_table_clear(table);
    while ((key = take_text(at)) != NULL) {
        apr_table_addn(table, key, take_text(at));
    }
}

/* Keep the header fields that the usual formats show, or all fields if a log
 * shows others. */
static void keep_request_headers(comet_buffer_t *text,
                                 const apr_table_t *headers)
{
    const char *const *name;

    if (needs & COMET_LOGLINE_REQUEST) {
        keep_table(text, headers);
        return;
    }
    for (name = COMET_LOGLINE_USUAL; *name; name++) {
        const char *value = apr_table_get(headers, *name);

        if (value) {
            keep_text(text, *name);
            keep_text(text, value);
        }
    }
    keep_text(text, NULL);
}

static void keep_response_headers(comet_buffer_t *text, const request_rec *r)
{
    if (needs & COMET_LOGLINE_RESPONSE) {
        keep_table(text, r->headers_out);
        keep_table(text, r->err_headers_out);
    }
    else {
        keep_text(text, NULL); /* two empty tables */
        keep_text(text, NULL);
    }
}

/* Get the request line as the log shows it, without a password in the URL. */
static const char *request_line(const request_rec *r)
{
    return r->parsed_uri.password
               ? apr_pstrcat(r->pool, r->method, " ",
                             apr_uri_unparse(r->pool, &r->parsed_uri, 0), " ",
                             r->protocol, NULL)
               : r->the_request;
}

/* Keep a connection's texts in the order in which take_connection() reads
 * them. */
static void keep_connection(comet_buffer_t *text, const conn_rec *c)
{
    keep_text(text, c->client_ip);
    keep_text(text, c->remote_host);
    keep_text(text, c->local_ip);
    keep_text(text, c->log_id);
}

/* Keep a request's texts in the order in which take_request() reads them. */
static void keep_request(comet_buffer_t *text, const request_rec *r)
{
    keep_text(text, request_line(r));
    keep_text(text, r->method);
    keep_text(text, r->protocol);
    keep_text(text, r->unparsed_uri);
    keep_text(text, r->uri);
    keep_text(text, r->args);
    keep_text(text, r->hostname);
    keep_text(text, r->parsed_uri.port_str);
    keep_text(text, r->handler);
    keep_text(text, r->content_type);
    keep_text(text, r->user);
    keep_text(text, r->ap_auth_type);
    keep_text(text, r->log_id);
    keep_text(text, r->useragent_ip);
    keep_text(text, r->useragent_host);
    keep_request_headers(text, r->headers_in);
    keep_response_headers(text, r);
    keep_table(text, r->subprocess_env);
    keep_table(text, r->notes);
}

/* @return NULL: no memory */
static mod_comet_log_t *make_record(const request_rec *r,
                                    const comet_buffer_t *text)
{
    const conn_rec *c = r->connection;
    mod_comet_log_t *kept =
        text->failed ? NULL : malloc(sizeof(*kept) + text->length);

    if (!kept) {
        return NULL;
    }
    *kept = (mod_comet_log_t){
        .server = r->server,
        .base_server = c->base_server,
        .request_time = r->request_time,
        .id = c->id,
        .status = r->status,
        .method_number = r->method_number,
        .proto_num = r->proto_num,
        .keepalives = c->keepalives,
        .client_port = c->client_addr->port,
        .local_port = c->local_addr->port,
        .useragent_port = r->useragent_addr->port,
        .named_port = r->parsed_uri.port,
    };
    memcpy(kept->text, text->data, text->length);
    return kept;
}

mod_comet_log_t *mod_comet_log_keep(request_rec *r, const char *way)
{
    mod_comet_request_t *request = mod_comet_request(r);
    comet_buffer_t text = { .data = NULL };
    mod_comet_log_t *kept;

    if (shows_notes) {
        request->story.way = way;
        mod_comet_notes_begin(r, request, r);
    }
    keep_connection(&text, r->connection);
    keep_request(&text, r);
    kept = make_record(r, &text);
    comet_buffer_free(&text);
    if (kept) {
        request->logged_later = 1;
    }
    return kept;
}

void mod_comet_log_drop(request_rec *r, mod_comet_log_t *kept)
{
    mod_comet_request(r)->logged_later = 0;
    free(kept);
}

/* Set the notes of a request.  After internal redirects the log shows the notes
 * of the last request in the chain. */
static void set_notes(request_rec *r)
{
    const mod_comet_request_t *request;
    request_rec *ours = r, *last = r;

    while (!(request = mod_comet_request(ours)) && ours->next) {
        ours = ours->next;
    }
    while (last->next) {
        last = last->next;
    }
    if (request) {
        mod_comet_notes_begin(ours, request, last);
        mod_comet_notes_end(last, &request->story, r->connection->aborted != 0);
    }
}

/* Count a request that httpd does not count, since the request's connection has
 * no place in the scoreboard.  Such a request ends on the hub's thread.  Or it
 * came over HTTP/2, and happens to end before mod_http2 has given its
 * connection a place. */
static void count(const request_rec *r, const mod_comet_request_t *request)
{
    const conn_rec *c = r->connection;

    if (!c->sbh && (c->master || !request->logged_later)) {
        /* (if the request is logged later, its bytes are counted then) */
        mod_comet_mpm_count(1, request->logged_later ? 0 : r->bytes_sent);
    }
}

int mod_comet_log_transaction(request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);

    if (request) {
        count(r, request);
    }
    if (request && request->logged_later) {
        return DONE;
    }
    if (shows_notes) {
        set_notes(r);
    }
    return DECLINED;
}

/* --- writing ---------------------------------------------------------- */

/* @return never NULL: formatting a line reads the port */
static apr_sockaddr_t *make_address(const char *ip, apr_port_t port,
                                    apr_pool_t *p)
{
    apr_sockaddr_t *address = NULL;

    if (apr_sockaddr_info_get(&address, ip, APR_UNSPEC, port, 0, p)
        != APR_SUCCESS) {
        apr_sockaddr_info_get(&address, NULL, APR_INET, port, 0, p);
    }
    return address;
}

static conn_rec *make_connection(const mod_comet_log_writer_t *writer,
                                 const mod_comet_log_t *kept)
{
    apr_pool_t *p = writer->pool;
    conn_rec *c = apr_pcalloc(p, sizeof(*c));

    c->pool = p;
    c->bucket_alloc = apr_bucket_alloc_create(p);
    c->base_server = kept->base_server;
    c->id = kept->id;
    c->keepalives = kept->keepalives;
    c->keepalive = AP_CONN_CLOSE;
    c->notes = apr_table_make(p, 1);
    c->conn_config = ap_create_conn_config(p);
    if (writer->count_bytes) {
        writer->count_bytes(c, NULL);
    }
    return c;
}

static conn_rec *take_connection(const mod_comet_log_writer_t *writer,
                                 const mod_comet_log_t *kept, const char **at)
{
    conn_rec *c = make_connection(writer, kept);
    const char *host;

    c->client_ip = (char *)take_text(at);
    c->client_addr = make_address(c->client_ip, kept->client_port, c->pool);
    host = take_text(at);
    /* "" means "not found", so that httpd asks no name server now */
    c->remote_host = (char *)(host ? host : "");
    c->local_ip = (char *)take_text(at);
    c->local_addr = make_address(c->local_ip, kept->local_port, c->pool);
    c->log_id = take_text(at);
    return c;
}

/* Make a request through httpd, so that each module has its data in it.  Then
 * set what httpd sets while it reads a request from a client. */
static request_rec *make_request(const mod_comet_log_t *kept, conn_rec *c)
{
    request_rec *r = ap_create_request(c);

    r->server = kept->server;
    r->per_dir_config = kept->server->lookup_defaults;
    r->request_time = kept->request_time;
    r->method_number = kept->method_number;
    r->proto_num = kept->proto_num;
    r->status = kept->status;
    r->status_line = ap_get_status_line(kept->status);
    r->sent_bodyct = 1;
    r->eos_sent = 1;
    return r;
}

static void take_request(request_rec *r, const mod_comet_log_t *kept,
                         const char **at)
{
    r->the_request = (char *)take_text(at);
    r->method = take_text(at);
    r->protocol = (char *)take_text(at);
    r->unparsed_uri = (char *)take_text(at);
    r->uri = (char *)take_text(at);
    r->args = (char *)take_text(at);
    r->hostname = take_text(at);
    r->parsed_uri.port_str = (char *)take_text(at);
    r->parsed_uri.port = kept->named_port;
    r->handler = take_text(at);
    r->content_type = take_text(at);
    r->user = (char *)take_text(at);
    r->ap_auth_type = (char *)take_text(at);
    r->log_id = take_text(at);
    r->useragent_ip = (char *)take_text(at);
    r->useragent_host = (char *)take_text(at);
    r->filename = mod_comet_request_filename(r);
    take_table(r->headers_in, at);
    take_table(r->headers_out, at);
    take_table(r->err_headers_out, at);
    take_table(r->subprocess_env, at);
    take_table(r->notes, at);
    if (strcmp(r->useragent_ip, r->connection->client_ip) != 0) {
        r->useragent_addr =
            make_address(r->useragent_ip, kept->useragent_port, r->pool);
        r->useragent_host =
            r->useragent_host ? r->useragent_host : apr_pstrdup(r->pool, "");
    }
}

void mod_comet_log_count(const mod_comet_log_writer_t *writer, conn_rec *c,
                         apr_off_t sent_bytes)
{
    if (writer && writer->add_bytes_out) {
        writer->add_bytes_out(c, sent_bytes);
    }
}

static void free_line(line_t *line)
{
    free(line->kept);
    free(line);
}

static void write_line(void *baton, mod_comet_log_line_t *queued)
{
    const mod_comet_log_writer_t *writer = baton;
    line_t *line = (line_t *)queued;
    const mod_comet_log_t *kept = line->kept;
    const mod_comet_log_end_t *end = &line->end;
    const char *at = kept->text;
    conn_rec *c = take_connection(writer, kept, &at);
    request_rec *r = make_request(kept, c);

    take_request(r, kept, &at);
    r->bytes_sent = end->body_bytes;
    c->aborted = end->aborted != 0;
    if (shows_notes) {
        mod_comet_notes_end(r, &end->story, c->aborted != 0);
    }
    if (writer->count_bytes) {
        mod_comet_log_count(writer, c, end->sent_bytes);
    }
    ap_run_log_transaction(r);
    apr_pool_clear(writer->pool);
    free_line(line);
}

void mod_comet_log_write(const mod_comet_log_writer_t *writer,
                         mod_comet_log_t *kept, const mod_comet_log_end_t *end)
{
    line_t *line = malloc(sizeof(*line));

    if (!line) {
        mod_comet_log_queue_miss(writer->queue);
        free(kept);
        return;
    }
    *line = (line_t){ .kept = kept, .end = *end };
    if (!mod_comet_log_queue_add(writer->queue, &line->queued)) {
        free_line(line);
    }
}
