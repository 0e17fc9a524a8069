# TLS sessions and the keys of tickets in memory that all workers share (ssl_session_cache shared:NAME:SIZE).

cdef enum:
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

cdef struct TLSStore:           # a context's
    SharedStore *shared         # NULL: tickets only, by configured keys
    SharedKeys *tickets         # beside it in memory
    bint tickets_shared
    uint32_t key_count
    TicketKey *keys             # configured, or this process's copy of the shared ones


cdef class TLSSessionCache(SharedCache):
    """See the type stub."""
    cdef SharedKeys *tickets

    def __init__(self, buffer):
        cdef bint fresh = self.open(buffer, sizeof(SharedKeys) + 63 & ~<uint64_t> 63)
        self.tickets = <SharedKeys *> self.view.buf
        if fresh:
            shared_lock_init(&self.tickets.lock)


# --- what OpenSSL calls ----------------------------------------------------------------------------

cdef int keep_session(SSL *ssl, SSL_SESSION *session) noexcept nogil:
    """A session has been agreed on. 0: we keep no reference."""
    cdef SSL_CTX *ctx = SSL_get_SSL_CTX(ssl)
    cdef TLSStore *own = <TLSStore *> SSL_CTX_get_ex_data(ctx, 0)
    cdef unsigned char data[SHARED_RECORD_MAX]
    cdef unsigned char *end = data
    cdef const unsigned char *id
    cdef unsigned int n = 0
    cdef int size
    # With tickets, OpenSSL tells of TLS 1.3 sessions that will never be asked for.
    if SSL_version(ssl) == TLS1_3_VERSION and not SSL_get_options(ssl) & SSL_OP_NO_TICKET:
        return 0
    size = i2d_SSL_SESSION(session, NULL)
    if size <= 0 or size > SHARED_RECORD_MAX:
        return 0
    i2d_SSL_SESSION(session, &end)
    id = SSL_SESSION_get_id(session, &n)
    store_put(own.shared, id, n, data, <size_t> size, time(NULL) + SSL_CTX_get_timeout(ctx))
    explicit_bzero(data, <size_t> size)
    return 0


cdef SSL_SESSION *find_session(SSL *ssl, const unsigned char *id, int n, int *copy) noexcept nogil:
    cdef TLSStore *own = <TLSStore *> SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0)
    cdef unsigned char data[SHARED_RECORD_MAX]
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
    cdef SharedKeys *shared = own.tickets
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
