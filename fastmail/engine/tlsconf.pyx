# A server's TLS context.

cdef class TLSContext:
    cdef SSL_CTX *ctx
    cdef int verify

    def __init__(self, bytes certificate, bytes key):
        self.ctx = SSL_CTX_new(TLS_server_method())
        SSL_CTX_set_options(self.ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION
                            | SSL_OP_NO_COMPRESSION)
        SSL_CTX_set_mode(self.ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                         | SSL_MODE_RELEASE_BUFFERS)
        SSL_CTX_set_read_ahead(self.ctx, 1)
        if SSL_CTX_use_certificate_chain_file(self.ctx, certificate) != 1 \
                or SSL_CTX_use_PrivateKey_file(self.ctx, key, SSL_FILETYPE_PEM) != 1:
            raise ValueError("no certificate")

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)
