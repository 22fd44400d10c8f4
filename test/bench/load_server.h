/* SPDX-License-Identifier: Apache-2.0 */
/* The memory and CPU time of a server: of a process and all its descendants. */
#ifndef LOAD_SERVER_H
#define LOAD_SERVER_H

#include <sys/types.h>

/* The CPU time used so far, in seconds, including that of children that have
 * ended. */
double load_server_cpu_seconds(pid_t root);

/* The proportional set size in KiB, from smaps_rollup. */
long load_server_pss_kib(pid_t root);

/* The CPU time of this process, in seconds. */
double load_own_cpu_seconds(void);

#endif
