/* SPDX-License-Identifier: Apache-2.0 */
/* Lend a parked connection's socket to the hub. */
#include "wait/lend.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "wait/places.h"

int mod_comet_lend(mod_comet_waiting_t *waiting, int fd)
{
    int stand_in = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int real = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (real >= 0
        && (stand_in < 0 || real >= waiting->descriptors_max
            || mod_comet_places_are_full(1)
            || dup3(stand_in, fd, O_CLOEXEC) != fd)) {
        close(real);
        real = -1;
    }
    if (real >= 0) {
        atomic_fetch_add(&waiting->more_descriptors, 1);
    }
    if (stand_in >= 0) {
        close(stand_in);
    }
    return real;
}

void mod_comet_lend_wake(int fd)
{
    apr_uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) < 0) {
        /* the eventfd is readable already */
    }
}

int mod_comet_lend_end(mod_comet_waiting_t *waiting, int fd, int real)
{
    int back = dup3(real, fd, O_CLOEXEC) == fd;

    close(real);
    atomic_fetch_sub(&waiting->more_descriptors, 1);
    return back;
}
