/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/header.h
 * Check the first bytes of a database file.
 */
#ifndef COMET_HEADER_H
#define COMET_HEADER_H

/**
 * Find out why a file cannot be the database.  Only a process without
 * connections to the file may call this, since closing the file drops all locks
 * that the process has on it.
 * @return a constant text that follows the file's name in a message; NULL: the
 *         file is an SQLite database or empty, does not exist, or cannot be
 *         read
 */
const char *comet_header_find_fault(const char *path);

#endif /* COMET_HEADER_H */
