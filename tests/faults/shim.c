/* A disk that fails on demand: counts the calls that change files under one folder, and spoils one of them; or records
   them all, with what they write.

   Loaded by LD_PRELOAD. What to do stands in a file that every process maps (SKYDB_FAULTS names it), so that a test, a
   forked child and its workers share one count. tests/faults/disk.py writes the same struct. Records go to the end of
   a file of the same name and ".trace"; tests/faults/trace.py reads them. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define NOTES (1 << 22)

enum { OFF, NOTE, NO_SPACE, IO_ERROR, SHORT, FULL, KILL, TORN, RECORD };

struct disk {
    int64_t how;      /* one of the above */
    int64_t at;       /* the number of the call to spoil, from 1 */
    int64_t calls;    /* counted so far */
    int64_t spoiled;  /* how many were */
    int64_t used;     /* bytes of notes */
    char root[PATH_MAX];
    char notes[NOTES]; /* with NOTE: one line for each call */
};

static struct disk *disk;
static int trace = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("SKYDB_FAULTS");
    int handle = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (handle < 0)
        return;
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s.trace", path);
    trace = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    void *mapped = mmap(NULL, sizeof(struct disk), PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    disk = mapped == MAP_FAILED ? NULL : mapped;
    close(handle);
}

/* The path of a name in an open folder (or of the open file itself: no name), or "" where it is not known. */
static const char *path_of(int folder, const char *name, char *path)
{
    char link[64];
    ssize_t size = 0;
    path[0] = 0;
    if (name && name[0] == '/')
        return strncpy(path, name, PATH_MAX - 1);
    if (folder == AT_FDCWD) {
        if (!getcwd(path, PATH_MAX))
            return path;
        size = strlen(path);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        size = readlink(link, path, PATH_MAX - 1);
        if (size < 0)
            size = 0;
        path[size] = 0;
    }
    if (name)
        snprintf(path + size, PATH_MAX - size, "/%s", name);
    return path;
}

static void note(int64_t number, const char *call, const char *path)
{
    char line[PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "%lld %s %s\n", (long long)number, call, path);
    int64_t start = __atomic_fetch_add(&disk->used, size, __ATOMIC_SEQ_CST);
    if (start + size < NOTES)
        memcpy(disk->notes + start, line, size);
}

/* Count a call; the answer is what to do to it: OFF is nothing. */
static int64_t spoils(const char *call, int folder, const char *name)
{
    char path[PATH_MAX];
    if (!disk || disk->how == OFF || disk->how == RECORD)
        return OFF;
    int kept = errno;
    path_of(folder, name, path);
    errno = kept;
    if (strncmp(path, disk->root, strlen(disk->root)))
        return OFF;
    int64_t number = __atomic_add_fetch(&disk->calls, 1, __ATOMIC_SEQ_CST);
    if (disk->how == NOTE)
        note(number, call, path);
    int gives_room = !strcmp(call, "unlink") || !strcmp(call, "rmdir") || !strcmp(call, "fsync");
    int meant = disk->how == FULL ? number >= disk->at && !gives_room
              : number == disk->at || (disk->how == SHORT && disk->spoiled == 1 && !strcmp(call, "write"));
    if (disk->how == NOTE || !meant)
        return OFF;
    __atomic_add_fetch(&disk->spoiled, 1, __ATOMIC_SEQ_CST);
    if (disk->how == KILL)
        kill(getpid(), SIGKILL);
    return disk->how;
}

/* Write a call that was done to the trace: a line of numbers, the paths (a rename's old one second), the bytes. */
static void record(const char *call, int folder, const char *name, int from, const char *old, int64_t offset,
                   const void *data, size_t size)
{
    char path[PATH_MAX], second[PATH_MAX] = "", line[128];
    if (!disk || disk->how != RECORD || trace < 0)
        return;
    int kept = errno;
    path_of(folder, name, path);
    if (old)
        path_of(from, old, second);
    if (!strncmp(path, disk->root, strlen(disk->root))) {
        int length = snprintf(line, sizeof line, "%s %lld %zu %zu %zu\n", call, (long long)offset, strlen(path),
                              strlen(second), data ? size : 0);
        struct iovec parts[] = {{line, length}, {path, strlen(path)}, {second, strlen(second)},
                                {(void *)data, data ? size : 0}};
        if (REAL(writev)(trace, parts, 4) < 0)
            abort();
    }
    errno = kept;
}

static int refuse(int64_t how)
{
    errno = how == IO_ERROR ? EIO : ENOSPC;
    return -1;
}

/* How much of a write goes through before it is refused; the whole where nothing is spoiled, -1 where nothing goes. */
static ssize_t share(int64_t how, size_t size)
{
    if (how == OFF)
        return size;
    return (how == TORN || (how == SHORT && disk->spoiled == 1)) && size > 1 ? (ssize_t)(size / 2) : -1;
}

#define WRITES(call, start, ...)                                                                                      \
    int64_t how = spoils("write", fd, NULL);                                                                          \
    ssize_t size = share(how, count);                                                                                 \
    if (size < 0)                                                                                                     \
        return how == TORN ? (kill(getpid(), SIGKILL), -1) : refuse(how);                                             \
    ssize_t written = REAL(call)(fd, data, size, ##__VA_ARGS__);                                                      \
    if (written > 0)                                                                                                  \
        record("write", fd, NULL, 0, NULL, start, data, written);                                                     \
    if (how == TORN)                                                                                                  \
        kill(getpid(), SIGKILL);                                                                                      \
    return written

ssize_t write(int fd, const void *data, size_t count)
{
    WRITES(write, lseek(fd, 0, SEEK_CUR) - written);
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t offset) { WRITES(pwrite, offset, offset); }
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset) { WRITES(pwrite64, offset, offset); }

#define MOVES(label, folder, name, from, old, offset, call)                                                           \
    int64_t how = spoils(label, folder, name);                                                                        \
    if (how != OFF)                                                                                                   \
        return how == TORN ? (kill(getpid(), SIGKILL), -1) : refuse(how);                                             \
    __typeof__(call) result = call;                                                                                   \
    if (result >= 0)                                                                                                  \
        record(label, folder, name, from, old, offset, NULL, 0);                                                      \
    return result

#define REFUSES(label, folder, name, call) MOVES(label, folder, name, 0, NULL, 0, call)

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REFUSES("write", fd, NULL, REAL(writev)(fd, parts, count));
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    REFUSES("write", fd, NULL, REAL(pwritev)(fd, parts, count, offset));
}
int fsync(int fd) { REFUSES("fsync", fd, NULL, REAL(fsync)(fd)); }
int fdatasync(int fd) { REFUSES("fsync", fd, NULL, REAL(fdatasync)(fd)); }
int ftruncate(int fd, off_t size) { MOVES("ftruncate", fd, NULL, 0, NULL, size, REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { MOVES("ftruncate", fd, NULL, 0, NULL, size, REAL(ftruncate64)(fd, size)); }
int fallocate(int fd, int mode, off_t start, off_t size)
{
    REFUSES("fallocate", fd, NULL, REAL(fallocate)(fd, mode, start, size));
}
int posix_fallocate(int fd, off_t start, off_t size)
{
    int64_t how = spoils("fallocate", fd, NULL);
    return how == OFF ? REAL(posix_fallocate)(fd, start, size) : how == IO_ERROR ? EIO : ENOSPC;
}
int rename(const char *old, const char *new)
{
    MOVES("rename", AT_FDCWD, new, AT_FDCWD, old, 0, REAL(rename)(old, new));
}
int renameat(int from, const char *old, int to, const char *new)
{
    MOVES("rename", to, new, from, old, 0, REAL(renameat)(from, old, to, new));
}
int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    MOVES("rename", to, new, from, old, 0, REAL(renameat2)(from, old, to, new, flags));
}
int link(const char *old, const char *new) { MOVES("link", AT_FDCWD, new, AT_FDCWD, old, 0, REAL(link)(old, new)); }
int linkat(int from, const char *old, int to, const char *new, int flags)
{
    MOVES("link", to, new, from, old, 0, REAL(linkat)(from, old, to, new, flags));
}
int mkdir(const char *path, mode_t mode) { REFUSES("mkdir", AT_FDCWD, path, REAL(mkdir)(path, mode)); }
int mkdirat(int folder, const char *path, mode_t mode)
{
    REFUSES("mkdir", folder, path, REAL(mkdirat)(folder, path, mode));
}
int unlink(const char *path) { REFUSES("unlink", AT_FDCWD, path, REAL(unlink)(path)); }
int rmdir(const char *path) { REFUSES("rmdir", AT_FDCWD, path, REAL(rmdir)(path)); }
int unlinkat(int folder, const char *path, int flags)
{
    REFUSES(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, path, REAL(unlinkat)(folder, path, flags));
}

#define OPENS(folder, call)                                                                                           \
    mode_t mode = 0;                                                                                                  \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                              \
        va_list rest;                                                                                                 \
        va_start(rest, flags);                                                                                        \
        mode = va_arg(rest, mode_t);                                                                                  \
        va_end(rest);                                                                                                 \
    }                                                                                                                 \
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT))                                                        \
        return call;                                                                                                  \
    MOVES("open", folder, path, 0, NULL, flags & O_TRUNC, call)

int open(const char *path, int flags, ...) { OPENS(AT_FDCWD, REAL(open)(path, flags, mode)); }
int open64(const char *path, int flags, ...) { OPENS(AT_FDCWD, REAL(open64)(path, flags, mode)); }
int openat(int folder, const char *path, int flags, ...) { OPENS(folder, REAL(openat)(folder, path, flags, mode)); }
int openat64(int folder, const char *path, int flags, ...)
{
    OPENS(folder, REAL(openat64)(folder, path, flags, mode));
}

#define FOPENS(call)                                                                                                  \
    int64_t how = strpbrk(mode, "wa+") ? spoils("open", AT_FDCWD, path) : OFF;                                        \
    if (how != OFF)                                                                                                   \
        return refuse(how), NULL;                                                                                     \
    FILE *file = REAL(call)(path, mode);                                                                              \
    if (file && strpbrk(mode, "wa+"))                                                                                 \
        record("open", AT_FDCWD, path, 0, NULL, *mode == 'w', NULL, 0);                                               \
    return file

FILE *fopen64(const char *path, const char *mode)
{
    FOPENS(fopen64);
}
FILE *fopen(const char *path, const char *mode)
{
    FOPENS(fopen);
}
