/* SPDX-License-Identifier: Apache-2.0 */
/* What a server uses: sums over a process and all its descendants. */
#ifndef LOAD_SERVER_H
#define LOAD_SERVER_H

#include <sys/types.h>

/* Seconds of CPU so far, including children that have ended. */
double load_server_cpu_seconds(pid_t root);

/* Proportional set size in KiB, from smaps_rollup. */
long load_server_pss_kib(pid_t root);

/* Seconds of CPU of this process. */
double load_own_cpu_seconds(void);

#endif
