# TLS contexts: what the ssl_* directives of one server make of an SSL_CTX (reference 3.8, 9).

cdef enum:                      # ssl_verify_client
    VERIFY_OFF = 0
    VERIFY_ON
    VERIFY_OPTIONAL
    VERIFY_OPTIONAL_NO_CA

cdef dict PROTOCOL_OPTIONS = {
    "SSLv3": SSL_OP_NO_SSLv3, "TLSv1": SSL_OP_NO_TLSv1, "TLSv1.1": SSL_OP_NO_TLSv1_1,
    "TLSv1.2": SSL_OP_NO_TLSv1_2, "TLSv1.3": SSL_OP_NO_TLSv1_3,
}

cdef dict VERIFY_CLIENT = {
    "off": VERIFY_OFF, "on": VERIFY_ON, "optional": VERIFY_OPTIONAL, "optional_no_ca": VERIFY_OPTIONAL_NO_CA,
}

fm_load_configuration()

# What the engine was compiled with, what it runs with, and whether that is part of it; a build with checks.
OPENSSL_COMPILED = OPENSSL_VERSION_TEXT.decode()
OPENSSL_RUNNING = OpenSSL_version(OPENSSL_VERSION).decode()
OPENSSL_STATIC = bool(FASTMAIL_STATIC_OPENSSL)
CHECKED = bool(FM_CHECKED)

cdef struct NamedPair:
    const char *name            # lower case; may begin with "*."
    size_t size
    uint32_t pair


cdef int verified_later(int ok, X509_STORE_CTX *_) noexcept nogil:
    """Every certificate is taken; what comes of it is decided once the handshake is done."""
    return 1


cdef int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *size,
                         const unsigned char *offered, unsigned int offered_size, void *own) noexcept nogil:
    """ALPN (RFC 7301): ours, or an alert to a client that offers others only."""
    cdef const unsigned char *ours = <const unsigned char *> own
    if SSL_select_next_proto(<unsigned char **> out, size, ours, ours[0] + 1, offered, offered_size) \
            != OPENSSL_NPN_NEGOTIATED:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    return SSL_TLSEXT_ERR_OK


cdef struct TLSNames:           # certificates, and which name is whose
    Pair *pairs
    uint32_t pair_count
    NamedPair *entries          # sorted; none unless SNI has to choose
    uint32_t count
    char *texts                 # of the entries' names
    bint stale                  # the context has certificates of a type that there are no longer


cdef void names_free(TLSNames *names) noexcept nogil:
    cdef uint32_t i
    for i in range(names.pair_count):
        X509_free(names.pairs[i].certificate)
        EVP_PKEY_free(names.pairs[i].key)
        fm_free_certificates(names.pairs[i].chain)
    free(names.pairs)
    free(names.entries)
    free(names.texts)
    memset(names, 0, sizeof(TLSNames))


cdef bint names_have(const TLSNames *names, int key_type) noexcept nogil:
    cdef uint32_t i
    for i in range(names.pair_count):
        if EVP_PKEY_get_base_id(names.pairs[i].key) == key_type:
            return True
    return False


cdef void context_renew(SSL_CTX *ctx, TLSNames *names, TLSNames *fresh) noexcept nogil:
    """Certificates in the place of others. Handshakes under way have references of their own; caches, tickets
    and sessions go on. Only for the thread that uses the context."""
    cdef TLSNames old = names[0]
    cdef uint32_t i
    names[0] = fresh[0]
    memset(fresh, 0, sizeof(TLSNames))
    names.stale = old.stale
    for i in range(old.pair_count):
        names.stale |= not names_have(names, EVP_PKEY_get_base_id(old.pairs[i].key))
    for i in range(names.pair_count):
        SSL_CTX_use_certificate(ctx, names.pairs[i].certificate)
        SSL_CTX_set1_chain(ctx, names.pairs[i].chain)
        SSL_CTX_use_PrivateKey(ctx, names.pairs[i].key)
    SSL_CTX_set_cert_cb(ctx, NULL, NULL)
    if names.count or names.stale:
        SSL_CTX_set_cert_cb(ctx, select_certificate, names)
    ERR_clear_error()
    names_free(&old)


cdef int compare_names(const NamedPair *entry, const char *name, size_t size) noexcept nogil:
    cdef int order = memcmp(entry.name, name, entry.size if entry.size < size else size)
    if order == 0 and entry.size != size:
        return -1 if entry.size < size else 1
    return order


cdef uint32_t first_named(const TLSNames *names, const char *name, size_t size) noexcept nogil:
    """The first entry that is not before ``name``."""
    cdef uint32_t low = 0, high = names.count, middle
    while low < high:
        middle = (low + high) // 2
        if compare_names(&names.entries[middle], name, size) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint use_named(SSL *ssl, const TLSNames *names, const char *name, size_t size) noexcept nogil:
    """Only the certificates of this name from now on. False: there are none."""
    cdef uint32_t i = first_named(names, name, size)
    cdef Pair *pair
    if i == names.count or compare_names(&names.entries[i], name, size) != 0:
        return False
    SSL_certs_clear(ssl)
    while i < names.count and compare_names(&names.entries[i], name, size) == 0:
        pair = &names.pairs[names.entries[i].pair]
        SSL_use_cert_and_key(ssl, pair.certificate, pair.key, pair.chain, 1)
        i += 1
    return True


cdef void use_all(SSL *ssl, const TLSNames *names) noexcept nogil:
    """The last of each type, as the context would have them."""
    cdef uint32_t i
    cdef Pair *pair
    SSL_certs_clear(ssl)
    for i in range(names.pair_count):
        pair = &names.pairs[i]
        SSL_use_cert_and_key(ssl, pair.certificate, pair.key, pair.chain, 1)


cdef int select_certificate(SSL *ssl, void *owner) noexcept nogil:
    """SNI (RFC 6066 section 3): the certificates whose own names match, exactly or by a wildcard for the
    first label. A client that names nothing, or nobody, gets what nginx serves: the last of each type."""
    cdef TLSNames *names = <TLSNames *> owner
    cdef const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    cdef char text[256]
    cdef size_t i, size = 0, dot = 0
    text[0] = 0
    if names.stale:
        use_all(ssl, names)
    if name == NULL or names.count == 0:
        return 1
    while name[size]:
        if size == sizeof(text):
            return 1
        text[size] = name[size] + 32 if 65 <= name[size] <= 90 else name[size]
        size += 1
    if size and text[size - 1] == 46:
        size -= 1
    if use_named(ssl, names, text, size):
        return 1
    for i in range(size):
        if text[i] == 46:
            dot = i
            break
    if dot:
        text[dot - 1] = 42
        use_named(ssl, names, text + dot - 1, size - dot + 1)
    return 1


cdef class TLSContext:
    """See the type stub."""
    cdef SSL_CTX *ctx
    cdef int verify             # VERIFY_*
    cdef list kept              # what ctx points to
    cdef TLSNames names
    cdef TLSStore store

    def __init__(self):
        self.kept = []
        ERR_clear_error()
        self.ctx = SSL_CTX_new(TLS_method())
        if self.ctx == NULL:
            raise tls_error(b"SSL_CTX_new() failed")
        SSL_CTX_set_options(
            self.ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
            | SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS | SSL_OP_NO_ANTI_REPLAY
            | SSL_OP_CLEANSE_PLAINTEXT)     # up to the relay: see tls_relays()
        SSL_CTX_set_mode(
            self.ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
            | SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN)
        SSL_CTX_set_read_ahead(self.ctx, 1)
        SSL_CTX_set_num_tickets(self.ctx, 1)    # it may be used again, as there is no early data
        fm_compress_certificates(self.ctx, False)

    def protocols(self, names):
        SSL_CTX_set_min_proto_version(self.ctx, 0)
        SSL_CTX_set_max_proto_version(self.ctx, TLS1_3_VERSION)
        for name, option in PROTOCOL_OPTIONS.items():
            if name in names:
                SSL_CTX_clear_options(self.ctx, option)
            else:
                SSL_CTX_set_options(self.ctx, option)

    def ciphers(self, text: bytes, *, bint prefer_server=False):
        ERR_clear_error()
        if SSL_CTX_set_cipher_list(self.ctx, text) == 0:
            raise tls_error(b'SSL_CTX_set_cipher_list("' + text + b'") failed')
        if prefer_server:
            SSL_CTX_set_options(self.ctx, SSL_OP_CIPHER_SERVER_PREFERENCE)

    def certificate(self, certificate: bytes, key: bytes, passwords: list | None = None):
        cdef stack_st_X509 *found = read_certificates(certificate, True)
        cdef Pair *pairs = <Pair *> realloc(self.names.pairs, (self.names.pair_count + 1) * sizeof(Pair))
        cdef Pair *pair
        cdef int i
        if pairs == NULL:
            fm_free_certificates(found)
            raise MemoryError
        self.names.pairs = pairs
        pair = &pairs[self.names.pair_count]
        memset(pair, 0, sizeof(Pair))
        self.names.pair_count += 1
        pair.certificate = sk_X509_value(found, 0)
        X509_up_ref(pair.certificate)
        pair.chain = sk_X509_new_null()
        for i in range(1, sk_X509_num(found)):
            if pair.chain != NULL and sk_X509_push(pair.chain, sk_X509_value(found, i)):
                X509_up_ref(sk_X509_value(found, i))
        fm_free_certificates(found)
        if SSL_CTX_use_certificate(self.ctx, pair.certificate) == 0:
            raise tls_error(b'SSL_CTX_use_certificate("' + shown(certificate) + b'") failed')
        if pair.chain == NULL or SSL_CTX_set1_chain(self.ctx, pair.chain) == 0:
            raise tls_error(b'SSL_CTX_set0_chain("' + shown(certificate) + b'") failed')
        pair.key = read_key(key, passwords)
        if SSL_CTX_use_PrivateKey(self.ctx, pair.key) == 0:
            raise tls_error(b'SSL_CTX_use_PrivateKey("' + shown(key) + b'") failed')

    def pairs(self):
        """Certificates with their chains, and keys, as PEM."""
        cdef uint32_t i
        return [(certificate_pem(&self.names.pairs[i]), key_pem(self.names.pairs[i].key))
                for i in range(self.names.pair_count)]

    def renew(self, TLSContext fresh not None):
        context_renew(self.ctx, &self.names, &fresh.names)

    def compress_certificates(self):
        return fm_compress_certificates(self.ctx, True) != 0

    def select_by_name(self):
        """Several certificates of one key type: let SNI choose."""
        cdef uint32_t i
        cdef char *text
        cdef list entries = []
        types = [EVP_PKEY_get_base_id(self.names.pairs[i].key) for i in range(self.names.pair_count)]
        if len(set(types)) == len(types):
            return
        for i in range(self.names.pair_count):
            entries += [(name, i) for name in certificate_names(self.names.pairs[i].certificate)]
        entries = sorted(set(entries))
        self.names.entries = <NamedPair *> calloc(len(entries) or 1, sizeof(NamedPair))
        self.names.texts = <char *> malloc(sum([len(name) for name, _ in entries]) or 1)
        if self.names.entries == NULL or self.names.texts == NULL:
            raise MemoryError
        text = self.names.texts
        for name, i in entries:
            memcpy(text, <const char *> name, len(name))
            self.names.entries[self.names.count].name = text
            self.names.entries[self.names.count].size = len(name)
            self.names.entries[self.names.count].pair = i
            self.names.count += 1
            text += len(name)
        SSL_CTX_set_cert_cb(self.ctx, select_certificate, &self.names)

    def verify_client(self, str mode, int depth):
        self.verify = VERIFY_CLIENT[mode]
        if self.verify:
            SSL_CTX_set_verify(self.ctx, SSL_VERIFY_PEER, verified_later)
            SSL_CTX_set_verify_depth(self.ctx, depth)

    def verify_server(self, int depth):
        """Towards backends: what comes of it is decided once the handshake is done."""
        SSL_CTX_set_verify(self.ctx, SSL_VERIFY_PEER, backend_verified_later)
        SSL_CTX_set_verify_depth(self.ctx, depth)

    def client_certificate(self, path: bytes):
        cdef stack_st_X509 *found = read_certificates(path, False)
        cdef stack_st_X509_NAME *names = sk_X509_NAME_new_null()
        cdef X509_NAME *name
        cdef int i, j
        try:
            self.add_certificates(found, path)
            for i in range(sk_X509_num(found)):
                name = X509_get_subject_name(sk_X509_value(found, i))
                for j in range(sk_X509_NAME_num(names)):
                    if X509_NAME_cmp(sk_X509_NAME_value(names, j), name) == 0:
                        break
                else:
                    name = X509_NAME_dup(name)
                    if name == NULL or names == NULL or sk_X509_NAME_push(names, name) == 0:
                        X509_NAME_free(name)
                        raise MemoryError
            SSL_CTX_set_client_CA_list(self.ctx, names)
            names = NULL
        finally:
            fm_free_names(names)
            fm_free_certificates(found)

    def trusted_certificate(self, path: bytes):
        cdef stack_st_X509 *found = read_certificates(path, False)
        try:
            self.add_certificates(found, path)
        finally:
            fm_free_certificates(found)

    cdef int add_certificates(self, stack_st_X509 *found, bytes path) except -1:
        cdef int i
        for i in range(sk_X509_num(found)):
            if X509_STORE_add_cert(SSL_CTX_get_cert_store(self.ctx), sk_X509_value(found, i)) != 1:
                raise tls_error(b'X509_STORE_add_cert("' + path + b'") failed')
        return 0

    def crl(self, path: bytes):
        cdef X509_STORE *store = SSL_CTX_get_cert_store(self.ctx)
        cdef X509_CRL *crl
        cdef bint first = True
        cdef int added
        cdef BIO *bio
        ERR_clear_error()
        bio = BIO_new_file(path, b"r")
        if bio == NULL:
            raise tls_error(b'cannot load CRL "' + path + b'": BIO_new_file() failed')
        while True:
            crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)
            if crl == NULL:
                if not first and at_end_of_pem():
                    break
                BIO_free(bio)
                raise tls_error(b'cannot load CRL "' + path + b'": PEM_read_bio_X509_CRL() failed')
            first = False
            added = X509_STORE_add_crl(store, crl)
            X509_CRL_free(crl)
            if added != 1:
                BIO_free(bio)
                raise tls_error(b'X509_STORE_add_crl("' + path + b'") failed')
        BIO_free(bio)
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)

    def dhparam(self, path: bytes):
        cdef const char *failed
        ERR_clear_error()
        failed = fm_set_dhparam(self.ctx, path)
        if failed != NULL:
            raise tls_error(failed + b'("' + path + b'") failed')

    def curves(self, text: bytes):
        ERR_clear_error()
        if SSL_CTX_set1_groups_list(self.ctx, text) == 0:
            raise tls_error(b'SSL_CTX_set1_curves_list("' + text + b'") failed')

    def conf_commands(self, pairs, full_name):
        cdef SSL_CONF_CTX *conf = SSL_CONF_CTX_new()
        cdef int kind
        if conf == NULL:
            raise tls_error(b"SSL_CONF_CTX_new() failed")
        ERR_clear_error()
        try:
            SSL_CONF_CTX_set_flags(
                conf, SSL_CONF_FLAG_FILE | SSL_CONF_FLAG_SERVER | SSL_CONF_FLAG_CLIENT
                | SSL_CONF_FLAG_CERTIFICATE | SSL_CONF_FLAG_SHOW_ERRORS)
            SSL_CONF_CTX_set_ssl_ctx(conf, self.ctx)
            for name, value in pairs:
                kind = SSL_CONF_cmd_value_type(conf, name)
                if kind == SSL_CONF_TYPE_FILE or kind == SSL_CONF_TYPE_DIR:
                    value = full_name(value)
                if SSL_CONF_cmd(conf, name, value) <= 0:
                    raise tls_error(b'SSL_CONF_cmd("' + name + b'", "' + value + b'") failed')
            if SSL_CONF_CTX_finish(conf) != 1:
                raise tls_error(b"SSL_CONF_finish() failed")
        finally:
            SSL_CONF_CTX_free(conf)

    def session_cache(self, str mode, *, long size=0):
        if mode == "off":
            SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_OFF)
        elif mode == "none":
            # With the cache off clients are told that sessions cannot be resumed, which some take badly.
            SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_AUTO_CLEAR
                                           | SSL_SESS_CACHE_NO_INTERNAL_STORE)
            SSL_CTX_sess_set_cache_size(self.ctx, 1)
        elif mode == "builtin":
            SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_SERVER)
            if size:
                SSL_CTX_sess_set_cache_size(self.ctx, size)
        elif mode == "shared":
            SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)
        else:
            raise ValueError(f'unknown session cache "{mode}"')

    def share_sessions(self, TLSSessionCache cache not None):
        """After session_cache("shared") or ("builtin") and before ticket_keys()."""
        self.kept.append(cache)
        self.store.shared = cache.store
        self.store.tickets = cache.tickets
        SSL_CTX_set_ex_data(self.ctx, 0, &self.store)
        SSL_CTX_sess_set_new_cb(self.ctx, keep_session)
        SSL_CTX_sess_set_get_cb(self.ctx, find_session)
        SSL_CTX_sess_set_remove_cb(self.ctx, forget_session)

    def ticket_keys(self, keys):
        cdef uint32_t i
        if not keys and self.store.shared == NULL:
            return              # OpenSSL's own key, which workers inherit
        self.store.tickets_shared = not keys
        self.store.key_count = <uint32_t> len(keys) or 3
        self.store.keys = <TicketKey *> calloc(self.store.key_count, sizeof(TicketKey))
        if self.store.keys == NULL:
            raise MemoryError
        for i, data in enumerate(keys):
            set_ticket_key(&self.store.keys[i], data)
        SSL_CTX_set_ex_data(self.ctx, 0, &self.store)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(self.ctx, ticket_key)

    def session_timeout(self, long seconds):
        SSL_CTX_set_timeout(self.ctx, seconds)

    def session_tickets(self, bint on):
        if on:
            SSL_CTX_clear_options(self.ctx, SSL_OP_NO_TICKET)
        else:
            SSL_CTX_set_options(self.ctx, SSL_OP_NO_TICKET)

    def alpn(self, protocol: bytes):
        wire = bytes([len(protocol)]) + protocol
        self.kept.append(wire)
        SSL_CTX_set_alpn_select_cb(self.ctx, select_protocol, <void *> <const char *> wire)

    def session_id_context(self, extra: bytes = b""):
        """Sessions are resumed only where the same certificates and the same client CAs are used."""
        cdef EVP_MD_CTX *md = EVP_MD_CTX_new()
        cdef stack_st_X509_NAME *names = SSL_CTX_get_client_CA_list(self.ctx)
        cdef unsigned char digest[64]
        cdef unsigned int size = 0
        cdef uint32_t i
        cdef int j
        cdef bint done = md != NULL and EVP_DigestInit_ex(md, EVP_sha1(), NULL)
        extra = b"MAIL" + extra
        done = done and EVP_DigestUpdate(md, <const char *> extra, len(extra))
        for i in range(self.names.pair_count):
            done = done and X509_digest(self.names.pairs[i].certificate, EVP_sha1(), digest, &size) \
                and EVP_DigestUpdate(md, digest, size)
        for j in range(sk_X509_NAME_num(names) if names != NULL else 0):
            done = done and X509_NAME_digest(sk_X509_NAME_value(names, j), EVP_sha1(), digest, &size) \
                and EVP_DigestUpdate(md, digest, size)
        done = done and EVP_DigestFinal_ex(md, digest, &size) \
            and SSL_CTX_set_session_id_context(self.ctx, digest, size)
        EVP_MD_CTX_free(md)
        if not done:
            raise tls_error(b"SSL_CTX_set_session_id_context() failed")

    def __dealloc__(self):
        SSL_CTX_sess_set_remove_cb(self.ctx, NULL)
        SSL_CTX_free(self.ctx)
        if self.store.keys != NULL:
            explicit_bzero(self.store.keys, self.store.key_count * sizeof(TicketKey))
            free(self.store.keys)
        names_free(&self.names)
