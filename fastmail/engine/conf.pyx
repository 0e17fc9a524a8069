# What the engine knows of the configuration: one ServerConf per `server {}`, filled once from Python
# and never changed while the worker lives.

cdef enum:                  # mechanisms, as *_auth lists them
    MECH_PLAIN = 1
    MECH_LOGIN = 2
    MECH_CRAM_MD5 = 4
    MECH_EXTERNAL = 8
    MECH_APOP = 16
    MECH_NONE = 32

cdef dict MECHANISMS = {
    "plain": MECH_PLAIN, "login": MECH_LOGIN, "cram-md5": MECH_CRAM_MD5,
    "external": MECH_EXTERNAL, "apop": MECH_APOP, "none": MECH_NONE,
}

# The order in which nginx advertises them, whatever the order in the configuration.
cdef tuple ADVERTISED = (
    (MECH_PLAIN, b"PLAIN"), (MECH_LOGIN, b"LOGIN"),
    (MECH_CRAM_MD5, b"CRAM-MD5"), (MECH_EXTERNAL, b"EXTERNAL"),
)

cdef enum StartTls:
    STARTTLS_OFF = 0
    STARTTLS_ON
    STARTTLS_ONLY

cdef enum:
    AUTH_ADDRESSES_MAX = 16     # that are asked one after the other
    CACHE_TIME_MAX = 1 << 30    # milliseconds, 12 days: who leaves should not be let in for months

cdef dict STARTTLS = {"off": STARTTLS_OFF, "on": STARTTLS_ON, "only": STARTTLS_ONLY}

cdef struct BindAddress:        # proxy_bind
    Address address
    Span text                   # as written, for the log

cdef struct AuthAddress:        # one of the auth server's
    Address address
    Span text                   # numeric address and port, or unix:PATH, for the log

cdef struct ServerConf:
    Core *core                  # the engine that serves it
    const Protocol *protocol
    uint32_t index              # in the order given to Engine()
    Span server_name
    StartTls starttls
    SSL_CTX *tls                # NULL: the server has no certificate
    TLSNames *tls_names         # its certificates
    int verify                  # VERIFY_*: ssl_verify_client
    bint pass_client_cert
    Span capability             # complete reply to CAPABILITY, CAPA or EHLO in clear
    Span capability_tls         # the same over TLS
    Span methods                # complete reply to POP3's bare AUTH
    bint imap_id                # ID is answered before login
    bint response_codes         # pop3_capabilities has RESP-CODES (RFC 2449)
    uint32_t auth               # MECH_* bits
    uint32_t client_buffer      # bytes; the longest command
    uint32_t sasl_buffer        # bytes; the longest AUTH and the longest response
    uint32_t proxy_buffer       # bytes; the longest reply while logging in at the backend
    uint64_t timeout            # milliseconds, as all times here
    uint64_t proxy_timeout
    uint64_t greeting_delay
    uint32_t max_errors
    uint32_t max_commands
    uint32_t max_auth_attempts  # refusals without Auth-Wait that end a session; 0 is as 1
    bint proxy_pass_error_message
    bint xclient
    bint proxy_smtp_auth
    bint proxy_pipelining       # commands at once: POP3 whatever is offered, IMAP and SMTP if it is
    bint proxy_keepalive        # SO_KEEPALIVE towards backends
    uint64_t resolver_timeout   # 0: no resolver
    int proxy_protocol          # towards backends: 0 (off), 1 or 2
    SSL_CTX *proxy_tls          # NULL: backends are spoken to in clear
    bint proxy_ssl              # from the first byte
    bint proxy_ssl_starttls
    bint proxy_ssl_verify
    Span proxy_ssl_name         # empty: the backend's address
    bint proxy_ssl_server_name
    BackendSession *backend_sessions    # proxy_ssl_session_reuse
    LastBackend *last_backends  # proxy_preconnect; NULL: off
    Network *real_ip_from       # peers whose PROXY header is believed
    uint32_t real_ip_count
    Log log
    Log debug_log               # of clients that debug_connection names: the same targets, all levels
    BindAddress *binds          # proxy_bind
    uint32_t bind_count
    uint32_t bind_next          # where the next connection begins to try
    # the auth server
    AuthAddress *auth_addresses     # the first is asked first
    uint32_t auth_address_count
    Span auth_request_line      # "GET URI HTTP/1.x CRLF Host: … CRLF"
    Span auth_headers           # the configured auth_http_header lines
    uint64_t auth_timeout
    uint32_t keepalive          # idle connections kept; 0: one connection per request
    uint64_t keepalive_time     # milliseconds that one may be used after it was opened
    bint aiohttp                # Python carries the request
    SharedStore *auth_cache     # NULL: no answers are kept
    uint64_t cache_valid        # milliseconds that one that lets in is kept; 0: it is not
    uint64_t cache_invalid      # one that refuses
    unsigned char cache_secret[32]
    AuthConnection *idle        # most recently used first
    uint32_t idle_count
    AuthConnection *oldest      # new connections without a byte of an answer, in the order opened
    AuthConnection *newest
    bint kept_answered          # a kept connection has
    uint64_t kept_took          # milliseconds to the last answer on one
    uint64_t crowded_until      # milliseconds: until then no connection is kept
    bint auth_talks             # the auth server has sent what was not asked for: no connection is kept


cdef class Server:
    """One ``server {}`` of the mail block; see the type stub for the arguments."""

    cdef ServerConf conf
    cdef TLSContext tls         # keeps conf.tls alive
    cdef TLSContext proxy_tls
    cdef list kept              # the bytes that spans in conf point into
    cdef readonly str protocol

    def __init__(self, *, str protocol, bytes server_name, auth_http, bytes auth_http_host,
                 bytes auth_http_uri, auth_http_headers=(), uint64_t auth_http_timeout=60_000,
                 uint32_t auth_http_keepalive=0, uint64_t auth_http_keepalive_time=3_600_000,
                 str auth_http_transport="engine", auth=("plain",),
                 capabilities=(), uint64_t client_buffer=4096, uint64_t timeout=60_000,
                 uint32_t max_errors=5, uint64_t proxy_buffer=4096,
                 uint64_t proxy_timeout=86_400_000, bint proxy_pass_error_message=False,
                 bint xclient=True, bint proxy_smtp_auth=False, proxy_pipelining=None,
                 bint proxy_preconnect=False, bint proxy_socket_keepalive=False,
                 uint64_t smtp_greeting_delay=0, log=(), str starttls="off",
                 TLSContext tls=None, bint auth_http_pass_client_cert=False,
                 int proxy_protocol=0, set_real_ip_from=(),
                 uint32_t max_commands=1000, uint32_t max_auth_attempts=1, bint imap_id=True, proxy_bind=(),
                 uint64_t resolver_timeout=0,
                 TLSContext proxy_tls=None, bint proxy_ssl_starttls=False, bint proxy_ssl_verify=False,
                 bytes proxy_ssl_name=b"", bint proxy_ssl_server_name=False,
                 bint proxy_ssl_session_reuse=True, auth_http_cache=None):
        if protocol not in PROTOCOLS:
            raise ValueError(f'unknown mail protocol "{protocol}"')
        if auth_http_transport not in ("engine", "aiohttp"):
            raise ValueError(f'unknown auth_http_transport "{auth_http_transport}"')
        for name, size in ((f"{protocol}_client_buffer", client_buffer), ("proxy_buffer", proxy_buffer)):
            if not 0 < size <= BUFFER_MAX:
                raise OverflowError(f'"{name}" must be from 1 to {BUFFER_MAX} bytes')
        cdef ServerConf *c = &self.conf
        self.kept = []
        self.protocol = protocol
        c.protocol = PROTOCOL_TABLE + <int> PROTOCOLS[protocol]
        for name in auth:
            if name not in MECHANISMS:
                raise ValueError(f'unknown mechanism "{name}"')
            c.auth |= <uint32_t> MECHANISMS[name]
        c.server_name = self.keep(server_name)
        if starttls not in STARTTLS:
            raise ValueError(f'unknown starttls "{starttls}"')
        c.starttls = STARTTLS[starttls]
        words = [bytes(word) for word in capabilities]
        make = CAPABILITY_TEXTS[protocol]
        capability, methods = make(server_name, words, c.auth, c.starttls)
        c.capability = self.keep(capability)
        c.capability_tls = self.keep(make(server_name, words, c.auth, STARTTLS_OFF)[0])
        c.methods = self.keep(methods)
        c.response_codes = protocol == "pop3" and b"RESP-CODES" in [word.upper() for word in words]
        c.client_buffer = c.sasl_buffer = <uint32_t> client_buffer
        if protocol == "pop3":
            c.sasl_buffer = max(c.client_buffer, <uint32_t> POP3_SASL_MAX)
        c.proxy_buffer = <uint32_t> proxy_buffer
        c.timeout = timeout
        c.proxy_timeout = proxy_timeout
        c.greeting_delay = smtp_greeting_delay
        c.max_errors = max_errors
        c.max_commands = max_commands
        c.max_auth_attempts = max_auth_attempts
        c.imap_id = imap_id
        c.proxy_pass_error_message = proxy_pass_error_message
        c.xclient = xclient
        c.proxy_smtp_auth = proxy_smtp_auth
        # POP3 backends announce it in CAPA only, which is not asked for.
        c.proxy_pipelining = protocol != "pop3" if proxy_pipelining is None else proxy_pipelining
        c.proxy_keepalive = proxy_socket_keepalive
        if proxy_preconnect:
            c.last_backends = last_backends_new()
            if c.last_backends == NULL:
                raise MemoryError
        log_set(&c.log, log)
        self.set_binds(proxy_bind)
        if auth_http_cache is not None:
            self.set_auth_cache(auth_http_cache)
        self.set_auth_addresses(auth_http if isinstance(auth_http, list) else [auth_http])
        version = b"1.1" if auth_http_keepalive else b"1.0"
        c.auth_request_line = self.keep(
            b"GET " + auth_http_uri + b" HTTP/" + version + b"\r\nHost: " + auth_http_host + b"\r\n")
        c.auth_headers = self.keep(b"".join(
            bytes(name) + b": " + bytes(value) + b"\r\n" for name, value in auth_http_headers))
        c.auth_timeout = auth_http_timeout
        c.keepalive = auth_http_keepalive
        c.keepalive_time = auth_http_keepalive_time
        c.aiohttp = auth_http_transport == "aiohttp"
        c.pass_client_cert = auth_http_pass_client_cert
        self.tls = tls
        c.proxy_protocol = proxy_protocol
        c.resolver_timeout = resolver_timeout
        c.real_ip_from = networks_new(set_real_ip_from)
        c.real_ip_count = <uint32_t> len(set_real_ip_from)
        if tls is not None:
            c.tls = tls.ctx
            c.tls_names = &tls.names
            c.verify = tls.verify
        elif starttls != "off":
            raise ValueError("starttls needs a certificate")

        self.proxy_tls = proxy_tls
        if proxy_tls is not None:
            c.proxy_tls = proxy_tls.ctx
            c.proxy_ssl = not proxy_ssl_starttls
            c.proxy_ssl_starttls = proxy_ssl_starttls
            c.proxy_ssl_verify = proxy_ssl_verify
            c.proxy_ssl_name = self.keep(proxy_ssl_name)
            c.proxy_ssl_server_name = proxy_ssl_server_name
            if proxy_ssl_session_reuse:
                c.backend_sessions = backend_sessions_new(c.proxy_tls)
                if c.backend_sessions == NULL:
                    raise MemoryError

    cdef int set_auth_cache(self, tuple said) except -1:
        cdef ServerConf *c = &self.conf
        cdef SharedCache cache
        cdef uint64_t valid, invalid
        cache, valid, invalid = said
        if valid > CACHE_TIME_MAX or invalid > CACHE_TIME_MAX:
            raise OverflowError("auth_http_cache keeps nothing for so long")
        if RAND_bytes(c.cache_secret, sizeof(c.cache_secret)) != 1:
            ERR_clear_error()
            raise ValueError("RAND_bytes() failed")
        self.kept.append(cache)
        c.auth_cache = cache.store
        c.cache_valid = valid
        c.cache_invalid = invalid
        return 0

    cdef int set_auth_addresses(self, list addresses) except -1:
        cdef ServerConf *c = &self.conf
        if not addresses:
            raise ValueError("no address of an auth server")
        addresses = addresses[:AUTH_ADDRESSES_MAX]
        c.auth_addresses = <AuthAddress *> calloc(len(addresses), sizeof(AuthAddress))
        if c.auth_addresses == NULL:
            raise MemoryError
        for address in addresses:
            set_address(&c.auth_addresses[c.auth_address_count].address, address)
            c.auth_addresses[c.auth_address_count].text = self.keep(address_text(address))
            c.auth_address_count += 1
        return 0

    cdef int set_binds(self, proxy_bind) except -1:
        cdef ServerConf *c = &self.conf
        if not proxy_bind:
            return 0
        c.binds = <BindAddress *> calloc(len(proxy_bind), sizeof(BindAddress))
        if c.binds == NULL:
            raise MemoryError
        for address, text in proxy_bind:
            set_address(&c.binds[c.bind_count].address, address)
            c.binds[c.bind_count].text = self.keep(text)
            c.bind_count += 1
        return 0

    def __dealloc__(self):
        explicit_bzero(self.conf.cache_secret, sizeof(self.conf.cache_secret))
        free(self.conf.binds)
        free(self.conf.auth_addresses)
        free(self.conf.real_ip_from)
        free(self.conf.last_backends)
        backend_sessions_free(self.conf.backend_sessions)

    cdef Span keep(self, bytes data):
        self.kept.append(data)
        return span_of(data, len(data))
