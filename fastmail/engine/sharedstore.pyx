# Records in memory that all workers share: TLS sessions (ssl_session_cache shared:NAME:SIZE) and answers of
# the auth server (auth_http_cache).
#
# Each shard is a ring of records under a lock of its own: a new record takes the place of the oldest. An
# index finds records by a hash of their id; its entries name positions that only grow, so that one
# which has been written over is known by its distance from the head. A process may die with a lock held: the
# next one finds that out and empties the shard.

cdef enum:
    SHARD_SIZE = 64 * 1024      # bytes, at least half of it
    SHARDS_MAX = 64
    WAYS = 8                    # places in the index that an id may have
    SHARED_RECORD_MAX = 4096    # bytes; larger ones are not kept (nginx: of a TLS session)
    SHARED_ID_MAX = 32

cdef struct SharedRecord:
    int64_t expires             # on its owner's clock
    uint32_t size
    uint8_t id_size
    unsigned char id[SHARED_ID_MAX]
    # then the data

cdef struct IndexEntry:
    uint64_t position           # 0: none
    uint64_t hash

cdef struct Shard:
    SharedLock lock
    uint64_t head               # where the next record goes; the offset in the ring is modulo its size
    uint64_t ring_size
    uint64_t sets               # of WAYS entries; a power of two
    uint64_t stored
    uint64_t hits
    uint64_t misses

cdef struct SharedStore:
    uint64_t magic              # 0: new memory
    uint64_t shards
    uint64_t shard_size
    uint64_t size               # of the whole

cdef uint64_t STORE_MAGIC = 0x666d746c73303031


cdef inline Shard *shard_of(SharedStore *store, uint64_t hash) noexcept nogil:
    return <Shard *> (<char *> store + sizeof(SharedStore) + (hash >> 48) % store.shards * store.shard_size)


cdef inline IndexEntry *index_of(Shard *shard) noexcept nogil:
    return <IndexEntry *> (<char *> shard + sizeof(Shard))


cdef inline char *ring_of(Shard *shard) noexcept nogil:
    return <char *> (index_of(shard) + shard.sets * WAYS)


cdef uint64_t id_hash(const unsigned char *id, size_t n) noexcept nogil:
    """FNV-1a, and its bits mixed; ids are random, or the sender's own affair."""
    cdef uint64_t h = 0xcbf29ce484222325U
    cdef size_t i
    for i in range(n):
        h = (h ^ id[i]) * <uint64_t> 0x100000001b3
    h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93U
    return h ^ (h >> 32)


cdef void shard_enter(Shard *shard) noexcept nogil:
    if shared_lock(&shard.lock):    # who held it has died; anything may be half written
        memset(index_of(shard), 0, shard.sets * WAYS * sizeof(IndexEntry))
        shard.head = (shard.head // shard.ring_size + 2) * shard.ring_size


cdef SharedRecord *record_at(Shard *shard, const IndexEntry *entry) noexcept nogil:
    """NULL: nothing is there, or it has been written over."""
    if entry.position == 0 or shard.head - entry.position > shard.ring_size:
        return NULL
    return <SharedRecord *> (ring_of(shard) + entry.position % shard.ring_size)


cdef IndexEntry *entry_of(Shard *shard, uint64_t hash, const unsigned char *id, size_t n) noexcept nogil:
    cdef IndexEntry *entries = index_of(shard) + (hash & (shard.sets - 1)) * WAYS
    cdef SharedRecord *record
    cdef int i
    for i in range(WAYS):
        if entries[i].hash != hash:
            continue
        record = record_at(shard, &entries[i])
        if record != NULL and record.id_size == n and CRYPTO_memcmp(record.id, id, n) == 0:
            return &entries[i]
    return NULL


cdef void entry_clear(Shard *shard, IndexEntry *entry) noexcept nogil:
    """Forget and wipe the record, unless it has been written over."""
    cdef SharedRecord *record = record_at(shard, entry)
    if record != NULL and record.size <= SHARED_RECORD_MAX:
        explicit_bzero(record + 1, record.size)
    entry.position = 0


cdef bint store_put(SharedStore *store, const unsigned char *id, size_t n, const unsigned char *data,
                    size_t size, int64_t expires) noexcept nogil:
    """False: it is too large."""
    cdef uint64_t hash = id_hash(id, n)
    cdef Shard *shard = shard_of(store, hash)
    cdef size_t total = (sizeof(SharedRecord) + size + 7) & ~<size_t> 7
    cdef IndexEntry *entries
    cdef IndexEntry *chosen
    cdef SharedRecord *record
    cdef int i
    if n == 0 or n > SHARED_ID_MAX or size > SHARED_RECORD_MAX or total > shard.ring_size:
        return False
    shard_enter(shard)
    if shard.head % shard.ring_size + total > shard.ring_size:
        shard.head += shard.ring_size - shard.head % shard.ring_size
    chosen = entry_of(shard, hash, id, n)
    if chosen == NULL:
        entries = index_of(shard) + (hash & (shard.sets - 1)) * WAYS
        chosen = &entries[0]
        for i in range(1, WAYS):    # the oldest; an empty one is older than any
            if entries[i].position < chosen.position:
                chosen = &entries[i]
    entry_clear(shard, chosen)
    record = <SharedRecord *> (ring_of(shard) + shard.head % shard.ring_size)
    record.expires = expires
    record.size = <uint32_t> size
    record.id_size = <uint8_t> n
    memcpy(record.id, id, n)
    memcpy(record + 1, data, size)
    chosen.position = shard.head
    chosen.hash = hash
    shard.head += total
    shard.stored += 1
    shared_unlock(&shard.lock)
    return True


cdef size_t store_get(SharedStore *store, const unsigned char *id, size_t n, unsigned char *data,
                      int64_t now) noexcept nogil:
    """Copy a record to ``data``, which has SHARED_RECORD_MAX bytes. Returns its size; 0: there is none."""
    cdef uint64_t hash = id_hash(id, n)
    cdef Shard *shard = shard_of(store, hash)
    cdef IndexEntry *entry
    cdef SharedRecord *record
    cdef size_t size = 0
    shard_enter(shard)
    entry = entry_of(shard, hash, id, n)
    if entry != NULL:
        record = record_at(shard, entry)
        if record.expires > now and record.size <= SHARED_RECORD_MAX:
            size = record.size
            memcpy(data, record + 1, size)
        else:
            entry_clear(shard, entry)
    if size:
        shard.hits += 1
    else:
        shard.misses += 1
    shared_unlock(&shard.lock)
    return size


cdef void store_remove(SharedStore *store, const unsigned char *id, size_t n) noexcept nogil:
    cdef uint64_t hash = id_hash(id, n)
    cdef Shard *shard = shard_of(store, hash)
    cdef IndexEntry *entry
    shard_enter(shard)
    entry = entry_of(shard, hash, id, n)
    if entry != NULL:
        entry_clear(shard, entry)
    shared_unlock(&shard.lock)


cdef class SharedCache:
    """See the type stub."""
    cdef SharedStore *store
    cdef Py_buffer view
    cdef bint held

    def __init__(self, buffer):
        self.open(buffer, 0)

    cdef bint open(self, buffer, uint64_t before) except -1:
        """``before``: bytes in front of the store that are the subclass's. True: the memory is new."""
        cdef uint64_t size, i, sets
        cdef Shard *shard
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE)
        self.held = True
        size = <uint64_t> self.view.len
        if size < 8192:
            raise ValueError("a shared cache needs 8192 bytes")
        size -= before
        self.store = <SharedStore *> (<char *> self.view.buf + before)
        if self.store.magic == STORE_MAGIC and self.store.size == size:
            return False
        memset(self.view.buf, 0, before + size)
        self.store.size = size
        size -= sizeof(SharedStore)
        self.store.shards = size // SHARD_SIZE
        if self.store.shards == 0:
            self.store.shards = 1
        elif self.store.shards > SHARDS_MAX:
            self.store.shards = SHARDS_MAX
        self.store.shard_size = size // self.store.shards & ~<uint64_t> 63
        for i in range(self.store.shards):
            shard = <Shard *> (<char *> self.store + sizeof(SharedStore) + i * self.store.shard_size)
            shared_lock_init(&shard.lock)
            sets = 1
            while sets * 2 * WAYS * 128 <= self.store.shard_size:     # a place for every 128 bytes or so
                sets *= 2
            shard.sets = sets
            shard.ring_size = (self.store.shard_size - sizeof(Shard) - sets * WAYS * sizeof(IndexEntry)) & \
                ~<uint64_t> 7
            shard.head = shard.ring_size    # position 0 is none
        self.store.magic = STORE_MAGIC
        return True

    def put(self, id: bytes, data: bytes, int64_t expires):
        return store_put(self.store, id, len(id), data, len(data), expires)

    def get(self, id: bytes, int64_t now):
        cdef unsigned char data[SHARED_RECORD_MAX]
        cdef size_t size = store_get(self.store, id, len(id), data, now)
        return <bytes> data[:size] if size else None

    def remove(self, id: bytes):
        store_remove(self.store, id, len(id))

    def hold(self, id: bytes):
        """Take the lock of the record's shard and keep it: for tests of what a death does."""
        shard_enter(shard_of(self.store, id_hash(id, len(id))))

    def stats(self):
        cdef uint64_t i
        cdef Shard *shard
        counts = {"stored": 0, "hits": 0, "misses": 0}
        for i in range(self.store.shards):
            shard = <Shard *> (<char *> self.store + sizeof(SharedStore) + i * self.store.shard_size)
            counts["stored"] += shard.stored
            counts["hits"] += shard.hits
            counts["misses"] += shard.misses
        return counts

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)
