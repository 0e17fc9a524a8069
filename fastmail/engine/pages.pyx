# Blocks for what may hold a password: in pages of their own, which the kernel leaves out of core dumps
# (MADV_DONTDUMP). Sizes are powers of two; small blocks share a slab of one size, and empty slabs are kept,
# so that a login costs no system call.

cdef extern from * nogil:
    """
    #include <pthread.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <unistd.h>
    static pthread_mutex_t fm_pages_mutex = PTHREAD_MUTEX_INITIALIZER;
    static inline void fm_pages_lock(void) { pthread_mutex_lock(&fm_pages_mutex); }
    static inline void fm_pages_unlock(void) { pthread_mutex_unlock(&fm_pages_mutex); }

    /* size and alignment: powers of two, of pages at least. NULL: no memory. */
    static void *fm_pages_map(size_t size, size_t alignment)
    {
        size_t room = size + alignment - (size_t) sysconf(_SC_PAGESIZE), before;
        char *start = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED)
            return NULL;
        before = -(uintptr_t) start & (alignment - 1);
        if (before)
            munmap(start, before);
        if (room - before - size)
            munmap(start + before + size, room - before - size);
        madvise(start + before, size, MADV_DONTDUMP);
        return start + before;
    }
    static inline void fm_pages_unmap(void *start, size_t size) { munmap(start, size); }
    #ifdef __SANITIZE_ADDRESS__     /* which finds what is wrong with blocks of its own only */
    enum { FM_PAGES = 0 };
    #else
    enum { FM_PAGES = 1 };
    #endif
    """
    void fm_pages_lock() noexcept
    void fm_pages_unlock() noexcept
    void *fm_pages_map(size_t size, size_t alignment) noexcept
    void fm_pages_unmap(void *start, size_t size) noexcept
    enum:
        FM_PAGES

cdef enum:
    SMALLEST_BITS = 8           # a block of 256 bytes
    SHARING_BITS = 14           # the largest that shares a slab: 16 kB
    KEPT_BITS = 17              # the largest that is kept when it is given back: 128 kB
    SLAB_SIZE = 64 * 1024
    SLAB_HEAD = 64              # bytes
    SLABS_KEPT = 64             # empty ones: 4 MB
    BLOCKS_KEPT = 16            # of each size that does not share

cdef struct Block:              # a free one
    Block *next

cdef struct Slab:               # the beginning of one
    Slab *next                  # among those of its size with room, or among the empty ones
    Slab *previous
    Block *free
    uint32_t used               # blocks
    uint32_t touched            # bytes from the slab's beginning that have been blocks already
    uint32_t bits               # of its blocks' size

cdef struct Pages:
    Slab *room[SHARING_BITS + 1]    # slabs that have some, by their blocks' size
    Slab *empty
    uint32_t empty_count
    Block *kept[KEPT_BITS + 1]  # blocks that do not share
    uint32_t kept_count[KEPT_BITS + 1]

cdef Pages pages                # of this process: both its threads have buffers


cdef inline uint32_t size_bits(size_t size) noexcept nogil:
    cdef uint32_t bits = SMALLEST_BITS
    while <size_t> 1 << bits < size:
        bits += 1
    return bits


cdef void *pages_take(size_t size) noexcept nogil:
    """A block of at least so many bytes, whatever is in them. NULL: no memory."""
    cdef uint32_t bits = size_bits(size)
    cdef void *block = NULL
    if not FM_PAGES:
        return malloc(size)
    fm_pages_lock()
    if bits <= SHARING_BITS:
        block = slab_take(bits)
    elif bits <= KEPT_BITS and pages.kept[bits] != NULL:
        block = pages.kept[bits]
        pages.kept[bits] = pages.kept[bits].next
        pages.kept_count[bits] -= 1
    fm_pages_unlock()
    if bits > SHARING_BITS and block == NULL:
        block = fm_pages_map(<size_t> 1 << bits, SLAB_SIZE)
    return block


cdef void pages_give(void *block, size_t size) noexcept nogil:
    """Give a block back that was taken for so many bytes; it has been wiped."""
    cdef uint32_t bits = size_bits(size)
    cdef bint kept = True
    if not FM_PAGES:
        free(block)
        return
    fm_pages_lock()
    if bits <= SHARING_BITS:
        slab_give(<Block *> block)
    elif bits <= KEPT_BITS and pages.kept_count[bits] < BLOCKS_KEPT:
        (<Block *> block).next = pages.kept[bits]
        pages.kept[bits] = <Block *> block
        pages.kept_count[bits] += 1
    else:
        kept = False
    fm_pages_unlock()
    if not kept:
        fm_pages_unmap(block, <size_t> 1 << bits)


cdef void *slab_take(uint32_t bits) noexcept nogil:
    cdef Slab *slab = pages.room[bits]
    cdef void *block
    if slab == NULL:
        slab = slab_new(bits)
        if slab == NULL:
            return NULL
    block = slab.free
    if block != NULL:
        slab.free = slab.free.next
    else:
        block = <char *> slab + slab.touched
        slab.touched += <uint32_t> 1 << bits
    slab.used += 1
    if slab.free == NULL and slab.touched + (<uint32_t> 1 << bits) > SLAB_SIZE:
        slab_unlink(slab)       # it is full
    return block


cdef void slab_give(Block *block) noexcept nogil:
    cdef Slab *slab = <Slab *> (<size_t> block & ~<size_t> (SLAB_SIZE - 1))
    cdef bint full = slab.free == NULL and slab.touched + (<uint32_t> 1 << slab.bits) > SLAB_SIZE
    block.next = slab.free
    slab.free = block
    slab.used -= 1
    if full:
        slab_link(slab)
    if slab.used:
        return
    slab_unlink(slab)
    if pages.empty_count == SLABS_KEPT:
        fm_pages_unmap(slab, SLAB_SIZE)
        return
    slab.next = pages.empty
    pages.empty = slab
    pages.empty_count += 1


cdef Slab *slab_new(uint32_t bits) noexcept nogil:
    """One with room. NULL: no memory."""
    cdef Slab *slab = pages.empty
    if slab != NULL:
        pages.empty = slab.next
        pages.empty_count -= 1
    else:
        slab = <Slab *> fm_pages_map(SLAB_SIZE, SLAB_SIZE)
        if slab == NULL:
            return NULL
    slab.bits = bits
    slab.free = NULL
    slab.used = 0
    slab.touched = SLAB_HEAD
    slab_link(slab)
    return slab


cdef void slab_link(Slab *slab) noexcept nogil:
    slab.previous = NULL
    slab.next = pages.room[slab.bits]
    if slab.next != NULL:
        slab.next.previous = slab
    pages.room[slab.bits] = slab


cdef void slab_unlink(Slab *slab) noexcept nogil:
    if slab.previous != NULL:
        slab.previous.next = slab.next
    else:
        pages.room[slab.bits] = slab.next
    if slab.next != NULL:
        slab.next.previous = slab.previous
