# The dialogues without sockets, as Python classes: what the tests and the fuzzers drive. They call
# the functions that sessions call.

cdef void dialogue_note(void *owner, int level, int err, const char *text, Span quoted,
                        const char *tail) noexcept nogil:
    cdef Buffer *log = <Buffer *> owner
    if log.end:
        puts(log, b"\n")
    puts(log, LEVELS[level])
    puts(log, b": ")
    puts(log, text)
    if quoted.data != NULL:
        puts(log, b'"')
        put_span(log, quoted)
        puts(log, b'"')
    if tail != NULL:
        puts(log, tail)


cdef class Dialogue:
    """A client's login without a socket; see the type stub."""

    cdef Server server
    cdef Login *login
    cdef Buffer notes
    cdef End end
    cdef bytes unread           # fed, but not taken once credentials were complete

    def __init__(self, Server server not None, *, bytes client=b"127.0.0.1", bytes salt=b""):
        if self.login != NULL:
            raise RuntimeError("already initialised")
        self.server = server
        self.unread = b""
        self.login = login_new(&server.conf, &self.notes, dialogue_note, &self.end)
        if self.login == NULL:
            raise MemoryError
        if <size_t> len(client) >= sizeof(self.login.client):
            raise ValueError("not an address")
        memcpy(self.login.client, <char *> client, len(client))
        put(&self.login.salt, salt, len(salt))
        answer_reset(&self.login.answer)

    def __dealloc__(self):
        login_free(self.login)
        buffer_free(&self.notes)

    cdef bytes output(self):
        return take_bytes(&self.login.output)

    def greeting(self):
        self.login.server.protocol.greeting(self.login)
        return self.output()

    def feed(self, bytes data not None):
        cdef Login *l = self.login
        cdef uint32_t room
        cdef size_t at = 0, n
        cdef Action action
        cdef list replies = []
        data = self.unread + data
        while True:
            room = login_room(l)
            n = min(<size_t> room, len(data) - at)
            if n:
                memcpy(l.input.data + l.input.end, <const char *> data + at, n)
                buffer_filled(&l.input, <uint32_t> n)
                at += n
            action = login_run(l)
            replies.append(self.output())
            if action == ACT_FLUSH or (action == ACT_READ and at < <size_t> len(data)):
                continue
            login_rest(l)
            self.unread = data[at:]
            return b"".join(replies), self.wanted(action)

    cdef str wanted(self, Action action):
        return {ACT_READ: "read", ACT_AUTH: "auth", ACT_TLS: "tls"}.get(action, "close")

    def secured(self):
        self.login.tls = True

    def auth_request(self):
        cdef Buffer out
        memset(&out, 0, sizeof(out))
        put_auth_request(self.login, &out)
        return take_bytes(&out)

    def auth_cached(self, *, uint64_t now=0):
        answer_reset(&self.login.answer)
        return self.judged(now) if auth_cache_find(self.login, now, False) else None

    def auth_answer(self, bytes header not None, *, uint64_t now=0):
        cdef Login *l = self.login
        answer_reset(&l.answer)
        if not put(&l.answer.data, header, len(header)):
            raise MemoryError
        return self.judged(now) if answer_feed(&l.answer) == ANSWER_DONE else ("error", b"", 0)

    cdef tuple judged(self, uint64_t now):
        cdef Login *l = self.login
        cdef Outcome outcome = auth_judge(l)
        auth_cache_keep(l, outcome, now)
        if outcome == OUTCOME_PROXY:
            return "proxy", span_bytes(buffer_span(&l.upstream_text)), 0
        if outcome == OUTCOME_REJECTED:
            return "rejected", self.output(), l.wait
        return ("again", b"", l.wait) if outcome == OUTCOME_AGAIN else ("error", b"", 0)

    def resume(self):
        return self.feed(b"")

    def upstream(self):
        return Upstream(self)

    @property
    def credentials(self):
        cdef Login *l = self.login
        return ((<bytes> method_name(l.method)).decode(), span_bytes(buffer_span(&l.login)),
                span_bytes(buffer_span(&l.password)))

    @property
    def log(self):
        return span_bytes(buffer_span(&self.notes)).decode("utf-8", "surrogateescape").splitlines()

    @property
    def leftover(self):
        return span_bytes(buffer_span(&self.login.input)) + self.unread


cdef class Upstream:
    """The login at the backend without a socket; see the type stub."""

    cdef Dialogue dialogue
    cdef bytes answer

    def __init__(self, Dialogue dialogue not None):
        self.dialogue = dialogue
        self.answer = b""
        upstream_start(dialogue.login)

    def feed(self, bytes data not None):
        cdef Login *l = self.dialogue.login
        cdef size_t at = 0, n
        cdef UpstreamStep result = UP_MORE
        cdef list orders = []
        while True:
            n = min(<size_t> upstream_room(l), len(data) - at)
            if n:
                memcpy(l.reply.data + l.reply.end, <const char *> data + at, n)
                buffer_filled(&l.reply, <uint32_t> n)
                at += n
            result = upstream_run(l)
            orders.append(take_bytes(&l.order))
            if result != UP_MORE or at == <size_t> len(data):
                break
        if result == UP_ACCEPTED:
            upstream_accepted(l)
        if result != UP_MORE:
            self.answer = self.dialogue.output() + bytes(data[at:] if result == UP_ACCEPTED else b"")
        return b"".join(orders), \
            "read" if result == UP_MORE else "accepted" if result == UP_ACCEPTED else "rejected"

    @property
    def reply(self):
        return self.answer
