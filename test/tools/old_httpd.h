/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the headers of httpd look like those before 2.4.63.  This file is
 * included before all others, and removes what was added later.  Code that uses
 * one of these additions without checking the version then does not compile.
 * `make tests` builds tools/mod_comet_old.so in this way.  On a newer httpd,
 * that module parks in the older way.
 */
#include <ap_mmn.h>
#include <ap_mpm.h>
#include <httpd.h>

#undef MODULE_MAGIC_NUMBER_MINOR
#define MODULE_MAGIC_NUMBER_MINOR 134 /* 2.4.60 to 2.4.62 */
#undef AP_MPMQ_CAN_WAITIO

#pragma GCC poison CONN_STATE_ASYNC_WAITIO
#pragma GCC poison CONN_STATE_KEEPALIVE
#pragma GCC poison CONN_STATE_PROCESSING
