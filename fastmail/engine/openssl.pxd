# What the engine takes from OpenSSL (3.0 and later). Declarations only.

from libc.stdint cimport int64_t, uint64_t

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
    ctypedef struct EVP_MD_CTX
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_CIPHER
    ctypedef struct EVP_CIPHER_CTX
    ctypedef struct EVP_MAC_CTX
    ctypedef struct X509_CRL
    ctypedef struct X509_STORE
    ctypedef struct X509_STORE_CTX
    ctypedef struct SSL_CONF_CTX
    struct stack_st_X509
    struct stack_st_X509_NAME

    enum:
        SSL_OP_CIPHER_SERVER_PREFERENCE
        SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS
        SSL_OP_NO_ANTI_REPLAY
        SSL_OP_NO_SSLv3
        SSL_OP_NO_TICKET
        SSL_OP_NO_TLSv1
        SSL_OP_NO_TLSv1_1
        SSL_OP_NO_TLSv1_2
        SSL_OP_NO_TLSv1_3
        SSL_MODE_NO_AUTO_CHAIN
        SSL_VERIFY_NONE
        SSL_VERIFY_PEER
        SSL_SESS_CACHE_OFF
        SSL_SESS_CACHE_CLIENT
        SSL_SESS_CACHE_SERVER
        SSL_SESS_CACHE_NO_AUTO_CLEAR
        SSL_SESS_CACHE_NO_INTERNAL
        SSL_SESS_CACHE_NO_INTERNAL_STORE
        SSL_TLSEXT_ERR_OK
        SSL_TLSEXT_ERR_ALERT_FATAL
        SSL_CONF_FLAG_FILE
        SSL_CONF_FLAG_SERVER
        SSL_CONF_FLAG_CLIENT
        SSL_CONF_FLAG_CERTIFICATE
        SSL_CONF_FLAG_SHOW_ERRORS
        SSL_CONF_TYPE_FILE
        SSL_CONF_TYPE_DIR
        OPENSSL_NPN_NEGOTIATED
        TLSEXT_NAMETYPE_host_name
        TLS1_3_VERSION
        X509_V_FLAG_CRL_CHECK
        X509_V_FLAG_CRL_CHECK_ALL
        NID_commonName
        EVP_PKEY_EC
        EVP_PKEY_RSA
        NID_subject_alt_name
        SSL_ERROR_NONE
        SSL_ERROR_SSL
        SSL_ERROR_WANT_READ
        SSL_ERROR_WANT_WRITE
        SSL_ERROR_SYSCALL
        SSL_ERROR_ZERO_RETURN
        SSL_OP_ENABLE_KTLS
        SSL_OP_CLEANSE_PLAINTEXT
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
    const SSL_METHOD *TLS_method() noexcept
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *method) noexcept
    void SSL_CTX_free(SSL_CTX *ctx) noexcept
    int SSL_CTX_use_certificate(SSL_CTX *ctx, X509 *x) noexcept
    int SSL_CTX_use_PrivateKey(SSL_CTX *ctx, EVP_PKEY *key) noexcept
    int SSL_CTX_set1_chain(SSL_CTX *ctx, stack_st_X509 *chain) noexcept
    void SSL_certs_clear(SSL *ssl) noexcept
    int SSL_use_cert_and_key(SSL *ssl, X509 *x, EVP_PKEY *key, stack_st_X509 *chain, int override) noexcept
    void SSL_CTX_set_cert_cb(SSL_CTX *ctx, int (*cb)(SSL *, void *) noexcept nogil, void *arg) noexcept
    uint64_t SSL_CTX_get_options(const SSL_CTX *ctx) noexcept
    uint64_t SSL_CTX_set_options(SSL_CTX *ctx, uint64_t op) noexcept
    uint64_t SSL_CTX_clear_options(SSL_CTX *ctx, uint64_t op) noexcept
    int SSL_CTX_set_min_proto_version(SSL_CTX *ctx, int version) noexcept
    int SSL_CTX_set_max_proto_version(SSL_CTX *ctx, int version) noexcept
    int SSL_CTX_set_cipher_list(SSL_CTX *ctx, const char *text) noexcept
    int SSL_CTX_set1_groups_list(SSL_CTX *ctx, const char *text) noexcept
    void SSL_CTX_set_verify(SSL_CTX *ctx, int mode, int (*cb)(int, X509_STORE_CTX *) noexcept nogil) noexcept
    void SSL_CTX_set_verify_depth(SSL_CTX *ctx, int depth) noexcept
    X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *ctx) noexcept
    void SSL_CTX_set_client_CA_list(SSL_CTX *ctx, stack_st_X509_NAME *names) noexcept
    stack_st_X509_NAME *SSL_CTX_get_client_CA_list(const SSL_CTX *ctx) noexcept
    int SSL_CTX_set_session_id_context(SSL_CTX *ctx, const unsigned char *id, unsigned int n) noexcept
    long SSL_CTX_set_session_cache_mode(SSL_CTX *ctx, long mode) noexcept
    long SSL_CTX_sess_set_cache_size(SSL_CTX *ctx, long n) noexcept
    long SSL_CTX_set_timeout(SSL_CTX *ctx, long seconds) noexcept
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX *ctx,
        int (*cb)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int,
                  void *) noexcept nogil,
        void *arg) noexcept
    int SSL_select_next_proto(unsigned char **out, unsigned char *size, const unsigned char *server,
                              unsigned int server_size, const unsigned char *client,
                              unsigned int client_size) noexcept
    SSL_CONF_CTX *SSL_CONF_CTX_new() noexcept
    void SSL_CONF_CTX_free(SSL_CONF_CTX *c) noexcept
    unsigned int SSL_CONF_CTX_set_flags(SSL_CONF_CTX *c, unsigned int flags) noexcept
    void SSL_CONF_CTX_set_ssl_ctx(SSL_CONF_CTX *c, SSL_CTX *ctx) noexcept
    int SSL_CONF_CTX_finish(SSL_CONF_CTX *c) noexcept
    int SSL_CONF_cmd(SSL_CONF_CTX *c, const char *name, const char *value) noexcept
    int SSL_CONF_cmd_value_type(SSL_CONF_CTX *c, const char *name) noexcept
    long SSL_CTX_set_mode(SSL_CTX *ctx, long mode) noexcept
    void SSL_CTX_set_read_ahead(SSL_CTX *ctx, int on) noexcept
    int SSL_CTX_set_num_tickets(SSL_CTX *ctx, size_t count) noexcept
    SSL *SSL_new(SSL_CTX *ctx) noexcept
    void SSL_free(SSL *ssl) noexcept
    void SSL_set_bio(SSL *ssl, BIO *rbio, BIO *wbio) noexcept
    int SSL_set_fd(SSL *ssl, int fd) noexcept
    void SSL_set_accept_state(SSL *ssl) noexcept
    void SSL_set_connect_state(SSL *ssl) noexcept
    int SSL_do_handshake(SSL *ssl) noexcept
    int SSL_has_pending(const SSL *ssl) noexcept
    int SSL_read(SSL *ssl, void *buf, int n) noexcept
    int SSL_write(SSL *ssl, const void *buf, int n) noexcept
    int SSL_shutdown(SSL *ssl) noexcept
    int SSL_get_shutdown(const SSL *ssl) noexcept
    BIO *SSL_get_wbio(const SSL *ssl) noexcept
    int SSL_in_init(const SSL *ssl) noexcept
    int SSL_get_error(const SSL *ssl, int result) noexcept
    uint64_t SSL_get_options(const SSL *ssl) noexcept
    SSL_CTX *SSL_get_SSL_CTX(const SSL *ssl) noexcept
    SSL_SESSION *SSL_get0_session "SSL_get_session"(const SSL *ssl) noexcept
    void *SSL_CTX_get_ex_data(const SSL_CTX *ctx, int index) noexcept
    int SSL_CTX_set_ex_data(SSL_CTX *ctx, int index, void *data) noexcept
    void SSL_CTX_sess_set_new_cb(SSL_CTX *ctx, int (*cb)(SSL *, SSL_SESSION *) noexcept nogil) noexcept
    void SSL_CTX_sess_set_get_cb(
        SSL_CTX *ctx, SSL_SESSION *(*cb)(SSL *, const unsigned char *, int, int *) noexcept nogil) noexcept
    void SSL_CTX_sess_set_remove_cb(SSL_CTX *ctx,
                                    void (*cb)(SSL_CTX *, SSL_SESSION *) noexcept nogil) noexcept
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX *ctx, int (*cb)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *,
                                int) noexcept nogil) noexcept
    long SSL_CTX_get_timeout(const SSL_CTX *ctx) noexcept
    void SSL_SESSION_free(SSL_SESSION *session) noexcept
    void *SSL_get_ex_data(const SSL *ssl, int index) noexcept
    int SSL_set_ex_data(SSL *ssl, int index, void *data) noexcept
    int SSL_set_session(SSL *ssl, SSL_SESSION *session) noexcept
    long SSL_set_tlsext_host_name(SSL *ssl, const char *name) noexcept
    int SSL_version(const SSL *ssl) noexcept
    int i2d_SSL_SESSION(const SSL_SESSION *session, unsigned char **out) noexcept
    SSL_SESSION *d2i_SSL_SESSION(SSL_SESSION **session, const unsigned char **data, long n) noexcept
    const unsigned char *SSL_SESSION_get_id(const SSL_SESSION *session, unsigned int *n) noexcept
    uint64_t SSL_clear_options(SSL *ssl, uint64_t op) noexcept
    void SSL_set_shutdown(SSL *ssl, int mode) noexcept
    int SSL_CTX_remove_session(SSL_CTX *ctx, SSL_SESSION *session) noexcept
    int SSL_session_reused(const SSL *ssl) noexcept
    long SSL_get_verify_result(const SSL *ssl) noexcept
    X509 *SSL_get0_peer_certificate(const SSL *ssl) noexcept
    stack_st_X509 *SSL_get0_verified_chain(const SSL *ssl) noexcept
    int SSL_get_ex_data_X509_STORE_CTX_idx() noexcept
    X509 *SSL_get_certificate(const SSL *ssl) noexcept
    void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **data, unsigned int *n) noexcept
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
    int BIO_meth_set_destroy(BIO_METHOD *m, int (*destroy)(BIO *) noexcept nogil) noexcept
    BIO *BIO_new(const BIO_METHOD *m) noexcept
    int BIO_free(BIO *b) noexcept
    BIO_METHOD *BIO_s_mem() noexcept
    BIO *BIO_new_file(const char *path, const char *mode) noexcept
    BIO *BIO_new_mem_buf(const void *data, int n) noexcept
    int BIO_reset(BIO *b) noexcept
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
    void ERR_new() noexcept
    void ERR_set_error(int lib, int reason, const char *format, ...) noexcept
    unsigned long ERR_peek_error() noexcept
    unsigned long ERR_peek_last_error() noexcept
    unsigned long ERR_get_error_all(const char **file, int *line, const char **func, const char **data,
                                    int *flags) noexcept
    void ERR_error_string_n(unsigned long e, char *buf, size_t n) noexcept
    enum:
        ERR_LIB_PEM
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
    const EVP_MD *EVP_sha256() noexcept
    char *X509_NAME_oneline(const X509_NAME *name, char *buf, int n) noexcept
    int X509_check_host(X509 *x, const char *name, size_t n, unsigned int flags, char **found) noexcept
    int X509_check_ip_asc(X509 *x, const char *address, unsigned int flags) noexcept
    void OPENSSL_free(void *p) noexcept
    ctypedef struct ASN1_TIME
    const ASN1_TIME *X509_get0_notBefore(const X509 *x) noexcept
    const ASN1_TIME *X509_get0_notAfter(const X509 *x) noexcept
    EVP_PKEY *X509_get0_pubkey(const X509 *x) noexcept
    int X509_get_signature_nid(const X509 *x) noexcept
    const char *OBJ_nid2sn(int nid) noexcept
    void X509_free(X509 *x) noexcept
    int X509_up_ref(X509 *x) noexcept
    void X509_CRL_free(X509_CRL *crl) noexcept
    void *X509_STORE_CTX_get_ex_data(X509_STORE_CTX *ctx, int index) noexcept
    int X509_STORE_CTX_get_error_depth(const X509_STORE_CTX *ctx) noexcept
    int X509_STORE_add_cert(X509_STORE *store, X509 *x) noexcept
    int X509_STORE_add_crl(X509_STORE *store, X509_CRL *crl) noexcept
    int X509_STORE_set_flags(X509_STORE *store, unsigned long flags) noexcept
    X509_NAME *X509_NAME_dup(const X509_NAME *name) noexcept
    void X509_NAME_free(X509_NAME *name) noexcept
    int X509_NAME_cmp(const X509_NAME *a, const X509_NAME *b) noexcept
    int X509_NAME_digest(const X509_NAME *name, const EVP_MD *type, unsigned char *md,
                         unsigned int *size) noexcept
    int X509_NAME_get_text_by_NID(X509_NAME *name, int nid, char *buf, int n) noexcept
    stack_st_X509 *sk_X509_new_null() noexcept
    int sk_X509_push(stack_st_X509 *s, X509 *x) noexcept
    int sk_X509_num(const stack_st_X509 *s) noexcept
    X509 *sk_X509_value(const stack_st_X509 *s, int i) noexcept
    stack_st_X509_NAME *sk_X509_NAME_new_null() noexcept
    int sk_X509_NAME_push(stack_st_X509_NAME *s, X509_NAME *name) noexcept
    int sk_X509_NAME_num(const stack_st_X509_NAME *s) noexcept
    X509_NAME *sk_X509_NAME_value(const stack_st_X509_NAME *s, int i) noexcept

cdef extern from "openssl/evp.h" nogil:
    EVP_MD_CTX *EVP_MD_CTX_new() noexcept
    void EVP_MD_CTX_free(EVP_MD_CTX *c) noexcept
    int EVP_DigestInit_ex(EVP_MD_CTX *c, const EVP_MD *type, void *engine) noexcept
    int EVP_DigestUpdate(EVP_MD_CTX *c, const void *data, size_t n) noexcept
    int EVP_DigestFinal_ex(EVP_MD_CTX *c, unsigned char *md, unsigned int *size) noexcept
    const EVP_CIPHER *EVP_aes_128_cbc() noexcept
    const EVP_CIPHER *EVP_aes_256_cbc() noexcept
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX *c, const EVP_CIPHER *type, void *engine, const unsigned char *key,
                           const unsigned char *iv) noexcept
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX *c, const EVP_CIPHER *type, void *engine, const unsigned char *key,
                           const unsigned char *iv) noexcept
    void EVP_PKEY_free(EVP_PKEY *key) noexcept
    int EVP_PKEY_get_bits(const EVP_PKEY *key) noexcept
    int EVP_PKEY_get_base_id(const EVP_PKEY *key) noexcept

cdef extern from "openssl/pem.h" nogil:
    ctypedef int pem_password_cb(char *buf, int size, int writing, void *owner) noexcept nogil
    int PEM_write_bio_PrivateKey(BIO *b, EVP_PKEY *key, const void *cipher, const unsigned char *password,
                                 int size, pem_password_cb *cb, void *owner) noexcept
    int PEM_write_bio_X509(BIO *b, X509 *x) noexcept
    X509 *PEM_read_bio_X509(BIO *b, X509 **x, pem_password_cb *cb, void *owner) noexcept
    X509 *PEM_read_bio_X509_AUX(BIO *b, X509 **x, pem_password_cb *cb, void *owner) noexcept
    X509_CRL *PEM_read_bio_X509_CRL(BIO *b, X509_CRL **crl, pem_password_cb *cb, void *owner) noexcept
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *b, EVP_PKEY **key, pem_password_cb *cb, void *owner) noexcept
    enum:
        PEM_R_NO_START_LINE


# What differs between versions and builds of OpenSSL, or is deprecated and still what nginx calls.
cdef extern from * nogil:
    """
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    #include <openssl/conf.h>
    #include <openssl/core_names.h>
    #include <openssl/dh.h>
    #include <openssl/ssl.h>
    #include <openssl/store.h>
    #include <openssl/ui.h>
    #include <openssl/x509v3.h>
    #ifndef OPENSSL_NO_ENGINE
    #include <openssl/engine.h>
    #endif
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"

    /* Which step failed, NULL: none. */
    static const char *fm_set_dhparam(SSL_CTX *ctx, const char *path) {
        BIO *bio = BIO_new_file(path, "r");
        if (bio == NULL)
            return "BIO_new_file";
        DH *dh = PEM_read_bio_DHparams(bio, NULL, NULL, NULL);
        BIO_free(bio);
        if (dh == NULL)
            return "PEM_read_bio_DHparams";
        int done = SSL_CTX_set_tmp_dh(ctx, dh) == 1;
        DH_free(dh);
        return done ? NULL : "SSL_CTX_set_tmp_dh";
    }

    /* engine:ID:KEY without its "engine:". */
    static EVP_PKEY *fm_engine_key(const char *text, const char **failed) {
    #ifdef OPENSSL_NO_ENGINE
        *failed = "loading \"engine:...\" certificate keys is not supported";
        return NULL;
    #else
        const char *colon = strchr(text, ':');
        if (colon == NULL) {
            *failed = "invalid syntax";
            return NULL;
        }
        char *id = strndup(text, (size_t) (colon - text));
        ENGINE *engine = id ? ENGINE_by_id(id) : NULL;
        free(id);
        if (engine == NULL) {
            *failed = "ENGINE_by_id() failed";
            return NULL;
        }
        EVP_PKEY *key = NULL;
        *failed = "ENGINE_init() failed";
        if (ENGINE_init(engine)) {
            *failed = "ENGINE_load_private_key() failed";
            key = ENGINE_load_private_key(engine, colon + 1, NULL, NULL);
            ENGINE_finish(engine);
        }
        ENGINE_free(engine);
        return key;
    #endif
    }

    /* 1: done; 0: no such engine; -1: it cannot be the default; -2: this OpenSSL has no engines. */
    static int fm_engine_default(const char *id) {
    #ifdef OPENSSL_NO_ENGINE
        return -2;
    #else
        ENGINE *engine = ENGINE_by_id(id);
        if (engine == NULL)
            return 0;
        int done = ENGINE_set_default(engine, ENGINE_METHOD_ALL);
        ENGINE_free(engine);
        return done ? 1 : -1;
    #endif
    }
    #pragma GCC diagnostic pop

    /* store:URI without its "store:". */
    static EVP_PKEY *fm_store_key(const char *uri, pem_password_cb *cb, void *owner, const char **failed) {
        UI_METHOD *method = cb ? UI_UTIL_wrap_read_pem_callback(cb, 0) : NULL;
        OSSL_STORE_CTX *store = OSSL_STORE_open(uri, method, owner, NULL, NULL);
        EVP_PKEY *key = NULL;
        *failed = "OSSL_STORE_open() failed";
        if (store != NULL) {
            *failed = "OSSL_STORE_load() failed";
            while (key == NULL && !OSSL_STORE_eof(store)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(store);
                if (info == NULL)
                    continue;
                if (OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
                    key = OSSL_STORE_INFO_get1_PKEY(info);
                OSSL_STORE_INFO_free(info);
            }
            OSSL_STORE_close(store);
        }
        if (method != NULL)
            UI_destroy_method(method);
        return key;
    }

    /* 0: this OpenSSL has no certificate compression. */
    static int fm_compress_certificates(SSL_CTX *ctx, int on) {
    #ifdef SSL_OP_NO_TX_CERTIFICATE_COMPRESSION
        SSL_CTX_set_options(ctx, SSL_OP_NO_RX_CERTIFICATE_COMPRESSION);
        if (!on)
            SSL_CTX_set_options(ctx, SSL_OP_NO_TX_CERTIFICATE_COMPRESSION);
        else {
            SSL_CTX_clear_options(ctx, SSL_OP_NO_TX_CERTIFICATE_COMPRESSION);
            return SSL_CTX_compress_certs(ctx, 0);
        }
        return 1;
    #else
        return !on;
    #endif
    }

    /* The i-th DNS name of a certificate's subjectAltName: its size, -1 past the end, 0 for another kind.
       The caller frees the names. */
    static int fm_dns_name(const GENERAL_NAMES *names, int i, const char **name) {
        if (i >= sk_GENERAL_NAME_num(names))
            return -1;
        const GENERAL_NAME *entry = sk_GENERAL_NAME_value(names, i);
        if (entry->type != GEN_DNS)
            return 0;
        *name = (const char *) ASN1_STRING_get0_data(entry->d.dNSName);
        return ASN1_STRING_length(entry->d.dNSName);
    }

    /* Seconds since 1970. 0: no, it is no time. */
    static int fm_seconds(const ASN1_TIME *t, int64_t *seconds) {
        int days, rest, known;
        ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
        known = epoch != NULL && ASN1_TIME_diff(&days, &rest, epoch, t);
        ASN1_TIME_free(epoch);
        if (known)
            *seconds = (int64_t) days * 86400 + rest;
        return known;
    }
    static GENERAL_NAMES *fm_alternative_names(const X509 *x) {
        return X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    }

    /* openssl.cnf, to be freed. One that is part of the engine knows the directory of the machine that it was
       built on only: it looks where Red Hat, Debian and the others keep the file. */
    static char *fm_configuration_file(void) {
    #if FASTMAIL_STATIC_OPENSSL
        static const char *const places[] = {
            "/etc/pki/tls/openssl.cnf", "/usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf",
        };
        if (secure_getenv("OPENSSL_CONF") == NULL)
            for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
                if (access(places[i], R_OK) == 0)
                    return OPENSSL_strdup(places[i]);
    #endif
        return CONF_get1_default_config_file();
    }

    /* openssl.cnf: its own section, unless the process has read it before, then "nginx", as a program of that
       name does. For nothing of OpenSSL to be used before. */
    static void fm_load_configuration(void) {
        char *file = fm_configuration_file();
        OPENSSL_INIT_SETTINGS *settings = OPENSSL_INIT_new();
        CONF *conf = NCONF_new(NULL);
        if (file && settings && OPENSSL_INIT_set_config_filename(settings, file))
            OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, settings);
        OPENSSL_INIT_free(settings);
        if (file && conf && NCONF_load(conf, file, NULL) > 0 && NCONF_get_string(conf, NULL, "nginx"))
            CONF_modules_load(conf, "nginx", CONF_MFLAGS_DEFAULT_SECTION | CONF_MFLAGS_IGNORE_RETURN_CODES);
        NCONF_free(conf);
        OPENSSL_free(file);
        ERR_clear_error();
    }

    static int fm_set_ticket_mac(EVP_MAC_CTX *mac, unsigned char *key, size_t n) {
        OSSL_PARAM params[3];
        params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, n);
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "sha256", 0);
        params[2] = OSSL_PARAM_construct_end();
        return EVP_MAC_CTX_set_params(mac, params);
    }

    static void fm_free_certificates(STACK_OF(X509) *chain) { sk_X509_pop_free(chain, X509_free); }
    static void fm_free_names(STACK_OF(X509_NAME) *names) { sk_X509_NAME_pop_free(names, X509_NAME_free); }
    """
    const char *fm_set_dhparam(SSL_CTX *ctx, const char *path) noexcept
    EVP_PKEY *fm_engine_key(const char *text, const char **failed) noexcept
    int fm_engine_default(const char *id) noexcept
    EVP_PKEY *fm_store_key(const char *uri, pem_password_cb *cb, void *owner, const char **failed) noexcept
    int fm_compress_certificates(SSL_CTX *ctx, int on) noexcept
    ctypedef struct GENERAL_NAMES
    GENERAL_NAMES *fm_alternative_names(const X509 *x) noexcept
    int fm_seconds(const ASN1_TIME *t, int64_t *seconds) noexcept
    int fm_dns_name(const GENERAL_NAMES *names, int i, const char **name) noexcept
    void GENERAL_NAMES_free(GENERAL_NAMES *names) noexcept
    void fm_load_configuration() noexcept
    bint FASTMAIL_STATIC_OPENSSL
    int fm_set_ticket_mac(EVP_MAC_CTX *mac, unsigned char *key, size_t n) noexcept
    void fm_free_certificates(stack_st_X509 *chain) noexcept
    void fm_free_names(stack_st_X509_NAME *names) noexcept

cdef extern from "openssl/crypto.h" nogil:
    const char *OPENSSL_VERSION_TEXT
    enum:
        OPENSSL_VERSION
    const char *OpenSSL_version(int what) noexcept

cdef extern from "openssl/rand.h" nogil:
    int RAND_bytes(unsigned char *buf, int n) noexcept

cdef extern from "openssl/crypto.h" nogil:
    int CRYPTO_memcmp(const void *a, const void *b, size_t n) noexcept

cdef extern from "openssl/hmac.h" nogil:
    unsigned char *HMAC(const EVP_MD *type, const void *key, int key_size, const unsigned char *data,
                        size_t n, unsigned char *md, unsigned int *size) noexcept
