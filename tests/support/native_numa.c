/* Nodes and CPUs from C: pins itself to a node, and has a ring lie there. */
#include "millrace.h"

#include <stdio.h>
#include <stdlib.h>

static int32_t checked(int32_t answer, const char *what) {
    if (answer >= 0) return answer;
    fprintf(stderr, "%s answered %d\n", what, answer);
    exit(1);
}

int main(void) {
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
    checked(millrace_thread_unpin(), "unpin");
    checked(millrace_close(sender), "close");
    checked(millrace_close(receiver), "close");
    checked(millrace_close(channel), "close");
    printf("%u pages on node %u\n", (unsigned)placement.pages, (unsigned)node->node);
    return 0;
}
