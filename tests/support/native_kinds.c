/* Every function of the header, over every kind of channel, with fixed slots and with records; what it
 * refuses, and what it says. */
#include <millrace.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(expected, actual) expect(__LINE__, #actual, expected, actual)

static void expect(int line, const char *what, int64_t expected, int64_t actual) {
    if (expected == actual) return;
    fprintf(stderr, "line %d: %s is %lld, not %lld\n", line, what, (long long)actual, (long long)expected);
    exit(1);
}

static uint32_t open_on(uint32_t channel, uint32_t role, millrace_endpoint_info *info) {
    int32_t handle = millrace_endpoint_open_on(channel, role, info);
    if (handle <= 0) EXPECT(1, handle);
    return (uint32_t)handle;
}

static uint32_t create(uint32_t kind, uint32_t slot_bytes, uint32_t has_records) {
    int many_senders = kind == MILLRACE_MPSC || kind == MILLRACE_MPMC;
    int many_receivers = kind == MILLRACE_SPMC || kind == MILLRACE_MPMC;
    millrace_channel_options options = {
        .kind = kind,
        .slot_bytes = slot_bytes,
        .capacity = 8,
        .senders_max = many_senders ? 4 : 1,
        .receivers_max = many_receivers ? 4 : 1,
        .has_records = has_records,
        .initial_sequence = UINT32_MAX / 2 - 3, /* the counters wrap soon */
    };
    int32_t channel = millrace_channel_create(&options);
    if (channel <= 0) EXPECT(1, channel);
    return (uint32_t)channel;
}

static void fixed(uint32_t kind) {
    uint32_t channel = create(kind, sizeof(uint64_t), 0);
    millrace_endpoint_info info, receiver_info;
    uint32_t sender = open_on(channel, MILLRACE_SENDER, &info);
    uint32_t receiver = open_on(channel, MILLRACE_RECEIVER, &receiver_info);
    EXPECT(kind, info.kind);
    EXPECT(8, info.capacity);
    EXPECT(8, info.slot_bytes);
    uint64_t value = 0, buffer[16];
    uint32_t bytes = 0;
    EXPECT(MILLRACE_WOULD_BLOCK, millrace_receive(receiver, &value, sizeof value, &bytes, 0));
    EXPECT(MILLRACE_WOULD_BLOCK, millrace_receive(receiver, &value, sizeof value, &bytes, 1000));
    EXPECT(MILLRACE_INVALID_ARGUMENT, millrace_send(sender, &value, 7, 0));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_send(receiver, &value, sizeof value, 0));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_receive(sender, &value, sizeof value, &bytes, 0));
    /* Around the ring, one by one. */
    for (uint64_t round = 0; round < 20; round++) {
        EXPECT(MILLRACE_OK, millrace_send(sender, &round, sizeof round, 0));
        EXPECT(MILLRACE_OK, millrace_receive(receiver, &value, sizeof value, &bytes, MILLRACE_FOREVER));
        EXPECT((int64_t)round, (int64_t)value);
        EXPECT(8, bytes);
    }
    /* Until it is full. */
    for (uint64_t index = 0; index < 16; index++) buffer[index] = index;
    EXPECT(8, millrace_send_many(sender, buffer, 16, 1000));
    EXPECT(MILLRACE_WOULD_BLOCK, millrace_send(sender, &value, sizeof value, 0));
    EXPECT(MILLRACE_WOULD_BLOCK, millrace_send(sender, &value, sizeof value, 1000));
    EXPECT(MILLRACE_WOULD_BLOCK, millrace_send_many(sender, buffer, 1, 0));
    EXPECT(0, millrace_sender_wait(sender, 1, MILLRACE_PHASED, 100));
    EXPECT(0, millrace_sender_reserve(sender, 1));
    EXPECT(MILLRACE_TOO_SMALL, millrace_receive(receiver, &value, 3, &bytes, 0));
    EXPECT(MILLRACE_TOO_SMALL, millrace_receive_many(receiver, buffer, 7, 0));
    uint32_t count = 0;
    while (count < 8) {
        int32_t received = millrace_receive_many(receiver, buffer, 3 * sizeof(uint64_t), 0);
        if (received <= 0 || received > 3) EXPECT(3, received);
        for (int32_t index = 0; index < received; index++) EXPECT(count++, (int64_t)buffer[index]);
    }
    /* Without a copy. */
    const millrace_mailbox *out = (const millrace_mailbox *)(uintptr_t)info.mailbox_address;
    const millrace_mailbox *in = (const millrace_mailbox *)(uintptr_t)receiver_info.mailbox_address;
    uint64_t place[2];
    EXPECT(0, millrace_endpoint_ring(sender, info.index, place));
    EXPECT(64, (int64_t)place[1]);
    int32_t granted = millrace_sender_reserve(sender, 1);
    if (granted < 1) EXPECT(1, granted);
    ((uint64_t *)(uintptr_t)place[0])[out->position] = 77;
    EXPECT(MILLRACE_INVALID_ARGUMENT, millrace_ring(sender, millrace_sender_commit(sender, 100, 1)));
    EXPECT(0, millrace_ring(sender, millrace_sender_commit(sender, 1, 1)));
    EXPECT(MILLRACE_INVALID_ARGUMENT, millrace_ring(sender, 255 << MILLRACE_BELL_RECEIVER_SHIFT | MILLRACE_BELL_RECEIVER));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_ring(0, 0));
    EXPECT(1, millrace_receiver_wait(receiver, MILLRACE_PHASED, 1000));
    EXPECT(1, millrace_receiver_poll(receiver, 1));
    EXPECT(0, millrace_endpoint_ring(receiver, in->ring, place));
    EXPECT(77, (int64_t)((uint64_t *)(uintptr_t)place[0])[in->position]);
    EXPECT(0, millrace_ring(receiver, millrace_receiver_release(receiver, 1, 1)));
    millrace_statistics statistics;
    EXPECT(0, millrace_endpoint_statistics(channel, &statistics));
    EXPECT(29, (int64_t)statistics.messages_sent);
    EXPECT(29, (int64_t)statistics.messages_received);
    EXPECT(0, (int64_t)statistics.slots_used);
    EXPECT(1, (int64_t)statistics.senders);
    /* The end. */
    EXPECT(MILLRACE_OK, millrace_send(sender, &value, sizeof value, 0));
    EXPECT(0, millrace_ring(channel, millrace_channel_close(channel, (const uint8_t *)"over", 4)));
    EXPECT(MILLRACE_CHANNEL_CLOSED, millrace_send(sender, &value, sizeof value, MILLRACE_FOREVER));
    EXPECT(MILLRACE_CHANNEL_CLOSED, millrace_send_many(sender, buffer, 1, MILLRACE_FOREVER));
    EXPECT(1, millrace_endpoint_close_state(receiver));
    char reason[8] = {0};
    EXPECT(4, millrace_endpoint_reason(receiver, (uint8_t *)reason, sizeof reason));
    EXPECT(0, strcmp(reason, "over"));
    EXPECT(MILLRACE_OK, millrace_receive(receiver, &value, sizeof value, &bytes, MILLRACE_FOREVER));
    EXPECT(MILLRACE_ENDED, millrace_receive(receiver, &value, sizeof value, &bytes, MILLRACE_FOREVER));
    EXPECT(MILLRACE_ENDED, millrace_receive_many(receiver, buffer, sizeof buffer, MILLRACE_FOREVER));
    EXPECT(0, millrace_close(sender));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_close(sender));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_send(sender, &value, sizeof value, 0));
    EXPECT(0, millrace_close(receiver));
    EXPECT(0, millrace_close(channel));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_close(channel));
}

/* A sender that fails, and the last receiver that does: the other side is told why. */
static void reasons(uint32_t kind) {
    uint32_t channel = create(kind, 8, 0);
    millrace_endpoint_info info;
    uint32_t sender = open_on(channel, MILLRACE_SENDER, &info);
    uint32_t receiver = open_on(channel, MILLRACE_RECEIVER, &info);
    uint64_t value = 1;
    uint32_t bytes;
    uint8_t reason[8] = {0};
    EXPECT(MILLRACE_OK, millrace_send(sender, &value, sizeof value, 0));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_close_with_reason(channel, reason, 1));
    EXPECT(0, millrace_close_with_reason(sender, (const uint8_t *)"dry", 3));
    EXPECT(MILLRACE_INVALID_HANDLE, millrace_close_with_reason(sender, (const uint8_t *)"dry", 3));
    EXPECT(MILLRACE_OK, millrace_receive(receiver, &value, sizeof value, &bytes, MILLRACE_FOREVER));
    EXPECT(MILLRACE_ENDED, millrace_receive(receiver, &value, sizeof value, &bytes, MILLRACE_FOREVER));
    EXPECT(3, millrace_endpoint_reason(receiver, reason, sizeof reason));
    EXPECT(0, memcmp(reason, "dry", 3));
    EXPECT(0, millrace_close(receiver));
    EXPECT(0, millrace_close(channel));

    channel = create(kind, 8, 0);
    sender = open_on(channel, MILLRACE_SENDER, &info);
    receiver = open_on(channel, MILLRACE_RECEIVER, &info);
    EXPECT(0, millrace_close_with_reason(receiver, (const uint8_t *)"full", 4));
    EXPECT(MILLRACE_CHANNEL_CLOSED, millrace_send(sender, &value, sizeof value, MILLRACE_FOREVER));
    EXPECT(4, millrace_endpoint_reason(sender, reason, sizeof reason));
    EXPECT(0, millrace_close_with_reason(sender, NULL, 0));
    EXPECT(0, millrace_close(channel));
}

static void records(uint32_t kind) {
    uint32_t channel = create(kind, 8, 1);
    millrace_endpoint_info info;
    uint32_t sender = open_on(channel, MILLRACE_SENDER, &info);
    uint32_t receiver = open_on(channel, MILLRACE_RECEIVER, &info);
    char buffer[64];
    uint32_t bytes = 99;
    const char *text = "abcdefghijklmnopqrstuvwxyz";
    EXPECT(MILLRACE_INVALID_ARGUMENT, millrace_send(sender, text, 25, 0)); /* more than half of 64 bytes */
    EXPECT(MILLRACE_INVALID_ARGUMENT, millrace_receive_many(receiver, buffer, sizeof buffer, 0));
    EXPECT(MILLRACE_INVALID_ARGUMENT, millrace_send_many(sender, text, 1, 0));
    EXPECT(MILLRACE_OK, millrace_send(sender, NULL, 0, 0));
    EXPECT(MILLRACE_OK, millrace_receive(receiver, buffer, sizeof buffer, &bytes, 0));
    EXPECT(0, bytes);
    /* Every length, so that padding records come at every place. */
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t length = (round * 7) % 25;
        EXPECT(MILLRACE_OK, millrace_send(sender, text, length, 0));
        if (length > 0) EXPECT(MILLRACE_TOO_SMALL, millrace_receive(receiver, buffer, length - 1, &bytes, 0));
        bytes = 99;
        EXPECT(MILLRACE_OK, millrace_receive(receiver, buffer, length, &bytes, 0));
        EXPECT(length, bytes);
        EXPECT(0, memcmp(buffer, text, length));
    }
    EXPECT(0, millrace_close(sender));
    EXPECT(MILLRACE_ENDED, millrace_receive(receiver, buffer, sizeof buffer, &bytes, MILLRACE_FOREVER));
    EXPECT(0, millrace_close(receiver));
    EXPECT(0, millrace_close(channel));
}

struct role {
    millrace_ticket ticket;
    uint32_t count;
    uint64_t sum;
};

static void *send_thread(void *argument) {
    struct role *role = argument;
    millrace_endpoint_info info;
    uint32_t sender = (uint32_t)millrace_endpoint_open(&role->ticket, MILLRACE_SENDER, &info);
    for (uint64_t value = 1; value <= role->count; value++) {
        EXPECT(MILLRACE_OK, millrace_send(sender, &value, sizeof value, MILLRACE_FOREVER));
    }
    /* The thread ends with it open: the library closes it. */
    return NULL;
}

static void *receive_thread(void *argument) {
    struct role *role = argument;
    millrace_endpoint_info info;
    uint32_t receiver = (uint32_t)millrace_endpoint_open(&role->ticket, MILLRACE_RECEIVER, &info);
    uint64_t value;
    uint32_t bytes;
    int32_t status;
    while ((status = millrace_receive(receiver, &value, sizeof value, &bytes, MILLRACE_FOREVER)) == MILLRACE_OK) {
        role->sum += value;
        role->count++;
    }
    EXPECT(MILLRACE_ENDED, status);
    EXPECT(MILLRACE_OK, millrace_close(receiver));
    return NULL;
}

static void threads(uint32_t kind) {
    enum { most = 3, each = 20000 };
    uint32_t channel = create(kind, sizeof(uint64_t), 0);
    uint32_t senders = kind == MILLRACE_MPSC || kind == MILLRACE_MPMC ? most : 1;
    uint32_t receivers = kind == MILLRACE_SPMC || kind == MILLRACE_MPMC ? most : 1;
    struct role roles[2 * most] = {0};
    pthread_t ids[2 * most];
    for (uint32_t index = 0; index < senders + receivers; index++) {
        uint32_t role = index < receivers ? MILLRACE_RECEIVER : MILLRACE_SENDER;
        EXPECT(0, millrace_ticket_issue(channel, role, &roles[index].ticket));
        if (role == MILLRACE_SENDER) roles[index].count = each;
    }
    millrace_ticket unused;
    if (kind == MILLRACE_MPMC) {
        EXPECT(0, millrace_ticket_issue(channel, MILLRACE_SENDER, &unused));
        EXPECT(0, millrace_ring(channel, millrace_ticket_revoke(channel, &unused)));
        millrace_endpoint_info info;
        EXPECT(MILLRACE_TICKET_USED, millrace_endpoint_open(&unused, MILLRACE_SENDER, &info));
        unused.tag++;
        EXPECT(MILLRACE_TICKET_FORGED, millrace_endpoint_open(&unused, MILLRACE_SENDER, &info));
    }
    for (uint32_t index = 0; index < senders + receivers; index++) {
        EXPECT(0, pthread_create(&ids[index], NULL, index < receivers ? receive_thread : send_thread, &roles[index]));
    }
    uint64_t count = 0, sum = 0;
    for (uint32_t index = 0; index < senders + receivers; index++) EXPECT(0, pthread_join(ids[index], NULL));
    for (uint32_t index = 0; index < receivers; index++) {
        count += roles[index].count;
        sum += roles[index].sum;
    }
    EXPECT((int64_t)senders * each, (int64_t)count);
    EXPECT((int64_t)senders * each * (each + 1) / 2, (int64_t)sum);
    EXPECT(0, millrace_close(channel));
}

int main(void) {
    for (uint32_t kind = MILLRACE_MPSC; kind <= MILLRACE_MPMC; kind++) {
        fixed(kind);
        reasons(kind);
        records(kind);
        threads(kind);
    }
    EXPECT(0, millrace_channels_alive());
    puts("every kind");
    return 0;
}
