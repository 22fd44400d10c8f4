/* SPDX-License-Identifier: Apache-2.0 */
/* What mod_comet keeps for each of httpd's connections. */
#include "wait/connection.h"

mod_comet_connection_t *mod_comet_connection(const conn_rec *c)
{
    return ap_get_module_config(c->conn_config, &comet_module);
}

int mod_comet_connection_make(conn_rec *c, void *socket)
{
    ap_set_module_config(c->conn_config, &comet_module,
                         apr_pcalloc(c->pool, sizeof(mod_comet_connection_t)));
    return OK;
}
