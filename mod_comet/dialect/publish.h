/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/publish.h
 * Store the messages of a request, or refuse them.  The dialects that publish
 * share this.  Called by the thread of the request.
 */
#ifndef MOD_COMET_PUBLISH_H
#define MOD_COMET_PUBLISH_H

#include "store/store.h"
#include "request/request.h"

/** Find out why a request may not publish.  The reason is the configuration of
 * its location, or the site that the request comes from.
 * @return NULL: the request may publish */
const char *mod_comet_publish_objection(const request_rec *r);

/**
 * Find the author: the user whom httpd has authenticated, never one that the
 * client names.
 * @param author  OUT: data NULL: nobody
 * @return NULL, or why the name cannot be stored (400)
 */
const char *mod_comet_publish_find_author(const request_rec *r,
                                          comet_text_t *author);

/** Refuse to publish, give the reason, and count the refusal.
 * @return what the handler returns */
int mod_comet_publish_refuse(request_rec *r, int status, const char *reason);

/** Answer 413: the message is longer than CometMaxMessageSize. */
int mod_comet_publish_refuse_length(request_rec *r);

/** Answer why the store did not store the messages, or that it may have stored
 * them. */
int mod_comet_publish_refuse_by_store(request_rec *r, apr_status_t status);

/** Read the whole body, as mod_comet_body_read() does, which is for requests that
 * only read.  A body that its client has not sent to its end is refused, because
 * a part of a message must not be stored. */
int mod_comet_publish_read_body(request_rec *r, apr_size_t limit,
                                comet_text_t *body);

/** Answer why the body cannot be read.
 * @param status  from mod_comet_publish_read_body(), not OK */
int mod_comet_publish_refuse_body(request_rec *r, int status);

/**
 * Make a message that lives as long as the request.
 * @return 0: no memory
 */
int mod_comet_publish_make_message(request_rec *r,
                                   const comet_message_fields_t *fields,
                                   comet_message_t **message);

/**
 * Store all messages of a group, or none.
 * @param again  OUT: whether the messages were stored before, under the same
 *               key
 * @param answered  OUT: what the handler returns, if DONE is returned
 * @return OK: the messages are stored; DONE: the request was answered
 */
int mod_comet_publish_store(request_rec *r, comet_store_group_t *group,
                            int *again, int *answered);

/**
 * Make one message, and store it by mod_comet_publish_store().
 * @param fields  the caller has checked all of them except the body
 * @param group   holds the idempotency key, if there is one
 */
int mod_comet_publish_store_one(request_rec *r,
                                const comet_message_fields_t *fields,
                                comet_store_group_t *group, int *again,
                                int *answered);

#endif /* MOD_COMET_PUBLISH_H */
