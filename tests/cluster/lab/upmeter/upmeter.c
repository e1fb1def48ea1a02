/*
 * The application of the cluster tests: behaves towards its SQLite database as Deckhouse's upmeter does, and makes databases as it leaves
 * them. Must not know anything about the plugin.
 *
 * The migration runner is a stand-in for golang-migrate's sqlite3 driver with NoTxWrap (no package registry that the tests may use has the
 * original). It keeps its exact bookkeeping: schema_migrations(version uint64, dirty bool) with the unique index version_unique, the row
 * (target, 1) before a file and (target, 0) after it, each in a transaction of its own; each file in one run, in autocommit unless it says
 * BEGIN; "Dirty database version N. Fix and force version." on the next start.
 *
 *   /upmeter start [--anything]   migrate (unless UPMETER_DB_MIGRATIONS_PATH is empty), serve HTTP, write a row every second
 *   /upmeter generate FILE ...    make a database, see generate() (for tests and the demo)
 *   /migrate -path=DIR -database=sqlite3://FILE?... up|version      the command line of golang-migrate
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#define MOST_MIGRATIONS 100

struct migration {
    long version;
    char path[512];
};

static char failure[4096]; /* why the last call failed */

static int fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(failure, sizeof failure, format, args);
    va_end(args);
    return -1;
}

static void say(const char *level, const char *format, ...)
{
    char text[4096], stamp[32];
    time_t now = time(NULL);
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    fprintf(stderr, "time=\"%s\" level=%s msg=\"%s\"\n", stamp, level, text);
}

static const char *environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static int sql(sqlite3 *db, const char *text)
{
    return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail("%s", sqlite3_errmsg(db));
}

static sqlite3 *open_database(const char *path)
{
    sqlite3 *db;
    if (sqlite3_open(path, &db) != SQLITE_OK) {
        fail("%s: %s", path, sqlite3_errmsg(db));
        sqlite3_close(db);
        return NULL;
    }
    sqlite3_busy_timeout(db, 9999999);
    return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *text)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) != SQLITE_OK)
        fail("%s", sqlite3_errmsg(db));
    return statement;
}

/* --- migrations ---------------------------------------------------------------------------------------------------------------- */

static int by_version(const void *a, const void *b)
{
    long x = ((const struct migration *)a)->version, y = ((const struct migration *)b)->version;
    return (x > y) - (x < y);
}

/* The *.up.sql files of a directory, lowest number first; their count, or -1. */
static int list_migrations(const char *directory, struct migration *found)
{
    int count = 0;
    struct dirent *entry;
    DIR *dir = opendir(directory);
    if (!dir)
        return fail("open %s: %s", directory, strerror(errno));
    while ((entry = readdir(dir)) && count < MOST_MIGRATIONS) {
        char *end;
        long version = strtol(entry->d_name, &end, 10);
        size_t length = strlen(entry->d_name);
        if (end == entry->d_name || *end != '_' || length < 7 || strcmp(entry->d_name + length - 7, ".up.sql"))
            continue;
        found[count].version = version;
        snprintf(found[count++].path, sizeof found->path, "%s/%s", directory, entry->d_name);
    }
    closedir(dir);
    qsort(found, count, sizeof *found, by_version);
    return count;
}

/* As the driver does: any trouble with reading the row means "no version". */
static void read_version(sqlite3 *db, long *version, int *dirty)
{
    sqlite3_stmt *row = prepare(db, "SELECT version, dirty FROM schema_migrations LIMIT 1");
    *version = -1, *dirty = 0;
    if (row && sqlite3_step(row) == SQLITE_ROW) {
        *version = sqlite3_column_int64(row, 0);
        *dirty = sqlite3_column_int(row, 1);
    }
    sqlite3_finalize(row);
}

static int set_version(sqlite3 *db, long version, int dirty)
{
    char insert[128];
    snprintf(insert, sizeof insert, "INSERT INTO schema_migrations (version, dirty) VALUES (%ld, %d)", version, dirty);
    if (sql(db, "BEGIN") == 0 && sql(db, "DELETE FROM schema_migrations") == 0 && sql(db, insert) == 0 && sql(db, "COMMIT") == 0)
        return 0;
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 65536);
    if (!file || !text || fread(text, 1, 65535, file) == 0) {
        fail("%s: %s", path, strerror(errno));
        free(text);
        text = NULL;
    }
    if (file)
        fclose(file);
    return text;
}

static int apply(sqlite3 *db, const struct migration *step)
{
    char *text = read_file(step->path), why[512];
    int status;
    if (!text || set_version(db, step->version, 1)) {
        free(text);
        return -1;
    }
    status = sql(db, text);
    if (status) {
        snprintf(why, sizeof why, "%.500s", failure);
        fail("%s in line 0: %.200s...", why, text);
    } else {
        status = set_version(db, step->version, 0);
    }
    free(text);
    return status;
}

static int ensure_version_table(sqlite3 *db)
{
    return sql(db, "CREATE TABLE IF NOT EXISTS schema_migrations (version uint64,dirty bool);\n"
                   "CREATE UNIQUE INDEX IF NOT EXISTS version_unique ON schema_migrations (version);");
}

/* Applies what is missing, up to and including `last`; -1 with `failure` set if it cannot. */
static int migrate_up(sqlite3 *db, const char *directory, long last)
{
    struct migration steps[MOST_MIGRATIONS];
    int count = list_migrations(directory, steps), dirty, i;
    long version;
    if (count < 0 || ensure_version_table(db))
        return -1;
    read_version(db, &version, &dirty);
    if (dirty)
        return fail("Dirty database version %ld. Fix and force version.", version);
    for (i = 0; i < count && version != -1 && steps[i].version != version; i++)
        ;
    if (i == count && version != -1)
        return fail("no migration found for version %ld: read down for version %ld .: file does not exist", version, version);
    for (i = 0; i < count; i++) {
        if (steps[i].version <= version || steps[i].version > last)
            continue;
        if (apply(db, &steps[i]))
            return -1;
    }
    return 0;
}

/* --- the server ---------------------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static int listen_on(int port)
{
    int one = 1, sock = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(sock, (struct sockaddr *)&address, sizeof address) || listen(sock, 16))
        return fail("listen on port %d: %s", port, strerror(errno));
    return sock;
}

static void answer(int sock)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    char request[1024];
    int client = accept(sock, NULL, NULL);
    if (client < 0)
        return;
    if (read(client, request, sizeof request) > 0 && write(client, ok, sizeof ok - 1) < 0)
        say("error", "answer: %s", strerror(errno));
    close(client);
}

static void write_episode(sqlite3 *db)
{
    char insert[256];
    snprintf(insert, sizeof insert, "INSERT OR IGNORE INTO episodes_30s (timeslot, nano_up, nano_down, group_name, probe_name) "
                                    "VALUES (%ld, 1000000000, 0, 'lab', 'heartbeat')", (long)time(NULL));
    if (sql(db, insert))
        say("error", "cannot save episode: %s", failure);
}

static int serve(sqlite3 *db)
{
    int sock = listen_on(atoi(environment("UPMETER_LISTEN_PORT", "8091")));
    time_t written = 0;
    if (sock < 0)
        return -1;
    say("info", "server started");
    while (!stopping) {
        struct pollfd waiting = {.fd = sock, .events = POLLIN};
        if (poll(&waiting, 1, 200) > 0)
            answer(sock);
        if (time(NULL) != written) {
            write_episode(db);
            written = time(NULL);
        }
    }
    say("info", "server stopped");
    return 0;
}

static int start(void)
{
    const char *path = environment("UPMETER_DB_PATH", "/db/downtime.db.sqlite");
    const char *directory = environment("UPMETER_DB_MIGRATIONS_PATH", "/data/migrations/server");
    sqlite3 *db = open_database(path);
    if (!db) {
        say("fatal", "cannot start server: database not connected: %s", failure);
        return 1;
    }
    if (*directory && migrate_up(db, directory, LONG_MAX)) {
        say("fatal", "cannot start server: database not connected: cannot migrate database: cannot migrate: %s", failure);
        return 1;
    }
    if (serve(db)) {
        say("fatal", "cannot start server: %s", failure);
        return 1;
    }
    sqlite3_close(db);
    return 0;
}

/* golang-migrate's command line, as far as upmeter's init container uses it. */
static int migrate_command(int count, char **words)
{
    char directory[512] = "", path[512] = "";
    const char *verb = "";
    long version;
    int i, dirty;
    sqlite3 *db;
    for (i = 1; i < count; i++) {
        if (!strncmp(words[i], "-path=", 6))
            snprintf(directory, sizeof directory, "%s", words[i] + 6);
        else if (!strncmp(words[i], "-database=sqlite3://", 20))
            snprintf(path, sizeof path, "%.*s", (int)strcspn(words[i] + 20, "?"), words[i] + 20);
        else
            verb = words[i];
    }
    db = open_database(path);
    if (!strcmp(verb, "version") && db) {
        read_version(db, &version, &dirty);
        fprintf(stderr, version < 0 ? "error: no migration\n" : dirty ? "%ld (dirty)\n" : "%ld\n", version);
        return version < 0;
    }
    if (!db || strcmp(verb, "up") || migrate_up(db, directory, LONG_MAX)) {
        fprintf(stderr, "error: %s\n", *failure ? failure : "only up and version are known here");
        return 1;
    }
    return 0;
}

/* --- databases for tests ------------------------------------------------------------------------------------------------------- */

struct shape {
    const char *path, *migrations;
    long version;      /* the schema is that of this migration; below 4 the tables are downtime30s and downtime5m */
    long dirty;        /* version to mark dirty, or 0 */
    long days;         /* of 30 s rows */
    long summed_days;  /* of 5 min rows */
    long probes;       /* running ones */
    long retired;      /* 1: one more probe, last seen 400 days ago */
    long holes;        /* every so-manyth 5 min slot was never summed up; 0: none */
    long seed, now, page_size;
    long free_pages;   /* free-list pages to leave in the file */
    long wal;          /* rows in frames that a killed writer never merged */
    long hot_journal;  /* 1: a writer is killed in a transaction whose pages are in the file already */
};

static const char *const groups[] = {"control-plane", "scaling", "monitoring-and-autoscaling", "load-balancing", "synthetic", "deckhouse"};
static const char *const probes[] = {"access", "basic-functionality", "controller-manager", "scheduler", "namespace", "prometheus"};

#define RETIRED 1000005 /* a probe of the last group that nobody runs any more */

static long mix(long seed, long slot, long probe)
{
    unsigned long x = (unsigned long)seed * 0x9e3779b97f4a7c15UL ^ (unsigned long)slot * 0xbf58476d1ce4e5b9UL ^ (unsigned long)probe * 0x94d049bb133111ebUL;
    return (long)((x ^ x >> 29) * 0x2545f4914f6cdd1dUL >> 34);
}

static int put(sqlite3_stmt *insert, const struct shape *shape, long slot, long probe, long seconds)
{
    long unit = shape->version >= 4 ? 1000000000 : 1, down = mix(shape->seed, slot, probe) % 50 ? 0 : mix(shape->seed, slot, probe + 7) % seconds;
    char name[64];
    if (probe == RETIRED)
        snprintf(name, sizeof name, "retired");
    else
        snprintf(name, sizeof name, probe < 6 ? "%s" : "%s-%ld", probes[probe % 6], probe / 6 + 1);
    sqlite3_bind_int64(insert, 1, slot);
    sqlite3_bind_int64(insert, 2, (seconds - down) * unit);
    sqlite3_bind_int64(insert, 3, down * unit);
    sqlite3_bind_text(insert, 4, groups[probe % 6], -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 5, name, -1, SQLITE_TRANSIENT);
    sqlite3_step(insert);
    return sqlite3_reset(insert) == SQLITE_OK ? 0 : fail("%s", sqlite3_errmsg(sqlite3_db_handle(insert)));
}

static int fill(sqlite3 *db, const struct shape *shape)
{
    const char *tables[2] = {shape->version >= 4 ? "episodes_5m" : "downtime5m", shape->version >= 4 ? "episodes_30s" : "downtime30s"};
    sqlite3_stmt *insert[2];
    long end = shape->now - shape->now % 300, first = end - shape->summed_days * 86400, first_30s = end - shape->days * 86400, slot, probe, i;
    for (i = 0; i < 2; i++) {
        char text[128];
        snprintf(text, sizeof text, "INSERT INTO %s VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)", tables[i]);
        insert[i] = prepare(db, text);
        if (!insert[i])
            return -1;
    }
    if (sql(db, "BEGIN"))
        return -1;
    for (i = 0; shape->retired && i < 20; i++)
        if (put(insert[i == 0], shape, end - 400 * 86400 + i * (i ? 30 : 300), RETIRED, i ? 30 : 300))
            return -1;
    for (slot = first < first_30s ? first : first_30s; slot < end; slot += 300) {
        int summed = slot >= first && !(shape->holes && slot / 300 % shape->holes == 0);
        for (probe = 0; probe < shape->probes; probe++) {
            if (summed && put(insert[0], shape, slot, probe, 300))
                return -1;
            for (i = 0; slot >= first_30s && i < 10; i++)
                if (put(insert[1], shape, slot + i * 30, probe, 30))
                    return -1;
        }
    }
    sqlite3_finalize(insert[0]);
    sqlite3_finalize(insert[1]);
    return sql(db, "COMMIT");
}

static int leave_free_pages(sqlite3 *db, long pages)
{
    char text[256];
    snprintf(text, sizeof text, "CREATE TABLE filler (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %ld) "
                                "INSERT INTO filler SELECT zeroblob(3900) FROM n; DROP TABLE filler", pages);
    return sql(db, text);
}

/* Ends the process as a kill would: nothing is closed, rolled back or merged. */
static int die_while_writing(sqlite3 *db, const struct shape *shape)
{
    char text[512];
    const char *table = shape->version >= 4 ? "episodes_30s" : "downtime30s";
    if (shape->wal) {
        snprintf(text, sizeof text, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; UPDATE %s SET probe_name = probe_name || '-w' "
                                    "WHERE rowid IN (SELECT rowid FROM %s ORDER BY rowid LIMIT %ld)", table, table, shape->wal);
    } else {
        snprintf(text, sizeof text, "PRAGMA cache_size = 10; BEGIN IMMEDIATE; UPDATE %s SET probe_name = 'never-committed' WHERE rowid %% 2 = 0", table);
    }
    if (sql(db, text))
        return -1;
    _exit(0);
}

static int number_option(char **words, int *at, const char *name, long *value)
{
    if (strcmp(words[*at], name) || !words[*at + 1])
        return 0;
    *value = atol(words[++*at]);
    return 1;
}

static int generate(char **words)
{
    struct shape s = {.path = words[0], .migrations = "/data/migrations/server", .version = 3, .days = 2, .summed_days = 4, .probes = 4,
                      .seed = 1, .now = time(NULL), .page_size = 4096};
    char text[64];
    sqlite3 *db;
    int i;
    for (i = 1; words[i]; i++) {
        if (!strcmp(words[i], "--migrations") && words[i + 1])
            s.migrations = words[++i];
        else if (!number_option(words, &i, "--version", &s.version) && !number_option(words, &i, "--dirty", &s.dirty) &&
                 !number_option(words, &i, "--days", &s.days) && !number_option(words, &i, "--summed-days", &s.summed_days) &&
                 !number_option(words, &i, "--probes", &s.probes) && !number_option(words, &i, "--retired", &s.retired) &&
                 !number_option(words, &i, "--holes", &s.holes) && !number_option(words, &i, "--seed", &s.seed) &&
                 !number_option(words, &i, "--now", &s.now) && !number_option(words, &i, "--page-size", &s.page_size) &&
                 !number_option(words, &i, "--free-pages", &s.free_pages) && !number_option(words, &i, "--wal", &s.wal) &&
                 !number_option(words, &i, "--hot-journal", &s.hot_journal))
            return fail("generate: unknown option %s", words[i]);
    }
    snprintf(text, sizeof text, "PRAGMA page_size = %ld; PRAGMA synchronous = OFF", s.page_size);
    if (access(s.path, F_OK) == 0)
        return fail("%s is there already", s.path);
    db = open_database(s.path);
    if (!db || sql(db, text) || migrate_up(db, s.migrations, s.version) || fill(db, &s) || (s.free_pages && leave_free_pages(db, s.free_pages)) ||
        (s.dirty && set_version(db, s.dirty, 1)) || sql(db, "PRAGMA synchronous = FULL"))
        return -1;
    if (s.wal || s.hot_journal)
        return die_while_writing(db, &s);
    sqlite3_close(db);
    sync();
    return 0;
}

int main(int count, char **words)
{
    const char *name = strrchr(words[0], '/');
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(name ? name + 1 : words[0], "migrate"))
        return migrate_command(count, words);
    if (count >= 2 && !strcmp(words[1], "start"))
        return start();
    if (count >= 3 && !strcmp(words[1], "generate")) {
        if (generate(words + 2) == 0)
            return 0;
        fprintf(stderr, "error: %s\n", failure);
        return 1;
    }
    fprintf(stderr, "usage: upmeter start | upmeter generate FILE [--days N] [--version N] ...\n");
    return 2;
}
