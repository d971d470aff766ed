/* Threads for the tests of native use: one that echoes, one that only counts, one that ends without
 * a word. */
#include <millrace.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct job {
    millrace_ticket first, second;
    uint32_t count;
    void (*work)(struct job *);
};

static atomic_uint running;
static atomic_int last_status;
static atomic_uint messages;

static void *run(void *argument) {
    struct job job = *(struct job *)argument;
    free(argument);
    job.work(&job);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static int32_t start(const uint8_t *first, const uint8_t *second, uint32_t count, void (*work)(struct job *)) {
    struct job *job = malloc(sizeof *job);
    if (job == NULL) return -1;
    memcpy(&job->first, first, sizeof job->first);
    memcpy(&job->second, second, sizeof job->second);
    job->count = count;
    job->work = work;
    atomic_fetch_add(&running, 1);
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, job) != 0) return -1;
    pthread_detach(thread);
    return 0;
}

static int32_t open_endpoint(const millrace_ticket *ticket, uint32_t role) {
    millrace_endpoint_info info;
    int32_t endpoint = millrace_endpoint_open(ticket, role, &info);
    if (endpoint < 0) atomic_store(&last_status, endpoint);
    return endpoint;
}

static void echo(struct job *job) {
    int32_t receiver = open_endpoint(&job->first, MILLRACE_RECEIVER);
    int32_t sender = open_endpoint(&job->second, MILLRACE_SENDER);
    if (receiver < 0 || sender < 0) return;
    uint8_t buffer[4096];
    uint32_t bytes;
    int32_t status;
    while ((status = millrace_receive(receiver, buffer, sizeof buffer, &bytes, MILLRACE_FOREVER)) == MILLRACE_OK) {
        if ((status = millrace_send(sender, buffer, bytes, MILLRACE_FOREVER)) != MILLRACE_OK) break;
        atomic_fetch_add(&messages, 1);
    }
    atomic_store(&last_status, status);
    millrace_close(sender);
    millrace_close(receiver);
}

static void consume(struct job *job) {
    int32_t receiver = open_endpoint(&job->first, MILLRACE_RECEIVER);
    if (receiver < 0) return;
    uint8_t buffer[4096];
    uint32_t bytes;
    int32_t status;
    while ((status = millrace_receive(receiver, buffer, sizeof buffer, &bytes, MILLRACE_FOREVER)) == MILLRACE_OK) {
        atomic_fetch_add(&messages, 1);
    }
    atomic_store(&last_status, status);
    millrace_close(receiver);
}

/* Sends, slowly, and ends with its sender open. */
static void abandon(struct job *job) {
    int32_t sender = open_endpoint(&job->first, MILLRACE_SENDER);
    for (uint32_t value = 0; sender > 0 && value < job->count; value++) {
        struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
        nanosleep(&pause, NULL);
        int32_t status = millrace_send(sender, &value, sizeof value, MILLRACE_FOREVER);
        atomic_store(&last_status, status);
        if (status == MILLRACE_OK) atomic_fetch_add(&messages, 1);
    }
}

int32_t start_echo(const uint8_t *receiver, const uint8_t *sender) { return start(receiver, sender, 0, echo); }
int32_t start_consume(const uint8_t *receiver) { return start(receiver, receiver, 0, consume); }
int32_t start_abandon(const uint8_t *sender, uint32_t count) { return start(sender, sender, count, abandon); }
uint32_t threads_running(void) { return atomic_load(&running); }
uint32_t messages_handled(void) { return atomic_load(&messages); }
int32_t status_seen(void) { return atomic_load(&last_status); }
