/* SPDX-License-Identifier: Apache-2.0 */
/* The first bytes of a database file. */
#include "store/sqlite/header.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int comet_header_is_good(const char *path)
{
    static const char magic[] = "SQLite format 3"; /* with its zero byte */
    char begin[sizeof(magic)] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length = -1;

    if (fd >= 0) {
        length = read(fd, begin, sizeof(begin));
        close(fd);
    }
    return length <= 0
           || (length == sizeof(begin)
               && memcmp(begin, magic, sizeof(magic)) == 0);
}
