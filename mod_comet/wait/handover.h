/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/handover.h
 * Annotations for ThreadSanitizer, used where httpd hands over a connection.
 * What they refer to is in wait/connection.c.
 */
#ifndef MOD_COMET_HANDOVER_H
#define MOD_COMET_HANDOVER_H

#include <apr_pools.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/*
 * httpd hands a connection from thread to thread, and the memory of a closed
 * connection to the next one, in ways that ThreadSanitizer cannot see.
 */
#ifdef __SANITIZE_THREAD__
extern char mod_comet_handover;

apr_status_t mod_comet_handover_memory(void *nothing);

#define TAKE_OVER() __tsan_acquire(&mod_comet_handover)
#define HAND_ON() __tsan_release(&mod_comet_handover)
#define HAND_ON_MEMORY(c) \
    apr_pool_cleanup_register((c)->pool, NULL, mod_comet_handover_memory, \
                              apr_pool_cleanup_null)
/* mod_http2 gives the memory of a request to the next one. */
#define IS_HANDED_ON(c) ((c)->master != NULL)
#else
#define IS_HANDED_ON(c) 0
#define TAKE_OVER()
#define HAND_ON()
#define HAND_ON_MEMORY(c)
#endif

#endif /* MOD_COMET_HANDOVER_H */
