#include "scenario.h"

#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "loop.h"
#include "session.h"
#include "ticker.h"
#include "tls.h"

enum { FAILURES_ENOUGH = 20, TURN_MS = 50 };

struct counts counts;

static const struct options *options;
static int64_t deadline; /* nothing new is begun after it */

static struct session *held;
static unsigned held_begun, held_ready, held_alive;
static unsigned busy; /* sessions with something under way in the measured part */
static const unsigned always = 1;

static bool may_begin(uint64_t done, uint64_t limit)
{
    return done < limit && now_ns() < deadline && session_failures.count < FAILURES_ENOUGH;
}

/* Serves until *pending is 0 or the time is over; what is left then has hung. */
static void serve_until(const unsigned *pending, int64_t end)
{
    while (*pending && now_ns() < end)
        loop_turn(TURN_MS);
}

static int64_t seconds_from_now(double seconds)
{
    return now_ns() + (int64_t)(seconds * 1e9);
}

/* Sessions that do not answer in time have failed as much as those that answer wrongly. */
static void give_up(struct session *sessions, unsigned count, bool idle_too)
{
    for (unsigned i = 0; i < count; i++)
        if (sessions[i].stage != CLOSED && (idle_too || sessions[i].stage != IDLE))
            session_fail(&sessions[i], "no answer in time");
}

/* -- held sessions: idle, bulk, exchange ------------------------------------------------------ */

static const struct callbacks held_callbacks;

static void begin_held(void)
{
    held_alive++;
    session_start(&held[held_begun++], options->protocol, options->proxy, &held_callbacks);
}

static void held_logged_in(struct session *session)
{
    histogram_add(&counts.latencies, now_ns() - session->began);
    counts.logins++;
    held_ready++;
    busy--;
    if (held_begun < options->sessions && !session_failures.count) {
        busy++;
        begin_held();
    }
}

static void begin_exchange(struct session *session)
{
    if (may_begin(counts.exchanges + busy, options->count)) {
        busy++;
        session_noop(session);
    }
}

static void begin_transfer(struct session *session)
{
    if (may_begin(counts.bytes, options->total)) {
        busy++;
        if (options->upload)
            session_upload(session, options->bytes);
        else
            session_download(session, options->bytes);
    }
}

static void held_answered(struct session *session)
{
    busy--;
    if (!strcmp(options->scenario, "exchange")) {
        histogram_add(&counts.latencies, now_ns() - session->began);
        counts.exchanges++;
        if (!options->rate)
            begin_exchange(session);
    } else {
        counts.transfers++;
        begin_transfer(session);
    }
}

static void held_moved(struct session *session, size_t bytes)
{
    (void)session;
    counts.bytes += bytes;
}

static void held_closed(struct session *session, bool failed)
{
    (void)session;
    held_alive--;
    if (failed && busy)
        busy--;
}

static const struct callbacks held_callbacks = {held_logged_in, held_answered, held_moved, held_closed};

static void open_held(void)
{
    held_begun = held_ready = 0;
    for (busy = 0; busy < options->concurrency && held_begun < options->sessions; busy++)
        begin_held();
    serve_until(&busy, deadline + (int64_t)(options->grace * 1e9));
    give_up(held, held_begun, false);
}

static void for_each_held(void (*begin)(struct session *))
{
    for (unsigned i = 0; i < options->sessions; i++)
        if (held[i].stage == IDLE)
            begin(&held[i]);
    serve_until(&busy, deadline + (int64_t)(options->grace * 1e9));
    give_up(held, options->sessions, false);
}

/* The next exchange at a steady rate; false when every session waits for an answer. */
static bool exchange_due(int64_t due)
{
    static unsigned turn;

    for (unsigned tried = 0; tried < options->sessions; tried++) {
        struct session *session = &held[turn++ % options->sessions];
        if (session->stage != IDLE)
            continue;
        begin_exchange(session);
        session->began = due;
        return true;
    }
    return false;
}

static void run_at_rate(void)
{
    ticker_start(options->rate, exchange_due);
    serve_until(&always, deadline);
    ticker_stop();
    serve_until(&busy, deadline + (int64_t)(options->grace * 1e9));
    give_up(held, options->sessions, false);
}

static void run_exchange(void)
{
    if (options->rate)
        run_at_rate();
    else
        for_each_held(begin_exchange);
}

static void run_bulk(void)
{
    for_each_held(begin_transfer);
}

/* -- logins ------------------------------------------------------------------------------------ */

static struct session *clients;
static uint64_t logins_begun;
static const struct callbacks login_callbacks;

static void log_in(struct session *session)
{
    logins_begun++;
    busy++;
    session_start(session, options->protocol, options->proxy, &login_callbacks);
}

static void begin_login(struct session *session)
{
    if (may_begin(logins_begun, options->count))
        log_in(session);
}

static void login_done(struct session *session)
{
    histogram_add(&counts.latencies, now_ns() - session->began);
    session_logout(session);
}

/* Only a session that has also ended well counts. */
static void login_closed(struct session *session, bool failed)
{
    busy--;
    counts.logins += !failed;
    begin_login(session);
}

static const struct callbacks login_callbacks = {.logged_in = login_done, .closed = login_closed};

static void await_logins(void)
{
    serve_until(&busy, deadline + (int64_t)(options->grace * 1e9));
    give_up(clients, options->concurrency, true);
}

/* One login of each client, for the TLS session that it is to resume. */
static void prepare_logins(void)
{
    clients = calloc(options->concurrency, sizeof *clients);
    if (!clients)
        die("out of memory");
    for (unsigned i = 0; options->resume && i < options->concurrency; i++)
        log_in(&clients[i]);
    await_logins();
}

static void run_logins(void)
{
    logins_begun = 0;
    for (unsigned i = 0; i < options->concurrency; i++)
        begin_login(&clients[i]);
    await_logins();
}

static void run_serve(void)
{
    serve_until(&always, deadline);
}

/* ---------------------------------------------------------------------------------------------- */

static const struct scenario scenarios[] = {
    {"logins", true, prepare_logins, run_logins}, {"idle", false, NULL, open_held},
    {"bulk", true, NULL, run_bulk},               {"exchange", true, NULL, run_exchange},
    {"serve", false, NULL, run_serve},
};

const struct scenario *scenario_named(const char *name)
{
    for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (!strcmp(scenarios[i].name, name))
            return &scenarios[i];
    return NULL;
}

bool scenario_prepare(const struct scenario *scenario, const struct options *chosen)
{
    options = chosen;
    held = calloc(options->sessions ? options->sessions : 1, sizeof *held);
    if (!held)
        die("out of memory");
    for (unsigned i = 0; i < options->sessions; i++)
        held[i].peer.fd = -1;
    deadline = now_ns();
    if (scenario->prepared)
        open_held();
    if (scenario->prepare)
        scenario->prepare();
    return !session_failures.count;
}

void scenario_run(const struct scenario *scenario)
{
    int64_t began = now_ns();

    memset(&counts, 0, sizeof counts);
    memset(&tls_counts, 0, sizeof tls_counts);
    backend_counts.connections = 0;
    busy = 0;
    deadline = seconds_from_now(options->seconds);
    scenario->run();
    counts.elapsed = now_ns() - began;
}

void scenario_end(void)
{
    for (unsigned i = 0; i < options->sessions; i++)
        if (held[i].stage == IDLE)
            session_logout(&held[i]);
    serve_until(&held_alive, seconds_from_now(options->grace));
    give_up(held, options->sessions, true);
}
