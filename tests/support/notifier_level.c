/* A consumer in a real epoll loop, level-triggered, with a sender thread of its own.
 * Usage: program KIND COUNT. Prints "sleeps writes received writes_while_busy". */
#include <millrace.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

enum { BUSY = 60, CAPACITY = 64 };

/* How often the receiver has slept. */
static _Atomic uint64_t sleeps;

struct job {
    millrace_ticket ticket;
    uint32_t first, count;
    int pauses;
};

static void *send_all(void *argument) {
    struct job *job = argument;
    millrace_endpoint_info info;
    uint64_t place[2];
    int32_t sender;
    /* The place of the sender before is free once the receiver has seen its end. */
    while ((sender = millrace_endpoint_open(&job->ticket, MILLRACE_SENDER, &info)) == MILLRACE_TOO_MANY_SENDERS)
        nanosleep(&(struct timespec){.tv_nsec = 60000}, NULL);
    CHECK(sender > 0);
    CHECK(millrace_endpoint_ring(sender, info.index, place) == 0);
    const uint32_t *mailbox = (const uint32_t *)(uintptr_t)info.mailbox_address;
    uint32_t *slots = (uint32_t *)(uintptr_t)place[0];
    for (uint32_t value = job->first; value < job->first + job->count; value++) {
        while (millrace_sender_reserve(sender, 1) == 0) millrace_sender_wait(sender, 1, MILLRACE_BLOCK, 100000);
        slots[mailbox[1]] = value;
        CHECK(millrace_sender_commit(sender, 1, 1) >= 0);
        /* After each lot of 16 the receiver has to have slept once more. */
        uint64_t lots = (value - job->first) / 16;
        while (job->pauses && atomic_load(&sleeps) <= lots) nanosleep(&(struct timespec){.tv_nsec = 60000}, NULL);
    }
    CHECK(millrace_endpoint_close(sender) >= 0);
    return NULL;
}

int main(int count_of_arguments, char **arguments) {
    CHECK(count_of_arguments == 3);
    millrace_channel_options options = {.kind = (uint32_t)atoi(arguments[1]), .slot_bytes = 4, .capacity = CAPACITY,
                                        .senders_max = 1, .receivers_max = 1};
    uint32_t count = (uint32_t)atoi(arguments[2]);
    int32_t channel = millrace_channel_create(&options);
    CHECK(channel > 0);
    struct job busy = {.first = 0, .count = BUSY}, job = {.first = BUSY, .count = count - BUSY, .pauses = 1};
    CHECK(millrace_ticket_issue(channel, MILLRACE_SENDER, &busy.ticket) == 0);
    CHECK(millrace_ticket_issue(channel, MILLRACE_SENDER, &job.ticket) == 0);
    millrace_endpoint_info info;
    uint64_t place[2];
    int32_t receiver = millrace_endpoint_open_on(channel, MILLRACE_RECEIVER, &info);
    CHECK(receiver > 0);
    CHECK(millrace_endpoint_ring(receiver, 0, place) == 0);
    const uint32_t *mailbox = (const uint32_t *)(uintptr_t)info.mailbox_address;
    const uint32_t *slots = (const uint32_t *)(uintptr_t)place[0];
    CHECK(millrace_receiver_arm_event_fd(receiver) == MILLRACE_INVALID_ARGUMENT);
    int fd = millrace_receiver_event_fd(receiver);
    CHECK(fd >= 0 && fd == millrace_receiver_event_fd(receiver));

    /* Never armed: busy. Whatever is sent, nobody writes. */
    pthread_t thread;
    pthread_create(&thread, NULL, send_all, &busy);
    pthread_join(thread, NULL);
    int writes_while_busy = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0);

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    pthread_create(&thread, NULL, send_all, &job);
    uint64_t writes = 0, written;
    uint32_t received = 0;
    for (;;) {
        int32_t there;
        while ((there = millrace_receiver_poll(receiver, 0)) > 0) {
            for (int32_t index = 0; index < there; index++) CHECK(slots[mailbox[1] + index] == received++);
            CHECK(millrace_receiver_release(receiver, there, there) >= 0);
        }
        if (there == MILLRACE_ENDED) break;
        CHECK(there == 0);
        int32_t armed = millrace_receiver_arm_event_fd(receiver);
        CHECK(armed >= 0);
        if (!armed) continue;
        atomic_fetch_add(&sleeps, 1);
        /* A lost wake-up ends here. */
        CHECK(epoll_wait(epoll, &event, 1, 100000) == 1);
        CHECK(read(fd, &written, sizeof written) == sizeof written);
        writes += written;
    }
    pthread_join(thread, NULL);
    CHECK(millrace_endpoint_close(receiver) >= 0);
    CHECK(read(fd, &written, sizeof written) == sizeof written); /* a close wakes who still waits */
    CHECK(millrace_channel_dispose(channel) >= 0);
    CHECK(millrace_channels_alive() == 0);
    CHECK(read(fd, &written, sizeof written) < 0); /* with the channel its descriptor is gone */
    printf("%lu %lu %u %d\n", (unsigned long)atomic_load(&sleeps), (unsigned long)writes, received, writes_while_busy);
    return 0;
}
