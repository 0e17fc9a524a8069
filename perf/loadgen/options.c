#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

enum { PROTOCOL = 256, PROXY, BACKEND, AUTH, CONCURRENCY, SESSIONS, COUNT, BYTES, TOTAL, SECONDS, GRACE, RATE,
       THINK, ENVELOPE, UPLOAD, SYNC, TLS, RESUME, HELP };

static const struct option names[] = {
    {"protocol", required_argument, NULL, PROTOCOL}, {"proxy", required_argument, NULL, PROXY},
    {"backend", required_argument, NULL, BACKEND},   {"auth", required_argument, NULL, AUTH},
    {"concurrency", required_argument, NULL, CONCURRENCY},
    {"sessions", required_argument, NULL, SESSIONS}, {"count", required_argument, NULL, COUNT},
    {"bytes", required_argument, NULL, BYTES},       {"total", required_argument, NULL, TOTAL},
    {"seconds", required_argument, NULL, SECONDS},   {"grace", required_argument, NULL, GRACE},
    {"rate", required_argument, NULL, RATE},         {"think", required_argument, NULL, THINK},
    {"envelope", no_argument, NULL, ENVELOPE},
    {"upload", no_argument, NULL, UPLOAD},           {"sync", no_argument, NULL, SYNC},
    {"tls", required_argument, NULL, TLS},           {"resume", no_argument, NULL, RESUME},
    {"help", no_argument, NULL, HELP},               {0}};

static const char usage[] =
    "usage: loadgen SCENARIO --proxy PORT --backend PROTOCOL=PORT [...]\n"
    "  logins    clients that connect, log in, log out and close, again and again\n"
    "  idle      sessions that log in and then say nothing\n"
    "  bulk      sessions that fetch (or with --upload store) bytes\n"
    "  exchange  sessions that send NOOP, wait for the answer, and send again\n"
    "  serve     only the backends and the auth server\n"
    "Everything is on 127.0.0.1; prints one line of JSON.\n"
    "  --protocol imap|pop3|smtp   what the clients speak (imap)\n"
    "  --proxy PORT                where the proxy listens for that protocol\n"
    "  --backend PROTOCOL=PORT     serve as mail backend there; may be repeated\n"
    "  --auth PORT                 serve as auth_http server there\n"
    "  --concurrency N             logins under way at once (32)\n"
    "  --sessions N                sessions of idle, bulk and exchange (16); of logins, held idle beside (0)\n"
    "  --count N                   end after N logins or exchanges (no limit)\n"
    "  --bytes N                   bytes of one transfer (16777216)\n"
    "  --total N                   end after N bytes (no limit)\n"
    "  --seconds S                 end the measured part after S seconds (2)\n"
    "  --grace S                   then wait S seconds for what is under way (10)\n"
    "  --rate N                    begin N exchanges a second, in any session that is free; their latency counts\n"
    "                              from when they were due (0: each session as fast as it is answered)\n"
    "  --think MS                  backends and auth server answer MS milliseconds after what they answer came;\n"
    "                              what came together is answered together\n"
    "  --envelope                  SMTP clients do not log in: MAIL and RCPT are what the backend has to accept\n"
    "  --tls 1.2|1.3               clients speak TLS from the first byte\n"
    "  --resume                    clients resume the TLS session of a login before the measured part\n"
    "  --sync                      print \"ready\" and wait for a line on stdin before the measured part,\n"
    "                              and for another one before the sessions are ended\n";

static unsigned port_of(const char *text)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    if (*end || !port || port > 65535)
        die("\"%s\" is not a port", text);
    return (unsigned)port;
}

static double number_of(const char *text, double most)
{
    char *end;
    double number = strtod(text, &end);

    if (*end || end == text || !(number >= 0 && number <= most))
        die("\"%s\" is not a number between 0 and %.0f", text, most);
    return number;
}

static enum protocol protocol_of(const char *name)
{
    enum protocol protocol = dialect_named(name);

    if (protocol == PROTOCOLS)
        die("no protocol \"%s\": imap, pop3, smtp", name);
    return protocol;
}

static void add_backend(struct options *options, char *text)
{
    char *equals = strchr(text, '=');

    if (!equals)
        die("--backend takes PROTOCOL=PORT, not \"%s\"", text);
    *equals = 0;
    options->backends[protocol_of(text)] = port_of(equals + 1);
}

static void take(struct options *options, int name, char *value)
{
    switch (name) {
    case PROTOCOL: options->protocol = protocol_of(value); break;
    case PROXY: options->proxy = port_of(value); break;
    case BACKEND: add_backend(options, value); break;
    case AUTH: options->auth = port_of(value); break;
    case CONCURRENCY: options->concurrency = (unsigned)number_of(value, 1e6); break;
    case SESSIONS: options->sessions = (unsigned)number_of(value, 1e6); break;
    case COUNT: options->count = (uint64_t)number_of(value, 1e15); break;
    case BYTES: options->bytes = (uint64_t)number_of(value, 1e15); break;
    case TOTAL: options->total = (uint64_t)number_of(value, 1e15); break;
    case SECONDS: options->seconds = number_of(value, 1e6); break;
    case GRACE: options->grace = number_of(value, 1e6); break;
    case RATE: options->rate = number_of(value, 1e6); break;
    case THINK: options->think = number_of(value, 1e6); break;
    case ENVELOPE: options->envelope = true; break;
    case UPLOAD: options->upload = true; break;
    case SYNC: options->sync = true; break;
    case TLS: options->tls = value; break;
    case RESUME: options->resume = true; break;
    case HELP: fputs(usage, stdout); exit(0);
    default: exit(2); /* getopt has said why */
    }
}

struct options options_parse(int count, char **arguments)
{
    struct options options = {.concurrency = 32, .count = UINT64_MAX, .total = UINT64_MAX,
                              .bytes = 16 << 20, .seconds = 2, .grace = 10};
    bool sessions_given = false;

    for (int name; (name = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        sessions_given |= name == SESSIONS;
        take(&options, name, optarg);
    }
    if (optind + 1 != count) {
        fputs(usage, stderr);
        exit(2);
    }
    options.scenario = arguments[optind];
    if (!sessions_given && strcmp(options.scenario, "logins") && strcmp(options.scenario, "serve"))
        options.sessions = 16;
    if (!options.concurrency || !options.bytes)
        die("--concurrency and --bytes must be at least 1");
    if (options.think && !strcmp(options.scenario, "bulk"))
        die("--think is not for bulk: who thinks about commands does not delay bytes");
    if (!options.proxy && strcmp(options.scenario, "serve"))
        die("--proxy says where the proxy listens");
    if (options.resume && !options.tls)
        die("--resume is for --tls");
    return options;
}
