/* SPDX-License-Identifier: Apache-2.0 */
/* What mod_comet keeps for each of httpd's connections. */
#include "wait/connection.h"

#include "wait/handover.h"

#ifdef __SANITIZE_THREAD__
char mod_comet_handover;

apr_status_t mod_comet_handover_memory(void *nothing)
{
    HAND_ON();
    return APR_SUCCESS;
}
#endif

mod_comet_connection_t *mod_comet_connection(const conn_rec *c)
{
    return ap_get_module_config(c->conn_config, &comet_module);
}

int mod_comet_connection_make(conn_rec *c, void *socket)
{
    TAKE_OVER();
    ap_set_module_config(c->conn_config, &comet_module,
                         apr_pcalloc(c->pool, sizeof(mod_comet_connection_t)));
    return OK;
}

/* An allocator frees a returned node only if its spare memory has reached its
 * limit.  So this function lowers the limit, takes spare nodes out, and returns
 * them to the allocator. */
void mod_comet_connection_trim(const conn_rec *c)
{
    apr_allocator_t *allocator = apr_pool_allocator_get(c->pool);
    apr_memnode_t *nodes[4];
    int i;

    apr_allocator_max_free_set(allocator, 1);
    for (i = 0; i < 4; i++) {
        nodes[i] = apr_allocator_alloc(allocator, 1);
    }
    while (i-- > 0) {
        if (nodes[i]) {
            apr_allocator_free(allocator, nodes[i]);
        }
    }
}
