/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/subrequest.h
 * A sub-request judges a channel by the channel's own URL. httpd gives the
 * sub-request the request line and the environment of the main request.  These
 * functions replace what depends on the main request's URL.  The protocol and the
 * query are those of the main request, because rules may look at them, too.
 *
 * mod_setenvif does not look at sub-requests.  So mod_comet notes what
 * mod_setenvif changes in a request's environment, undoes those changes in the
 * sub-request's copy, and applies SetEnvIf to the sub-request's URL.  What
 * mod_rewrite changes ([E=…]) is undone in the same way; httpd also applies the
 * rewrite rules to sub-requests. mod_comet constructs no request of its own for
 * this: it passes only requests that httpd has made to mod_setenvif.
 *
 * In a sub-request mod_rewrite passes over rules with [R] and [NS].  A channel's
 * sub-request must obey them, as it stands for a request to the channel's URL.  So
 * mod_rewrite sees such a sub-request without its main request.
 */
#ifndef MOD_COMET_SUBREQUEST_H
#define MOD_COMET_SUBREQUEST_H

#include "server/mod_comet.h"

/** Called when the module's hooks are registered.
 * @param p  a pool that lives until they are registered anew */
void mod_comet_subrequest_register(apr_pool_t *p);

/** Copy a request's environment, for reading only.  Called by the request's
 * thread.
 * @return a table in r->pool, or one that all requests share */
const apr_table_t *mod_comet_subrequest_copy_env(const request_rec *r);

/** Copy a request's environment, before rules that depend on the URL change the
 * environment.  Does nothing for a sub-request.  Called by the request's
 * thread. */
void mod_comet_subrequest_watch(request_rec *r);

/** Note what has changed in the environment since mod_comet_subrequest_watch().
 * Called by the request's thread. */
void mod_comet_subrequest_unwatch(request_rec *r);

/** post_read_request and header_parser hook, before mod_setenvif: copy the
 * environment. */
int mod_comet_subrequest_before_setenvif(request_rec *r);

/** post_read_request and header_parser hook, after mod_setenvif: note what
 * mod_setenvif has changed. */
int mod_comet_subrequest_after_setenvif(request_rec *r);

/** Whether mod_comet is making this sub-request, to judge a channel.  Called by
 * the request's thread. */
int mod_comet_subrequest_judges(const request_rec *r);

/** Set the request line, the protocol and the query of a sub-request that
 * mod_comet has claimed, and apply the server's SetEnvIf.  Called in
 * translate_name. */
void mod_comet_subrequest_begin(request_rec *r);

/** post_perdir_config hook: apply the SetEnvIf of the sub-request's
 * sections. */
int mod_comet_subrequest_enter(request_rec *r);

/** Hide the main request of a sub-request that judges a channel, before rules of
 * the site are asked.  Sub-requests that a rule makes in turn keep theirs, so that
 * rules that look each other's URL up end.  Called by the request's thread. */
void mod_comet_subrequest_stand_alone(request_rec *r);

/** Undo mod_comet_subrequest_stand_alone(). */
void mod_comet_subrequest_rejoin(request_rec *r);

/** fixups hook, before mod_rewrite: mod_comet_subrequest_stand_alone(). */
int mod_comet_subrequest_before_rewrite(request_rec *r);

/** fixups hook, after mod_rewrite: mod_comet_subrequest_rejoin().  If mod_rewrite
 * refuses the sub-request, its maker calls that. */
int mod_comet_subrequest_after_rewrite(request_rec *r);

/** expr_lookup hook: give expressions a variable IS_SUBREQ that is false for a
 * sub-request that judges a channel.  Called while the configuration is read.
 * @return DECLINED: another variable or function is asked for */
int mod_comet_subrequest_look_up_variable(ap_expr_lookup_parms *asked);

#endif /* MOD_COMET_SUBREQUEST_H */
