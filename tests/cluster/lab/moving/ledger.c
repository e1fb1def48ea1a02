/*
 * The writer and the web application of the tests that move a PostgreSQL database. Must not know anything about the plugin.
 *
 *   ledger write RATE FILE    a transaction for each number, RATE of them a second, over one connection that is made anew after an
 *                             error; LEDGER_URL=HOST:PORT sends the numbers to `ledger serve` instead
 *   ledger serve PORT         POST /NUMBER writes one (201; 503 if it was not written, 500 if nobody knows); GET /ready is 200 while
 *                             the database answers; GET / counts, as JSON
 *   LEDGER_TOAST=1            changes documents whose content lies apart from the row, and leaves that content as it is
 *
 * The database is libpq's business (PGSERVICE and so on). Each line of FILE is "MILLISECONDS WORD NUMBER ...": `ack` when the number
 * is written for good, `refused` when it surely is not, `unknown` when the connection broke before the answer. A number is never
 * tried twice. Those of two writers, or of one that was started again, are apart: they begin with the time of the start.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

/* A server whose machine is gone does not say so: give up on it within seconds. */
#define PATIENCE                                                                                                                       \
    "application_name=ledger connect_timeout=3 tcp_user_timeout=5000 keepalives_idle=2 keepalives_interval=1 keepalives_count=3"

enum outcome { WRITTEN, REFUSED, UNKNOWN };

static const char *const words[] = {"ack", "refused", "unknown"};
static const int statuses[] = {201, 503, 500};

static volatile sig_atomic_t ended;
static PGconn *database;

static void end(int number)
{
    (void)number;
    ended = 1;
}

static long long now(void) /* milliseconds */
{
    struct timeval time;
    gettimeofday(&time, NULL);
    return time.tv_sec * 1000LL + time.tv_usec / 1000;
}

/* One line of what libpq said. */
static void explain(char *why, size_t size, const char *said)
{
    snprintf(why, size, "%s", said);
    for (char *at = why; *at; at++)
        if (*at == '\n' || *at == '"' || *at == '\\')
            *at = ' ';
}

static int connected(char *why, size_t size)
{
    if (database && PQstatus(database) == CONNECTION_OK)
        return 1;
    PQfinish(database);
    database = PQconnectdb(PATIENCE);
    if (PQstatus(database) == CONNECTION_OK)
        return 1;
    explain(why, size, PQerrorMessage(database));
    return 0;
}

/* What one number means to the database, in one transaction: new rows with and without a key, changed rows, deleted rows, sequences. */
static void statements(char *text, size_t size, long long number)
{
    int used = snprintf(text, size,
                        "INSERT INTO api.likes (n, author, body, price) VALUES (%lld, 'writer', '{\"n\": %lld}', %lld.5);", number,
                        number, number % 1000);
    if (number % 5 == 0)
        used += snprintf(text + used, size - used, "UPDATE api.accounts SET balance = balance + 1, seen = now() WHERE id = 1 + %lld %% 100;",
                         number);
    if (number % 7 == 0)
        used += snprintf(text + used, size - used, "INSERT INTO api.events (n, said) VALUES (%lld, NULL);", number);
    if (number % 10 == 0)
        used += snprintf(text + used, size - used,
                         "INSERT INTO api.queue (n, ticket) VALUES (%lld, nextval('api.ticket')); "
                         "DELETE FROM api.queue WHERE n < %lld - 500;",
                         number, number);
    if (number % 50 == 0)
        snprintf(text + used, size - used, "UPDATE api.documents SET title = title || '.' WHERE id = %d + %lld %% 10;",
                 getenv("LEDGER_TOAST") ? 11 : 1, number / 50);
}

static enum outcome write_number(long long number, char *why, size_t size)
{
    char text[2048];
    enum outcome outcome = WRITTEN;
    if (!connected(why, size))
        return REFUSED;
    statements(text, sizeof text, number);
    PGresult *result = PQexec(database, text);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        /* Without a word of the server's about this transaction it may have been written. */
        outcome = state && PQstatus(database) == CONNECTION_OK ? REFUSED : UNKNOWN;
        explain(why, size, PQerrorMessage(database));
    }
    PQclear(result);
    return outcome;
}

/* --- by way of the web ------------------------------------------------------------------------------------------------------------ */

static int dial(const char *place)
{
    char host[256];
    const char *colon = strrchr(place, ':');
    struct addrinfo *found, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct timeval limit = {.tv_sec = 10};
    snprintf(host, sizeof host, "%.*s", (int)(colon ? colon - place : 0), place);
    if (!colon || getaddrinfo(host, colon + 1, &hints, &found))
        return -1;
    int line = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(line, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(line, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(line, found->ai_addr, found->ai_addrlen)) {
        close(line);
        line = -1;
    }
    freeaddrinfo(found);
    return line;
}

static enum outcome post_number(const char *place, long long number, char *why, size_t size)
{
    char text[512];
    int line = dial(place), status = 0;
    if (line < 0) {
        snprintf(why, size, "no connection to %s", place);
        return REFUSED;
    }
    int length = snprintf(text, sizeof text, "POST /%lld HTTP/1.0\r\nContent-Length: 0\r\n\r\n", number);
    ssize_t got = send(line, text, length, MSG_NOSIGNAL) == length ? recv(line, text, sizeof text - 1, 0) : -1;
    close(line);
    text[got > 0 ? got : 0] = 0;
    if (sscanf(text, "HTTP/1.%*d %d", &status) != 1)
        snprintf(why, size, "no answer");
    else if (status != 201)
        snprintf(why, size, "status %d", status);
    return status == 201 ? WRITTEN : status == 503 ? REFUSED : UNKNOWN;
}

static int write_all(double rate, const char *path)
{
    const char *place = getenv("LEDGER_URL");
    FILE *log = fopen(path, "a");
    long long first = now() * 1000, step = (long long)(1e6 / rate), due = now() * 1000;
    sigset_t asked_to_end;
    if (!log || rate <= 0) {
        perror(path);
        return 1;
    }
    setvbuf(log, NULL, _IOLBF, 0);
    sigemptyset(&asked_to_end);
    sigaddset(&asked_to_end, SIGTERM);
    sigaddset(&asked_to_end, SIGINT);
    for (long long number = first; !ended; number++, due += step) {
        char why[512] = "";
        /* What is on its way when it is asked to end has its answer awaited: that this one is cut off would be nobody's fault. */
        sigprocmask(SIG_BLOCK, &asked_to_end, NULL);
        enum outcome outcome = place ? post_number(place, number, why, sizeof why) : write_number(number, why, sizeof why);
        fprintf(log, "%lld %s %lld %s\n", now(), words[outcome], number, why);
        sigprocmask(SIG_UNBLOCK, &asked_to_end, NULL);
        if (outcome != WRITTEN)
            usleep(20000); /* an outage is no reason to fill the log */
        long long left = due + step - now() * 1000;
        if (left > 0)
            usleep(left);
        else if (left < -1000000)
            due = now() * 1000; /* it fell back: go on at the same rate, don't hurry */
    }
    return fclose(log) ? 1 : 0;
}

/* --- the web application ---------------------------------------------------------------------------------------------------------- */

static struct {
    long long written, refused, unknown, first_failure, last_failure;
} counts;

static void answer(int line, int status, const char *body)
{
    char text[1024];
    int length = snprintf(text, sizeof text, "HTTP/1.0 %d .\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
                          strlen(body), body);
    (void)!send(line, text, length, MSG_NOSIGNAL);
}

static void count(enum outcome outcome)
{
    if (outcome == WRITTEN) {
        counts.written++;
        return;
    }
    *(outcome == REFUSED ? &counts.refused : &counts.unknown) += 1;
    counts.last_failure = now();
    if (!counts.first_failure)
        counts.first_failure = counts.last_failure;
}

static int answers(char *why, size_t size)
{
    if (!connected(why, size))
        return 0;
    PGresult *result = PQexec(database, "SELECT 1");
    int yes = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!yes)
        explain(why, size, PQerrorMessage(database));
    PQclear(result);
    return yes;
}

static void serve_one(int line)
{
    char text[1024], why[512] = "", body[900];
    long long number;
    ssize_t got = recv(line, text, sizeof text - 1, 0);
    if (got <= 0)
        return;
    text[got] = 0;
    if (sscanf(text, "POST /%lld ", &number) == 1) {
        enum outcome outcome = write_number(number, why, sizeof why);
        count(outcome);
        snprintf(body, sizeof body, "{\"outcome\": \"%s\", \"why\": \"%s\"}\n", words[outcome], why);
        answer(line, statuses[outcome], body);
    } else if (!strncmp(text, "GET /ready ", 11)) {
        int ready = answers(why, sizeof why);
        snprintf(body, sizeof body, "{\"ready\": %s, \"why\": \"%s\"}\n", ready ? "true" : "false", why);
        answer(line, ready ? 200 : 503, body);
    } else {
        snprintf(body, sizeof body,
                 "{\"written\": %lld, \"refused\": %lld, \"unknown\": %lld, \"first_failure\": %lld, \"last_failure\": %lld, "
                 "\"server_version\": %d}\n",
                 counts.written, counts.refused, counts.unknown, counts.first_failure, counts.last_failure,
                 database ? PQserverVersion(database) : 0);
        answer(line, 200, body);
    }
}

static int serve(int port)
{
    int yes = 1, door = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval limit = {.tv_sec = 5};
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(door, (struct sockaddr *)&here, sizeof here) || listen(door, 128)) {
        perror("listen");
        return 1;
    }
    while (!ended) {
        int line = accept(door, NULL, NULL);
        if (line < 0)
            continue;
        setsockopt(line, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        serve_one(line);
        close(line);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (argc == 4 && !strcmp(argv[1], "write"))
        return write_all(atof(argv[2]), argv[3]);
    if (argc == 3 && !strcmp(argv[1], "serve"))
        return serve(atoi(argv[2]));
    fprintf(stderr, "usage: ledger write RATE FILE | ledger serve PORT\n");
    return 2;
}
