#include "backend.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "answer.h"
#include "loop.h"

enum { LINE_LIMIT = 1024, OUT_LIMIT = 4096, TAG_LIMIT = 32, CHUNK = 256 * 1024 };

enum expecting { COMMAND, LOGIN_REST, SASL_RESPONSE };

struct backend {
    struct answerer base;
    enum protocol protocol;
    enum expecting expecting;
    uint64_t literal;  /* bytes of an IMAP literal still to skip */
    uint64_t incoming; /* bytes of XUP still to take */
    uint64_t outgoing; /* bytes of XDOWN still to send */
    size_t length;
    char tag[TAG_LIMIT];
    char line[LINE_LIMIT];
};

struct listener {
    struct peer peer;
    enum protocol protocol;
};

struct backend_counts backend_counts;

static struct listener listeners[PROTOCOLS];
static char download[CHUNK];

/* Replies to what one read brought, sent together: pipelined commands get one segment, as from real servers. */
static char out[OUT_LIMIT];
static size_t out_length;

static void reply(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void reply(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(out + out_length, sizeof out - out_length, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof out - out_length)
        die("backend: more pipelined replies than fit %d bytes", OUT_LIMIT);
    out_length += (size_t)length;
}

static void error(const char *what, const char *text)
{
    if (!backend_counts.errors++)
        snprintf(backend_counts.first_error, sizeof backend_counts.first_error, "%s: %.200s", what, text);
}

/* The answer to a command that the protocol ends with one line. */
static void good(struct backend *backend)
{
    switch (backend->protocol) {
    case IMAP:
        reply("%s OK completed\r\n", backend->tag);
        break;
    case POP3:
        reply("+OK\r\n");
        break;
    default:
        reply("250 2.0.0 Ok\r\n");
    }
}

static bool is(const char *word, const char *verb)
{
    size_t length = strlen(verb);

    return !strncasecmp(word, verb, length) && (word[length] == ' ' || !word[length]);
}

/* XDOWN, XUP and NOOP read the same in the three protocols. */
static bool common_command(struct backend *backend, const char *verb)
{
    if (is(verb, "XDOWN"))
        backend->outgoing += strtoull(verb + sizeof "XDOWN" - 1, NULL, 10);
    else if (is(verb, "XUP"))
        backend->incoming = strtoull(verb + sizeof "XUP" - 1, NULL, 10);
    else if (is(verb, "NOOP"))
        good(backend);
    else
        return false;
    return true;
}

/* A login line that ends in {n} or {n+} goes on after n bytes: RFC 3501 section 4.3, RFC 7888. */
static void imap_login(struct backend *backend, const char *line)
{
    size_t length = strlen(line);
    const char *open = strrchr(line, '{');

    backend->expecting = COMMAND;
    if (open && length && line[length - 1] == '}' && isdigit((unsigned char)open[1])) {
        backend->literal = strtoull(open + 1, NULL, 10);
        backend->expecting = LOGIN_REST;
        if (line[length - 2] != '+')
            reply("+ OK\r\n");
        return;
    }
    good(backend);
}

static void imap_command(struct backend *backend, const char *line)
{
    size_t tag = strcspn(line, " ");
    const char *verb = line[tag] ? line + tag + 1 : line + tag;

    if (!tag || tag >= TAG_LIMIT || !*verb) {
        error("imap backend did not understand", line);
        reply("* BAD no command\r\n");
        return;
    }
    memcpy(backend->tag, line, tag);
    backend->tag[tag] = 0;
    if (is(verb, "LOGIN")) {
        imap_login(backend, verb);
    } else if (is(verb, "AUTHENTICATE")) {
        const char *mechanism = strchr(verb, ' ');
        backend->expecting = mechanism && strchr(mechanism + 1, ' ') ? COMMAND : SASL_RESPONSE;
        if (backend->expecting == COMMAND)
            good(backend);
        else
            reply("+ \r\n");
    } else if (is(verb, "LOGOUT")) {
        reply("* BYE Logging out\r\n");
        good(backend);
        backend->base.leaving = true;
    } else if (is(verb, "CAPABILITY") || is(verb, "ID")) {
        reply("* %s\r\n", is(verb, "ID") ? "ID NIL" : "CAPABILITY IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN");
        good(backend);
    } else if (!common_command(backend, verb)) {
        error("imap backend did not understand", line);
        reply("%s BAD unknown command\r\n", backend->tag);
    }
}

static void pop3_command(struct backend *backend, const char *line)
{
    if (is(line, "QUIT")) {
        good(backend);
        backend->base.leaving = true;
    } else if (is(line, "USER") || is(line, "PASS") || is(line, "STAT")) {
        good(backend);
    } else if (is(line, "CAPA")) {
        reply("+OK\r\nUSER\r\nPIPELINING\r\n.\r\n");
    } else if (!common_command(backend, line)) {
        error("pop3 backend did not understand", line);
        reply("-ERR unknown command\r\n");
    }
}

static void smtp_command(struct backend *backend, const char *line)
{
    if (is(line, "EHLO")) {
        reply("250-backend.example.com\r\n250-PIPELINING\r\n250-XCLIENT NAME ADDR LOGIN\r\n"
              "250-AUTH PLAIN\r\n250 8BITMIME\r\n");
    } else if (is(line, "XCLIENT")) {
        reply("220 backend.example.com ESMTP\r\n");
    } else if (is(line, "AUTH")) {
        backend->expecting = strlen(line) > 11 ? COMMAND : SASL_RESPONSE;
        reply(backend->expecting == COMMAND ? "235 2.7.0 Ok\r\n" : "334 \r\n");
    } else if (is(line, "QUIT")) {
        reply("221 2.0.0 Bye\r\n");
        backend->base.leaving = true;
    } else if (is(line, "HELO") || is(line, "RSET") || is(line, "MAIL") || is(line, "RCPT")) {
        good(backend);
    } else if (!common_command(backend, line)) {
        error("smtp backend did not understand", line);
        reply("500 5.5.2 unknown command\r\n");
    }
}

static void handle_line(struct backend *backend, const char *line)
{
    switch (backend->expecting) {
    case LOGIN_REST:
        imap_login(backend, line);
        return;
    case SASL_RESPONSE:
        backend->expecting = COMMAND;
        if (backend->protocol == SMTP)
            reply("235 2.7.0 Ok\r\n");
        else
            good(backend);
        return;
    case COMMAND:
        break;
    }
    if (backend->protocol == IMAP)
        imap_command(backend, line);
    else if (backend->protocol == POP3)
        pop3_command(backend, line);
    else
        smtp_command(backend, line);
}

static size_t skip(uint64_t *wanted, size_t available)
{
    size_t taken = *wanted < available ? (size_t)*wanted : available;

    *wanted -= taken;
    return taken;
}

/* Handles every complete command in the buffer and keeps the rest. */
static void consume(struct backend *backend)
{
    size_t at = 0;

    while (at < backend->length && !backend->base.leaving) {
        size_t left = backend->length - at;

        if (backend->incoming) {
            at += skip(&backend->incoming, left);
            if (!backend->incoming)
                good(backend);
        } else if (backend->literal) {
            at += skip(&backend->literal, left);
        } else {
            char *line = backend->line + at, *end = memchr(line, '\n', left);
            if (!end)
                break;
            at = (size_t)(end + 1 - backend->line);
            if (end > line && end[-1] == '\r')
                end--;
            *end = 0;
            handle_line(backend, line);
        }
    }
    backend->length -= at;
    memmove(backend->line, backend->line + at, backend->length);
}

static bool send_out(struct backend *backend)
{
    size_t length = out_length;

    out_length = 0;
    return !length || answer_send(&backend->base, out, length);
}

/* One send at a time, so that every session gets its turn. False when the connection is broken. */
static bool pour(struct backend *backend)
{
    size_t wanted = backend->outgoing < CHUNK ? (size_t)backend->outgoing : CHUNK;
    ssize_t sent = send(backend->base.peer.fd, download, wanted, MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN;
    backend->outgoing -= (uint64_t)sent;
    return true;
}

/* What XUP brings is dropped by the kernel, uncopied. */
static ssize_t swallow(struct backend *backend)
{
    size_t wanted = backend->incoming < CHUNK * 4 ? (size_t)backend->incoming : CHUNK * 4;
    ssize_t got = recv(backend->base.peer.fd, NULL, wanted, MSG_TRUNC);

    if (got > 0) {
        backend->incoming -= (uint64_t)got;
        if (!backend->incoming)
            good(backend);
    }
    return got;
}

static ssize_t read_commands(struct backend *backend)
{
    ssize_t got = recv(backend->base.peer.fd, backend->line + backend->length, LINE_LIMIT - backend->length, 0);

    if (got > 0) {
        backend->length += (size_t)got;
        consume(backend);
    }
    return got;
}

static void backend_ready(struct peer *peer, uint32_t events)
{
    struct backend *backend = (struct backend *)peer;

    if (events & ~EPOLLOUT) {
        bool upload = backend->incoming && !backend->length;
        ssize_t got = upload ? swallow(backend) : read_commands(backend);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            if (got < 0)
                error("connection to the backend", strerror(errno));
            answer_drop(&backend->base);
            return;
        }
    }
    if (backend->length == LINE_LIMIT || !send_out(backend) || (backend->outgoing && !pour(backend))) {
        error("connection to the backend", backend->length == LINE_LIMIT ? "line too long" : strerror(errno));
        answer_drop(&backend->base);
        return;
    }
    if (backend->base.leaving)
        answer_finish(&backend->base);
    else
        loop_interest(peer, backend->outgoing ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void greet(struct backend *backend)
{
    static const char *const greetings[PROTOCOLS] = {
        [IMAP] = "* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN] ready\r\n",
        [POP3] = "+OK ready\r\n",
        [SMTP] = "220 backend.example.com ESMTP\r\n",
    };

    reply("%s", greetings[backend->protocol]);
    if (!send_out(backend))
        error("connection to the backend", strerror(errno));
}

static void listener_ready(struct peer *peer, uint32_t events)
{
    struct listener *listener = (struct listener *)peer;
    int fd = loop_accept(peer->fd);

    (void)events;
    if (fd < 0)
        return;
    struct backend *backend = calloc(1, sizeof *backend);
    if (!backend)
        die("out of memory");
    backend->protocol = listener->protocol;
    backend->base.peer.fd = fd;
    backend->base.peer.ready = backend_ready;
    backend_counts.connections++;
    loop_watch(&backend->base.peer, EPOLLIN);
    greet(backend);
}

void backend_listen(enum protocol protocol, unsigned port)
{
    struct listener *listener = &listeners[protocol];

    listener->protocol = protocol;
    listener->peer.fd = loop_listen(port);
    listener->peer.ready = listener_ready;
    loop_watch(&listener->peer, EPOLLIN);
}
