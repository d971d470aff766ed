/* A native producer: a shared library with a thread of its own that pushes samples into a channel a
 * Deno or Bun program receives on its event loop. It knows nothing of JavaScript, and never calls it.
 *
 * cc -shared -fPIC -O2 -I zig/include producer.c -o libproducer.so \
 *    -L zig/zig-out/lib -lmillrace -lpthread -Wl,-z,nodelete
 *
 * nodelete: a runtime unloads the libraries of a Worker that ends, and the thread's code is in here.
 */
#include <millrace.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As the channel has it: struct({ sequence: u32, value: f64 }). */
struct sample {
    uint32_t sequence;
    double value;
};

struct job {
    millrace_ticket ticket;
    uint32_t count;
};

static atomic_uint running, sent_total, refused_total;

static void *produce(void *argument) {
    struct job job = *(struct job *)argument;
    free(argument);
    /* An endpoint belongs to the thread that opens it. */
    millrace_endpoint_info info;
    int32_t sender = millrace_endpoint_open(&job.ticket, MILLRACE_SENDER, &info);
    if (sender > 0) {
        for (uint32_t sequence = 0; sequence < job.count; sequence++) {
            struct sample sample = {.sequence = sequence, .value = sequence * 0.5};
            /* Blocks this thread while the ring is full; the receiver's event loop goes on. */
            int32_t status = millrace_send(sender, &sample, sizeof sample, MILLRACE_FOREVER);
            if (status != MILLRACE_OK) break; /* the receiver has gone: MILLRACE_CHANNEL_CLOSED */
            atomic_fetch_add(&sent_total, 1);
        }
        millrace_close(sender);
    } else {
        atomic_fetch_add(&refused_total, 1);
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

/* Starts a thread that sends so many samples. 0: it runs. */
int32_t producer_start(const uint8_t *ticket, uint32_t count) {
    struct job *job = malloc(sizeof *job);
    if (job == NULL) return -1;
    memcpy(&job->ticket, ticket, sizeof job->ticket);
    job->count = count;
    atomic_fetch_add(&running, 1);
    pthread_t thread;
    if (pthread_create(&thread, NULL, produce, job) != 0) {
        atomic_fetch_sub(&running, 1);
        free(job);
        return -1;
    }
    pthread_detach(thread);
    return 0;
}

/* Threads that run. */
uint32_t producer_running(void) { return atomic_load(&running); }
/* Samples sent, and tickets refused because the channel was gone, by all threads. */
uint32_t producer_sent(void) { return atomic_load(&sent_total); }
uint32_t producer_refused(void) { return atomic_load(&refused_total); }
