/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/chain.h
 * The output filters between us and the client: which of them may keep an
 * answer back, or take their time.
 *
 * Many filters only look at the headers and take themselves out of the chain
 * with the first bytes that pass (mod_expires, mod_cache, mod_filter).  So a
 * stream is judged twice: before its headers are out, and after.
 *
 * All of it by the thread that owns the request.
 */
#ifndef MOD_COMET_CHAIN_H
#define MOD_COMET_CHAIN_H

#include "server/mod_comet.h"

/** Whether each filter passes everything on at once: httpd's own do, unless
 * they are known to sleep.  The hub's thread may write through these only. */
int mod_comet_chain_is_direct(const request_rec *r);

/**
 * Whether what comes after the headers goes to a socket as it is, or framed in
 * chunks: no TLS, no filter but those known to change nothing.
 */
int mod_comet_chain_is_plain(const request_rec *r);

/** The same for the filters next to the network alone.  They stay as they are
 * when the headers go out; those of other modules before them may not. */
int mod_comet_chain_ends_plain(const request_rec *r);

/** Whether mod_headers computes headers when the answer goes out: their values
 * may depend on anything (`Header set X "expr=…"`). */
int mod_comet_chain_has_computed(const request_rec *r);

/** Whether a filter will compress the answer, which takes its time. */
int mod_comet_chain_is_compressed(const request_rec *r);

/**
 * Before a stream is opened: which filter is known to keep the end of what it
 * gets back until there is more.
 * @return such as "\"sed\" of mod_sed.so", in r->pool; NULL: none
 */
const char *mod_comet_chain_find_keeper(const request_rec *r);

/**
 * After a stream's opening was given to the filters and flushed: which filter
 * keeps all of it back, even the headers.
 * @return as mod_comet_chain_find_keeper(); NULL: the headers are out
 */
const char *mod_comet_chain_keeps_back(const request_rec *r);

/** Take all filters of other modules out of the answer: what is written next
 * reaches the client, though none of them has let anything pass. */
void mod_comet_chain_clear(request_rec *r);

/** Take filters that translate character sets (mod_charset_lite, mod_xml2enc)
 * out of a request and its answer.  Their directives speak of files and other
 * servers' pages; what we send and accept is UTF-8. */
void mod_comet_chain_keep_utf8(request_rec *r);

/** Log, once for each filter and child, which filter of which module makes
 * this stream wait with a thread. */
void mod_comet_chain_tell(const request_rec *r);

#endif /* MOD_COMET_CHAIN_H */
