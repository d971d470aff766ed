/* Nodes and CPUs from C: pins itself to a node, and has rings lie there, also as another process would. */
#define _GNU_SOURCE
#include "millrace.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int32_t checked(int32_t answer, const char *what) {
    if (answer >= 0) return answer;
    fprintf(stderr, "%s answered %d\n", what, answer);
    exit(1);
}

static void *do_nothing(void *unused) {
    return unused;
}

/* Waits until the ring of a connection that was closed can be had again. */
static int is_given_back(uint32_t channel, uint32_t receiver, uint32_t share) {
    static millrace_statistics statistics;
    char nothing[8];
    uint32_t bytes;
    for (int turn = 0; turn < 20000; turn++) {
        checked(millrace_endpoint_statistics(channel, &statistics), "statistics");
        if (statistics.senders == 0 && millrace_share_connections(share) == 0) {
            /* The ring is another's once its receiver has found it drained. */
            return millrace_receive(receiver, nothing, sizeof nothing, &bytes, 0) == MILLRACE_WOULD_BLOCK;
        }
        usleep(1000);
    }
    return 0;
}

/* Over a socket, as another process would: `place` in the options, and told at the end. */
static int connect_both_ways(uint32_t node) {
    const millrace_place here = {.mode = MILLRACE_NUMA_REQUIRE, .node = node};
    const millrace_place nowhere = {.mode = MILLRACE_NUMA_REQUIRE, .node = 1000};
    const millrace_place nonsense = {.mode = 3};
    const millrace_channel_options options = {
        .kind = MILLRACE_MPSC, .slot_bytes = 8, .capacity = 1024, .senders_max = 1, .receivers_max = 1, .is_shared = 1,
    };
    const uint32_t channel = (uint32_t)checked(millrace_channel_create(&options), "create");
    millrace_endpoint_info info;
    const uint32_t receiver =
        (uint32_t)checked(millrace_endpoint_open_on(channel, MILLRACE_RECEIVER, &info), "open the receiver");
    char name[64];
    const uint32_t length = (uint32_t)snprintf(name, sizeof name, "@millrace-native-numa-%d", (int)getpid());
    const uint8_t *address = (const uint8_t *)name;
    const millrace_share_options sharing = {.roles = MILLRACE_SHARE_SENDERS};
    const uint32_t share = (uint32_t)checked(millrace_share(channel, &sharing, address, length, NULL, 0), "share");

    millrace_connect_options connecting = {.role = MILLRACE_SENDER, .place = nonsense};
    if (millrace_connect_begin(&connecting, address, length) != MILLRACE_INVALID_ARGUMENT) return 20;
    connecting.place = nowhere;
    if (millrace_connect(&connecting, address, length, 20000000, &info) != MILLRACE_NO_SUCH_NODE) return 21;
    if (!is_given_back(channel, receiver, share)) return 22;
    connecting.place = here;
    static millrace_placement placement;
    for (int steps = 0; steps < 2; steps++) {
        int32_t sender;
        if (steps) {
            const uint32_t connection = (uint32_t)checked(millrace_connect_begin(&connecting, address, length), "begin");
            int32_t answer = 0;
            for (int turn = 0; turn < 20000 && answer == 0; turn++) {
                answer = checked(millrace_connect_poll(connection), "poll");
                if (answer == 0) usleep(1000);
            }
            if (millrace_connect_finish_at(connection, &nonsense, &info) != MILLRACE_INVALID_ARGUMENT) return 23;
            /* One that is refused may be asked for another place. */
            if (millrace_connect_finish_at(connection, &nowhere, &info) != MILLRACE_NO_SUCH_NODE) return 24;
            sender = checked(millrace_connect_finish(connection, &info), "finish");
            if (sender != (int32_t)connection) return 25;
        } else {
            sender = checked(millrace_connect(&connecting, address, length, 20000000, &info), "connect");
        }
        const uint32_t handles[] = {(uint32_t)sender, channel};
        for (int index = 0; index < 2; index++) {
            checked(millrace_endpoint_placement(handles[index], 0, &placement), "placement");
            if (placement.refusal != 0 || placement.node != node || placement.untouched != 0) return 26;
            if (placement.is_known && placement.nodes[0].pages != placement.pages) return 27;
        }
        uint64_t message = 43;
        uint32_t message_bytes = 0;
        checked(millrace_send((uint32_t)sender, &message, sizeof message, 0), "send");
        message = 0;
        checked(millrace_receive(receiver, &message, sizeof message, &message_bytes, 0), "receive");
        if (message != 43) return 28;
        checked(millrace_close((uint32_t)sender), "close");
        if (!is_given_back(channel, receiver, share)) return 29;
    }
    /* The C library signals all threads for that, and waits: those of Millrace must answer. */
    if (setuid(getuid()) != 0) return 30;
    checked(millrace_close(share), "close");
    checked(millrace_close(receiver), "close");
    checked(millrace_close(channel), "close");
    return 0;
}

int main(void) {
    /* The first thread of a process gets the C library's own signals back, whatever is blocked. */
    pthread_t first;
    if (pthread_create(&first, NULL, do_nothing, NULL) != 0 || pthread_join(first, NULL) != 0) return 31;
    static millrace_topology topology;
    checked(millrace_numa_topology(NULL, &topology), "topology");
    const millrace_topology_node *node = &topology.nodes[0];
    while (node->cpus[0] == 0 || !node->is_allowed) {
        if (++node == &topology.nodes[topology.node_count]) return 1;
    }
    checked(millrace_thread_pin_node(node->node), "pin");
    if (checked(millrace_thread_node(), "node") != (int32_t)node->node) return 2;
    if (!(node->cpus[0] >> checked(millrace_thread_cpu(), "cpu") & 1)) return 3;

    const millrace_place here = {.mode = MILLRACE_NUMA_REQUIRE, .node = MILLRACE_NODE_LOCAL};
    const millrace_place nowhere = {.mode = MILLRACE_NUMA_REQUIRE, .node = 1000};
    const millrace_channel_options options = {
        .kind = MILLRACE_MPSC, .slot_bytes = 8, .capacity = 1024, .senders_max = 1,
        .receivers_max = 1, .is_shared = 1, .place = here,
    };
    const int32_t created = millrace_channel_create(&options);
    if (created == MILLRACE_NUMA_REFUSED || created == MILLRACE_NUMA_UNSUPPORTED) {
        puts("0 pages on node 0"); /* a container that has the kernel refuse mbind */
        return 0;
    }
    const uint32_t channel = (uint32_t)checked(created, "create");
    millrace_endpoint_info info;
    if (millrace_endpoint_open_on_at(channel, MILLRACE_SENDER, &nowhere, &info) != MILLRACE_NO_SUCH_NODE) return 4;
    millrace_ticket ticket;
    checked(millrace_ticket_issue(channel, MILLRACE_SENDER, &ticket), "issue");
    if (millrace_endpoint_open_at(&ticket, MILLRACE_SENDER, &nowhere, &info) != MILLRACE_NO_SUCH_NODE) return 5;
    const uint32_t sender =
        (uint32_t)checked(millrace_endpoint_open_at(&ticket, MILLRACE_SENDER, &here, &info), "open a sender");
    const uint32_t receiver = (uint32_t)checked(
        millrace_endpoint_open_on_at(channel, MILLRACE_RECEIVER, &here, &info), "open the receiver");

    uint64_t message = 42;
    uint32_t message_bytes = 0;
    checked(millrace_send(sender, &message, sizeof message, 0), "send");
    message = 0;
    checked(millrace_receive(receiver, &message, sizeof message, &message_bytes, 0), "receive");
    if (message != 42) return 6;

    static millrace_placement placement;
    const uint32_t regions[] = {0, MILLRACE_RING_SHARED};
    for (int index = 0; index < 2; index++) {
        checked(millrace_endpoint_placement(sender, regions[index], &placement), "placement");
        if (placement.refusal != 0 || placement.node != node->node || placement.untouched != 0) return 7;
        if (placement.is_known && placement.nodes[0].pages != placement.pages) return 8;
    }
    const int failed = connect_both_ways(node->node);
    if (failed != 0) return failed;
    checked(millrace_thread_unpin(), "unpin");
    checked(millrace_close(sender), "close");
    checked(millrace_close(receiver), "close");
    checked(millrace_close(channel), "close");
    printf("%u pages on node %u\n", (unsigned)placement.pages, (unsigned)node->node);
    return 0;
}
