/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module that forks httpd's children, as mpm_itk and PHP's pcntl_fork() do.
 *
 * A fork serves a request with the header `X-Fork: serve`, and then ends. With
 * `X-Fork: exit` a fork ends at once, and the child continues.
 */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int serves; /* this process is a fork */

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
    r->connection->aborted = 1; /* the client has its answer */
    return DONE;
}

/* The answer is out. */
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
