/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/topic.h
 * Translate a topic (of the Mercure protocol) to a channel's name and back.  A
 * topic is any text, usually a URL.  A channel's name must not have an empty,
 * "." or ".." segment, and a segment that begins with "@" has a meaning of its
 * own (base/name.h).  So a percent sign is put in front of such a segment, and
 * each percent sign of the topic becomes "%25".  All slashes stay where they
 * are:
 *
 *     https://example.com/books/1    https:/%/example.com/books/1
 *     /books/100%/                   %/books/100%25/%
 *     https://example.com/@anna      https:/%/example.com/%@anna
 */
#ifndef COMET_TOPIC_H
#define COMET_TOPIC_H

#include "base/text.h"

/**
 * Write a topic as a channel's name.  Different topics have different names.
 * The name is not checked further (length 0, UTF-8, control characters).
 * @param name  room for COMET_CHANNEL_MAX_BYTES
 * @return the name's length; 0: the topic is empty, or the name too long.  Any
 *         thread.
 */
apr_size_t comet_topic_escape(comet_text_t topic, char *name);

/**
 * Read a channel's name as a topic.  This works with every name, whether or not
 * comet_topic_escape() has written it.
 * @param topic  room for as many bytes as the name has
 * @return the topic's length.  Any thread.
 */
apr_size_t comet_topic_unescape(comet_text_t name, char *topic);

#endif /* COMET_TOPIC_H */
