/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/header.h
 * The first bytes of a database file.
 */
#ifndef COMET_HEADER_H
#define COMET_HEADER_H

/**
 * Why a file cannot be the database.  Only a process without connections to the
 * file may call this, since closing the file drops the locks of the whole
 * process.
 * @return a constant text that follows the file's name; NULL: it can be one,
 *         since it is SQLite's, or empty, or not there, or cannot be read
 */
const char *comet_header_find_fault(const char *path);

#endif /* COMET_HEADER_H */
