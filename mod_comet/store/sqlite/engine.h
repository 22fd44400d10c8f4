/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/engine.h
 * The engine that keeps the log in an SQLite file.
 */
#ifndef COMET_SQLITE_ENGINE_H
#define COMET_SQLITE_ENGINE_H

#include "store/engine.h"

extern const comet_engine_t comet_engine_sqlite;

#endif /* COMET_SQLITE_ENGINE_H */
