/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/chain.h
 * The output filters between mod_comet and the client: which of them might hold
 * bytes back, or block.
 *
 * Many filters only look at the headers and take themselves out of the chain
 * when the first bytes pass (mod_expires, mod_cache, mod_filter).  So a stream
 * is judged twice: before its headers are sent, and afterwards.
 *
 * Only the owner of the request or of the connection calls these functions.
 */
#ifndef MOD_COMET_CHAIN_H
#define MOD_COMET_CHAIN_H

#include "server/mod_comet.h"

/** Whether every filter is known to pass everything on at once, without
 * sleeping.  Only then may the hub's thread write. */
int mod_comet_chain_is_direct(const request_rec *r);

/**
 * Whether the bytes after the headers reach the socket as they are, or framed
 * in chunks: every filter is known to change nothing.
 * @param tls  whether mod_ssl's filters are also accepted
 */
int mod_comet_chain_is_plain(const request_rec *r, int tls);

/** Whether a request's body comes from the socket as it is: every input filter
 * is known to change nothing, and to have no interest in the body. */
int mod_comet_chain_reads_plain(const request_rec *r);

/** Like mod_comet_chain_is_plain(), but judge only the filters next to the
 * network.  These stay in the chain when the headers are sent.  The content
 * filters before them might not. */
int mod_comet_chain_ends_plain(const request_rec *r, int tls);

/** Whether a connection's output is not encrypted: every filter next to the
 * network is known to change nothing. */
int mod_comet_chain_is_clear(const conn_rec *c);

/** Whether mod_headers computes headers when the answer is sent: their values
 * can depend on anything (`Header set X "expr=…"`). */
int mod_comet_chain_has_computed(const request_rec *r);

/** Whether a filter will compress the answer, which takes CPU time. */
int mod_comet_chain_is_compressed(const request_rec *r);

/**
 * Find the first filter that might hold bytes back, or sleep.
 * @return the filter's name and module, such as "\"sed\" of mod_sed.so", in
 *         r->pool; NULL: none
 */
const char *mod_comet_chain_find_obstacle(const request_rec *r);

/** Find a filter of mod_ext_filter, which passes the bytes through a program.
 * Nobody knows when the program returns them.
 * @return as mod_comet_chain_find_obstacle() */
const char *mod_comet_chain_find_program(const request_rec *r);

/** Remove all filters of other modules from the answer.  What is written next
 * then reaches the client, even if those filters have let nothing pass so
 * far. */
void mod_comet_chain_clear(request_rec *r);

/**
 * Let no filter change the text of messages.  The directives of such filters
 * are meant for the site's own files and for other servers' pages:
 *
 * - mod_charset_lite and mod_xml2enc translate character sets; mod_comet sends
 *   and accepts UTF-8;
 * - mod_include would execute what clients publish (<!--#exec cmd="…"-->).
 */
void mod_comet_chain_keep_text(request_rec *r);

/** Log which filter of which module makes this stream occupy a thread while it
 * waits.  Each filter is logged once in each child. */
void mod_comet_chain_tell(const request_rec *r);

#endif /* MOD_COMET_CHAIN_H */
