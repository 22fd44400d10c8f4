/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/header.h
 * The first bytes of a database file.
 */
#ifndef COMET_HEADER_H
#define COMET_HEADER_H

/**
 * Whether a file can be a database: it is SQLite's, or empty, or not there, or
 * it cannot be read.  Only a process without connections to the file may call
 * this, since closing the file drops the locks of the whole process.
 */
int comet_header_is_good(const char *path);

#endif /* COMET_HEADER_H */
