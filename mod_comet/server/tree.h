/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/tree.h
 * The configuration as it is written, for what no getter provides: other
 * modules' directives, and the lines of directives.  Parent only, while httpd
 * keeps ap_conftree: in the check_config and post_config hooks.
 */
#ifndef MOD_COMET_TREE_H
#define MOD_COMET_TREE_H

#include "server/mod_comet.h"

/** Whether a text begins with another one, ignoring case. */
int mod_comet_tree_begins(const char *text, const char *beginning);

/** The section of a virtual host.
 * @return NULL: @a s is the main server, or a host without a section */
const ap_directive_t *mod_comet_tree_host(const server_rec *s);

/** Whether the directives of this section never apply to a mapped URL, or apply
 * to one virtual host only (use mod_comet_tree_host()). */
int mod_comet_tree_is_elsewhere(const ap_directive_t *section);

/** The first directive with this name, inside or outside sections; NULL: there
 * is none.
 * @param value  what must follow the name; NULL: anything */
const ap_directive_t *mod_comet_tree_find(const ap_directive_t *tree,
                                          const char *name, const char *value);

/** The file and line of a directive: "FILE line N", in @a p. */
const char *mod_comet_tree_place(const ap_directive_t *directive,
                                 apr_pool_t *p);

#endif /* MOD_COMET_TREE_H */
