#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "session.h"

struct tls_counts tls_counts;

static SSL_CTX *context;
static bool resuming;

/* Tickets of TLS 1.3 come at any time after the handshake. The newest is the one to use. */
static int keep(SSL *ssl, SSL_SESSION *ticket)
{
    struct session *session = SSL_get_app_data(ssl);

    SSL_SESSION_free(session->ticket);
    session->ticket = ticket;
    return 1;
}

void tls_open(const char *version, bool resume)
{
    int number = strcmp(version, "1.2") ? TLS1_3_VERSION : TLS1_2_VERSION;

    if (strcmp(version, "1.2") && strcmp(version, "1.3"))
        die("--tls is 1.2 or 1.3, not \"%s\"", version);
    context = SSL_CTX_new(TLS_client_method());
    if (!context)
        die("SSL_CTX_new() failed");
    SSL_CTX_set_min_proto_version(context, number);
    SSL_CTX_set_max_proto_version(context, number);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    resuming = resume;
    if (resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep);
    }
}

bool tls_wanted(void)
{
    return context != NULL;
}

void tls_begin(struct session *session)
{
    session->ssl = SSL_new(context);
    if (!session->ssl || !SSL_set_fd(session->ssl, session->peer.fd))
        die("SSL_new() failed");
    SSL_set_app_data(session->ssl, session);
    SSL_set_connect_state(session->ssl);
    if (resuming && session->ticket)
        SSL_set_session(session->ssl, session->ticket);
}

static ssize_t outcome(SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return errno ? -1 : 0;
    default:
        errno = EPROTO;
        return -1;
    }
}

int tls_handshake(struct session *session)
{
    int result;

    ERR_clear_error();
    result = SSL_do_handshake(session->ssl);
    if (result != 1)
        return outcome(session->ssl, result) < 0 && errno == EAGAIN ? 0 : -1;
    if (SSL_session_reused(session->ssl))
        tls_counts.resumed++;
    else
        tls_counts.full++;
    return 1;
}

const char *tls_failure(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return reason ? reason : "the handshake was broken off";
}

ssize_t tls_read(SSL *ssl, void *buffer, size_t room)
{
    int result;

    ERR_clear_error();
    result = SSL_read(ssl, buffer, (int)room);
    return result > 0 ? result : outcome(ssl, result);
}

ssize_t tls_write(SSL *ssl, const void *data, size_t length)
{
    int result;

    ERR_clear_error();
    result = SSL_write(ssl, data, (int)length);
    return result > 0 ? result : outcome(ssl, result);
}

void tls_end(struct session *session)
{
    if (!session->ssl)
        return;
    SSL_shutdown(session->ssl);
    SSL_free(session->ssl);
    session->ssl = NULL;
}
