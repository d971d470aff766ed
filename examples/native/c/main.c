/* Workers of a C program: three threads measure, one adds up.
 *
 * cc -O2 -pthread -I zig/include main.c -o measure -L zig/zig-out/lib -lmillrace -Wl,-rpath,$PWD/zig/zig-out/lib
 *
 * The producers send in three ways: one message a call, a batch a call, and without a copy, by writing
 * into the ring. The consumer verifies the order of each producer, and the sum.
 */
#include <inttypes.h>
#include <millrace.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define PRODUCERS 3
#define COUNT 200000

struct reading {
    uint32_t producer;
    uint32_t sequence;
    int64_t value;
};

static struct reading reading_of(uint32_t producer, uint32_t sequence) {
    return (struct reading){producer, sequence, (int64_t)producer * 1000 - sequence};
}

static _Noreturn void fail(const char *what, int32_t status) {
    fprintf(stderr, "%s: status %" PRId32 "\n", what, status);
    exit(1);
}

static int32_t check(const char *what, int32_t answer) {
    if (answer < 0) fail(what, answer);
    return answer;
}

struct job {
    uint32_t producer;
    millrace_ticket ticket; /* the right to open one endpoint, in whatever thread has it */
};

static void send_one_by_one(uint32_t sender, uint32_t producer) {
    for (uint32_t sequence = 0; sequence < COUNT; sequence++) {
        struct reading reading = reading_of(producer, sequence);
        check("send", millrace_send(sender, &reading, sizeof reading, MILLRACE_FOREVER));
    }
}

static void send_batches(uint32_t sender, uint32_t producer) {
    struct reading batch[100];
    for (uint32_t sequence = 0; sequence < COUNT; sequence += 100) {
        for (uint32_t index = 0; index < 100; index++) batch[index] = reading_of(producer, sequence + index);
        check("send many", millrace_send_many(sender, batch, 100, MILLRACE_FOREVER));
    }
}

static void write_in_place(uint32_t sender, uint32_t producer, const millrace_endpoint_info *info) {
    const millrace_mailbox *mailbox = (const millrace_mailbox *)(uintptr_t)info->mailbox_address;
    uint64_t place[2];
    check("find the ring", millrace_endpoint_ring(sender, info->index, place));
    struct reading *slots = (struct reading *)(uintptr_t)place[0];
    for (uint32_t sequence = 0; sequence < COUNT;) {
        int32_t granted = check("reserve", millrace_sender_reserve(sender, 1));
        if (granted == 0) {
            check("wait", millrace_sender_wait(sender, 1, MILLRACE_PHASED, MILLRACE_FOREVER));
            continue;
        }
        uint32_t chunk = (uint32_t)granted < COUNT - sequence ? (uint32_t)granted : COUNT - sequence;
        for (uint32_t index = 0; index < chunk; index++) {
            slots[mailbox->position + index] = reading_of(producer, sequence + index);
        }
        /* Rings, in case the receiver is an event loop; here it is a thread, and there is nothing to. */
        check("commit", millrace_ring(sender, millrace_sender_commit(sender, chunk, chunk)));
        sequence += chunk;
    }
}

static void *produce(void *argument) {
    const struct job *job = argument;
    millrace_endpoint_info info;
    uint32_t sender = (uint32_t)check("open a sender", millrace_endpoint_open(&job->ticket, MILLRACE_SENDER, &info));
    switch (job->producer) {
        case 0: send_one_by_one(sender, job->producer); break;
        case 1: send_batches(sender, job->producer); break;
        default: write_in_place(sender, job->producer, &info);
    }
    check("close a sender", millrace_close(sender));
    return NULL;
}

int main(void) {
    if (millrace_abi_version() != MILLRACE_ABI_VERSION) fail("this library has another version", 0);
    millrace_channel_options options = {
        .kind = MILLRACE_MPSC,
        .slot_bytes = sizeof(struct reading),
        .capacity = 1024,
        .senders_max = PRODUCERS,
        .receivers_max = 1,
    };
    uint32_t channel = (uint32_t)check("create a channel", millrace_channel_create(&options));

    /* All tickets before the first thread: the channel ends with its last sender and last ticket. */
    struct job jobs[PRODUCERS];
    pthread_t threads[PRODUCERS];
    for (uint32_t producer = 0; producer < PRODUCERS; producer++) {
        jobs[producer].producer = producer;
        check("issue a ticket", millrace_ticket_issue(channel, MILLRACE_SENDER, &jobs[producer].ticket));
    }
    for (uint32_t producer = 0; producer < PRODUCERS; producer++) {
        if (pthread_create(&threads[producer], NULL, produce, &jobs[producer]) != 0) fail("start a thread", 0);
    }

    millrace_endpoint_info info;
    uint32_t receiver = (uint32_t)check("open the receiver", millrace_endpoint_open_on(channel, MILLRACE_RECEIVER, &info));
    uint32_t next[PRODUCERS] = {0};
    int64_t sum = 0, expected = 0;
    struct reading batch[256];
    int32_t received;
    while ((received = millrace_receive_many(receiver, batch, sizeof batch, MILLRACE_FOREVER)) > 0) {
        for (int32_t index = 0; index < received; index++) {
            if (batch[index].sequence != next[batch[index].producer]++) fail("a reading out of order", received);
            sum += batch[index].value;
        }
    }
    if (received != MILLRACE_ENDED) fail("receive", received);
    for (uint32_t producer = 0; producer < PRODUCERS; producer++) {
        pthread_join(threads[producer], NULL);
        if (next[producer] != COUNT) fail("readings are missing", (int32_t)next[producer]);
        for (uint32_t sequence = 0; sequence < COUNT; sequence++) expected += reading_of(producer, sequence).value;
    }
    if (sum != expected) fail("the sum is wrong", 0);

    millrace_statistics statistics;
    check("read the statistics", millrace_endpoint_statistics(receiver, &statistics));
    printf("%" PRIu64 " readings in %" PRIu64 " commits, sum %" PRId64 "\n", statistics.messages_received,
           statistics.commits, sum);
    check("close the receiver", millrace_close(receiver));
    check("dispose of the channel", millrace_close(channel));
    return 0;
}
