/* Answers look-ups of one name with 127.0.0.1, each after a while, and writes when they ended; for tests/live/logintap.py.

   Loaded with LD_PRELOAD. LAB_NAME is the name, LAB_HOLD the microseconds, and LAB_LOOKUPS the file that gets a line
   with the beginning and the end of each look-up, in seconds of the monotonic clock. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *wish, struct addrinfo **found)
{
    lookup *real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name == NULL || strcmp(name, getenv("LAB_NAME")) != 0)
        return real(name, service, wish, found);
    double began = now();
    usleep(atoi(getenv("LAB_HOLD")));
    int result = real("127.0.0.1", service, wish, found);
    int file = open(getenv("LAB_LOOKUPS"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dprintf(file, "%.6f %.6f\n", began, now());
    close(file);
    return result;
}
