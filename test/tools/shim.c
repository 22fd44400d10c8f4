/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD.  It simulates a system clock that jumps, a slow
 * disk, a different type of file system, a process that ends slowly, a slow
 * name server, and clients that take bytes only now and then.
 *
 * COMET_SHIM names a file with seven 64-bit numbers in this machine's byte
 * order.  The test may change them at any time.  They are:
 *
 * - by how many microseconds the system clock is off; the monotonic clock is
 *   not changed,
 * - by how many microseconds each sync is delayed,
 * - by how many microseconds the last part of exit() is delayed,
 * - the type that statfs() reports for all file systems (0: the real one),
 * - by how many microseconds getaddrinfo() is delayed,
 * - the port of a client that takes bytes only now and then (0: none),
 * - at which attempts to send this client takes bytes: at every N-th writev().
 *   The others fail as if the client read nothing (0: none fails; -N: the N-th
 *   one fails as if the client were gone, too).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define MICRO INT64_C(1000000)
#define MILLI INT64_C(1000)
/* glibc's flag of a condition that waits by the monotonic clock. */
#define STEADY_CONDITION 2u
/* How soon a wait on the system clock notices a jump. */
#define LOOK_USEC (10 * MILLI)

typedef struct settings_t {
    _Atomic int64_t clock_usec;
    _Atomic int64_t sync_usec;
    _Atomic int64_t exit_usec;
    _Atomic int64_t file_system;
    _Atomic int64_t resolve_usec;
    _Atomic int64_t client_port;
    _Atomic int64_t takes_at;
} settings_t;

static settings_t none;
static settings_t *settings = &none;

__attribute__((constructor)) static void map_settings(void)
{
    const char *path = getenv("COMET_SHIM");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped;

    if (fd >= 0) {
        mapped = mmap(NULL, sizeof(*settings), PROT_READ, MAP_SHARED, fd, 0);
        if (mapped != MAP_FAILED) {
            settings = mapped;
        }
        close(fd);
    }
}

/* --- The clock -------------------------------------------------------- */

static int64_t usec_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * MICRO + time->tv_nsec / MILLI;
}

static struct timespec timespec_of(int64_t usec)
{
    return (struct timespec){ .tv_sec = (time_t)(usec / MICRO),
                              .tv_nsec = (long)(usec % MICRO * MILLI) };
}

static int64_t true_usec(clockid_t clock)
{
    struct timespec now;

    syscall(SYS_clock_gettime, clock, &now);
    return usec_of(&now);
}

static int64_t system_usec(void)
{
    return true_usec(CLOCK_REALTIME) + atomic_load(&settings->clock_usec);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int64_t usec = system_usec();

    *now = (struct timeval){ .tv_sec = (time_t)(usec / MICRO),
                             .tv_usec = (suseconds_t)(usec % MICRO) };
    return 0;
}

time_t time(time_t *now)
{
    time_t seconds = (time_t)(system_usec() / MICRO);

    if (now) {
        *now = seconds;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);

    if (!failed
        && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        *now = timespec_of(usec_of(now) + atomic_load(&settings->clock_usec));
    }
    return failed;
}

/* Wait for the condition until the system clock shows the time `until`, however
 * long that takes after a jump.  The kernel does the same. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition,
                           pthread_mutex_t *restrict lock,
                           const struct timespec *restrict until)
{
    if (condition->__data.__wrefs & STEADY_CONDITION) {
        return pthread_cond_clockwait(condition, lock, CLOCK_MONOTONIC, until);
    }
    for (;;) {
        int64_t left = usec_of(until) - system_usec();
        struct timespec slice = timespec_of(
            true_usec(CLOCK_MONOTONIC) + (left < LOOK_USEC ? left : LOOK_USEC));
        int result;

        if (left <= 0) {
            return ETIMEDOUT;
        }
        result =
            pthread_cond_clockwait(condition, lock, CLOCK_MONOTONIC, &slice);
        if (result != ETIMEDOUT) {
            return result;
        }
    }
}

/* --- Delays ------------------------------------------------------------- */

static void delay(_Atomic int64_t *usec)
{
    struct timespec left = timespec_of(atomic_load(usec));

    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

__attribute__((destructor)) static void delay_exit(void)
{
    delay(&settings->exit_usec);
}

int fdatasync(int fd)
{
    delay(&settings->sync_usec);
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    delay(&settings->sync_usec);
    return (int)syscall(SYS_fsync, fd);
}

typedef int resolve_t(const char *restrict host, const char *restrict service,
                      const struct addrinfo *restrict hints,
                      struct addrinfo **restrict found);

int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict hints,
                struct addrinfo **restrict found)
{
    resolve_t *real = (resolve_t *)dlsym(RTLD_NEXT, "getaddrinfo");

    delay(&settings->resolve_usec);
    return real(host, service, hints, found);
}

/* --- File systems --------------------------------------------------------- */

int statfs(const char *path, struct statfs *info)
{
    int failed = (int)syscall(SYS_statfs, path, info);
    int64_t type = atomic_load(&settings->file_system);

    if (!failed && type) {
        info->f_type = type;
    }
    return failed;
}

/* --- Clients -------------------------------------------------------------- */

static int has_port(int fd, int64_t port)
{
    struct sockaddr_in peer = { .sin_family = AF_UNSPEC };
    socklen_t size = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &size) == 0
           && peer.sin_family == AF_INET && ntohs(peer.sin_port) == port;
}

/* @return 0, or the error of the next attempt to send something to the client */
static int refuse(int64_t port, int64_t takes_at)
{
    static _Atomic int64_t attempts, last_port;
    int64_t attempt;

    if (atomic_exchange(&last_port, port) != port) {
        atomic_store(&attempts, 0);
    }
    attempt = atomic_fetch_add(&attempts, 1) + 1;
    if (takes_at < 0) {
        return attempt < -takes_at ? EAGAIN : ECONNRESET;
    }
    return attempt % takes_at ? EAGAIN : 0;
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    int64_t port = atomic_load(&settings->client_port);
    int64_t takes_at = atomic_load(&settings->takes_at);
    int error =
        port && takes_at && has_port(fd, port) ? refuse(port, takes_at) : 0;

    if (error) {
        errno = error;
        return -1;
    }
    return syscall(SYS_writev, fd, pieces, count);
}
