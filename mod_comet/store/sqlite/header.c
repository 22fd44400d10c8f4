/* SPDX-License-Identifier: Apache-2.0 */
/* Check the first bytes of a database file. */
#include "store/sqlite/header.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The header of SQLite's file format ("The Database Header"): its length, and
 * the offset of the text encoding. */
#define HEADER_BYTES 100
#define ENCODING_AT 59 /* the last byte of a four-byte number */

const char *comet_header_find_fault(const char *path)
{
    static const char magic[] = "SQLite format 3"; /* with its zero byte */
    char header[HEADER_BYTES] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length = -1;

    if (fd >= 0) {
        length = read(fd, header, sizeof(header));
        close(fd);
    }
    if (length <= 0) {
        return NULL;
    }
    if (length < HEADER_BYTES || memcmp(header, magic, sizeof(magic)) != 0) {
        return "is not an SQLite database";
    }
    /* 2 and 3: little-endian and big-endian */
    return header[ENCODING_AT] == 2 || header[ENCODING_AT] == 3
               ? "stores its texts as UTF-16, not as UTF-8"
               : NULL;
}
