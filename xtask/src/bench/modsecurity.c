/* Requests of one file through libmodsecurity, as a web server's connector hands them in: head, body, verdict.
   The file holds each request as four bytes of length, the least first, and the request. Rounds over all of them go on for the
   time given; the output is one line of JSON. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <modsecurity/modsecurity.h>
#include <modsecurity/rules_set.h>
#include <modsecurity/transaction.h>

struct request {
    unsigned char *bytes;
    size_t length;
};

static void silent(void *data, const void *message) {
    (void)data;
    (void)message;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct request *load(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    struct request *all = NULL;
    size_t used = 0, room = 0;
    unsigned char head[4];
    if (file == NULL)
        return NULL;
    while (fread(head, 1, 4, file) == 4) {
        size_t length = head[0] | head[1] << 8 | head[2] << 16 | (size_t)head[3] << 24;
        if (used == room) {
            room = room ? room * 2 : 1024;
            all = realloc(all, room * sizeof *all);
        }
        all[used].bytes = malloc(length + 1);
        all[used].length = fread(all[used].bytes, 1, length, file);
        all[used].bytes[all[used].length] = 0;
        used++;
    }
    fclose(file);
    *count = used;
    return all;
}

/* The end of the line that begins at `at`, and where the next one begins. */
static size_t line_end(const struct request *request, size_t at, size_t *next) {
    unsigned char *end = memchr(request->bytes + at, '\n', request->length - at);
    size_t stop = end ? (size_t)(end - request->bytes) : request->length;
    *next = end ? stop + 1 : stop;
    return stop > at && request->bytes[stop - 1] == '\r' ? stop - 1 : stop;
}

static void request_line(Transaction *transaction, const struct request *request, size_t end) {
    const char *line = (const char *)request->bytes;
    const char *space = memchr(line, ' ', end);
    size_t method = space ? (size_t)(space - line) : end;
    size_t target = method < end ? method + 1 : end, stop = end;
    char *name, *uri;
    const char *version = "1.1";
    while (stop > target && line[stop - 1] != ' ')
        stop--;
    if (stop > target && memcmp(line + stop, "HTTP/", 5) == 0) {
        version = stop + 5 < end && line[end - 1] == '0' ? "1.0" : "1.1";
        stop--;
    } else {
        stop = end;
    }
    name = strndup(line, method);
    uri = strndup(line + target, stop - target);
    msc_process_uri(transaction, uri, name, version);
    free(name);
    free(uri);
}

/* Whether the request would be refused. */
static int judge(ModSecurity *library, RulesSet *rules, const struct request *request) {
    Transaction *transaction = msc_new_transaction(library, rules, NULL);
    ModSecurityIntervention verdict = {200, 0, NULL, NULL, 0};
    size_t at, end = line_end(request, 0, &at);
    int refused;
    msc_process_connection(transaction, "203.0.113.9", 40000, "192.0.2.1", 80);
    request_line(transaction, request, end);
    while (at < request->length) {
        size_t begin = at, colon, value;
        end = line_end(request, begin, &at);
        if (end == begin)
            break;
        unsigned char *mark = memchr(request->bytes + begin, ':', end - begin);
        if (mark == NULL)
            continue;
        colon = (size_t)(mark - request->bytes);
        value = colon + 1;
        while (value < end && (request->bytes[value] == ' ' || request->bytes[value] == '\t'))
            value++;
        msc_add_n_request_header(transaction, request->bytes + begin, colon - begin, request->bytes + value, end - value);
    }
    msc_process_request_headers(transaction);
    if (at < request->length)
        msc_append_request_body(transaction, request->bytes + at, request->length - at);
    msc_process_request_body(transaction);
    refused = msc_intervention(transaction, &verdict) != 0 && verdict.disruptive;
    free(verdict.url);
    free(verdict.log);
    msc_process_logging(transaction);
    msc_transaction_cleanup(transaction);
    return refused;
}

int main(int count, char **arguments) {
    size_t requests = 0, judged = 0, refused = 0;
    const char *error = NULL;
    struct request *all;
    ModSecurity *library;
    RulesSet *rules;
    uint64_t begun, end;
    if (count != 4)
        return 2;
    all = load(arguments[2], &requests);
    library = msc_init();
    msc_set_log_cb(library, silent);
    rules = msc_create_rules_set();
    if (msc_rules_add_file(rules, arguments[1], &error) < 0) {
        fprintf(stderr, "the rules are refused: %s\n", error ? error : "");
        return 1;
    }
    /* The first round is not counted: it warms the caches, and says what is refused. */
    for (size_t number = 0; number < requests; number++)
        refused += (size_t)judge(library, rules, &all[number]);
    begun = now();
    end = begun + (uint64_t)strtoul(arguments[3], NULL, 10) * 1000000000u;
    while (requests > 0 && now() < end)
        for (size_t number = 0; number < requests && now() < end; number++, judged++)
            judge(library, rules, &all[number]);
    printf("{\"requests\": %zu, \"ns\": %llu, \"blocked\": %zu}\n", judged, (unsigned long long)(now() - begun), refused);
    return 0;
}
