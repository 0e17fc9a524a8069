#include "dialect.h"

#include <string.h>

const struct dialect dialects[PROTOCOLS] = {
    [IMAP] = {
        .name = "imap",
        .login = {{NULL, "* OK"}, {"a1 LOGIN " LOADGEN_USER " " LOADGEN_PASSWORD "\r\n", "a1 OK"}},
        .noop = {"a2 NOOP\r\n", "a2 OK"},
        .logout = {"a3 LOGOUT\r\n", "a3 OK"},
        .prefix = "a2 ",
        .done = "a2 OK",
    },
    [POP3] = {
        .name = "pop3",
        .login = {{NULL, "+OK"},
                  {"USER " LOADGEN_USER "\r\n", "+OK"},
                  {"PASS " LOADGEN_PASSWORD "\r\n", "+OK"}},
        .noop = {"NOOP\r\n", "+OK"},
        .logout = {"QUIT\r\n", "+OK"},
        .prefix = "",
        .done = "+OK",
    },
    [SMTP] = {
        .name = "smtp",
        /* base64 of NUL user@example.com NUL secret */
        .login = {{NULL, "220 "},
                  {"EHLO client.example.com\r\n", "250 "},
                  {"AUTH PLAIN AHVzZXJAZXhhbXBsZS5jb20Ac2VjcmV0\r\n", "235 "}},
        .noop = {"NOOP\r\n", "250 "},
        .logout = {"QUIT\r\n", "221 "},
        .prefix = "",
        .done = "250 ",
    },
};

static const struct step envelope[LOGIN_STEPS] = {
    {NULL, "220 "},
    {"EHLO client.example.com\r\n", "250 "},
    {"MAIL FROM:<sender@example.com>\r\n", "250 "},
    {"RCPT TO:<" LOADGEN_USER ">\r\n", "250 "},
};
static bool envelope_used;

void dialect_use_envelope(void)
{
    envelope_used = true;
}

const struct step *dialect_login(enum protocol protocol)
{
    return protocol == SMTP && envelope_used ? envelope : dialects[protocol].login;
}

enum protocol dialect_named(const char *name)
{
    enum protocol protocol = IMAP;

    while (protocol < PROTOCOLS && strcmp(dialects[protocol].name, name))
        protocol++;
    return protocol;
}

enum verdict dialect_judge(enum protocol protocol, const char *reply, size_t length, const char *expect)
{
    if (length < 4 || reply[length - 1] != '\n')
        return REPLY_PARTIAL;
    const char *before = memrchr(reply, '\n', length - 1);
    const char *last = before ? before + 1 : reply;
    size_t rest = (size_t)(reply + length - last), wanted = strlen(expect);

    if (rest >= wanted && !memcmp(last, expect, wanted))
        return REPLY_GOOD;
    if (protocol == SMTP && rest > 3 && last[3] == '-')
        return REPLY_PARTIAL;
    if (protocol == IMAP && rest > 1 && !memcmp(last, "* ", 2) && expect[0] != '*')
        return memcmp(last, "* BAD", 5) && memcmp(last, "* BYE", 5) ? REPLY_PARTIAL : REPLY_BAD;
    return REPLY_BAD;
}
