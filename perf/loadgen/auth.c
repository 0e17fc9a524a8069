#include "auth.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "answer.h"
#include "loop.h"

enum { REQUEST_LIMIT = 4096 };

struct auth {
    struct answerer base;
    size_t length;
    char request[REQUEST_LIMIT + 1];
};

static struct peer listener;
static unsigned backends[PROTOCOLS];

static enum protocol protocol_of(const char *request)
{
    static const char name[] = "\r\nAuth-Protocol: ";
    const char *header = strcasestr(request, name);
    char word[8] = "";

    if (header)
        sscanf(header + sizeof name - 1, "%7[a-z0-9]", word);
    return dialect_named(word);
}

enum outcome { KEEP, FINISH, BROKEN };

/* Answers one request, and says what becomes of the connection. */
static enum outcome answer(struct auth *auth)
{
    enum protocol protocol = protocol_of(auth->request);
    const char *version = strstr(auth->request, " HTTP/1.");
    bool keep = version && version[8] == '1' && !strcasestr(auth->request, "\r\nConnection: close");
    char text[256];

    if (protocol == PROTOCOLS || !backends[protocol])
        die("auth: no backend for this request: %.200s", auth->request);
    int length = snprintf(text, sizeof text,
                          "HTTP/1.%d 200 OK\r\nContent-Length: 0\r\nAuth-Status: OK\r\n"
                          "Auth-Server: 127.0.0.1\r\nAuth-Port: %u\r\n\r\n",
                          keep ? 1 : 0, backends[protocol]);
    if (!answer_send(&auth->base, text, (size_t)length))
        return BROKEN;
    return keep ? KEEP : FINISH;
}

static void auth_ready(struct peer *peer, uint32_t events)
{
    struct auth *auth = (struct auth *)peer;
    ssize_t got = recv(peer->fd, auth->request + auth->length, REQUEST_LIMIT - auth->length, 0);
    enum outcome outcome = got > 0 || (got < 0 && errno == EAGAIN) ? KEEP : BROKEN;

    (void)events;
    if (got > 0) {
        auth->length += (size_t)got;
        auth->request[auth->length] = 0;
        if (auth->length >= 4 && !memcmp(auth->request + auth->length - 4, "\r\n\r\n", 4)) {
            outcome = answer(auth); /* one request at a time: a proxy does not pipeline these */
            auth->length = 0;
        } else if (auth->length == REQUEST_LIMIT) {
            die("auth: a request of more than %d bytes", REQUEST_LIMIT);
        }
    }
    if (outcome == FINISH)
        answer_finish(&auth->base);
    else if (outcome == BROKEN)
        answer_drop(&auth->base);
}

static void listener_ready(struct peer *peer, uint32_t events)
{
    int fd = loop_accept(peer->fd);

    (void)events;
    if (fd < 0)
        return;
    struct auth *auth = calloc(1, sizeof *auth);
    if (!auth)
        die("out of memory");
    auth->base.peer.fd = fd;
    auth->base.peer.ready = auth_ready;
    loop_watch(&auth->base.peer, EPOLLIN);
}

void auth_listen(unsigned port, const unsigned backend_ports[PROTOCOLS])
{
    memcpy(backends, backend_ports, sizeof backends);
    listener.fd = loop_listen(port);
    listener.ready = listener_ready;
    loop_watch(&listener, EPOLLIN);
}
