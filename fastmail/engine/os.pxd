# What the engine takes from the C library. Declarations only.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <poll.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stddef.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/random.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/uio.h>
    #include <sys/un.h>
    #include <time.h>
    #include <unistd.h>
    #ifndef EPOLLEXCLUSIVE
    #define EPOLLEXCLUSIVE (1u << 28)
    #endif
    #define FM_LIKELY(x) __builtin_expect(!!(x), 1)
    #define FM_UNLIKELY(x) __builtin_expect(!!(x), 0)

    /* Counters that several processes or threads share. */
    static inline uint64_t fm_fetch_add(uint64_t *p, uint64_t n)
    { return __atomic_fetch_add(p, n, __ATOMIC_RELAXED); }
    static inline uint32_t fm_load_acquire(const uint32_t *p)
    { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void fm_store_release(uint32_t *p, uint32_t v)
    { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

    /* Locks in shared memory. A process that dies leaves its locks to others. */
    typedef union { pthread_mutex_t mutex; char room[64]; } SharedLock;
    static inline int shared_lock_init(SharedLock *l) {
        pthread_mutexattr_t a;
        if (pthread_mutexattr_init(&a) != 0)
            return 0;
        pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
        int done = pthread_mutex_init(&l->mutex, &a) == 0;
        pthread_mutexattr_destroy(&a);
        return done;
    }
    /* 1: who held it has died; what it guards may be half written. */
    static inline int shared_lock(SharedLock *l) {
        if (pthread_mutex_lock(&l->mutex) != EOWNERDEAD)
            return 0;
        pthread_mutex_consistent(&l->mutex);
        return 1;
    }
    static inline void shared_unlock(SharedLock *l) { pthread_mutex_unlock(&l->mutex); }

    static inline void fm_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

    /* For calls that cannot fail here, or whose failure changes nothing: glibc wants results to be used. */
    static inline void fm_ignore(ssize_t n) { (void) n; }
    #ifdef CYTHON_WITHOUT_ASSERTIONS
    #define FM_CHECKED 0
    #else
    #define FM_CHECKED 1
    #endif
    static inline int fm_lowest_bit(uint64_t v) { return __builtin_ctzll(v); }
    static inline int fm_errno(void) { return errno; }
    static inline void fm_set_errno(int v) { errno = v; }
    """
    ctypedef struct SharedLock:
        pass
    int shared_lock_init(SharedLock *l) noexcept
    int shared_lock(SharedLock *l) noexcept
    void shared_unlock(SharedLock *l) noexcept
    int64_t time(void *t) noexcept
    uint64_t fm_fetch_add(uint64_t *p, uint64_t n) noexcept
    uint32_t fm_load_acquire(const uint32_t *p) noexcept
    void fm_store_release(uint32_t *p, uint32_t v) noexcept
    void fm_fence() noexcept
    int fm_lowest_bit(uint64_t v) noexcept
    bint FM_CHECKED
    void fm_ignore(ssize_t n) noexcept
    int fm_errno() noexcept
    void fm_set_errno(int v) noexcept
    bint FM_LIKELY(bint x) noexcept
    bint FM_UNLIKELY(bint x) noexcept

    # memory and strings
    void *malloc(size_t n) noexcept
    void *calloc(size_t n, size_t size) noexcept
    void *realloc(void *p, size_t n) noexcept
    void free(void *p) noexcept
    void *memcpy(void *d, const void *s, size_t n) noexcept
    void *memmove(void *d, const void *s, size_t n) noexcept
    void *memchr(const void *s, int c, size_t n) noexcept
    void *memset(void *s, int c, size_t n) noexcept
    int memcmp(const void *a, const void *b, size_t n) noexcept
    int strcmp(const char *a, const char *b) noexcept
    size_t strlen(const char *s) noexcept
    int strncasecmp(const char *a, const char *b, size_t n) noexcept
    void explicit_bzero(void *s, size_t n) noexcept
    char *strerror_r(int err, char *buf, size_t n) noexcept
    ssize_t getrandom(void *buf, size_t n, unsigned int flags) noexcept

    # errors
    enum:
        EAGAIN
        EMSGSIZE
        ENOBUFS
        EINTR
        EINPROGRESS
        EADDRNOTAVAIL
        EMFILE
        ENFILE
        ENOMEM
        ENOSYS
        EOPNOTSUPP
        ECONNABORTED
        ECONNREFUSED
        ECONNRESET
        EDESTADDRREQ
        EHOSTDOWN
        EHOSTUNREACH
        EINVAL
        ENETDOWN
        ENETUNREACH
        ENOTCONN
        EPIPE
        ETIMEDOUT

    # time
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
    enum:
        CLOCK_MONOTONIC
        CLOCK_MONOTONIC_COARSE
        CLOCK_REALTIME_COARSE
    int clock_gettime(int clock, timespec *t) noexcept
    tm *localtime_r(const time_t *t, tm *result) noexcept

    # sockets
    ctypedef unsigned int socklen_t
    ctypedef unsigned short sa_family_t
    struct sockaddr:
        sa_family_t sa_family
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        sa_family_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in6:
        sa_family_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
    struct sockaddr_un:
        sa_family_t sun_family
        char sun_path[108]
    struct sockaddr_storage:
        sa_family_t ss_family
    enum:
        AF_UNSPEC
        INADDR_NONE
        AF_UNIX
        AF_INET
        AF_INET6
        SOCK_STREAM
        SOCK_DGRAM
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        MSG_DONTWAIT
        MSG_MORE
        MSG_PEEK
        MSG_NOSIGNAL
        SOL_SOCKET
        SO_ERROR
        SHUT_WR
        IPPROTO_IP
        IPPROTO_IPV6
        IPV6_V6ONLY
        IPPROTO_TCP
        SO_KEEPALIVE
        TCP_NODELAY
        TCP_QUICKACK
        IP_BIND_ADDRESS_NO_PORT
        INET_ADDRSTRLEN
        INET6_ADDRSTRLEN
    int socket(int family, int type, int protocol) noexcept
    int bind(int fd, const sockaddr *addr, socklen_t n) noexcept
    int getsockopt(int fd, int level, int name, void *value, socklen_t *n) noexcept
    int setsockopt(int fd, int level, int name, const void *value, socklen_t n) noexcept
    int connect(int fd, const sockaddr *addr, socklen_t n) noexcept
    int accept4(int fd, sockaddr *addr, socklen_t *n, int flags) noexcept
    int shutdown(int fd, int how) noexcept
    ssize_t sendto(int fd, const void *buf, size_t n, int flags, const sockaddr *a, socklen_t size) noexcept
    int getsockname(int fd, sockaddr *addr, socklen_t *n) noexcept
    int getpeername(int fd, sockaddr *addr, socklen_t *n) noexcept
    int getsockopt(int fd, int level, int name, void *value, socklen_t *n) noexcept
    ssize_t recv(int fd, void *buf, size_t n, int flags) noexcept
    ssize_t send(int fd, const void *buf, size_t n, int flags) noexcept
    const char *inet_ntop(int family, const void *src, char *dst, socklen_t n) noexcept
    int inet_pton(int family, const char *src, void *dst) noexcept
    uint16_t htons(uint16_t n) noexcept
    uint16_t ntohs(uint16_t n) noexcept

    # descriptors
    ssize_t read(int fd, void *buf, size_t n) noexcept
    int dup3(int fd, int to, int flags) noexcept
    ssize_t write(int fd, const void *buf, size_t n) noexcept
    int close(int fd) noexcept
    int pipe2(int *fds, int flags) noexcept
    int fcntl(int fd, int cmd, ...) noexcept
    ssize_t splice(int fd_in, void *off_in, int fd_out, void *off_out, size_t n, unsigned int flags) noexcept
    int getpid() noexcept
    ctypedef struct stat_t "struct stat":
        unsigned int st_mode
    int fstat(int fd, stat_t *status) noexcept
    bint S_ISREG(unsigned int mode) noexcept
    bint S_ISSOCK(unsigned int mode) noexcept
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t pwritev2(int fd, const iovec *parts, int n, int64_t offset, int flags) noexcept
    struct pollfd:
        int fd
        short events
    int poll(pollfd *fds, unsigned long n, int timeout) noexcept
    enum:
        RWF_NOWAIT
        POLLOUT
        F_GETFL
        O_NONBLOCK
        O_CLOEXEC
        F_SETPIPE_SZ
        F_GETPIPE_SZ
        SPLICE_F_MOVE
        SPLICE_F_NONBLOCK
        SPLICE_F_MORE

    # epoll and eventfd
    ctypedef union epoll_data_t:
        void *ptr
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLPRI
        EPOLLRDHUP
        EPOLLERR
        EPOLLHUP
        EPOLLET
        EPOLLEXCLUSIVE
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLL_CTL_DEL
        EPOLL_CLOEXEC
        EFD_NONBLOCK
        EFD_CLOEXEC
    int epoll_create1(int flags) noexcept
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event) noexcept
    int epoll_wait(int epfd, epoll_event *events, int n, int timeout) noexcept
    int eventfd(unsigned int value, int flags) noexcept
