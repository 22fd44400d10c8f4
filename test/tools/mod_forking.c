/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module that forks httpd's children, as mpm_itk and PHP's pcntl_fork() do.
 *
 * The header `X-Fork: serve` makes a fork serve the request and then end.  With
 * `X-Fork: exit` the fork ends at once, and the child serves the request.
 */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int serves; /* set in a fork that serves */

static int fork_now(request_rec *r)
{
    const char *what = apr_table_get(r->headers_in, "X-Fork");
    pid_t pid;

    if (!what || r->main || serves) {
        return DECLINED;
    }
    pid = fork();
    if (pid == 0 && strcmp(what, "serve") == 0) {
        serves = 1;
        r->connection->keepalive = AP_CONN_CLOSE;
        return DECLINED;
    }
    if (pid == 0) {
        exit(0);
    }
    waitpid(pid, NULL, 0);
    if (strcmp(what, "serve") != 0) {
        return DECLINED;
    }
    r->connection->keepalive = AP_CONN_CLOSE;
    r->connection->aborted = 1; /* the fork has answered the client */
    return DONE;
}

/* End a fork after its answer has been sent. */
static int end_fork(request_rec *r)
{
    if (serves && !r->main) {
        exit(0);
    }
    return DECLINED;
}

static void hooks(apr_pool_t *pool)
{
    ap_hook_post_read_request(fork_now, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_log_transaction(end_fork, NULL, NULL, APR_HOOK_REALLY_LAST);
}

module AP_MODULE_DECLARE_DATA comet_forking_module = {
    STANDARD20_MODULE_STUFF,
    .register_hooks = hooks,
};
