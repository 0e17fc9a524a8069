/* One client: connect, greeting, login, what the scenario asks, logout, close. */

#ifndef LOADGEN_SESSION_H
#define LOADGEN_SESSION_H

#include "dialect.h"
#include "loop.h"
#include "tls.h"

enum { REPLY_LIMIT = 512 };

enum stage {
    CLOSED,
    LOGIN,    /* step says how far */
    IDLE,     /* logged in, nothing asked: any event is the proxy's mistake */
    WAITING,  /* for the reply to a command */
    SENDING,  /* XUP */
    TAKING,   /* XDOWN */
    LOGOUT,   /* sent, not answered */
    LEAVING,  /* answered: the server closes first, as real ones do */
};

struct session {
    struct peer peer;
    SSL *ssl;            /* NULL: in clear */
    SSL_SESSION *ticket; /* of the last connection */
    bool shaking;        /* the handshake is not done */
    enum stage stage;
    enum protocol protocol;
    unsigned step;
    int64_t began;     /* the connection, or the command that is under way */
    uint64_t left;     /* bytes to send or take */
    const char *expect;
    const struct callbacks *callbacks;
    size_t length;
    char reply[REPLY_LIMIT];
};

/* What a scenario does as its sessions get on. A failed session is closed before closed() is called. */
struct callbacks {
    void (*logged_in)(struct session *session);
    void (*answered)(struct session *session);
    void (*moved)(struct session *session, size_t bytes); /* of XDOWN, taken; of XUP, sent */
    void (*closed)(struct session *session, bool failed);
};

/* Every failure of a session, with the words of the first. */
struct failures {
    uint64_t count;
    char first[256];
};
extern struct failures session_failures;

void session_start(struct session *session, enum protocol protocol, unsigned port,
                   const struct callbacks *callbacks);
void session_noop(struct session *session);
void session_download(struct session *session, uint64_t bytes);
void session_upload(struct session *session, uint64_t bytes);
void session_logout(struct session *session);

/* Gives the session up and counts it as failed, in these words. */
void session_fail(struct session *session, const char *words);

#endif
