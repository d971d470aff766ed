/* Millrace: message channels between threads. The C ABI of the native library.
 *
 * A handle is a positive number and belongs to the thread that opened it; a channel's handle to the
 * thread that created it. Every function that answers an int32_t answers a negative
 * millrace_status for an error. Nothing here may be called from a signal handler.
 *
 * The same list of functions stands in ffi/abi.ts and zig/src/c_abi.zig; a test holds the three
 * equal.
 */
#ifndef MILLRACE_H
#define MILLRACE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MILLRACE_ABI_VERSION 4

/* What a negative answer means. */
typedef enum millrace_status {
    MILLRACE_OK = 0,
    MILLRACE_INVALID_HANDLE = -1,
    MILLRACE_WRONG_THREAD = -2,
    MILLRACE_TOO_MANY_ENDPOINTS = -3,
    MILLRACE_OUT_OF_MEMORY = -4,
    MILLRACE_INVALID_ARGUMENT = -5,
    MILLRACE_CHANNEL_CLOSED = -6,
    MILLRACE_TOO_MANY_SENDERS = -7,
    MILLRACE_RECEIVER_TAKEN = -8,
    MILLRACE_TICKET_FOREIGN = -9,
    MILLRACE_TICKET_FORGED = -10,
    MILLRACE_TICKET_USED = -11,
    MILLRACE_TICKET_FREED = -12,
    MILLRACE_TICKET_ROLE = -13,
    MILLRACE_ENDED = -14,
    MILLRACE_CORRUPT = -15
} millrace_status;

typedef enum millrace_role {
    MILLRACE_SENDER = 0,
    MILLRACE_RECEIVER = 1
} millrace_role;

/* How a blocking wait waits. */
typedef enum millrace_wait_strategy {
    MILLRACE_SPIN = 0,
    MILLRACE_YIELD = 1,
    MILLRACE_SLEEP = 2,
    MILLRACE_BLOCK = 3,
    MILLRACE_TIMED = 4,
    MILLRACE_PHASED = 5
} millrace_wait_strategy;

/* Bits of the answers of commit, release, close, dispose and revoke: which bells of JavaScript event
 * loops the caller has to ring. Only JavaScript can. */
typedef enum millrace_bells {
    MILLRACE_BELL_RECEIVER = 1,
    MILLRACE_BELL_SENDER = 2,
    MILLRACE_BELL_DRAIN = 4,
    MILLRACE_BELL_ALL = 8
} millrace_bells;

typedef struct millrace_channel_options {
    uint32_t slot_bytes;       /* the stride of a slot; 8 for records */
    uint32_t capacity;         /* slots of one ring: a power of two, at most 2^30 */
    uint32_t senders_max;      /* at most 4096 */
    uint32_t has_records;      /* 1: messages of variable length, each behind a record header */
    uint32_t initial_sequence; /* where the counters start; 0 but for tests of their wrap */
} millrace_channel_options;

/* A one-shot right to open an endpoint, good in this process. */
typedef struct millrace_ticket {
    uint64_t process;
    uint64_t channel;
    uint64_t serial_and_role;
    uint64_t tag;
} millrace_ticket;

typedef struct millrace_endpoint_info {
    /* Where the endpoint's mailbox is: two uint32_t, the ring and the first slot the last
     * sender_reserve or receiver_poll was about. It stays mapped for the life of the process. */
    uint64_t mailbox_address;
    uint32_t slot_bytes;
    uint32_t capacity;
    uint32_t senders_max;
    uint32_t ring; /* a sender's own ring */
} millrace_endpoint_info;

/* What precedes the payload of a message of variable length, in slots of 8 bytes. */
typedef struct millrace_record_header {
    uint32_t payload_bytes;
    uint32_t flags; /* bit 0: a padding record, without a message, up to the end of the ring */
} millrace_record_header;

typedef struct millrace_statistics {
    uint64_t messages_sent;
    uint64_t messages_received;
    uint64_t commits;
    uint64_t releases;
    uint64_t times_full;
    uint64_t times_slept;
    uint64_t slots_used;
    uint64_t senders;
    uint64_t close_state;    /* 0 open, 1 closed, 2 senders gone, 3 receiver gone */
    uint64_t receiver_state; /* 0 none yet, 1 open, 2 gone */
    uint64_t drained;
    uint64_t sender_references; /* open senders and outstanding sender tickets */
    uint64_t receiver_tickets;  /* outstanding tickets for the receiver */
} millrace_statistics;

uint32_t millrace_abi_version(void);
/* Channels whose memory is mapped now. */
uint32_t millrace_channels_alive(void);

/* Gives the core to another thread that wants it. */
int32_t millrace_thread_yield(void);
/* Keeps the core for a moment, so many pause instructions (1024 at most), without touching memory. */
int32_t millrace_thread_pause(uint32_t hints);

/* Creates a channel; answers its handle. */
int32_t millrace_channel_create(const millrace_channel_options *options);
/* Refuses new messages and wakes everyone who waits; what was committed can still be received. */
int32_t millrace_channel_close(uint32_t channel, const uint8_t *reason, uint32_t reason_bytes);
/* Closes, revokes unused tickets, and gives the handle up. */
int32_t millrace_channel_dispose(uint32_t channel);
/* 1: the drain bell is armed. 0: the channel is drained already. */
int32_t millrace_channel_arm_drain(uint32_t channel);

int32_t millrace_ticket_issue(uint32_t channel, uint32_t role, millrace_ticket *ticket);
int32_t millrace_ticket_revoke(uint32_t channel, const millrace_ticket *ticket);

/* Opens an endpoint, by ticket or on a channel of this thread; answers its handle. */
int32_t millrace_endpoint_open(const millrace_ticket *ticket, uint32_t role, millrace_endpoint_info *info);
int32_t millrace_endpoint_open_on(uint32_t channel, uint32_t role, millrace_endpoint_info *info);
int32_t millrace_endpoint_close(uint32_t endpoint);
/* Says that a view of the channel's memory is in the program's hands: if the thread dies without
 * closing the endpoint, the channel's address range stays reserved. */
int32_t millrace_endpoint_expose(uint32_t endpoint);
/* Keeps the channel's address range reserved for the life of the process. */
int32_t millrace_endpoint_quarantine(uint32_t endpoint);
/* Where the data of a ring is: address, then bytes. */
int32_t millrace_endpoint_ring(uint32_t endpoint, uint32_t ring, uint64_t place[2]);
/* A number that changes when a thread has died that may have owed this channel a bell. */
int32_t millrace_endpoint_orphans(uint32_t endpoint);
int32_t millrace_endpoint_close_state(uint32_t endpoint);
/* Copies the reason given to close; answers its bytes. */
int32_t millrace_endpoint_reason(uint32_t endpoint, uint8_t *reason, uint32_t reason_bytes);
int32_t millrace_endpoint_statistics(uint32_t endpoint, millrace_statistics *statistics);

/* Contiguous slots granted, at least slots_min; 0 when the ring is full. */
int32_t millrace_sender_reserve(uint32_t sender, uint32_t slots_min);
/* Publishes granted slots; answers the bells to ring. */
int32_t millrace_sender_commit(uint32_t sender, uint32_t slots, uint32_t messages);
/* 1: there is room, or the channel is closed. 0: the time is up. */
int32_t millrace_sender_wait(uint32_t sender, uint32_t slots_min, uint32_t strategy, uint32_t timeout_us);
/* 1: the sender's bell is armed. 0: there is room, or the channel is closed. */
int32_t millrace_sender_arm(uint32_t sender, uint32_t slots_min);
int32_t millrace_sender_disarm(uint32_t sender);

/* Slots readable in one run of one ring; 0 when empty, MILLRACE_ENDED when closed and drained. */
int32_t millrace_receiver_poll(uint32_t receiver);
/* Frees slots of the last run; answers the bells to ring. */
int32_t millrace_receiver_release(uint32_t receiver, uint32_t slots, uint32_t messages);
/* 1: there is something to poll. 0: the time is up. */
int32_t millrace_receiver_wait(uint32_t receiver, uint32_t strategy, uint32_t timeout_us);
/* 1: the receiver's bell is armed. 0: there is something to poll. */
int32_t millrace_receiver_arm(uint32_t receiver);
int32_t millrace_receiver_disarm(uint32_t receiver);
/* Remembers how far every ring is committed. */
int32_t millrace_receiver_mark(uint32_t receiver);
/* 1: everything committed at the mark has been released. */
int32_t millrace_receiver_reached_mark(uint32_t receiver);

#ifdef __cplusplus
}
#endif

#endif
