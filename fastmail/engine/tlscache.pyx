# TLS sessions and the keys of tickets in memory that all workers share (ssl_session_cache shared:NAME:SIZE).
#
# Each shard is a ring of records under a lock of its own: a new session takes the place of the oldest. An
# index finds records by a hash of the session id; its entries name positions that only grow, so that one
# which has been written over is known by its distance from the head. A process may die with a lock held: the
# next one finds that out and empties the shard.

cdef enum:
    SHARD_SIZE = 64 * 1024      # bytes, at least half of it
    SHARDS_MAX = 64
    WAYS = 8                    # places in the index that a session id may have
    SESSION_MAX = 4096          # bytes of a serialized session, as with nginx; larger ones are not kept
    SESSION_ID_MAX = 32
    TICKET_NAME = 16

cdef struct TicketKey:
    unsigned char name[TICKET_NAME]
    unsigned char mac[32]
    unsigned char cipher[32]
    uint32_t half               # bytes used of mac and of cipher: 16 or 32
    int64_t until               # seconds of the clock: encrypts no longer
    int64_t needed              # the last ticket's session ends then

cdef struct SharedKeys:
    SharedLock lock
    TicketKey keys[3]           # now, before, next

cdef struct SessionRecord:
    int64_t expires             # seconds of the clock
    uint32_t size
    uint8_t id_size
    unsigned char id[SESSION_ID_MAX]
    # then the session

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
    SharedKeys tickets

cdef uint64_t STORE_MAGIC = 0x666d746c73303031

cdef struct TLSStore:           # a context's
    SharedStore *shared         # NULL: tickets only, by configured keys
    bint tickets_shared
    uint32_t key_count
    TicketKey *keys             # configured, or this process's copy of the shared ones


cdef inline Shard *shard_of(SharedStore *store, uint64_t hash) noexcept nogil:
    return <Shard *> (<char *> store + sizeof(SharedStore) + (hash >> 48) % store.shards * store.shard_size)


cdef inline IndexEntry *index_of(Shard *shard) noexcept nogil:
    return <IndexEntry *> (<char *> shard + sizeof(Shard))


cdef inline char *ring_of(Shard *shard) noexcept nogil:
    return <char *> (index_of(shard) + shard.sets * WAYS)


cdef uint64_t session_id_hash(const unsigned char *id, size_t n) noexcept nogil:
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


cdef SessionRecord *record_at(Shard *shard, const IndexEntry *entry) noexcept nogil:
    """NULL: nothing is there, or it has been written over."""
    if entry.position == 0 or shard.head - entry.position > shard.ring_size:
        return NULL
    return <SessionRecord *> (ring_of(shard) + entry.position % shard.ring_size)


cdef IndexEntry *entry_of(Shard *shard, uint64_t hash, const unsigned char *id, size_t n) noexcept nogil:
    cdef IndexEntry *entries = index_of(shard) + (hash & (shard.sets - 1)) * WAYS
    cdef SessionRecord *record
    cdef int i
    for i in range(WAYS):
        if entries[i].hash != hash:
            continue
        record = record_at(shard, &entries[i])
        if record != NULL and record.id_size == n and memcmp(record.id, id, n) == 0:
            return &entries[i]
    return NULL


cdef bint store_put(SharedStore *store, const unsigned char *id, size_t n, const unsigned char *data,
                    size_t size, int64_t expires) noexcept nogil:
    """False: it is too large."""
    cdef uint64_t hash = session_id_hash(id, n)
    cdef Shard *shard = shard_of(store, hash)
    cdef size_t total = (sizeof(SessionRecord) + size + 7) & ~<size_t> 7
    cdef IndexEntry *entries
    cdef IndexEntry *chosen
    cdef SessionRecord *record
    cdef int i
    if n == 0 or n > SESSION_ID_MAX or size > SESSION_MAX or total > shard.ring_size:
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
    record = <SessionRecord *> (ring_of(shard) + shard.head % shard.ring_size)
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
    """Copy a session to ``data``, which has SESSION_MAX bytes. Returns its size; 0: there is none."""
    cdef uint64_t hash = session_id_hash(id, n)
    cdef Shard *shard = shard_of(store, hash)
    cdef IndexEntry *entry
    cdef SessionRecord *record
    cdef size_t size = 0
    shard_enter(shard)
    entry = entry_of(shard, hash, id, n)
    if entry != NULL:
        record = record_at(shard, entry)
        if record.expires > now and record.size <= SESSION_MAX:
            size = record.size
            memcpy(data, record + 1, size)
    if size:
        shard.hits += 1
    else:
        shard.misses += 1
    shared_unlock(&shard.lock)
    return size


cdef void store_remove(SharedStore *store, const unsigned char *id, size_t n) noexcept nogil:
    cdef uint64_t hash = session_id_hash(id, n)
    cdef Shard *shard = shard_of(store, hash)
    cdef IndexEntry *entry
    cdef SessionRecord *record
    shard_enter(shard)
    entry = entry_of(shard, hash, id, n)
    if entry != NULL:
        record = record_at(shard, entry)
        if record.size <= SESSION_MAX:
            explicit_bzero(record + 1, record.size)
        entry.position = 0
    shared_unlock(&shard.lock)


cdef class TLSSessionCache:
    """See the type stub."""
    cdef SharedStore *store
    cdef Py_buffer view
    cdef bint held

    def __init__(self, buffer):
        cdef uint64_t size, i, sets
        cdef Shard *shard
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE)
        self.held = True
        self.store = <SharedStore *> self.view.buf
        size = <uint64_t> self.view.len
        if size < 8192:
            raise ValueError("a session cache needs 8192 bytes")
        if self.store.magic == STORE_MAGIC and self.store.size == size:
            return
        memset(self.view.buf, 0, size)
        self.store.size = size
        size -= sizeof(SharedStore)
        self.store.shards = size // SHARD_SIZE
        if self.store.shards == 0:
            self.store.shards = 1
        elif self.store.shards > SHARDS_MAX:
            self.store.shards = SHARDS_MAX
        self.store.shard_size = size // self.store.shards & ~<uint64_t> 63
        shared_lock_init(&self.store.tickets.lock)
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

    def put(self, id: bytes, data: bytes, int64_t expires):
        return store_put(self.store, id, len(id), data, len(data), expires)

    def get(self, id: bytes, int64_t now):
        cdef unsigned char data[SESSION_MAX]
        cdef size_t size = store_get(self.store, id, len(id), data, now)
        return <bytes> data[:size] if size else None

    def remove(self, id: bytes):
        store_remove(self.store, id, len(id))

    def hold(self, id: bytes):
        """Take the lock of the session's shard and keep it: for tests of what a death does."""
        shard_enter(shard_of(self.store, session_id_hash(id, len(id))))

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


# --- what OpenSSL calls ----------------------------------------------------------------------------

cdef int keep_session(SSL *ssl, SSL_SESSION *session) noexcept nogil:
    """A session has been agreed on. 0: we keep no reference."""
    cdef SSL_CTX *ctx = SSL_get_SSL_CTX(ssl)
    cdef TLSStore *own = <TLSStore *> SSL_CTX_get_ex_data(ctx, 0)
    cdef unsigned char data[SESSION_MAX]
    cdef unsigned char *end = data
    cdef const unsigned char *id
    cdef unsigned int n = 0
    cdef int size
    # With tickets, OpenSSL tells of TLS 1.3 sessions that will never be asked for.
    if SSL_version(ssl) == TLS1_3_VERSION and not SSL_get_options(ssl) & SSL_OP_NO_TICKET:
        return 0
    size = i2d_SSL_SESSION(session, NULL)
    if size <= 0 or size > SESSION_MAX:
        return 0
    i2d_SSL_SESSION(session, &end)
    id = SSL_SESSION_get_id(session, &n)
    store_put(own.shared, id, n, data, <size_t> size, time(NULL) + SSL_CTX_get_timeout(ctx))
    explicit_bzero(data, <size_t> size)
    return 0


cdef SSL_SESSION *find_session(SSL *ssl, const unsigned char *id, int n, int *copy) noexcept nogil:
    cdef TLSStore *own = <TLSStore *> SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0)
    cdef unsigned char data[SESSION_MAX]
    cdef const unsigned char *start = data
    cdef SSL_SESSION *session
    cdef size_t size
    copy[0] = 0
    size = store_get(own.shared, id, <size_t> n, data, time(NULL))
    if size == 0:
        return NULL
    session = d2i_SSL_SESSION(NULL, &start, <long> size)
    explicit_bzero(data, size)
    return session


cdef void forget_session(SSL_CTX *ctx, SSL_SESSION *session) noexcept nogil:
    cdef TLSStore *own = <TLSStore *> SSL_CTX_get_ex_data(ctx, 0)
    cdef unsigned int n = 0
    cdef const unsigned char *id = SSL_SESSION_get_id(session, &n)
    if own != NULL and own.shared != NULL and n:
        store_remove(own.shared, id, n)


cdef bint new_ticket_key(TicketKey *key) noexcept nogil:
    key.half = 32
    key.until = key.needed = 0
    return RAND_bytes(key.name, TICKET_NAME) == 1 and RAND_bytes(key.mac, 32) == 1 \
        and RAND_bytes(key.cipher, 32) == 1


cdef bint rotate_ticket_keys(TLSStore *own, int64_t now, int64_t lifetime) noexcept nogil:
    """The keys of now into this process's copy. Each encrypts for as long as a session may live, and decrypts
    for as long again; the next is known to all workers before the first uses it."""
    cdef SharedKeys *shared = &own.shared.tickets
    cdef bint done = True
    # Servers that share it may let their sessions live for different times: the longest counts.
    if own.keys[0].half and now < own.keys[0].until and now + lifetime <= own.keys[0].needed:
        return True
    if shared_lock(&shared.lock):
        memset(shared.keys, 0, sizeof(shared.keys))
    if shared.keys[0].half == 0:
        done = new_ticket_key(&shared.keys[0]) and new_ticket_key(&shared.keys[1]) \
            and new_ticket_key(&shared.keys[2])
        shared.keys[0].until = now + lifetime
        shared.keys[0].needed = now + 2 * lifetime
    elif now >= shared.keys[0].until and now >= shared.keys[1].needed:
        shared.keys[1] = shared.keys[0]
        shared.keys[0] = shared.keys[2]
        shared.keys[0].until = now + lifetime
        shared.keys[0].needed = now + 2 * lifetime
        done = new_ticket_key(&shared.keys[2])
    elif now + lifetime > shared.keys[0].needed:
        shared.keys[0].needed = now + 2 * lifetime
    memcpy(own.keys, shared.keys, sizeof(shared.keys))
    shared_unlock(&shared.lock)
    return done


cdef int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int encrypting) noexcept nogil:
    """1: done; 2: done, and the client gets a new ticket; 0: no such key; -1: an error."""
    cdef SSL_CTX *ctx = SSL_get_SSL_CTX(ssl)
    cdef TLSStore *own = <TLSStore *> SSL_CTX_get_ex_data(ctx, 0)
    cdef TicketKey *key = &own.keys[0]
    cdef const EVP_CIPHER *kind
    cdef uint32_t i = 0
    if own.tickets_shared and not rotate_ticket_keys(own, time(NULL), SSL_CTX_get_timeout(ctx)):
        return -1
    if encrypting:
        memcpy(name, key.name, TICKET_NAME)
    else:
        while memcmp(name, own.keys[i].name, TICKET_NAME) != 0:
            i += 1
            if i == own.key_count:
                return 0
        key = &own.keys[i]
    kind = EVP_aes_256_cbc() if key.half == 32 else EVP_aes_128_cbc()
    if not fm_set_ticket_mac(mac, key.mac, key.half):
        return -1
    if encrypting:
        if RAND_bytes(iv, 16) != 1 or EVP_EncryptInit_ex(cipher, kind, NULL, key.cipher, iv) != 1:
            return -1
        return 1
    if EVP_DecryptInit_ex(cipher, kind, NULL, key.cipher, iv) != 1:
        return -1
    return 2 if SSL_version(ssl) == TLS1_3_VERSION or i else 1


cdef void set_ticket_key(TicketKey *key, bytes data):
    """From a file's 48 or 80 bytes, in nginx's order."""
    cdef const unsigned char *p = data
    memcpy(key.name, p, TICKET_NAME)
    if len(data) == 48:
        key.half = 16
        memcpy(key.cipher, p + 16, 16)
        memcpy(key.mac, p + 32, 16)
    else:
        key.half = 32
        memcpy(key.mac, p + 16, 32)
        memcpy(key.cipher, p + 48, 32)
