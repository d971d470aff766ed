/* A process that is killed after so many instructions of an operation. The first process traces the second,
 * steps it from right before the operation on, and kills it.
 *
 * Usage: OPERATION ADDRESS STEPS. It prints `killed`, or `finished STEPS` if the operation took fewer. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <millrace.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define IS(name) (strcmp(operation, name) == 0)
/* Far beyond what a connect takes on a slow machine. */
#define TIMEOUT_US 20000000

static int32_t check(const char *what, int32_t answer) {
    if (answer >= 0) return answer;
    fprintf(stderr, "%s: status %" PRId32 "\n", what, answer);
    _exit(3);
}

static uint32_t connect_with(const char *address, uint32_t role, millrace_endpoint_info *info) {
    millrace_connect_options options = {.role = role};
    uint32_t bytes = (uint32_t)strlen(address);
    return (uint32_t)check("connect", millrace_connect(&options, (const uint8_t *)address, bytes, TIMEOUT_US, info));
}

static uint32_t connect_as(const char *address, uint32_t role) {
    millrace_endpoint_info info;
    return connect_with(address, role, &info);
}

/* What travels for a slab. */
struct slab_handle {
    uint32_t index, generation, length, zero;
};

static const uint32_t *mailbox_of(const millrace_endpoint_info *info) {
    return (const uint32_t *)(uintptr_t)info->mailbox_address;
}

static void *ring_of(uint32_t endpoint, uint32_t ring, uint32_t position) {
    uint64_t place[2];
    check("ring", millrace_endpoint_ring(endpoint, ring, place));
    return (struct slab_handle *)(uintptr_t)place[0] + position;
}

static uint8_t *slab_of(uint32_t pool, uint32_t index) {
    millrace_slab_place place;
    check("slab", millrace_pool_slab(pool, index, &place));
    return (uint8_t *)(uintptr_t)place.address;
}

/* Takes three slabs and gives two of them back. */
static void allocate(uint32_t pool, const uint32_t *mailbox) {
    int32_t slabs[3];
    uint32_t generations[3];
    for (int at = 0; at < 3; at++) {
        slabs[at] = millrace_pool_alloc(pool);
        generations[at] = mailbox[1];
    }
    for (int at = 0; at < 2; at++) {
        if (slabs[at] >= 0) millrace_pool_free(pool, (uint32_t)slabs[at], generations[at]);
    }
}

static void send_slab(uint32_t pool, const uint32_t *pool_mailbox, uint32_t sender, const uint32_t *mailbox) {
    int32_t index = check("alloc", millrace_pool_alloc(pool));
    uint32_t generation = pool_mailbox[1];
    slab_of(pool, (uint32_t)index)[0] = 7;
    check("reserve", millrace_sender_reserve(sender, 1));
    uint32_t position = mailbox[1];
    check("stage", millrace_pool_stage(pool, (uint32_t)index, generation, sender, position));
    struct slab_handle handle = {(uint32_t)index, generation + 1, 1, 0};
    memcpy(ring_of(sender, mailbox[0], position), &handle, sizeof handle);
    check("commit", millrace_ring(sender, millrace_sender_commit(sender, 1, 1)));
}

static void receive_slab(uint32_t pool, uint32_t receiver, const uint32_t *mailbox) {
    if (check("poll", millrace_receiver_poll(receiver, 1)) == 0) return;
    struct slab_handle handle;
    memcpy(&handle, ring_of(receiver, mailbox[0], mailbox[1]), sizeof handle);
    check("claim", millrace_pool_claim(pool, handle.index, handle.generation));
    check("release", millrace_ring(receiver, millrace_receiver_release(receiver, 1, 1)));
    check("free", millrace_pool_free(pool, handle.index, handle.generation + 1));
}

/* The pool is shared at the address of the channel, with "-pool" behind it. */
static void operate_on_pool(const char *operation, const char *address) {
    millrace_endpoint_info pool_info, info;
    if (IS("pool-receive")) {
        uint32_t receiver = connect_with(address, MILLRACE_RECEIVER, &info);
        uint32_t pool = (uint32_t)check("pool", millrace_pool_open_attached(receiver, &pool_info));
        raise(SIGSTOP);
        for (int time = 0; time < 2; time++) receive_slab(pool, receiver, mailbox_of(&info));
        return;
    }
    char pool_address[108];
    snprintf(pool_address, sizeof pool_address, "%s-pool", address);
    uint32_t pool = connect_with(pool_address, MILLRACE_POOL, &pool_info);
    if (IS("pool-allocate")) {
        raise(SIGSTOP);
        allocate(pool, mailbox_of(&pool_info));
    } else {
        uint32_t sender = connect_with(address, MILLRACE_SENDER, &info);
        raise(SIGSTOP);
        send_slab(pool, mailbox_of(&pool_info), sender, mailbox_of(&info));
    }
}

/* Offers what it has claimed, looks, takes back what no other has meanwhile, and receives the first of it. */
static void offer(uint32_t receiver) {
    for (int time = 0; time < 2; time++) {
        check("offer", millrace_ring(receiver, millrace_receiver_offer(receiver)));
        check("pass on", millrace_ring(receiver, millrace_receiver_pass_on(receiver)));
        millrace_receiver_look(receiver);
        if (millrace_receiver_poll_surely(receiver, 0) <= 0) continue;
        check("release", millrace_ring(receiver, millrace_receiver_release(receiver, 1, 1)));
    }
    millrace_receiver_offer(receiver);
}

/* The operation is what happens between two stops. */
static void operate(const char *operation, const char *address) {
    uint32_t value = 1, bytes;
    if (strncmp(operation, "pool-", 5) == 0) {
        operate_on_pool(operation, address);
    } else if (IS("send") || IS("close-sender")) {
        uint32_t sender = connect_as(address, MILLRACE_SENDER);
        check("send", millrace_send(sender, &value, sizeof value, 0));
        value = 2;
        raise(SIGSTOP);
        if (IS("send")) millrace_send(sender, &value, sizeof value, 0);
        else millrace_close(sender);
    } else {
        uint32_t receiver = connect_as(address, MILLRACE_RECEIVER);
        /* What is there, and then nothing; "wait" falls asleep for a moment, too. */
        uint32_t timeout_us = IS("receive-wait") ? 50 : 0;
        if (IS("close-receiver")) millrace_receive(receiver, &value, sizeof value, &bytes, 0);
        if (IS("offer")) millrace_receiver_poll(receiver, 0);
        raise(SIGSTOP);
        if (IS("close-receiver")) {
            millrace_close(receiver);
        } else if (IS("offer")) {
            offer(receiver);
        } else {
            for (int time = 0; time < 3; time++) millrace_receive(receiver, &value, sizeof value, &bytes, timeout_us);
        }
    }
    raise(SIGSTOP);
    _exit(0);
}

static int wait_for_stop(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
        fprintf(stderr, "it did not stop: status %x\n", status);
        exit(1);
    }
    return WSTOPSIG(status);
}

int main(int count, char **arguments) {
    if (count < 4) return 1;
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(2);
        operate(arguments[1], arguments[2]);
    }
    int status;
    pid_t ended = waitpid(child, &status, 0);
    if (ended != child || !WIFSTOPPED(status)) {
        puts(WIFEXITED(status) && WEXITSTATUS(status) == 2 ? "forbidden" : "failed");
        return 0;
    }
    unsigned long steps = strtoul(arguments[3], NULL, 10), step;
    int is_finished = 0;
    for (step = 0; step < steps; step++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0) return 1;
        int stopped = wait_for_stop(child);
        if (stopped == SIGSTOP) {
            is_finished = 1;
            break;
        }
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    if (is_finished) printf("finished %lu\n", step);
    else puts("killed");
    return 0;
}
