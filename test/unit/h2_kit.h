/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file h2_kit.h
 * The flow-control windows of one HTTP/2 connection.
 */
#ifndef H2_KIT_H
#define H2_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/h2_window.h"

#define H2_MOST COMET_H2_31_BITS
#define H2_FIRST COMET_H2_WINDOW_FIRST

extern comet_h2_window_t h2_window;

/** Called before and after each test.  Part of the window is reserved for
 * streams that are *ours* (wire/h2_window.h). */
int h2_setup(void **state);
int h2_teardown(void **state);

#define H2_TEST(name) \
    cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)

/** A stream's credit; the stream must be tracked. */
apr_int64_t h2_credit(apr_uint32_t stream);

/** Handle one entry of a SETTINGS frame; it must not be refused. */
void h2_set(apr_uint16_t setting, apr_uint32_t value);

#endif /* H2_KIT_H */
