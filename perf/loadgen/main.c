/* Load generator: plays the mail clients, the mail backends and, if asked, the auth server, in one
 * process on loopback, so that what it costs is the same for every proxy between them. Prints one line
 * of JSON; exit status 0: everything went well, 1: a session or backend failed, 2: it could not run.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "answer.h"
#include "auth.h"
#include "backend.h"
#include "loop.h"
#include "options.h"
#include "scenario.h"
#include "session.h"
#include "tls.h"

/* Sessions here hold two descriptors each: as many as the system lets us have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool line_came;

static void stdin_ready(struct peer *peer, uint32_t events)
{
    char byte;
    ssize_t got = read(peer->fd, &byte, 1);

    (void)events;
    if (got <= 0 || byte == '\n')
        line_came = true; /* the end of file lets everything end as well */
}

/* Waits for a line on stdin; backends and sessions are served meanwhile. */
static void wait_for_line(void)
{
    struct peer input = {.fd = STDIN_FILENO, .ready = stdin_ready};

    line_came = false;
    loop_watch(&input, EPOLLIN);
    while (!line_came)
        loop_turn(-1);
    loop_forget(&input);
}

static void print_text(const char *name, const char *text)
{
    printf(", \"%s\": \"", name);
    for (; *text; text++)
        if (*text < 0x20 || *text == '"' || *text == '\\' || *text == 0x7f)
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    putchar('"');
}

static void print_latencies(const struct histogram *latencies)
{
    static const double tail[] = {.992, .994, .996, .998, .999, .9992, .9995, .9999};

    printf(", \"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}",
           (double)histogram_at(latencies, .5) / 1e3, (double)histogram_at(latencies, .99) / 1e3,
           (double)histogram_at(latencies, .999) / 1e3, (double)latencies->largest / 1e3);
    printf(", \"latency_quantiles_us\": [[0, %.1f]", (double)histogram_at(latencies, 0) / 1e3);
    for (int percent = 1; percent < 100; percent++)
        printf(", [%.2f, %.1f]", percent / 100., (double)histogram_at(latencies, percent / 100.) / 1e3);
    for (unsigned i = 0; i < sizeof tail / sizeof *tail; i++)
        printf(", [%.4f, %.1f]", tail[i], (double)histogram_at(latencies, tail[i]) / 1e3);
    printf("]");
}

static void print_result(const struct options *options)
{
    const struct histogram *latencies = &counts.latencies;
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("{\"scenario\": \"%s\", \"protocol\": \"%s\", \"seconds\": %.6f, \"sessions\": %u", options->scenario,
           dialects[options->protocol].name, (double)counts.elapsed / 1e9, options->sessions);
    printf(", \"logins\": %llu, \"exchanges\": %llu, \"transfers\": %llu, \"bytes\": %llu, \"failures\": %llu",
           (unsigned long long)counts.logins, (unsigned long long)counts.exchanges,
           (unsigned long long)counts.transfers, (unsigned long long)counts.bytes,
           (unsigned long long)session_failures.count);
    printf(", \"tls_full\": %llu, \"tls_resumed\": %llu", (unsigned long long)tls_counts.full,
           (unsigned long long)tls_counts.resumed);
    printf(", \"backend_connections\": %llu, \"backend_errors\": %llu",
           (unsigned long long)backend_counts.connections, (unsigned long long)backend_counts.errors);
    if (latencies->count)
        print_latencies(latencies);
    if (session_failures.count)
        print_text("first_failure", session_failures.first);
    if (backend_counts.errors)
        print_text("first_backend_error", backend_counts.first_error);
    printf("}\n");
    if (fflush(stdout) || ferror(stdout))
        die("cannot write to standard output: %s", strerror(errno));
}

int main(int count, char **arguments)
{
    struct options options = options_parse(count, arguments);
    const struct scenario *scenario = scenario_named(options.scenario);

    if (!scenario)
        die("no scenario \"%s\": logins, idle, bulk, exchange, serve", options.scenario);
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN); /* libssl writes without MSG_NOSIGNAL: a session fails, and says so */
    if (options.tls)
        tls_open(options.tls, options.resume);
    if (options.envelope)
        dialect_use_envelope();
    loop_open();
    answers_think(options.think);
    for (enum protocol protocol = IMAP; protocol < PROTOCOLS; protocol++)
        if (options.backends[protocol])
            backend_listen(protocol, options.backends[protocol]);
    if (options.auth)
        auth_listen(options.auth, options.backends);

    if (scenario_prepare(scenario, &options)) {
        if (options.sync) {
            puts("ready");
            fflush(stdout);
            wait_for_line();
        }
        scenario_run(scenario);
    }
    uint64_t failures = session_failures.count;
    print_result(&options);
    if (options.sync)
        wait_for_line();
    else if (!strcmp(options.scenario, "idle"))
        for (int64_t end = now_ns() + (int64_t)(options.seconds * 1e9); now_ns() < end;)
            loop_turn(50);
    scenario_end();
    if (session_failures.count > failures)
        fprintf(stderr, "loadgen: a held session failed after the measured part: %s\n", session_failures.first);
    return session_failures.count || backend_counts.errors ? 1 : 0;
}
