/*
 * Copyright: (c) groundplane.kubeadm contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The process that holds the namespaces of a pod: it sleeps until it is told to end, and reaps
 * the orphans of the pod, whose parent it is when the pod shares its process namespace.
 */

#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void) {
    sigset_t awaited;
    int received;

    sigemptyset(&awaited);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGCHLD);

    /* Blocked signals stay pending until sigwait takes them, so none is lost between two waits. */
    if (sigprocmask(SIG_BLOCK, &awaited, NULL) != 0)
        return 1;

    for (;;) {
        if (sigwait(&awaited, &received) != 0)
            return 1;
        if (received != SIGCHLD)
            return 0;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
