# What TLS contexts are made of: certificates, keys, CAs and CRLs in PEM. Errors are TLSError, in nginx's
# words. Python is around: contexts are made while a configuration is read, not while sessions are served.

class TLSError(Exception):
    """Something that a TLS context was to be made of is not good. str() is nginx's message, what OpenSSL says
    included."""


cdef struct Pair:               # a certificate with its key and chain
    X509 *certificate
    EVP_PKEY *key
    stack_st_X509 *chain        # without the certificate itself


cdef object tls_error(bytes text):
    """A TLSError, with all errors that OpenSSL has queued; as nginx, no more than 1024 bytes."""
    cdef char reason[256]
    cdef const char *data
    cdef int flags
    cdef unsigned long e
    cdef list parts = []
    while True:
        data = NULL
        flags = 0
        e = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)
        if e == 0:
            break
        ERR_error_string_n(e, reason, sizeof(reason))
        part = b" " + <bytes> reason
        if data != NULL and data[0] and flags & ERR_TXT_STRING:
            part += b":" + <bytes> data
        parts.append(part)
    if parts:
        text += b" (SSL:" + b"".join(parts) + b")"
    return TLSError(text[:1024].decode("utf-8", "surrogateescape"))


cdef bytes shown(bytes name):
    """For a message. Of ``data:`` nothing is: it may be a private key (nginx shows it)."""
    return b"data:" if name.startswith(b"data:") else name


cdef BIO *open_pem(bytes name, const char **failed):
    """A file, or ``data:`` and its contents; ``name`` must outlive the BIO."""
    cdef BIO *bio
    if name.startswith(b"data:"):
        bio = BIO_new_mem_buf(<const char *> name + 5, <int> (len(name) - 5))
        if bio == NULL:
            failed[0] = b"BIO_new_mem_buf() failed"
        return bio
    bio = BIO_new_file(name, b"r")
    if bio == NULL:
        failed[0] = b"BIO_new_file() failed"
    return bio


cdef bint at_end_of_pem() noexcept:
    cdef unsigned long e = ERR_peek_last_error()
    if ERR_GET_LIB(e) == ERR_LIB_PEM and ERR_GET_REASON(e) == PEM_R_NO_START_LINE:
        ERR_clear_error()
        return True
    return False


cdef stack_st_X509 *read_certificates(bytes name, bint chain) except NULL:
    """All certificates of a file. Of a chain, the first may not be missing and is the server's own."""
    cdef const char *failed = b"sk_X509_new_null() failed"
    cdef stack_st_X509 *found = sk_X509_new_null()
    cdef BIO *bio = NULL
    cdef X509 *x
    cdef bint first
    ERR_clear_error()
    if found != NULL:
        bio = open_pem(name, &failed)
    while bio != NULL:
        first = sk_X509_num(found) == 0
        if first or not chain:
            x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)
            failed = b"PEM_read_bio_X509_AUX() failed"
        else:
            x = PEM_read_bio_X509(bio, NULL, NULL, NULL)
            failed = b"PEM_read_bio_X509() failed"
        if x == NULL:
            if not first and at_end_of_pem():
                BIO_free(bio)
                return found
            break
        if sk_X509_push(found, x) == 0:
            X509_free(x)
            failed = b"sk_X509_push() failed"
            break
    BIO_free(bio)
    fm_free_certificates(found)
    raise tls_error(b'cannot load certificate "' + shown(name) + b'": ' + failed)


cdef struct Password:
    const char *data
    size_t size


cdef int give_password(char *buf, int size, int writing, void *owner) noexcept nogil:
    cdef Password *p = <Password *> owner
    cdef size_t n = p.size if p.size < <size_t> size else <size_t> size
    if writing:
        return 0
    memcpy(buf, p.data, n)
    return <int> n


cdef EVP_PKEY *read_key(bytes name, list passwords) except NULL:
    """A private key: a file, ``data:``, ``engine:ID:KEY`` or ``store:URI``. Passwords are tried in order;
    with None, OpenSSL asks on the terminal."""
    cdef const char *failed = NULL
    cdef EVP_PKEY *key = NULL
    cdef BIO *bio = NULL
    cdef Password password
    cdef pem_password_cb *cb = NULL
    cdef bint store = name.startswith(b"store:")
    if passwords is not None:
        cb = give_password
    ERR_clear_error()
    if name.startswith(b"engine:"):
        key = fm_engine_key(<const char *> name + 7, &failed)
    elif not store:
        bio = open_pem(name, &failed)
    if bio != NULL or store:
        for word in passwords if passwords is not None else [b""]:
            ERR_clear_error()
            password.data = word
            password.size = len(word)
            if store:
                key = fm_store_key(<const char *> name + 6, cb, &password, &failed)
            else:
                BIO_reset(bio)
                key = PEM_read_bio_PrivateKey(bio, NULL, cb, &password if cb != NULL else NULL)
                failed = b"PEM_read_bio_PrivateKey() failed"
            if key != NULL:
                ERR_clear_error()
                break
        BIO_free(bio)
    if key == NULL:
        raise tls_error(b'cannot load certificate key "' + shown(name) + b'": ' + failed)
    return key


cdef bytes bio_bytes(BIO *bio):
    cdef char *data = NULL
    cdef long n = BIO_get_mem_data(bio, &data)
    return data[:n]


cdef bytes certificate_pem(const Pair *pair):
    cdef BIO *bio = BIO_new(BIO_s_mem())
    cdef int i
    if bio == NULL:
        raise MemoryError
    try:
        PEM_write_bio_X509(bio, pair.certificate)
        for i in range(sk_X509_num(pair.chain)):
            PEM_write_bio_X509(bio, sk_X509_value(pair.chain, i))
        return bio_bytes(bio)
    finally:
        BIO_free(bio)


cdef bytes key_pem(EVP_PKEY *key):
    """Not encrypted."""
    cdef BIO *bio = BIO_new(BIO_s_mem())
    if bio == NULL:
        raise MemoryError
    try:
        ERR_clear_error()
        if PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1:
            raise tls_error(b"PEM_write_bio_PrivateKey() failed")
        return bio_bytes(bio)
    finally:
        BIO_free(bio)


cdef list certificate_names(X509 *x):
    """The host names that a certificate is for, in lower case: its DNS names, else its common name."""
    cdef GENERAL_NAMES *alternatives = fm_alternative_names(x)
    cdef const char *name = NULL
    cdef char common[256]
    cdef int n = 0, i = 0
    cdef list names = []
    if alternatives != NULL:
        while True:
            n = fm_dns_name(alternatives, i, &name)
            if n < 0:
                break
            if n > 0:
                names.append((<bytes> name[:n]).lower())
            i += 1
        GENERAL_NAMES_free(alternatives)
    if not names:
        n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, common, sizeof(common))
        if n > 0:
            names.append((<bytes> common[:n]).lower())
    ERR_clear_error()
    return names


cdef bytes certificate_subject(X509 *x):
    cdef char *subject = X509_NAME_oneline(X509_get_subject_name(x), NULL, 0)
    if subject == NULL:
        raise MemoryError
    try:
        return <bytes> subject
    finally:
        OPENSSL_free(subject)


cdef object certificate_time(const ASN1_TIME *t):
    cdef int64_t seconds = 0
    return seconds if fm_seconds(t, &seconds) else None


def certificate_validity(name: bytes):
    cdef stack_st_X509 *found = read_certificates(name, True)
    cdef X509 *x
    cdef int i
    try:
        validity = []
        for i in range(sk_X509_num(found)):
            x = sk_X509_value(found, i)
            validity.append((certificate_subject(x), certificate_names(x),
                             certificate_time(X509_get0_notBefore(x)),
                             certificate_time(X509_get0_notAfter(x))))
        return validity
    finally:
        fm_free_certificates(found)
        ERR_clear_error()


def use_engine(name: bytes):
    cdef int done
    ERR_clear_error()
    done = fm_engine_default(name)
    if done == -2:
        raise NotImplementedError
    if done == 0:
        raise tls_error(b'ENGINE_by_id("' + name + b'") failed')
    if done < 0:
        raise tls_error(b'ENGINE_set_default("' + name + b'", ENGINE_METHOD_ALL) failed')
