/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/mod_comet.h
 * What all files of the glue to httpd share.
 */
#ifndef MOD_COMET_H
#define MOD_COMET_H

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>

#include "base/comet.h"

extern module AP_MODULE_DECLARE_DATA comet_module;

APLOG_USE_MODULE(comet);

#define MOD_COMET_VERSION "1.0.0"

#endif /* MOD_COMET_H */
