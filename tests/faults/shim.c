/* Preloaded into a process, it counts the calls that change files under a folder, and has one of
 * them fail, or has the process killed, stopped or put to sleep at it. tests/faults/__init__.py
 * describes the variables that say what; they are read at the first call and after shim_arm().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static struct {
    char under[PATH_MAX], matching[PATH_MAX], calls[256], action[16];
    long at, times;
    int error, log;
} plan;
static atomic_long count;
static atomic_bool is_armed;
static atomic_flag arming = ATOMIC_FLAG_INIT;

static const char *variable(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value != NULL ? value : otherwise;
}

void shim_arm(void) {
    snprintf(plan.under, sizeof plan.under, "%s", variable("SHIM_UNDER", ""));
    snprintf(plan.matching, sizeof plan.matching, "%s", variable("SHIM_MATCHING", "*"));
    snprintf(plan.action, sizeof plan.action, "%s", variable("SHIM_ACTION", ""));
    snprintf(plan.calls, sizeof plan.calls, ",%s,",
             variable("SHIM_CALLS", "create,write,sync,rename,link,unlink,mkdir"));
    plan.at = atol(variable("SHIM_AT", "1"));
    plan.times = atol(variable("SHIM_TIMES", "1"));
    plan.error = atoi(variable("SHIM_ERRNO", "0"));
    plan.log = plan.under[0] != '\0' && getenv("SHIM_LOG") != NULL
                   ? REAL(open)(getenv("SHIM_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)
                   : -1;
    atomic_store(&count, 0);
    atomic_store(&is_armed, true);
}

long shim_count(void) { return atomic_load(&count); }

/* The path as the process would write it from the root. */
static void resolve(int folder, const char *path, char *absolute) {
    char link[64];
    ssize_t length = 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, absolute, PATH_MAX - 1);
        if (length < 0)
            length = 0;
    }
    absolute[length] = '\0';
    snprintf(absolute + length, PATH_MAX - length, "%s%s", length > 0 && path[0] ? "/" : "", path);
}

/* Whether the call is to fail; errno is set then. */
static bool fails(const char *call, int folder, const char *path) {
    if (!atomic_load(&is_armed)) {
        while (atomic_flag_test_and_set(&arming))
            usleep(100);
        if (!atomic_load(&is_armed))
            shim_arm();
        atomic_flag_clear(&arming);
    }
    if (plan.under[0] == '\0')
        return false;
    char absolute[PATH_MAX], listed[32];
    int before = errno;
    snprintf(listed, sizeof listed, ",%s,", call);
    if (strstr(plan.calls, listed) == NULL)
        return false;
    resolve(folder, path, absolute);
    errno = before;
    if (strncmp(absolute, plan.under, strlen(plan.under)) != 0 ||
        fnmatch(plan.matching, absolute, 0) != 0)
        return false;
    long number = atomic_fetch_add(&count, 1) + 1;
    if (plan.log >= 0) {
        dprintf(plan.log, "%s %s\n", call, absolute);
        errno = before;
    }
    if (number < plan.at || (plan.times > 0 && number >= plan.at + plan.times))
        return false;
    if (strcmp(plan.action, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(plan.action, "stop") == 0)
        kill(getpid(), SIGSTOP);
    while (strcmp(plan.action, "hang") == 0)
        pause();
    if (strcmp(plan.action, "fail") != 0)
        return false;
    errno = plan.error;
    return true;
}

static bool fails_on(const char *call, int descriptor) { return fails(call, descriptor, ""); }

static const char *kind(int flags) { return flags & (O_CREAT | O_TRUNC) ? "create" : "open"; }

#define MODE(flags, last)                                                                          \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list list;                                                                              \
        va_start(list, last);                                                                      \
        mode = va_arg(list, mode_t);                                                               \
        va_end(list);                                                                              \
    }

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        MODE(flags, flags)                                                                         \
        return fails(kind(flags), AT_FDCWD, path) ? -1 : REAL(name)(path, flags, mode);            \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
    int name(int folder, const char *path, int flags, ...) {                                       \
        MODE(flags, flags)                                                                         \
        return fails(kind(flags), folder, path) ? -1 : REAL(name)(folder, path, flags, mode);      \
    }
OPENAT(openat)
OPENAT(openat64)

#define ON_PATH(call, name, ...)                                                                   \
    int name(const char *path __VA_OPT__(, mode_t mode)) {                                         \
        return fails(call, AT_FDCWD, path) ? -1 : REAL(name)(path __VA_OPT__(, mode));             \
    }
ON_PATH("unlink", unlink)
ON_PATH("unlink", rmdir)
ON_PATH("mkdir", mkdir, mode)

int mkdirat(int folder, const char *path, mode_t mode) {
    return fails("mkdir", folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}

int unlinkat(int folder, const char *path, int flags) {
    return fails("unlink", folder, path) ? -1 : REAL(unlinkat)(folder, path, flags);
}

/* Of two paths the new one counts. */
int rename(const char *old, const char *new) {
    return fails("rename", AT_FDCWD, new) ? -1 : REAL(rename)(old, new);
}

int renameat(int from, const char *old, int to, const char *new) {
    return fails("rename", to, new) ? -1 : REAL(renameat)(from, old, to, new);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return fails("rename", to, new) ? -1 : REAL(renameat2)(from, old, to, new, flags);
}

int link(const char *old, const char *new) {
    return fails("link", AT_FDCWD, new) ? -1 : REAL(link)(old, new);
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
    return fails("link", to, new) ? -1 : REAL(linkat)(from, old, to, new, flags);
}

int fsync(int descriptor) { return fails_on("sync", descriptor) ? -1 : REAL(fsync)(descriptor); }

int fdatasync(int descriptor) {
    return fails_on("sync", descriptor) ? -1 : REAL(fdatasync)(descriptor);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    return fails_on("write", descriptor) ? -1 : REAL(write)(descriptor, data, size);
}

ssize_t writev(int descriptor, const struct iovec *pieces, int number) {
    return fails_on("write", descriptor) ? -1 : REAL(writev)(descriptor, pieces, number);
}

#define PWRITE(name, offset_type)                                                                  \
    ssize_t name(int descriptor, const void *data, size_t size, offset_type offset) {              \
        return fails_on("write", descriptor) ? -1 : REAL(name)(descriptor, data, size, offset);    \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
