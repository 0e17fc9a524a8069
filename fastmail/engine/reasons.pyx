# Why a session ended: the one place that decides it, and the words it is said in.
#
# Where an end is decided, call ends() with a Reason and a How, before the session is closed. The first call
# wins: what goes wrong while the session is being closed is not why it ended. session_close() writes
#
#     session ended: client closed connection (no_auth_attempts) while in auth state, client: …, server: …
#
# at the reason's level, for sessions that never reached the relay. Where another line has told it already
# (nginx's, mostly), call ends_told() with the level of that line: nothing more is written then, unless the
# reason is more severe. A line that doesn't name the peer to blame hasn't told it. Without any call the
# reason is internal_failure, an error.
#
# Sessions use client_left() and upstream_failed() for peers that leave, break or fall silent: they know the
# reason by the phase. A client that was refused something and may go on has no end yet: Login.tried keeps how
# its last attempt failed (return refused(l, REASON_…)), for when it leaves.

ctypedef int Reason             # REASON_*

cdef enum:
    REASON_NONE = 0             # the session goes on
    # the relay
    REASON_CLIENT_CLOSED
    REASON_UPSTREAM_CLOSED
    REASON_PROXY_TIMEOUT
    REASON_SHUTDOWN             # worker_shutdown_timeout
    REASON_CLIENT_ERROR
    REASON_UPSTREAM_ERROR
    # the client, before its relay
    REASON_NO_AUTH_ATTEMPTS
    REASON_AUTH_FAILED          # the auth server refused the last attempt for good
    REASON_AUTH_TEMP_FAILED     # … for now
    REASON_AUTH_WAITING_CLIENT  # it began a login and didn't finish
    REASON_INVALID_BASE64
    REASON_INVALID_MECH
    REASON_CLEARTEXT_AUTH_DISABLED
    REASON_TOO_MANY_ERRORS
    REASON_TOO_MANY_COMMANDS
    REASON_TOO_LONG_COMMAND
    REASON_EARLY_TALKER
    REASON_PROXY_PROTOCOL       # its PROXY header is none, or incomplete
    REASON_TLS_HANDSHAKE
    REASON_CLIENT_CERT_UNTRUSTED
    REASON_CLIENT_CERT_MISSING
    # the auth server
    REASON_AUTH_SERVER_TIMEOUT
    REASON_AUTH_SERVER_FAILED
    # the backend
    REASON_DEST_CONNECT_FAILED  # not a byte came from it
    REASON_DEST_TLS_FAILED
    REASON_DEST_PROTOCOL_FAILURE    # no reply, or it refused what only the proxy says
    REASON_DEST_AUTH_FAILED     # it refused the login or the envelope
    # we
    REASON_PROCESS_FULL         # worker_connections, descriptors
    REASON_SHUTTING_DOWN
    REASON_INTERNAL_FAILURE
    REASONS

cdef enum How:
    HOW_CLOSED                  # the peer sent FIN
    HOW_BROKEN                  # the peer sent RST, or the socket failed
    HOW_TIMED_OUT
    HOW_QUIT                    # the client said so
    HOW_REFUSED                 # the client was, or the backend did
    HOW_FAILED                  # everything else

cdef enum Side:
    SIDE_CLIENT
    SIDE_UPSTREAM
    SIDE_AUTH
    SIDE_PROXY

cdef struct ReasonRow:
    const char *word
    Side side                   # who ended it
    int level

cdef ReasonRow[REASONS] REASON_TABLE
REASON_TABLE[REASON_NONE] = ReasonRow(b"", SIDE_PROXY, LOG_ERR)
REASON_TABLE[REASON_CLIENT_CLOSED] = ReasonRow(b"client_closed", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_UPSTREAM_CLOSED] = ReasonRow(b"upstream_closed", SIDE_UPSTREAM, LOG_INFO)
REASON_TABLE[REASON_PROXY_TIMEOUT] = ReasonRow(b"proxy_timeout", SIDE_PROXY, LOG_INFO)
REASON_TABLE[REASON_SHUTDOWN] = ReasonRow(b"shutdown", SIDE_PROXY, LOG_INFO)
REASON_TABLE[REASON_CLIENT_ERROR] = ReasonRow(b"client_error", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_UPSTREAM_ERROR] = ReasonRow(b"upstream_error", SIDE_UPSTREAM, LOG_ERR)
REASON_TABLE[REASON_NO_AUTH_ATTEMPTS] = ReasonRow(b"no_auth_attempts", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_AUTH_FAILED] = ReasonRow(b"auth_failed", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_AUTH_TEMP_FAILED] = ReasonRow(b"auth_temp_failed", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_AUTH_WAITING_CLIENT] = ReasonRow(b"auth_waiting_client", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_INVALID_BASE64] = ReasonRow(b"invalid_base64", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_INVALID_MECH] = ReasonRow(b"invalid_mech", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_CLEARTEXT_AUTH_DISABLED] = ReasonRow(b"cleartext_auth_disabled", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_TOO_MANY_ERRORS] = ReasonRow(b"too_many_errors", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_TOO_MANY_COMMANDS] = ReasonRow(b"too_many_commands", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_TOO_LONG_COMMAND] = ReasonRow(b"too_long_command", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_EARLY_TALKER] = ReasonRow(b"early_talker", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_PROXY_PROTOCOL] = ReasonRow(b"proxy_protocol", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_TLS_HANDSHAKE] = ReasonRow(b"tls_handshake_not_finished", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_CLIENT_CERT_UNTRUSTED] = ReasonRow(b"client_ssl_cert_untrusted", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_CLIENT_CERT_MISSING] = ReasonRow(b"client_ssl_cert_missing", SIDE_CLIENT, LOG_INFO)
REASON_TABLE[REASON_AUTH_SERVER_TIMEOUT] = ReasonRow(b"auth_server_timeout", SIDE_AUTH, LOG_ERR)
REASON_TABLE[REASON_AUTH_SERVER_FAILED] = ReasonRow(b"auth_server_failed", SIDE_AUTH, LOG_ERR)
REASON_TABLE[REASON_DEST_CONNECT_FAILED] = ReasonRow(b"proxy_dest_connect_failed", SIDE_UPSTREAM, LOG_ERR)
REASON_TABLE[REASON_DEST_TLS_FAILED] = ReasonRow(b"proxy_dest_tls_failed", SIDE_UPSTREAM, LOG_ERR)
REASON_TABLE[REASON_DEST_PROTOCOL_FAILURE] = ReasonRow(
    b"proxy_dest_protocol_failure", SIDE_UPSTREAM, LOG_ERR)
REASON_TABLE[REASON_DEST_AUTH_FAILED] = ReasonRow(b"proxy_dest_auth_failed", SIDE_UPSTREAM, LOG_INFO)
REASON_TABLE[REASON_PROCESS_FULL] = ReasonRow(b"process_full", SIDE_PROXY, LOG_INFO)
REASON_TABLE[REASON_SHUTTING_DOWN] = ReasonRow(b"shutting_down", SIDE_PROXY, LOG_INFO)
REASON_TABLE[REASON_INTERNAL_FAILURE] = ReasonRow(b"internal_failure", SIDE_PROXY, LOG_ERR)

cdef struct End:                # of a session
    uint8_t reason              # Reason
    uint8_t how
    uint8_t told                # the level of the line that has told it; 0: none has


cdef inline void ends(End *e, Reason reason, How how) noexcept nogil:
    """This is why the session ends; it gets a line of its own. Only the first call counts."""
    ends_told(e, reason, how, 0)


cdef inline void ends_told(End *e, Reason reason, How how, int level) noexcept nogil:
    """The same, and a line of this level has just said so, naming who is to blame."""
    if e.reason == REASON_NONE:
        e.reason = reason
        e.how = how
        e.told = <uint8_t> level


cdef inline bint end_is_told(const End *e) noexcept nogil:
    return 0 < e.told and e.told <= REASON_TABLE[e.reason].level


cdef void line_end(Line *line, const End *e, Span auth) noexcept nogil:
    """``session ended: WHO DID WHAT (REASON)``; ``auth`` is the auth server's name."""
    cdef Side side = REASON_TABLE[e.reason].side
    line_puts(line, b"session ended: ")
    if side == SIDE_CLIENT:
        line_puts(line, b"client ")
    elif side == SIDE_UPSTREAM:
        line_puts(line, b"upstream ")
    elif side == SIDE_AUTH:
        line_puts(line, b"auth http server ")
        line_put(line, auth.data, auth.size)
        line_puts(line, b" ")
    else:
        line_puts(line, b"proxy ")
    if e.reason == REASON_SHUTTING_DOWN:
        line_puts(line, b"shut down")
    elif e.how == HOW_CLOSED:
        line_puts(line, b"closed connection")
    elif e.how == HOW_BROKEN:
        line_puts(line, b"connection failed")
    elif e.how == HOW_TIMED_OUT:
        line_puts(line, b"timed out")
    elif e.how == HOW_QUIT:
        line_puts(line, b"logged out")
    elif e.how == HOW_REFUSED:
        line_puts(line, b"was refused" if side == SIDE_CLIENT else b"refused login")
    else:
        line_puts(line, b"failed")
    line_puts(line, b" (")
    line_puts(line, REASON_TABLE[e.reason].word)
    line_puts(line, b")")
