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

#define MILLRACE_ABI_VERSION 11

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
    MILLRACE_CORRUPT = -15,
    MILLRACE_TOO_MANY_RECEIVERS = -16,
    MILLRACE_WOULD_BLOCK = -17, /* no room, or nothing there, within the time */
    MILLRACE_TOO_SMALL = -18,   /* the message is longer than the buffer; it stays */
    MILLRACE_SLAB_STALE = -20,     /* the slab was freed, sent or received since */
    MILLRACE_SLAB_FOREIGN = -21,   /* of another pool */
    MILLRACE_SLAB_NOT_OWNED = -22, /* another endpoint's, or in flight */
    MILLRACE_POOL_EMPTY = -23,
    MILLRACE_NO_SUCH_NODE = -30,
    MILLRACE_NODE_NOT_ALLOWED = -31,   /* by the process's cpuset */
    MILLRACE_NODE_OUT_OF_MEMORY = -32,
    MILLRACE_NUMA_REFUSED = -33,       /* the kernel forbids the call, as containers have it do */
    MILLRACE_NUMA_UNSUPPORTED = -34,   /* the kernel knows no nodes */
    MILLRACE_NO_SUCH_CPU = -35,
    MILLRACE_CPU_NOT_ALLOWED = -36,    /* by the process's affinity or cpuset */
    MILLRACE_HUGE_PAGES_UNAVAILABLE = -37,
    MILLRACE_CONNECTION_REFUSED = -40, /* nobody listens there */
    MILLRACE_NO_SUCH_PATH = -41,
    MILLRACE_NOT_PERMITTED = -42,      /* not this user, or the system forbids it */
    MILLRACE_ROLE_REFUSED = -43,       /* the share does not offer the role */
    MILLRACE_NOT_A_SEGMENT = -44,      /* what the keeper sent is no channel's memory; */
    MILLRACE_WRONG_VERSION = -45,      /* is of another version of the library; */
    MILLRACE_TRUNCATED = -46,          /* is shorter than it says; */
    MILLRACE_UNSEALED = -47,           /* could become shorter; */
    MILLRACE_WRONG_LAYOUT = -48,       /* does not fit together */
    MILLRACE_NOT_UNDERSTOOD = -49,     /* whoever listens there does not speak this protocol */
    MILLRACE_ADDRESS_IN_USE = -50,
    MILLRACE_PEER_DIED = -51,          /* the other end of the connection is gone */
    MILLRACE_TOO_MANY_DESCRIPTORS = -52,
    MILLRACE_SYSTEM_REFUSED = -53,
    /* Of memory for several processes: a sandbox forbids memfd_create, or the kernel has none; it is
     * longer than the limit of this process's files (RLIMIT_FSIZE). */
    MILLRACE_SHARED_MEMORY_REFUSED = -54,
    MILLRACE_FILE_SIZE_LIMIT = -55
} millrace_status;

/* How many may send and receive. The receivers of spmc and mpmc share the rings: each message goes to
 * one of them. */
typedef enum millrace_kind {
    MILLRACE_MPSC = 0,
    MILLRACE_SPSC = 1,
    MILLRACE_SPMC = 2,
    MILLRACE_MPMC = 3
} millrace_kind;

typedef enum millrace_role {
    MILLRACE_SENDER = 0,
    MILLRACE_RECEIVER = 1,
    MILLRACE_POOL = 2
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
    MILLRACE_BELL_ALL = 8,
    /* From this bit on, eight bits: the place of the receiver among the receivers. */
    MILLRACE_BELL_RECEIVER_SHIFT = 8
} millrace_bells;

/* Whether memory is placed on a node. */
typedef enum millrace_numa {
    MILLRACE_NUMA_OFF = 0,
    MILLRACE_NUMA_PREFER = 1, /* as good as the machine allows */
    MILLRACE_NUMA_REQUIRE = 2 /* every page is there, or the call is refused */
} millrace_numa;

/* Stands for the node the calling thread runs on. */
#define MILLRACE_NODE_LOCAL UINT32_MAX

/* Where memory shall lie. All zero: nowhere in particular. */
typedef struct millrace_place {
    uint32_t mode; /* a millrace_numa */
    uint32_t node;
} millrace_place;

/* Whether rings lie in transparent huge pages. A ring of less than 2 MiB has no use for one. */
typedef enum millrace_huge_pages {
    MILLRACE_HUGE_PAGES_SYSTEM = 0, /* as the system does with any memory */
    MILLRACE_HUGE_PAGES_OFF = 1,
    MILLRACE_HUGE_PAGES_TRY = 2,
    MILLRACE_HUGE_PAGES_REQUIRE = 3 /* a sender is refused whose ring does not get them */
} millrace_huge_pages;

typedef struct millrace_channel_options {
    uint32_t kind;             /* a millrace_kind */
    uint32_t slot_bytes;       /* the stride of a slot; 8 for records */
    uint32_t capacity;         /* slots of one ring: a power of two, at most 2^30 */
    uint32_t senders_max;      /* at most 4096; 1 for spsc and spmc */
    uint32_t receivers_max;    /* at most 64; 1 for spsc and mpsc */
    uint32_t has_records;      /* 1: messages of variable length, each behind a record header */
    uint32_t initial_sequence; /* where the counters start; 0 but for tests of their wrap */
    uint32_t has_latency;      /* 1: the time from commit to release is taken of every message */
    uint32_t is_shared;        /* 1: over a memfd, which other processes can map */
    uint32_t huge_pages;       /* a millrace_huge_pages */
    millrace_place place;      /* of the control block and what receivers write */
} millrace_channel_options;

/* A one-shot right to open an endpoint, good in this process. */
typedef struct millrace_ticket {
    uint64_t process;
    uint64_t channel;
    uint64_t serial_and_role;
    uint64_t tag;
} millrace_ticket;

/* What a sender_reserve or a receiver_poll tells beside its answer. */
typedef struct millrace_mailbox {
    uint32_t ring;     /* the ring it was about */
    uint32_t position; /* the first slot of the run */
    uint32_t bells;    /* the bells to ring after a poll */
    /* Written by the caller. Not 0: memory of a reserve, or of slabs, is in hands that may write to it even when
     * the thread has ended. If it ends with that, nobody else gets the ring, or the pool's addresses. */
    uint32_t views;
    uint32_t reserved[12];
} millrace_mailbox;

typedef struct millrace_endpoint_info {
    /* Where the endpoint's millrace_mailbox is. It stays mapped for the life of the process. */
    uint64_t mailbox_address;
    uint32_t slot_bytes;
    uint32_t capacity;
    uint32_t senders_max;
    uint32_t receivers_max;
    uint32_t index; /* a sender's own ring; a receiver's place among the receivers */
    uint32_t kind;
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
    uint64_t times_slept; /* sleeps of senders, for want of room */
    uint64_t slots_used;
    uint64_t senders;
    uint64_t close_state;    /* 0 open, 1 closed, 2 senders gone, 3 receiver gone, 4 corrupt memory,
                              * 5 the keeper or the last receiver died */
    uint64_t receiver_state; /* 0 none yet, 1 open, 2 gone */
    uint64_t drained;
    uint64_t sender_references; /* open senders and outstanding sender tickets */
    uint64_t receiver_tickets;  /* outstanding tickets for the receiver */
    uint64_t bytes_sent;        /* bytes of the slots committed, without padding records */
    uint64_t bytes_received;
    uint64_t batch_most;        /* the most messages of one commit */
    uint64_t slots_used_most;   /* the most slots of one ring that either side has seen in use */
    uint64_t receivers_slept;   /* sleeps of receivers, for want of messages */
    uint64_t senders_woken;
    uint64_t receivers_woken;
    uint64_t redelivered; /* messages a receiver that died had claimed, handed out again */
    uint64_t receivers;
    uint64_t rings_used; /* rings that ever had a sender */
    uint64_t messages_dropped; /* of messages_received: those that their sender dropped to make room */
} millrace_statistics;

/* One ring. The counters go on when another sender gets it. */
typedef struct millrace_ring_statistics {
    uint64_t ring;
    uint64_t messages_sent;
    uint64_t messages_received;
    uint64_t slots_used;
    uint64_t slots_used_most;
    uint64_t times_full;
    uint64_t times_slept;
} millrace_ring_statistics;

/* Times from the commit of a message to its release, in nanoseconds. A quantile is at most 1/128 above
 * the true one, and never below. */
typedef struct millrace_latency {
    uint64_t count; /* messages */
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t p50_ns;
    uint64_t p90_ns;
    uint64_t p99_ns;
    uint64_t p999_ns;
} millrace_latency;

/* Some of these times: those up to highest_ns, and above that of the bucket before. */
typedef struct millrace_bucket {
    uint64_t highest_ns;
    uint64_t count; /* messages */
} millrace_bucket;

/* How many buckets a histogram has. */
#define MILLRACE_BUCKETS 4608

/* A node of the machine. */
typedef struct millrace_topology_node {
    uint32_t node;
    uint32_t is_allowed;   /* 1: the process's cpuset allows memory of it */
    uint64_t memory_bytes; /* 0: unknown */
    uint64_t free_bytes;
    uint8_t distances[64]; /* to each node of the topology, in its order; 10 is here, 20 twice as far */
    uint64_t cpus[128];    /* a bit for each of its CPUs that this process may use */
} millrace_topology_node;

/* An entry of sysfs that could not be used. */
typedef struct millrace_topology_problem {
    uint32_t node;
    uint16_t entry;   /* 0 online, 1 cpulist, 2 meminfo, 3 distance */
    uint16_t trouble; /* 0 missing, 1 malformed, 2 more nodes than there is room for */
} millrace_topology_problem;

typedef struct millrace_topology {
    uint32_t node_count;
    uint32_t problem_count; /* may be more than there is room for */
    millrace_topology_problem problems[64];
    millrace_topology_node nodes[64];
} millrace_topology;

/* So many pages are on a node. */
typedef struct millrace_node_pages {
    uint32_t node;
    uint32_t reserved;
    uint64_t pages;
} millrace_node_pages;

/* Where the pages of a ring, or of what receivers write, are wanted and are. */
typedef struct millrace_placement {
    uint32_t mode;      /* a millrace_numa */
    uint32_t node;      /* meaningless when the mode is MILLRACE_NUMA_OFF */
    int32_t refusal;    /* why a preference was not followed; 0: it was */
    uint32_t is_known;  /* 1: the kernel tells where the pages are */
    uint64_t pages;
    uint64_t untouched; /* nobody has written to them: they are nowhere yet */
    uint32_t node_count;
    uint32_t reserved;
    millrace_node_pages nodes[64];
} millrace_placement;

/* Where a slab is: its memory, of which nobody but its owner may make use. */
typedef struct millrace_slab_place {
    uint64_t address;
    uint64_t bytes;
} millrace_slab_place;

typedef struct millrace_pool_counts {
    uint64_t free;
    uint64_t owned;
    uint64_t in_flight;
    uint64_t retired;
    uint64_t times_empty;
} millrace_pool_counts;

uint32_t millrace_abi_version(void);
/* Channels whose memory is mapped now. */
uint32_t millrace_channels_alive(void);

/* Monotonic time, in milliseconds. */
double millrace_now_ms(void);

/* 1: this process runs its program anew when a file changes (deno run --watch, bun --hot). */
int32_t millrace_process_reloads(void);

/* 1 for the first call of a process, 0 for every other: what is to be reported once. */
int32_t millrace_process_once(void);

/* Gives the core to another thread that wants it. */
int32_t millrace_thread_yield(void);
/* Keeps the core for a moment, so many pause instructions (1024 at most), without touching memory. */
int32_t millrace_thread_pause(uint32_t hints);

/* Creates a channel; answers its handle. */
int32_t millrace_channel_create(const millrace_channel_options *options);
/* Bytes of a closing reason. */
#define MILLRACE_REASON_BYTES_MAX 2048
/* Refuses new messages and wakes everyone who waits; what was committed can still be received. With a
 * reason (of MILLRACE_REASON_BYTES_MAX bytes at most, the rest is cut; NULL or 0 bytes for none) the end
 * is a failure: JavaScript that receives, or sends, gets it as the cause of its ChannelClosedError. The
 * first reason counts; one can be added after the last sender has gone. It is text in UTF-8; what
 * JavaScript gives is JSON, {"error":{"name":...,"message":...,"code":...,"cause":...}} or {"value":...}. */
int32_t millrace_channel_close(uint32_t channel, const uint8_t *reason, uint32_t reason_bytes);
/* Closes, revokes unused tickets, and gives the handle up. */
int32_t millrace_channel_dispose(uint32_t channel);
/* Gives the handle up, as the end of its thread would: endpoints and unused tickets stay good. A side that
 * nobody has and nobody can open any more ends the channel for the other. Shares end. */
int32_t millrace_channel_forget(uint32_t channel);
/* Gives up what a handle stands for, an endpoint, a channel or a pool, as if the process had died: other
 * processes that are connected are told so, and shares end. For a program that begins anew. */
int32_t millrace_endpoint_abandon(uint32_t handle);
/* Who may still receive what was sent into the channel of an endpoint: answers how many have a receiver in
 * other threads and processes, or may open one by a ticket or a share; of a channel that another process
 * made, 1 whatever there is. Fills in the handles of those that this thread has open. */
int32_t millrace_channel_receivers(uint32_t endpoint, uint32_t *here, uint32_t here_max);
/* 1: a blocking wait of this sender, receiver or pool could only be ended by this very thread: a deadlock.
 * Nobody else has, or can open, what would end it; 0 also where that is not known. To be asked when a wait
 * takes long; look once more after a 1, for what others did before they went. */
int32_t millrace_endpoint_is_alone(uint32_t endpoint);
/* 1: the drain bell is armed. 0: the channel is drained already. 2: nothing was armed; an endpoint of a
 * channel made with is_shared must be watched first (millrace_ringer_watch). */
int32_t millrace_channel_arm_drain(uint32_t channel);

int32_t millrace_ticket_issue(uint32_t channel, uint32_t role, millrace_ticket *ticket);
int32_t millrace_ticket_revoke(uint32_t channel, const millrace_ticket *ticket);
/* The same on any thread, without a handle of the channel: who could open it may also give it back. */
int32_t millrace_ticket_take_back(const millrace_ticket *ticket);
/* 1: it has been neither used nor revoked. */
int32_t millrace_ticket_is_outstanding(const millrace_ticket *ticket);

/* Opens an endpoint, by ticket or on a channel of this thread; answers its handle. */
int32_t millrace_endpoint_open(const millrace_ticket *ticket, uint32_t role, millrace_endpoint_info *info);
int32_t millrace_endpoint_open_on(uint32_t channel, uint32_t role, millrace_endpoint_info *info);
/* The same, and says where a sender's ring, or what receivers write, shall lie. Where receivers share
 * the rings, the first that asks decides for all. A refused ticket stays good. */
int32_t millrace_endpoint_open_at(const millrace_ticket *ticket, uint32_t role,
                                  const millrace_place *place, millrace_endpoint_info *info);
int32_t millrace_endpoint_open_on_at(uint32_t channel, uint32_t role, const millrace_place *place,
                                     millrace_endpoint_info *info);
/* Opens a weak sender beside an endpoint or a channel of this thread: a handle for millrace_endpoint_open_on
 * with MILLRACE_SENDER, which keeps the memory of the channel, and does not keep the channel open.
 * MILLRACE_INVALID_ARGUMENT: of a channel in another process. Close it by millrace_endpoint_close. */
int32_t millrace_endpoint_open_weak(uint32_t endpoint, millrace_endpoint_info *info);
int32_t millrace_endpoint_close(uint32_t endpoint);
/* Closes a sender, and with it the channel, which ends with this reason for everyone: what was committed
 * can still be received, and no receiver sees the end without the reason. Of a receiver, its senders get
 * the reason if it is the last. Answers the bells to ring. */
int32_t millrace_endpoint_close_with_reason(uint32_t endpoint, const uint8_t *reason, uint32_t reason_bytes);
/* Says that a view of the channel's memory is in the program's hands: if the thread dies without
 * closing the endpoint, the channel's address range stays reserved. */
int32_t millrace_endpoint_expose(uint32_t endpoint);
/* Keeps the channel's address range reserved for the life of the process. */
int32_t millrace_endpoint_quarantine(uint32_t endpoint);
/* To be called by whoever finds in a ring what cannot be there, a record longer than what is readable
 * say: closes the channel for everyone. Answers MILLRACE_CORRUPT; the caller rings every bell. */
int32_t millrace_endpoint_poison(uint32_t endpoint);
/* Where the data of a ring is: address, then bytes. */
int32_t millrace_endpoint_ring(uint32_t endpoint, uint32_t ring, uint64_t place[2]);
/* A number that changes when a thread has died that may have owed this channel a bell. */
int32_t millrace_endpoint_orphans(uint32_t endpoint);
int32_t millrace_endpoint_close_state(uint32_t endpoint);
/* Copies the reason the channel was closed with; answers its bytes, 0 for none. Another process can have
 * written it: trust nothing in it. */
int32_t millrace_endpoint_reason(uint32_t endpoint, uint8_t *reason, uint32_t reason_bytes);
int32_t millrace_endpoint_statistics(uint32_t endpoint, millrace_statistics *statistics);
/* Tells of the rings that have a sender, rings_max at most; answers of how many. */
int32_t millrace_endpoint_rings(uint32_t endpoint, millrace_ring_statistics *rings, uint32_t rings_max);
/* 1: fills in what was measured. 0: the channel does not track latency. */
int32_t millrace_endpoint_latency(uint32_t endpoint, millrace_latency *latency);
/* The same, and the buckets it comes from: those that are not empty, in order, buckets_max at most. Answers
 * of how many. MILLRACE_INVALID_ARGUMENT: the channel does not track latency. */
int32_t millrace_endpoint_histogram(uint32_t endpoint, millrace_latency *latency, millrace_bucket *buckets,
                                    uint32_t buckets_max);

/* Stands for the pages that receivers write, and the control block. */
#define MILLRACE_RING_SHARED UINT32_MAX
/* Where the pages of a ring are. */
int32_t millrace_endpoint_placement(uint32_t endpoint, uint32_t ring, millrace_placement *placement);

/* Contiguous slots granted, at least slots_min; 0 when the ring is full. */
int32_t millrace_sender_reserve(uint32_t sender, uint32_t slots_min);
/* Publishes granted slots; answers the bells to ring. */
int32_t millrace_sender_commit(uint32_t sender, uint32_t slots, uint32_t messages);
/* Of kinds with several receivers: makes room for slots_min slots by dropping the oldest messages of this
 * sender that no receiver has claimed. 1: there is room, or the channel is closed. 0: what is in the way has
 * been claimed, and is being read. The bells to ring are in the mailbox. The messages must not be slabs or lie
 * in a pool. MILLRACE_INVALID_ARGUMENT: the kind has one receiver, which alone takes from a ring. */
int32_t millrace_sender_force(uint32_t sender, uint32_t slots_min);
/* 1: there is room, or the channel is closed. 0: the time is up. */
int32_t millrace_sender_wait(uint32_t sender, uint32_t slots_min, uint32_t strategy, uint32_t timeout_us);
/* 1: the sender's bell is armed. 0: there is room, or the channel is closed. 2: as of the channel. */
int32_t millrace_sender_arm(uint32_t sender, uint32_t slots_min);
int32_t millrace_sender_disarm(uint32_t sender);

/* Slots readable in one run of one ring; 0 when empty, MILLRACE_ENDED when closed and drained. Where
 * receivers share the rings, at most so many messages are claimed; 0 is no bound. */
int32_t millrace_receiver_poll(uint32_t receiver, uint32_t messages_max);
/* The same, and certain. Where receivers share the rings a poll looks at one ring after the other, so 0 may
 * come although at every instant there was a message in some ring. 0 of this means that there was an
 * instant at which every ring was empty. It looks at every ring for that. */
int32_t millrace_receiver_poll_surely(uint32_t receiver, uint32_t messages_max);
/* The answers of a poll: positive if a poll would find something. Where receivers share the rings nothing is
 * claimed, so another receiver may be faster. */
int32_t millrace_receiver_look(uint32_t receiver);
/* Where receivers share the rings: lets the others have what this one has claimed and not released. Until
 * another receiver takes it, the next poll has it again. To be called by a receiver that will not look for a
 * while. Answers the bells to ring. */
int32_t millrace_receiver_offer(uint32_t receiver);
/* To be called before the close of a receiver that has handed out and not released something, and will not
 * go on with it: the receivers that get it count it as redelivered. */
int32_t millrace_receiver_mark_seen(uint32_t receiver);
/* Wakes another receiver for what this one was woken for and does not take; answers the bells to ring. */
int32_t millrace_receiver_pass_on(uint32_t receiver);
/* Where receivers share the rings: wakes one more receiver if there is a message that none has claimed;
 * answers the bells to ring. MILLRACE_ENDED: there is no such message, or no receiver sleeps. For a sender
 * whose last wake-up may have come to a thread that is busy. */
int32_t millrace_endpoint_wake_another(uint32_t endpoint);
/* Frees slots of the last run; answers the bells to ring. */
int32_t millrace_receiver_release(uint32_t receiver, uint32_t slots, uint32_t messages);
/* 1: there is something to poll. 0: the time is up. */
int32_t millrace_receiver_wait(uint32_t receiver, uint32_t strategy, uint32_t timeout_us);
/* The same for the first of several receivers of this thread, 64 at most: 1 when a poll of one of them would
 * find something. `bells` gets the bells to ring for each. Nothing is taken. */
int32_t millrace_receivers_wait(const uint32_t *receivers, uint32_t *bells, uint32_t count, uint32_t strategy,
                                uint32_t timeout_us);
/* 1: the receiver's bell is armed. 0: there is something to poll. 2: as of the channel. */
int32_t millrace_receiver_arm(uint32_t receiver);
int32_t millrace_receiver_disarm(uint32_t receiver);
/* The receiver's eventfd, the same with every call, for epoll, io_uring, libuv or a plain read. It is
 * the channel's: never close it; it stays open until the channel is gone. The loop of a consumer:
 *   wait until the descriptor is readable; read 8 bytes of it; receive until nothing is there;
 *   arm, and receive again while the answer is 0; wait.
 * It is written to once for each time an arm was taken (or the receiver closed), never while the
 * consumer is busy. Edge-triggered (EPOLLET) it need not be read. It is not O_NONBLOCK, so that a read
 * can wait; read it once for each time it is readable, and before arming. */
int32_t millrace_receiver_event_fd(uint32_t receiver);
/* 1: armed: the next message, or the end, makes the descriptor readable. 0: there is something to
 * poll. 2: nothing was armed; in a channel made with is_shared a ringer writes to the descriptor, and
 * must watch first. MILLRACE_INVALID_ARGUMENT without a call of millrace_receiver_event_fd before. A blocking wait,
 * or millrace_receiver_arm, takes the arm away and makes the descriptor readable. */
int32_t millrace_receiver_arm_event_fd(uint32_t receiver);
/* Disarms for one that will not poll; answers the bells to ring: a wake-up that was on its way goes to
 * another receiver. */
int32_t millrace_receiver_give_up(uint32_t receiver);
/* Remembers how far every ring is committed. */
int32_t millrace_receiver_mark(uint32_t receiver);
/* 1: everything committed at the mark has been released. */
int32_t millrace_receiver_reached_mark(uint32_t receiver);

/* Reads the nodes of the machine. `root` is where sysfs is mounted; NULL: /sys. What is missing or
 * malformed there is told; a machine that tells nothing has one node. */
int32_t millrace_numa_topology(const char *root, millrace_topology *topology);
/* Has the calling thread run on one CPU, or on the CPUs of one node. Threads it starts later inherit
 * that. */
int32_t millrace_thread_pin_cpu(uint32_t cpu);
int32_t millrace_thread_pin_node(uint32_t node);
/* Undoes the pins of the calling thread; one that was never pinned gets the CPUs of the process. */
int32_t millrace_thread_unpin(void);
/* Where the calling thread runs now. */
int32_t millrace_thread_cpu(void);
int32_t millrace_thread_node(void);

/* What follows is for native code. Each call does a whole operation and has the bells rung of event
 * loops that wait: by the ringer of the channel, if its creator has one (`nativeSenderTicket()` of the
 * TypeScript module starts it), else those event loops notice within half a second. Timeouts are in
 * microseconds; 0 tries, MILLRACE_FOREVER waits as long as it takes. */
#define MILLRACE_FOREVER UINT32_MAX

/* Copies one message in: slot_bytes of it, or, on a channel of records, any number up to half of the
 * ring. MILLRACE_OK, MILLRACE_WOULD_BLOCK or MILLRACE_CHANNEL_CLOSED. */
int32_t millrace_send(uint32_t sender, const void *message, uint32_t message_bytes, uint32_t timeout_us);
/* Copies count messages of slot_bytes in, published chunk by chunk as there is room; answers how many
 * were sent before the time was up or the channel closed. Not for records. */
int32_t millrace_send_many(uint32_t sender, const void *messages, uint32_t count, uint32_t timeout_us);
/* Copies the next message out and tells its bytes. MILLRACE_OK, MILLRACE_WOULD_BLOCK, MILLRACE_ENDED
 * when closed and drained, MILLRACE_TOO_SMALL when the message stays for want of room. */
int32_t millrace_receive(uint32_t receiver, void *buffer, uint32_t buffer_bytes, uint32_t *message_bytes,
                         uint32_t timeout_us);
/* Copies as many messages of slot_bytes out as are there and fit, at least one; answers how many. Not
 * for records. */
int32_t millrace_receive_many(uint32_t receiver, void *buffer, uint32_t buffer_bytes, uint32_t timeout_us);
/* Closes an endpoint, or disposes of a channel. */
int32_t millrace_close(uint32_t handle);
/* As millrace_endpoint_close_with_reason. */
int32_t millrace_close_with_reason(uint32_t endpoint, const uint8_t *reason, uint32_t reason_bytes);
/* For the calls above that answer bells: `millrace_ring(sender, millrace_sender_commit(sender, 1, 1))`
 * has them rung. A negative answer is passed on. The endpoint is the one the call was about, or any of
 * the channel. */
int32_t millrace_ring(uint32_t endpoint, int32_t answer);

/* Channels across processes. The process that made a channel, with is_shared, is its keeper: it lets
 * others in by a Unix socket, and they must be done before it goes. One connection is one endpoint. An
 * address is a path, or a name that begins with '@' and is in no directory; 107 bytes at most. */
#define MILLRACE_SHARE_SENDERS 1
#define MILLRACE_SHARE_RECEIVERS 2
#define MILLRACE_SHARE_POOLS 4
#define MILLRACE_USERS_MAX 32

typedef struct millrace_share_options {
    uint32_t roles;       /* MILLRACE_SHARE_SENDERS, MILLRACE_SHARE_RECEIVERS or both; of a pool: _POOLS */
    uint32_t limit;       /* connections until it closes by itself; 0: as many as come */
    int32_t socket;       /* without an address: one end of millrace_socket_pair, which is then the library's */
    uint32_t users_count;
    uint32_t users[MILLRACE_USERS_MAX]; /* who may connect beside this process's own user */
} millrace_share_options;

typedef struct millrace_connect_options {
    uint32_t role;        /* MILLRACE_SENDER, MILLRACE_RECEIVER or MILLRACE_POOL */
    int32_t socket;       /* without an address: the other end, which is then the library's */
    uint32_t users_count;
    uint32_t users[MILLRACE_USERS_MAX]; /* who may be the keeper beside this process's own user and root */
    millrace_place place; /* of a sender's ring, or of what receivers write: as millrace_endpoint_open_at */
} millrace_connect_options;

/* Lets other processes in; answers a handle, for millrace_close. While it is open it counts as an
 * outstanding ticket of every role it offers. It ends with the channel's handle. The descriptor is what
 * every process is told about the values: opaque here, 64 KiB at most. */
int32_t millrace_share(uint32_t channel, const millrace_share_options *options, const uint8_t *address,
                       uint32_t address_bytes, const uint8_t *descriptor, uint32_t descriptor_bytes);
/* 1: it lets processes in. 0: it has reached its limit, or its channel was disposed of. */
int32_t millrace_share_is_open(uint32_t share);
/* Endpoints that came through it and are open. */
int32_t millrace_share_connections(uint32_t share);
/* When the last receiver dies, what it has not received is kept for the next one; otherwise the channel
 * is closed. */
int32_t millrace_channel_await_receivers(uint32_t channel);

/* Opens an endpoint of another process's channel; answers its handle, or MILLRACE_WOULD_BLOCK when the
 * time is up. When the keeper dies the channel is closed, with close_state 5. */
int32_t millrace_connect(const millrace_connect_options *options, const uint8_t *address, uint32_t address_bytes,
                         uint32_t timeout_us, millrace_endpoint_info *info);
/* The same in steps that do not wait: begin answers a handle (millrace_endpoint_close gives up), poll 1
 * once the keeper has answered, and finish opens the endpoint under the same handle. */
int32_t millrace_connect_begin(const millrace_connect_options *options, const uint8_t *address,
                               uint32_t address_bytes);
int32_t millrace_connect_poll(uint32_t connection);
/* Between poll and finish: copies the descriptor of the share; answers its bytes. */
int32_t millrace_connect_descriptor(uint32_t connection, uint8_t *buffer, uint32_t buffer_bytes);
int32_t millrace_connect_finish(uint32_t connection, millrace_endpoint_info *info);
/* The same, at another place than the options said. One that is refused its place may be tried again. */
int32_t millrace_connect_finish_at(uint32_t connection, const millrace_place *place, millrace_endpoint_info *info);

/* Two sockets connected with each other (SOCK_SEQPACKET). The second is not close-on-exec: it is for a
 * child. */
int32_t millrace_socket_pair(int32_t pair[2]);
/* Sends a descriptor over any Unix socket, with one byte, and waits for room. */
int32_t millrace_send_fd(int32_t socket, int32_t descriptor);
/* Waits for a descriptor; answers its number here. */
int32_t millrace_receive_fd(int32_t socket);
/* Closes a descriptor, for programs whose runtime cannot close what it has not opened. */
int32_t millrace_close_fd(int32_t descriptor);

/* The bell ringer: what a JavaScript thread calls to ring on behalf of native threads. */
typedef struct millrace_ring_request {
    uint32_t registration; /* which channel: what register answered */
    uint32_t bells;        /* bits as in the answer of a commit */
    uint32_t ring;         /* the ring that MILLRACE_BELL_SENDER is about */
    uint32_t is_gone;      /* 1: the channel is gone */
    uint32_t posts;        /* registrations so far */
} millrace_ring_request;

uint32_t millrace_ringers_alive(void);
/* Makes a ringer; answers its number, which any thread may use. */
int32_t millrace_ringer_create(void);
/* Has the ringer ring for a channel of this thread; answers the registration: 1, 2, 3, ... */
int32_t millrace_ringer_register(uint32_t ringer, uint32_t channel);
/* Has the ringer watch what an endpoint (a sender, a receiver, a channel) of this thread sleeps on, in a
 * channel made with is_shared, where whoever wakes it may be of another process; answers a registration,
 * too. With a ringer of 0 the endpoint sleeps unwatched: it has to look by itself from time to time. */
int32_t millrace_ringer_watch(uint32_t ringer, uint32_t endpoint);
/* 1: there are bells to ring. 0: the time is up, or request->posts is not posts_handled. The first
 * thread to call it is the ringer's. */
int32_t millrace_ringer_wait(uint32_t ringer, uint32_t posts_handled, uint32_t timeout_us,
                             millrace_ring_request *request);
/* 1: the ringer has ended. 0: it has channels, and only_if_idle was not 0. */
int32_t millrace_ringer_close(uint32_t ringer, uint32_t only_if_idle);
/* The buffer pool: slabs of one size for large messages. A handle of a slab is its index and
 * generation; the generation changes with every step of ownership, by one, so a handle is good for
 * one step. An endpoint of a pool is a handle like any other: millrace_endpoint_close returns what
 * it owns, and so does the death of its thread. millrace_endpoint_info tells slab_bytes as
 * slot_bytes and the count of slabs as capacity. */

/* Creates a pool, and opens this thread's endpoint of it; answers its handle. is_shared 1: over a memfd,
 * for other processes, which open it by millrace_connect as MILLRACE_POOL where millrace_share lets pools
 * in, or as the pool of a channel by millrace_pool_open_attached. */
int32_t millrace_pool_create(uint32_t slab_bytes, uint32_t count, uint32_t is_shared,
                             millrace_endpoint_info *info);
/* Opens this thread's endpoint of a pool, by a ticket for MILLRACE_POOL. */
int32_t millrace_pool_open(const millrace_ticket *ticket, millrace_endpoint_info *info);
/* Opens this thread's endpoint of the pool that the endpoint's channel has; of a channel of another
 * process, once. */
int32_t millrace_pool_open_attached(uint32_t endpoint, millrace_endpoint_info *info);
/* Lets slabs of a pool travel in a channel, once in its life, before it is used. */
int32_t millrace_channel_attach_pool(uint32_t channel, uint32_t pool);
/* Which pool of this process the endpoint is of. */
int32_t millrace_pool_id(uint32_t pool, uint64_t *id);
/* Where a slab is, at an address of this endpoint alone that is good until it closes. When its thread ends with
 * the endpoint open and exposed, what still writes there writes to memory that is nobody's. */
int32_t millrace_pool_slab(uint32_t pool, uint32_t index, millrace_slab_place *place);
/* A free slab's index, its generation as the second word of the mailbox; MILLRACE_POOL_EMPTY, and
 * MILLRACE_CHANNEL_CLOSED when the process that made the pool is gone. */
int32_t millrace_pool_alloc(uint32_t pool);
/* Gives back a slab the endpoint owns; answers the bells of the pool to ring. */
int32_t millrace_pool_free(uint32_t pool, uint32_t index, uint32_t generation);
/* Takes a slab the endpoint owns out of use for good. */
int32_t millrace_pool_retire(uint32_t pool, uint32_t index, uint32_t generation);
/* Puts a slab in flight, before its handle is committed in slot `position` of the sender's ring. */
int32_t millrace_pool_stage(uint32_t pool, uint32_t index, uint32_t generation, uint32_t sender,
                            uint32_t position);
/* Takes a slab in flight: for who received its handle, or could not send it. */
int32_t millrace_pool_claim(uint32_t pool, uint32_t index, uint32_t generation);
/* Frees a slab in flight; answers the bells of the pool to ring. */
int32_t millrace_pool_drop(uint32_t pool, uint32_t index, uint32_t generation);
/* 1: a slab is free, or a channel of the pool may have closed: look. 0: the time is up. */
int32_t millrace_pool_wait(uint32_t pool, uint32_t strategy, uint32_t timeout_us);
/* 1: the pool's bell is armed. 0: a slab is free. 2: the pool is shared, and no ringer watches yet: see
 * millrace_ringer_watch. */
int32_t millrace_pool_arm(uint32_t pool);
int32_t millrace_pool_statistics(uint32_t pool, millrace_pool_counts *counts);

#ifdef __cplusplus
}
#endif

#endif
