# What makes a protocol: the functions that the login driver (login.pyx), the auth judgement
# (auth.pyx) and the backend login (upstream.pyx) call, one row each in PROTOCOL_TABLE.

cdef enum Parsed:
    PARSE_MORE                  # the command is not complete
    PARSE_COMMAND
    PARSE_INVALID               # a syntax error, skipped up to its line end; it counts for max_errors
    PARSE_TOO_LONG              # the rest is not worth waiting for
    PARSE_LITERAL               # IMAP: the client waits for a go-ahead

cdef enum Action:
    ACT_READ                    # nothing to do without more input
    ACT_NEXT                    # go on with the next command
    ACT_INVALID                 # answer "invalid command", uncounted, then go on
    ACT_AUTH                    # credentials are complete: ask the auth server
    ACT_CLOSE                   # send what is in output, then close
    ACT_TLS                     # send what is in output, then start TLS
    ACT_FLUSH                   # send what is in output before anything else is parsed

cdef enum UpstreamStep:
    UP_MORE                     # wait for the backend (after sending what is in order)
    UP_NEXT                     # this reply is dealt with: look at the next
    UP_SKIP                     # this line belongs to a reply that is not complete
    UP_TLS                      # the backend is ready for the handshake
    UP_ACCEPTED
    UP_REJECTED                 # a negative or unexpected reply
    UP_ERROR                    # we cannot go on; logged by who found it

cdef struct Protocol:
    const char *name
    const char *challenge       # what comes before a SASL challenge
    const char *certificate_bad     # complete line, instead of a greeting: ssl_verify_client
    const char *certificate_missing
    const char *sasl_command
    int words_logged            # of a command that is too long: what comes before its arguments
    bint client_host            # the auth server is told the client's host name
    bint needs_password         # to log in at the backend
    bint empty_status_is_ok     # an empty Auth-Status is not taken for a failure
    void (*greeting)(Login *l) noexcept nogil
    void (*early_talker)(Login *l) noexcept nogil   # NULL: the greeting is never held back
    int (*verb)(Span word) noexcept nogil           # 0: not a command
    Parsed (*parse)(Login *l) noexcept nogil
    Action (*command)(Login *l) noexcept nogil
    void (*invalid)(Login *l) noexcept nogil
    void (*rejected)(Login *l, Span text, Span code) noexcept nogil
    void (*mechanism_refused)(Login *l) noexcept nogil  # it is none of those that are offered
    void (*tls_required)(Login *l) noexcept nogil       # before credentials, under "starttls only"
    void (*internal_error)(Login *l) noexcept nogil     # the last reply: the session ends after it
    const char *bye             # how a reply begins that announces a close; NULL: there is none
    # What is said before we close; the code is SMTP's. See say_goodbye().
    void (*goodbye)(Login *l, const char *code, const char *why) noexcept nogil
    UpstreamStep (*upstream)(Login *l, Span line) noexcept nogil
    bint (*client_said)(int upstream) noexcept nogil    # the reply due in this state is to the client's words

cdef Protocol[3] PROTOCOL_TABLE
PROTOCOL_TABLE[0] = Protocol(
    b"imap", b"+ ", b"* BYE SSL certificate error\r\n",
    b"* BYE No required SSL certificate\r\n", b"AUTHENTICATE", 2, False, True, False,
    imap_greeting, NULL, imap_verb, imap_parse, imap_command, imap_invalid, imap_rejected,
    imap_mechanism_refused, imap_tls_required, imap_internal_error, b"* BYE", imap_goodbye,
    imap_upstream, imap_client_said)
PROTOCOL_TABLE[1] = Protocol(
    b"pop3", b"+ ", b"-ERR SSL certificate error\r\n",
    b"-ERR No required SSL certificate\r\n", b"AUTH", 1, False, True, False,
    pop3_greeting, NULL, pop3_verb, pop3_parse, pop3_command, pop3_invalid, pop3_rejected,
    pop3_mechanism_refused, pop3_tls_required, pop3_internal_error, NULL, pop3_goodbye,
    pop3_upstream, pop3_client_said)
PROTOCOL_TABLE[2] = Protocol(
    b"smtp", b"334 ", b"421 4.7.1 SSL certificate error\r\n",
    b"421 4.7.1 No required SSL certificate\r\n", b"AUTH", 1, True, False, True,
    smtp_greeting, smtp_early_talker, smtp_verb, smtp_parse, smtp_command, smtp_invalid, smtp_rejected,
    smtp_mechanism_refused, smtp_tls_required, smtp_internal_error, b"421", smtp_goodbye,
    smtp_upstream, smtp_client_said)

cdef dict PROTOCOLS = {"imap": 0, "pop3": 1, "smtp": 2}
cdef dict CAPABILITY_TEXTS = {
    "imap": imap_capability, "pop3": pop3_capability, "smtp": smtp_capability}
