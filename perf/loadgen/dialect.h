/* What a client says in each protocol, and how it knows that it has been answered.
 *
 * After the login the proxy relays without looking, so the backend answers two commands of our own in
 * every protocol: XDOWN n sends n bytes, XUP n takes n bytes and then answers.
 */

#ifndef LOADGEN_DIALECT_H
#define LOADGEN_DIALECT_H

#include <stdbool.h>
#include <stddef.h>

#define LOADGEN_USER "user@example.com"
#define LOADGEN_PASSWORD "secret"

enum protocol { IMAP, POP3, SMTP, PROTOCOLS };
enum { LOGIN_STEPS = 4 };

struct step {
    const char *say;    /* NULL: the server speaks first */
    const char *expect; /* how the last line of a good reply begins */
};

struct dialect {
    const char *name;
    struct step login[LOGIN_STEPS]; /* fewer end with expect NULL */
    struct step noop;
    struct step logout;
    const char *prefix; /* before a command of our own */
    const char *done;   /* how the answer to XUP begins */
};

extern const struct dialect dialects[PROTOCOLS];

enum verdict { REPLY_PARTIAL, REPLY_GOOD, REPLY_BAD };

/* What a client says until it is relayed: the login, or after dialect_use_envelope() in SMTP the envelope of a
 * message instead, as clients do that need no login. */
const struct step *dialect_login(enum protocol protocol);
void dialect_use_envelope(void);

/* Judges what has arrived so far. */
enum verdict dialect_judge(enum protocol protocol, const char *reply, size_t length, const char *expect);

/* The protocol of that name, PROTOCOLS when there is none. */
enum protocol dialect_named(const char *name);

#endif
