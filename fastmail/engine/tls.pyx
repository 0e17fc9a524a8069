# TLS on a channel: libssl over a BIO of our own, which knows what the epoll edges have told. It therefore
# never asks the kernel for bytes that are not there, and a read ahead takes whole records in one call.
# With kernel TLS (ssl_conf_command Options KTLS) libssl works on the descriptor itself.

cdef enum:
    RECORD_MAX = 16 * 1024      # bytes of what is said in one
    HELD_MAX = RECORD_MAX + 4096    # bytes of records that wait for others

cdef BIO_METHOD *channel_bio = NULL
cdef const char *tls_handshake_excess = b"peer sent too many bytes in SSL handshake"

cdef struct Link:               # what a BIO knows
    Core *core
    Channel *channel
    bint gathering              # records wait for others, to go out with them
    bint more                   # what is sent now is followed by more at once
    bint finished               # our direction has been ended
    Meter meter                 # what it has received
    unsigned long failed        # why reading has failed, until somebody asks; 0: it has not
    char *held                  # as it goes out: what is in clear is wiped, this is not
    uint32_t start
    uint32_t end


cdef int bio_read(BIO *b, char *buf, int n) noexcept nogil:
    cdef Link *link = <Link *> BIO_get_data(b)
    cdef Channel *c = link.channel
    cdef ssize_t got
    BIO_clear_retry_flags(b)
    if meter_is_spent(&link.meter):
        BIO_set_retry_read(b)
        return -1
    if link.meter.rest.end > link.meter.rest.start:
        return meter_give(&link.meter, buf, <uint32_t> n)
    if c.ended:
        return 0
    if not c.raw:
        BIO_set_retry_read(b)
        return -1
    while True:
        got = recv(c.fd, buf, <size_t> n, 0)
        if got > 0:
            if got < n and not c.hangup and not c.cuts:
                c.raw = False
            got = meter_take(&link.meter, buf, <uint32_t> got)
            if got < 0:
                c.ended = True
            return <int> got
        if got == 0:
            c.raw = False
            c.ended = True
            return 0
        if fm_errno() == EINTR:
            continue
        c.raw = False
        if fm_errno() == EAGAIN:
            BIO_set_retry_read(b)
        else:
            c.ended = True
        return -1


cdef bint link_push(Link *link) noexcept nogil:
    """Send what is held. False: some is left, or an error; errno tells which (EAGAIN)."""
    cdef ssize_t sent
    while link.end > link.start:
        sent = channel_put(link.channel, link.held + link.start, link.end - link.start, link.more)
        if sent < 0:
            return False
        link.start += <uint32_t> sent
    link_return_block(link)
    return True


cdef void link_return_block(Link *link) noexcept nogil:
    """The engine keeps one: so large a block makes malloc() tidy up whenever it comes back."""
    if link.core.spare == NULL:
        link.core.spare = link.held
    else:
        free(link.held)
    link.held = NULL
    link.start = link.end = 0


cdef bint link_hold(Link *link, const char *buf, uint32_t n) noexcept nogil:
    """Put it with what waits already. False: no room."""
    if link.held == NULL:
        link.held = link.core.spare
        link.core.spare = NULL
    if link.held == NULL:
        link.held = <char *> malloc(HELD_MAX)
    if link.held == NULL or HELD_MAX - link.end < n:
        return False
    memcpy(link.held + link.end, buf, n)
    link.end += n
    return True


cdef int bio_write(BIO *b, const char *buf, int n) noexcept nogil:
    cdef Link *link = <Link *> BIO_get_data(b)
    cdef ssize_t sent
    BIO_clear_retry_flags(b)
    if link.meter.reading and meter_answers(&link.meter):
        return n                # the session is over
    if link.gathering and link_hold(link, buf, <uint32_t> n):
        return n
    if link_push(link):
        sent = channel_put(link.channel, buf, <size_t> n, link.more)
        if sent >= 0:
            return <int> sent
    if fm_errno() == EAGAIN:
        BIO_set_retry_write(b)
    return -1


cdef long bio_ctrl(BIO *b, int command, long number, void *p) noexcept nogil:
    if command == BIO_CTRL_EOF:
        return (<Link *> BIO_get_data(b)).channel.ended
    return command == BIO_CTRL_FLUSH or command == BIO_CTRL_DUP


cdef int bio_destroy(BIO *b) noexcept nogil:
    cdef Link *link = <Link *> BIO_get_data(b)
    if link != NULL:
        link_return_block(link)
        buffer_free(&link.meter.rest)
        free(link)
        BIO_set_data(b, NULL)
    return 1


cdef inline Link *tls_link(const Channel *c) noexcept nogil:
    """NULL: not TLS, or kernel TLS, where libssl has the descriptor itself."""
    if c.ssl == NULL or SSL_get_options(c.ssl) & SSL_OP_ENABLE_KTLS:
        return NULL
    return <Link *> BIO_get_data(SSL_get_wbio(c.ssl))


cdef void tls_gather(Channel *c) noexcept nogil:
    """From now on, until tls_release(), records wait to go out in one call: the last ones of a handshake with
    the greeting, the last reply with close_notify. One after the other, the second would wait for the peer's
    delayed acknowledgement of the first."""
    cdef Link *link = tls_link(c)
    if link != NULL:
        link.gathering = True


cdef void tls_release(Channel *c) noexcept nogil:
    cdef Link *link = tls_link(c)
    if link != NULL:
        link.gathering = False
        link_push(link)


cdef void tls_release_last(Channel *c) noexcept nogil:
    """Behind close_notify: our direction ends, in the same segment if there is room."""
    cdef Link *link = tls_link(c)
    cdef bint all_sent
    if link == NULL:
        return
    link.gathering = False
    link.more = True
    all_sent = link_push(link)
    link.more = False
    if all_sent and not link.finished:
        link.finished = True
        shutdown(c.fd, SHUT_WR)


cdef bint tls_holds(const Channel *c) noexcept nogil:
    """Something was given to TLS that has not gone out, as there was no room."""
    cdef Link *link = tls_link(c)
    return link != NULL and link.end > link.start


cdef int tls_prepare() except -1:
    global channel_bio
    if channel_bio == NULL:
        channel_bio = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"fastmail channel")
        if channel_bio == NULL:
            raise MemoryError
        BIO_meth_set_read(channel_bio, bio_read)
        BIO_meth_set_write(channel_bio, bio_write)
        BIO_meth_set_ctrl(channel_bio, bio_ctrl)
        BIO_meth_set_destroy(channel_bio, bio_destroy)
    return 0

tls_prepare()


cdef bint tls_begin(Core *core, Channel *c, SSL_CTX *context, bint accepting,
                    Buffer *received) noexcept nogil:
    """From now on the channel speaks TLS; the handshake is still to be done. ``received``, unless NULL, are
    its first bytes, which are taken over. False: no memory."""
    cdef SSL *ssl
    cdef BIO *bio
    cdef Link *link
    ERR_clear_error()
    ssl = SSL_new(context)
    if ssl == NULL:
        return False
    if SSL_get_options(ssl) & SSL_OP_ENABLE_KTLS:
        if not SSL_set_fd(ssl, c.fd):
            SSL_free(ssl)
            return False
    else:
        bio = BIO_new(channel_bio)
        link = <Link *> calloc(1, sizeof(Link))
        if bio == NULL or link == NULL:
            BIO_free(bio)
            free(link)
            SSL_free(ssl)
            return False
        link.core = core
        link.channel = c
        link.meter.handshake = HANDSHAKE_MAX
        if received != NULL:
            link.meter.rest = received[0]
            memset(received, 0, sizeof(Buffer))
        BIO_set_data(bio, link)
        BIO_set_init(bio, 1)
        SSL_set_bio(ssl, bio, bio)
    if accepting:
        SSL_set_accept_state(ssl)
    else:
        SSL_set_connect_state(ssl)
    c.ssl = ssl
    c.readable = True
    if received == NULL:
        c.raw = True
    return True


cdef void tls_relays(const Channel *c) noexcept nogil:
    """The login is over: libssl need not wipe what it has decrypted, and of records without data only the
    share of a turn is bounded."""
    cdef Link *link = tls_link(c)
    if c.ssl != NULL:
        SSL_clear_options(c.ssl, SSL_OP_CLEANSE_PLAINTEXT)
    if link != NULL:
        link.meter.patient = True


cdef void tls_count_message(const SSL *ssl) noexcept nogil:
    """libssl has told of a handshake message after the handshake: one record may hold hundreds."""
    cdef Link *link
    if not SSL_get_options(ssl) & SSL_OP_ENABLE_KTLS:
        link = <Link *> BIO_get_data(SSL_get_wbio(ssl))
        if link.meter.reading:
            meter_answers(&link.meter)


cdef ssize_t tls_result(Channel *c, int result, bint reading) noexcept nogil:
    """What a call of libssl that did not succeed means, as channel_recv() and channel_send() say it."""
    cdef int err = fm_errno()
    cdef int what = SSL_get_error(c.ssl, result)
    cdef Link *link = tls_link(c)
    if what == SSL_ERROR_WANT_READ and reading:
        c.readable = link != NULL and meter_is_spent(&link.meter)   # others have their turn first
        return IO_AGAIN
    if what == SSL_ERROR_WANT_WRITE or what == SSL_ERROR_WANT_READ:
        c.blocked = True
        if reading:
            c.readable = False      # until something can be sent
        elif what == SSL_ERROR_WANT_READ and (c.raw or (link != NULL and link.meter.rest.end)):
            c.watched = False       # it waits for what has come already: no edge will tell of that
        return IO_AGAIN
    c.readable = False
    if link != NULL and link.failed and ERR_peek_error() == 0:
        ERR_new()
        ERR_set_error(ERR_GET_LIB(link.failed), ERR_GET_REASON(link.failed), NULL)
    if what != SSL_ERROR_ZERO_RETURN:
        c.quiet = True
    if reading and (what == SSL_ERROR_ZERO_RETURN or ERR_peek_error() == 0):
        return IO_CLOSED            # a connection that broke counts as one that was closed, as with nginx
    fm_set_errno(err if what == SSL_ERROR_SYSCALL else 0)
    return IO_ERROR


cdef ssize_t tls_handshake(Channel *c) noexcept nogil:
    """1: done; else as tls_result()."""
    cdef int result
    cdef ssize_t outcome
    cdef Link *link = tls_link(c)
    ERR_clear_error()
    if link != NULL:
        meter_turn(&link.meter, link.core.turn)
    result = SSL_do_handshake(c.ssl)
    if result == 1:
        if link != NULL:
            meter_shaken(&link.meter)
        return 1
    outcome = tls_result(c, result, True)
    if outcome == IO_AGAIN and link != NULL and link.meter.handshake == 0:
        return tls_excess(c)
    return outcome


cdef ssize_t tls_excess(Channel *c) noexcept nogil:
    """The peer makes us work and sends nothing: it is an error without a number (channel_recv_failed())."""
    c.readable = False
    c.quiet = c.excess = True
    fm_set_errno(0)
    return IO_ERROR


cdef ssize_t tls_recv(Channel *c, char *buf, size_t n) noexcept nogil:
    """Fill ``buf`` from as many records as have come."""
    cdef size_t got = 0
    cdef int result
    cdef ssize_t outcome = IO_AGAIN
    cdef Link *link = tls_link(c)
    ERR_clear_error()
    if c.excess:
        return tls_excess(c)
    if link != NULL:
        meter_turn(&link.meter, link.core.turn)
        link.meter.reading = True
    while got < n:
        result = SSL_read(c.ssl, buf + got, <int> (n - got))
        if result > 0:
            got += <size_t> result
            if link != NULL:
                meter_data(&link.meter, <uint32_t> result)
            if c.raw or c.ended or (link != NULL and link.meter.rest.end) or SSL_has_pending(c.ssl):
                continue
            c.readable = False      # to ask again would take a block for nothing
            break
        outcome = tls_result(c, result, True)
        if outcome == IO_AGAIN and link != NULL and meter_is_exceeded(&link.meter):
            outcome = tls_excess(c)
        if got == 0:
            break
        if outcome != IO_AGAIN:
            c.readable = True       # to be found again by the next read, or write
            if link != NULL:
                link.failed = ERR_peek_error()
            ERR_clear_error()
        break
    if link != NULL:
        link.meter.reading = False
    return <ssize_t> got if got else outcome


cdef ssize_t tls_send(Channel *c, const char *buf, size_t n) noexcept nogil:
    """What has been taken may still be held (tls_holds()): then the channel is blocked."""
    cdef Link *link = tls_link(c)
    cdef size_t sent = 0
    cdef size_t part
    cdef int result
    cdef ssize_t outcome
    ERR_clear_error()
    if link != NULL:
        meter_turn(&link.meter, link.core.turn)     # a message that has begun is read on first
    while sent < n:
        part = n - sent
        if link != NULL and part > RECORD_MAX:
            part = RECORD_MAX
            link.more = True        # the kernel fills segments from several records
        result = SSL_write(c.ssl, buf + sent, <int> part)
        if link != NULL:
            link.more = False
        if result > 0:
            sent += <size_t> result
            continue
        outcome = tls_result(c, result, False)
        if outcome == IO_AGAIN:
            return <ssize_t> sent if sent else IO_AGAIN
        return IO_ERROR
    return <ssize_t> sent


cdef ssize_t tls_send_last(Channel *c, const char *buf, size_t n) noexcept nogil:
    """Send, and close_notify in the same segment. Like tls_send(), if not all finds room."""
    cdef ssize_t sent
    tls_gather(c)
    sent = tls_send(c, buf, n)
    if sent == <ssize_t> n:
        SSL_shutdown(c.ssl)
        ERR_clear_error()
        tls_release_last(c)
    else:
        tls_release(c)
    return sent


cdef bint tls_goodbye(Channel *c) noexcept nogil:
    """Send close_notify. True: nothing more is to come, or can be sent; else the peer's is due."""
    cdef int result
    if c.quiet or SSL_in_init(c.ssl):
        return True
    ERR_clear_error()
    if not SSL_get_shutdown(c.ssl) & SSL_SENT_SHUTDOWN:
        result = SSL_shutdown(c.ssl)
        if result < 0:
            return True
    return c.ended or SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN != 0


cdef void tls_free(Channel *c) noexcept nogil:
    if c.ssl != NULL:
        if not SSL_in_init(c.ssl):
            # A connection that ended without close_notify leaves its session good, as with nginx.
            SSL_set_shutdown(c.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(c.ssl)
        c.ssl = NULL
        ERR_clear_error()


cdef bint peer_is_to_blame(int err) noexcept nogil:
    """Not our memory or configuration: an error of the network; one that a peer's bytes cause (the oldest
    queued by libssl); or none at all, which is an end that nobody has announced."""
    cdef unsigned long e = ERR_peek_error()
    if e == 0:
        return err == 0 or is_network_error(err)
    return ERR_GET_LIB(e) == ERR_LIB_SSL and ERR_GET_REASON(e) >= 100


cdef void line_tls_errors(Line *line) noexcept nogil:
    """`` (SSL: error:…:data error:…)``: all that libssl has queued (reference 1.7)."""
    cdef char text[256]
    cdef const char *data
    cdef int flags
    cdef unsigned long e
    if ERR_peek_error() == 0:
        return
    line_puts(line, b" (SSL:")
    while True:
        data = NULL
        flags = 0
        e = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)
        if e == 0:
            break
        ERR_error_string_n(e, text, sizeof(text))
        line_puts(line, b" ")
        line_puts(line, text)
        if data != NULL and data[0] and flags & ERR_TXT_STRING:
            line_puts(line, b":")
            line_puts(line, data)
    line_puts(line, b")")


# --- what the auth server is told ------------------------------------------------------------------

cdef void put_bio(Buffer *out, BIO *bio, bint escaped) noexcept nogil:
    cdef char *data = NULL
    cdef long n = BIO_get_mem_data(bio, &data)
    if n > 0:
        if escaped:
            put_http_escaped(out, span_of(data, <size_t> n))
        else:
            put(out, data, <size_t> n)


cdef void put_tls_name(Buffer *out, const char *header, const X509_NAME *name) noexcept nogil:
    cdef BIO *bio = BIO_new(BIO_s_mem())
    cdef char *text = NULL
    if bio == NULL:
        out.failed = True
        return
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253)
    if BIO_get_mem_data(bio, &text) > 0:    # nginx leaves out what is empty
        puts(out, header)
        put_bio(out, bio, False)
        puts(out, b"\r\n")
    BIO_free(bio)


cdef void put_tls_headers(Buffer *out, const SSL *ssl, int verify, bint with_certificate) noexcept nogil:
    """Auth-SSL and its companions (reference 6.1)."""
    cdef X509 *certificate
    puts(out, b"Auth-SSL: on\r\nAuth-SSL-Protocol: ")
    puts(out, SSL_get_version(ssl))
    puts(out, b"\r\nAuth-SSL-Cipher: ")
    puts(out, SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)))
    puts(out, b"\r\n")
    if verify == VERIFY_OFF:
        return
    certificate = SSL_get0_peer_certificate(ssl)
    puts(out, b"Auth-SSL-Verify: ")
    if certificate == NULL:
        puts(out, b"NONE\r\n")
        return
    if SSL_get_verify_result(ssl) == X509_V_OK:
        puts(out, b"SUCCESS")
    else:
        puts(out, b"FAILED:")
        puts(out, X509_verify_cert_error_string(SSL_get_verify_result(ssl)))
    puts(out, b"\r\n")
    put_tls_name(out, b"Auth-SSL-Subject: ", X509_get_subject_name(certificate))
    put_tls_name(out, b"Auth-SSL-Issuer: ", X509_get_issuer_name(certificate))
    put_tls_numbers(out, certificate)
    if with_certificate:
        put_tls_certificate(out, certificate)


cdef void put_tls_numbers(Buffer *out, const X509 *certificate) noexcept nogil:
    cdef unsigned char digest[64]
    cdef unsigned int size = 0
    cdef unsigned int i
    cdef char pair[2]
    cdef const char *digits = b"0123456789abcdef"
    cdef BIO *bio = BIO_new(BIO_s_mem())
    if bio == NULL:
        out.failed = True
        return
    i2a_ASN1_INTEGER(bio, X509_get0_serialNumber(certificate))
    puts(out, b"Auth-SSL-Serial: ")
    put_bio(out, bio, False)
    BIO_free(bio)
    puts(out, b"\r\nAuth-SSL-Fingerprint: ")
    X509_digest(certificate, EVP_sha1(), digest, &size)
    for i in range(size):
        pair[0] = digits[digest[i] >> 4]
        pair[1] = digits[digest[i] & 15]
        put(out, pair, 2)
    puts(out, b"\r\n")


cdef void put_tls_certificate(Buffer *out, X509 *certificate) noexcept nogil:
    cdef BIO *bio = BIO_new(BIO_s_mem())
    if bio == NULL:
        out.failed = True
        return
    PEM_write_bio_X509(bio, certificate)
    puts(out, b"Auth-SSL-Cert: ")
    put_bio(out, bio, True)
    puts(out, b"\r\n")
    BIO_free(bio)
