/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire_kit.h
 * Messages and answers, and the bytes in which a transport encodes them.
 */
#ifndef WIRE_KIT_H
#define WIRE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/transport.h"

#define WIRE_NOW APR_INT64_C(1795229965123456)

extern const comet_format_t wire_escaping, wire_plain;

/** A message on the channel "chat"; the caller owns the reference. */
comet_message_t *wire_message(comet_timestamp_t timestamp, const char *author,
                              const char *body);

/** Check the bytes in which a transport encodes an answer. */
void wire_check_answer(const comet_transport_t *transport,
                       const comet_answer_t *answer, const char *expected);

#endif /* WIRE_KIT_H */
