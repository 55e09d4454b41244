/* File locks as on a file system that has none: flock() and fcntl()'s fail with $NOLOCK_ERRNO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

static int refused(void) {
    const char *number = getenv("NOLOCK_ERRNO");
    errno = number ? atoi(number) : ENOLCK;
    return -1;
}

int flock(int descriptor, int operation) {
    (void)descriptor;
    (void)operation;
    return refused();
}

static int passed_on(const char *name, int descriptor, int command, void *argument) {
    int (*real)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, name);
    return real(descriptor, command, argument);
}

static int is_lock(int command) {
    return command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK ||
           command == F_OFD_SETLKW;
}

int fcntl(int descriptor, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return is_lock(command) ? refused() : passed_on("fcntl", descriptor, command, argument);
}

int fcntl64(int descriptor, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return is_lock(command) ? refused() : passed_on("fcntl64", descriptor, command, argument);
}
