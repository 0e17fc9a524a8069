#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CHUNK = 256 * 1024 };

struct failures session_failures;

static char upload[CHUNK];

static const char *stage_name(const struct session *session)
{
    static const char *const names[] = {"closed",  "login",  "idle",   "command",
                                        "upload", "download", "logout", "leaving"};
    return names[session->stage];
}

void session_fail(struct session *session, const char *words)
{
    if (!session_failures.count++) {
        int length = (int)session->length;
        while (length && (session->reply[length - 1] == '\r' || session->reply[length - 1] == '\n'))
            length--;
        snprintf(session_failures.first, sizeof session_failures.first, "%s %s, step %u: %s%s%.*s",
                 dialects[session->protocol].name, stage_name(session), session->step, words,
                 length ? ": " : "", length, session->reply);
    }
    tls_end(session);
    loop_close(&session->peer);
    session->stage = CLOSED;
    session->callbacks->closed(session, true);
}

static ssize_t put(struct session *session, const void *data, size_t length)
{
    return session->ssl ? tls_write(session->ssl, data, length)
                        : send(session->peer.fd, data, length, MSG_NOSIGNAL);
}

static void send_text(struct session *session, const char *text, size_t length)
{
    if (put(session, text, length) != (ssize_t)length)
        session_fail(session, strerror(errno));
}

/* Sends a command; the next stage first, since sending may fail and close. */
static void ask(struct session *session, enum stage stage, const struct step *step)
{
    session->stage = stage;
    session->expect = step->expect;
    session->length = 0;
    if (step->say)
        send_text(session, step->say, strlen(step->say));
}

void session_noop(struct session *session)
{
    session->began = now_ns();
    ask(session, WAITING, &dialects[session->protocol].noop);
}

void session_logout(struct session *session)
{
    ask(session, LOGOUT, &dialects[session->protocol].logout);
}

static void ask_transfer(struct session *session, enum stage stage, const char *verb, uint64_t bytes)
{
    const struct dialect *dialect = &dialects[session->protocol];
    char command[64];
    int length = snprintf(command, sizeof command, "%s%s %llu\r\n", dialect->prefix, verb,
                          (unsigned long long)bytes);

    session->left = bytes;
    session->began = now_ns();
    session->length = 0;
    session->stage = stage;
    session->expect = dialect->done;
    send_text(session, command, (size_t)length);
}

void session_download(struct session *session, uint64_t bytes)
{
    ask_transfer(session, TAKING, "XDOWN", bytes);
}

void session_upload(struct session *session, uint64_t bytes)
{
    ask_transfer(session, SENDING, "XUP", bytes);
    if (session->stage == SENDING)
        loop_interest(&session->peer, EPOLLIN | EPOLLOUT);
}

static void push(struct session *session)
{
    size_t wanted = session->left < CHUNK ? (size_t)session->left : CHUNK;
    ssize_t sent = put(session, upload, wanted);

    if (sent < 0) {
        if (errno != EAGAIN)
            session_fail(session, strerror(errno));
        return;
    }
    session->left -= (uint64_t)sent;
    session->callbacks->moved(session, (size_t)sent);
    if (!session->left) {
        session->stage = WAITING;
        loop_interest(&session->peer, EPOLLIN);
    }
}

/* MSG_TRUNC drops what has arrived without copying it: the kernel's side of tcp(7). */
static void take(struct session *session)
{
    static char decrypted[CHUNK];
    size_t most = session->ssl ? CHUNK : CHUNK * 4;
    size_t wanted = session->left < most ? (size_t)session->left : most;
    ssize_t taken = session->ssl ? tls_read(session->ssl, decrypted, wanted)
                                 : recv(session->peer.fd, NULL, wanted, MSG_TRUNC);

    if (taken <= 0) {
        if (!taken || errno != EAGAIN)
            session_fail(session, taken ? strerror(errno) : "closed by the proxy");
        return;
    }
    session->left -= (uint64_t)taken;
    session->callbacks->moved(session, (size_t)taken);
    if (!session->left) {
        session->stage = IDLE;
        session->callbacks->answered(session);
    }
}

static void reply_complete(struct session *session)
{
    const struct step *login = dialect_login(session->protocol);

    switch (session->stage) {
    case LOGIN:
        session->step++;
        if (session->step < LOGIN_STEPS && login[session->step].expect) {
            ask(session, LOGIN, &login[session->step]);
            return;
        }
        session->stage = IDLE;
        session->length = 0;
        session->callbacks->logged_in(session);
        return;
    case WAITING:
        session->stage = IDLE;
        session->length = 0;
        session->callbacks->answered(session);
        return;
    case LOGOUT:
        session->stage = LEAVING;
        return;
    default:
        session_fail(session, "unexpected data");
    }
}

static void read_reply(struct session *session)
{
    char *end = session->reply + session->length;
    size_t room = REPLY_LIMIT - session->length;
    ssize_t got = session->ssl ? tls_read(session->ssl, end, room) : recv(session->peer.fd, end, room, 0);

    if (got <= 0) {
        if (got < 0 && errno == EAGAIN)
            return;
        if (!got && session->stage == LEAVING) {
            tls_end(session);
            loop_close(&session->peer);
            session->stage = CLOSED;
            session->callbacks->closed(session, false);
            return;
        }
        session_fail(session, got ? strerror(errno) : "closed by the proxy");
        return;
    }
    session->length += (size_t)got;
    if (session->stage == IDLE || session->stage == LEAVING) {
        session_fail(session, "unexpected data");
        return;
    }
    switch (dialect_judge(session->protocol, session->reply, session->length, session->expect)) {
    case REPLY_GOOD:
        reply_complete(session);
        return;
    case REPLY_BAD:
        session_fail(session, "unexpected reply");
        return;
    case REPLY_PARTIAL:
        if (session->length == REPLY_LIMIT)
            session_fail(session, "reply too long");
    }
}

static void session_ready(struct peer *peer, uint32_t events)
{
    struct session *session = (struct session *)peer;

    if (session->shaking) {
        int done = tls_handshake(session);

        loop_interest(&session->peer, EPOLLIN);
        if (done < 0) {
            session_fail(session, tls_failure());
            return;
        }
        session->shaking = !done;
        if (!done)
            return;
    }
    /* What TLS has read already brings no event. */
    do {
        if (session->stage == TAKING)
            take(session);
        else if (session->stage == SENDING && events & EPOLLOUT && !(events & EPOLLIN))
            push(session);
        else
            read_reply(session);
    } while (session->ssl && !session->shaking && SSL_pending(session->ssl) > 0);
}

void session_start(struct session *session, enum protocol protocol, unsigned port,
                   const struct callbacks *callbacks)
{
    session->protocol = protocol;
    session->callbacks = callbacks;
    session->step = 0;
    session->began = now_ns();
    session->peer.fd = loop_connect(port);
    session->peer.ready = session_ready;
    session->shaking = tls_wanted();
    if (session->shaking)
        tls_begin(session);
    ask(session, LOGIN, &dialect_login(protocol)[0]);
    loop_watch(&session->peer, session->shaking ? EPOLLIN | EPOLLOUT : EPOLLIN);
}
