/* TLS of the clients. */

#ifndef LOADGEN_TLS_H
#define LOADGEN_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct session;

/* Handshakes that were completed, by what they were. */
struct tls_counts {
    uint64_t full;
    uint64_t resumed;
};
extern struct tls_counts tls_counts;

/* version is "1.2" or "1.3"; with resume, a session that comes again resumes what it had the last time. */
void tls_open(const char *version, bool resume);

/* False: clients speak in clear. */
bool tls_wanted(void);

void tls_begin(struct session *session);

/* 1: done; 0: more is to come; -1: failed. */
int tls_handshake(struct session *session);

/* Why the last one failed. */
const char *tls_failure(void);

/* As recv() and send(): -1 with EAGAIN in errno when the other side is awaited. */
ssize_t tls_read(SSL *ssl, void *buffer, size_t room);
ssize_t tls_write(SSL *ssl, const void *data, size_t length);

/* close_notify, and everything given back. */
void tls_end(struct session *session);

#endif
