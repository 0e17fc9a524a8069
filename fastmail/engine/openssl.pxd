# What the engine takes from OpenSSL (3.0 and later). Declarations only.

from libc.stdint cimport uint64_t

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL
    ctypedef struct SSL_CTX
    ctypedef struct SSL_SESSION
    ctypedef struct SSL_CIPHER
    ctypedef struct BIO
    ctypedef struct BIO_METHOD
    ctypedef struct X509
    ctypedef struct X509_NAME
    ctypedef struct ASN1_INTEGER
    ctypedef struct EVP_MD

    enum:
        SSL_ERROR_NONE
        SSL_ERROR_SSL
        SSL_ERROR_WANT_READ
        SSL_ERROR_WANT_WRITE
        SSL_ERROR_SYSCALL
        SSL_ERROR_ZERO_RETURN
        SSL_OP_ENABLE_KTLS
        SSL_SENT_SHUTDOWN
        SSL_RECEIVED_SHUTDOWN
        BIO_CTRL_EOF
        BIO_CTRL_FLUSH
        BIO_CTRL_PUSH
        BIO_CTRL_POP
        BIO_CTRL_DUP
        BIO_TYPE_SOURCE_SINK
        ERR_TXT_STRING
        XN_FLAG_RFC2253
        X509_V_OK
        X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
        X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
        X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        X509_V_ERR_CERT_UNTRUSTED
        X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
        SSL_FILETYPE_PEM
        SSL_MODE_ENABLE_PARTIAL_WRITE
        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        SSL_MODE_RELEASE_BUFFERS
        SSL_OP_IGNORE_UNEXPECTED_EOF
        SSL_OP_NO_RENEGOTIATION
        SSL_OP_NO_COMPRESSION

    ctypedef struct SSL_METHOD
    const SSL_METHOD *TLS_server_method() noexcept
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *method) noexcept
    void SSL_CTX_free(SSL_CTX *ctx) noexcept
    int SSL_CTX_use_certificate_chain_file(SSL_CTX *ctx, const char *file) noexcept
    int SSL_CTX_use_PrivateKey_file(SSL_CTX *ctx, const char *file, int type) noexcept
    uint64_t SSL_CTX_set_options(SSL_CTX *ctx, uint64_t op) noexcept
    long SSL_CTX_set_mode(SSL_CTX *ctx, long mode) noexcept
    void SSL_CTX_set_read_ahead(SSL_CTX *ctx, int on) noexcept
    SSL *SSL_new(SSL_CTX *ctx) noexcept
    void SSL_free(SSL *ssl) noexcept
    void SSL_set_bio(SSL *ssl, BIO *rbio, BIO *wbio) noexcept
    int SSL_set_fd(SSL *ssl, int fd) noexcept
    void SSL_set_accept_state(SSL *ssl) noexcept
    void SSL_set_connect_state(SSL *ssl) noexcept
    int SSL_do_handshake(SSL *ssl) noexcept
    int SSL_read(SSL *ssl, void *buf, int n) noexcept
    int SSL_write(SSL *ssl, const void *buf, int n) noexcept
    int SSL_shutdown(SSL *ssl) noexcept
    int SSL_in_init(const SSL *ssl) noexcept
    int SSL_get_error(const SSL *ssl, int result) noexcept
    uint64_t SSL_get_options(const SSL *ssl) noexcept
    SSL_CTX *SSL_get_SSL_CTX(const SSL *ssl) noexcept
    SSL_SESSION *SSL_get0_session "SSL_get_session"(const SSL *ssl) noexcept
    int SSL_CTX_remove_session(SSL_CTX *ctx, SSL_SESSION *session) noexcept
    int SSL_session_reused(const SSL *ssl) noexcept
    long SSL_get_verify_result(const SSL *ssl) noexcept
    X509 *SSL_get0_peer_certificate(const SSL *ssl) noexcept
    const char *SSL_get_version(const SSL *ssl) noexcept
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl) noexcept
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher) noexcept
    const char *SSL_get_servername(const SSL *ssl, int type) noexcept

cdef extern from "openssl/bio.h" nogil:
    int BIO_get_new_index() noexcept
    BIO_METHOD *BIO_meth_new(int type, const char *name) noexcept
    int BIO_meth_set_write(BIO_METHOD *m, int (*write)(BIO *, const char *, int) noexcept nogil) noexcept
    int BIO_meth_set_read(BIO_METHOD *m, int (*read)(BIO *, char *, int) noexcept nogil) noexcept
    int BIO_meth_set_ctrl(BIO_METHOD *m, long (*ctrl)(BIO *, int, long, void *) noexcept nogil) noexcept
    BIO *BIO_new(const BIO_METHOD *m) noexcept
    int BIO_free(BIO *b) noexcept
    BIO_METHOD *BIO_s_mem() noexcept
    long BIO_get_mem_data(BIO *b, char **data) noexcept
    void BIO_set_data(BIO *b, void *data) noexcept
    void *BIO_get_data(BIO *b) noexcept
    void BIO_set_init(BIO *b, int init) noexcept
    void BIO_clear_retry_flags(BIO *b) noexcept
    void BIO_set_retry_read(BIO *b) noexcept
    void BIO_set_retry_write(BIO *b) noexcept

cdef extern from "openssl/err.h" nogil:
    void ERR_clear_error() noexcept
    unsigned long ERR_get_error() noexcept
    unsigned long ERR_peek_error() noexcept
    unsigned long ERR_peek_last_error() noexcept
    unsigned long ERR_get_error_all(const char **file, int *line, const char **func, const char **data,
                                    int *flags) noexcept
    void ERR_error_string_n(unsigned long e, char *buf, size_t n) noexcept
    enum:
        ERR_LIB_SSL
    int ERR_GET_REASON(unsigned long e) noexcept
    int ERR_GET_LIB(unsigned long e) noexcept

cdef extern from "openssl/x509.h" nogil:
    X509_NAME *X509_get_subject_name(const X509 *x) noexcept
    X509_NAME *X509_get_issuer_name(const X509 *x) noexcept
    int X509_NAME_print_ex(BIO *out, const X509_NAME *name, int indent, unsigned long flags) noexcept
    const ASN1_INTEGER *X509_get0_serialNumber(const X509 *x) noexcept
    int i2a_ASN1_INTEGER(BIO *bp, const ASN1_INTEGER *a) noexcept
    int X509_digest(const X509 *x, const EVP_MD *type, unsigned char *md, unsigned int *size) noexcept
    const char *X509_verify_cert_error_string(long n) noexcept
    const EVP_MD *EVP_sha1() noexcept

cdef extern from "openssl/pem.h" nogil:
    int PEM_write_bio_X509(BIO *b, X509 *x) noexcept
