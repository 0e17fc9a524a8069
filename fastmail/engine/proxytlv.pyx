# What a PROXY header of version 2 says of the client's TLS (PROXY protocol section 2.2, reference 7.7).

cdef enum:
    TLV_ALPN = 0x01
    TLV_AUTHORITY = 0x02
    TLV_SSL = 0x20
    TLV_SSL_VERSION = 0x21
    TLV_SSL_CN = 0x22
    TLV_SSL_CIPHER = 0x23
    TLV_SSL_SIG_ALG = 0x24
    TLV_SSL_KEY_ALG = 0x25
    TLV_VALUE_MAX = 255         # bytes; a longer value is left out: cut, it would be another

    CLIENT_SSL = 1
    CLIENT_CERT_CONN = 2        # the client has shown a certificate in this connection
    CLIENT_CERT_SESS = 4        # or in the one that it resumes


cdef void put_tlv(Buffer *out, int type, const char *value, size_t n) noexcept nogil:
    cdef char head[3]
    if n == 0 or n > TLV_VALUE_MAX:
        return
    head[0] = <char> type
    head[1] = 0
    head[2] = <char> n
    put(out, head, 3)
    put(out, value, n)


cdef void put_tlv_text(Buffer *out, int type, const char *text) noexcept nogil:
    if text != NULL:
        put_tlv(out, type, text, strlen(text))


cdef void put_tls_tlvs(Buffer *out, const SSL *ssl) noexcept nogil:
    cdef const unsigned char *protocol = NULL
    cdef unsigned int size = 0
    cdef X509 *certificate = SSL_get0_peer_certificate(ssl)
    cdef uint32_t at
    cdef long verify = 1
    cdef char head[8]
    cdef size_t n
    put_tlv_text(out, TLV_AUTHORITY, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name))
    SSL_get0_alpn_selected(ssl, &protocol, &size)
    put_tlv(out, TLV_ALPN, <const char *> protocol, size)
    memset(head, 0, sizeof(head))
    head[0] = <char> TLV_SSL
    head[3] = CLIENT_SSL
    if certificate != NULL:
        verify = SSL_get_verify_result(ssl)
        head[3] |= CLIENT_CERT_SESS
        if not SSL_session_reused(ssl):
            head[3] |= CLIENT_CERT_CONN
    head[4] = <char> (verify >> 24 & 255)
    head[5] = <char> (verify >> 16 & 255)
    head[6] = <char> (verify >> 8 & 255)
    head[7] = <char> (verify & 255)
    at = buffer_used(out)
    put(out, head, 8)
    put_tlv_text(out, TLV_SSL_VERSION, SSL_get_version(ssl))
    put_common_name(out, certificate)
    put_tlv_text(out, TLV_SSL_CIPHER, SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)))
    put_own_certificate(out, SSL_get_certificate(ssl))
    if out.failed:
        return
    n = buffer_used(out) - at - 3
    out.data[out.start + at + 1] = <char> (n >> 8)
    out.data[out.start + at + 2] = <char> (n & 255)


cdef void put_common_name(Buffer *out, const X509 *certificate) noexcept nogil:
    cdef char name[TLV_VALUE_MAX + 2]
    cdef int n
    if certificate == NULL:
        return
    n = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof(name))
    if n > 0:
        put_tlv(out, TLV_SSL_CN, name, <size_t> n)
    ERR_clear_error()


cdef void put_own_certificate(Buffer *out, const X509 *certificate) noexcept nogil:
    """How ours is signed, and what key it has: RSA-SHA256, RSA2048."""
    cdef char text[32]
    cdef EVP_PKEY *key
    cdef uint32_t bits, i = 0
    cdef char digits[10]
    if certificate == NULL:
        return
    put_tlv_text(out, TLV_SSL_SIG_ALG, OBJ_nid2sn(X509_get_signature_nid(certificate)))
    key = X509_get0_pubkey(certificate)
    if key == NULL:
        return
    if EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA:
        memcpy(text, b"RSA", 4)
    elif EVP_PKEY_get_base_id(key) == EVP_PKEY_EC:
        memcpy(text, b"EC", 3)
    else:
        return
    bits = <uint32_t> EVP_PKEY_get_bits(key)
    while True:
        digits[i] = <char> (48 + bits % 10)
        i += 1
        bits //= 10
        if bits == 0:
            break
    bits = <uint32_t> strlen(text)
    while i:
        i -= 1
        text[bits] = digits[i]
        bits += 1
    put_tlv(out, TLV_SSL_KEY_ALG, text, bits)
