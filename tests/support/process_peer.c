/* The other process of the tests across processes, in C: the tasks of process_peer.ts. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <millrace.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEQUENCE_BITS 28
#define SEQUENCE_MASK ((1u << SEQUENCE_BITS) - 1)
#define BATCH 1024
/* Far beyond what a connect takes on a slow machine. */
#define TIMEOUT_US 20000000

/* Written at once: it is seen even if the process is killed right after. */
static void say(const char *format, ...) {
    char line[128];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(2);
}

static _Noreturn void fail(const char *what, int32_t status) {
    fprintf(stderr, "%s: status %" PRId32 "\n", what, status);
    say("failed %" PRId32 "\n", status);
    exit(0);
}

static int32_t check(const char *what, int32_t answer) {
    if (answer < 0) fail(what, answer);
    return answer;
}

/* "fd:N" is an inherited descriptor. */
static uint32_t connect_as(const char *address, uint32_t role) {
    millrace_connect_options options = {.role = role};
    millrace_endpoint_info info;
    int is_inherited = strncmp(address, "fd:", 3) == 0;
    if (is_inherited) options.socket = atoi(address + 3);
    uint32_t bytes = is_inherited ? 0 : (uint32_t)strlen(address);
    int32_t endpoint = check("connect", millrace_connect(&options, (const uint8_t *)address, bytes, TIMEOUT_US, &info));
    if (info.slot_bytes != sizeof(uint32_t)) fail("slot bytes", (int32_t)info.slot_bytes);
    say("connected\n");
    return (uint32_t)endpoint;
}

static uint32_t create(const char *kind) {
    static const char *const names[] = {"mpsc", "spsc", "spmc", "mpmc"};
    uint32_t number = 0;
    while (strcmp(names[number], kind) != 0) number++;
    int many_senders = number == MILLRACE_MPSC || number == MILLRACE_MPMC;
    int many_receivers = number == MILLRACE_SPMC || number == MILLRACE_MPMC;
    millrace_channel_options options = {
        .kind = number,
        .slot_bytes = sizeof(uint32_t),
        .capacity = 4096,
        .senders_max = many_senders ? 64 : 1,
        .receivers_max = many_receivers ? 16 : 1,
        .is_shared = 1,
    };
    return (uint32_t)check("create", millrace_channel_create(&options));
}

static uint32_t keep(const char *address, const char *kind, uint32_t roles, uint32_t limit) {
    uint32_t channel = create(kind);
    millrace_share_options sharing = {.roles = roles, .limit = limit};
    uint32_t bytes = (uint32_t)strlen(address);
    check("share", millrace_share(channel, &sharing, (const uint8_t *)address, bytes, NULL, 0));
    return channel;
}

/* Starts a program by posix_spawn, as a child that inherits the other end of a share; of `arguments`, which
 * end with NULL, "fd:" becomes its number. */
static pid_t spawn_with(uint32_t channel, uint32_t roles, char **arguments) {
    int32_t pair[2];
    check("pair", millrace_socket_pair(pair));
    millrace_share_options sharing = {.roles = roles, .socket = pair[0]};
    check("share", millrace_share(channel, &sharing, NULL, 0, NULL, 0));
    static char place[16];
    snprintf(place, sizeof place, "fd:%" PRId32, pair[1]);
    for (char **argument = arguments; *argument != NULL; argument++) {
        if (strcmp(*argument, "fd:") == 0) *argument = place;
    }
    pid_t child;
    int failed = posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ);
    if (failed != 0) fail("posix_spawn", -failed);
    check("close", millrace_close_fd(pair[1])); /* the child's death is to be seen */
    return child;
}

static void expect_good_end(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) fail("child", -status);
}

static uint32_t open_on(uint32_t channel, uint32_t role) {
    millrace_endpoint_info info;
    return (uint32_t)check("open", millrace_endpoint_open_on(channel, role, &info));
}

static void send_all(uint32_t sender, uint32_t id, uint32_t count) {
    uint32_t values[BATCH];
    uint64_t sum = 0;
    for (uint32_t next = 0; next < count;) {
        uint32_t length = count - next < BATCH ? count - next : BATCH;
        for (uint32_t index = 0; index < length; index++, next++) {
            values[index] = id << SEQUENCE_BITS | next;
            sum += next;
        }
        int32_t sent = check("send", millrace_send_many(sender, values, length, MILLRACE_FOREVER));
        if ((uint32_t)sent != length) fail("send", MILLRACE_CHANNEL_CLOSED);
    }
    check("close", millrace_close(sender));
    say("sent %" PRIu32 " %" PRIu64 "\n", count, sum);
}

/* Fails unless the values of each sender ascend, one by one if is_whole. */
static void receive_all(uint32_t receiver, int is_whole) {
    uint32_t values[BATCH], next[16] = {0}, count = 0;
    uint64_t sum = 0;
    int32_t received;
    while ((received = millrace_receive_many(receiver, values, sizeof values, MILLRACE_FOREVER)) > 0) {
        for (int32_t index = 0; index < received; index++) {
            uint32_t id = values[index] >> SEQUENCE_BITS, sequence = values[index] & SEQUENCE_MASK;
            if (is_whole ? sequence != next[id] : sequence < next[id]) {
                fprintf(stderr, "expected %u of %u, received %u\n", next[id], id, sequence);
                exit(1);
            }
            next[id] = sequence + 1;
            count++;
            sum += sequence;
        }
    }
    if (received != MILLRACE_ENDED) fail("receive", received);
    check("close", millrace_close(receiver));
    say("received %" PRIu32 " %" PRIu64 "\n", count, sum);
}

/* Sends in bursts for ever, and says how many are committed after each. */
static _Noreturn void send_for_ever(uint32_t sender, uint32_t random) {
    uint32_t values[16];
    for (uint32_t next = 0;;) {
        random = random * 1103515245 + 12345;
        uint32_t length = 1 + (random >> 16) % 16;
        for (uint32_t index = 0; index < length; index++) values[index] = next + index;
        int32_t sent = check("send", millrace_send_many(sender, values, length, MILLRACE_FOREVER));
        if ((uint32_t)sent != length) fail("send", MILLRACE_CHANNEL_CLOSED);
        next += length;
        say("%" PRIu32 "\n", next);
    }
}

/* Receives for ever one by one, and says how many after each. */
static _Noreturn void receive_for_ever(uint32_t receiver) {
    for (uint32_t count = 1;; count++) {
        uint32_t value, bytes;
        check("receive", millrace_receive(receiver, &value, sizeof value, &bytes, MILLRACE_FOREVER));
        say("%" PRIu32 " %" PRIu32 "\n", count, value);
    }
}

static uint32_t number(const char *text) {
    return (uint32_t)strtoul(text, NULL, 10);
}

static void perform(const char *task, const char *address, char **parameters) {
#define IS(name) (strcmp(task, name) == 0)
    if (IS("send") || IS("send-sync")) {
        send_all(connect_as(address, MILLRACE_SENDER), number(parameters[0]), number(parameters[1]));
    } else if (IS("receive") || IS("receive-sync")) {
        receive_all(connect_as(address, MILLRACE_RECEIVER), parameters[0] == NULL || strcmp(parameters[0], "whole") == 0);
    } else if (IS("keep-receive")) {
        uint32_t channel = keep(address, parameters[0], MILLRACE_SHARE_SENDERS, number(parameters[1]));
        uint32_t receiver = open_on(channel, MILLRACE_RECEIVER);
        say("shared\n");
        receive_all(receiver, 1);
        check("dispose", millrace_close(channel));
    } else if (IS("keep-send")) {
        uint32_t channel = keep(address, parameters[0], MILLRACE_SHARE_RECEIVERS, number(parameters[1]));
        uint32_t sender = open_on(channel, MILLRACE_SENDER);
        say("shared\n");
        send_all(sender, number(parameters[2]), number(parameters[3]));
        millrace_statistics statistics = {0};
        /* The keeper must outlive the traffic. */
        while (check("statistics", millrace_endpoint_statistics(channel, &statistics)) == 0 && !statistics.drained) {
            usleep(1000);
        }
        check("dispose", millrace_close(channel));
    } else if (IS("spawn-receive")) {
        /* Of a child that sends: kind, and its command, where "fd:" stands for what it inherits. */
        uint32_t channel = create(parameters[0]);
        uint32_t receiver = open_on(channel, MILLRACE_RECEIVER);
        pid_t child = spawn_with(channel, MILLRACE_SHARE_SENDERS, parameters + 1);
        receive_all(receiver, 1);
        expect_good_end(child);
        check("dispose", millrace_close(channel));
    } else if (IS("spawn-send")) {
        /* To a child that receives: kind, id, count, its command. */
        uint32_t channel = create(parameters[0]);
        uint32_t sender = open_on(channel, MILLRACE_SENDER);
        pid_t child = spawn_with(channel, MILLRACE_SHARE_RECEIVERS, parameters + 3);
        send_all(sender, number(parameters[1]), number(parameters[2]));
        expect_good_end(child);
        check("dispose", millrace_close(channel));
    } else if (IS("victim-send")) {
        send_for_ever(connect_as(address, MILLRACE_SENDER), number(parameters[0]));
    } else if (IS("victim-receive")) {
        receive_for_ever(connect_as(address, MILLRACE_RECEIVER));
    } else if (IS("victim-keep-send")) {
        uint32_t channel = keep(address, parameters[0], MILLRACE_SHARE_RECEIVERS, 0);
        uint32_t sender = open_on(channel, MILLRACE_SENDER);
        say("shared\n");
        send_for_ever(sender, number(parameters[1]));
    } else if (IS("victim-keep-receive")) {
        uint32_t channel = keep(address, parameters[0], MILLRACE_SHARE_SENDERS, 0);
        uint32_t receiver = open_on(channel, MILLRACE_RECEIVER);
        say("shared\n");
        receive_for_ever(receiver);
    } else if (IS("sit")) {
        /* Until its standard input ends. */
        uint32_t endpoint = connect_as(address, strcmp(parameters[0], "receiver") == 0 ? MILLRACE_RECEIVER : MILLRACE_SENDER);
        char byte;
        while (read(STDIN_FILENO, &byte, 1) > 0) {}
        check("close", millrace_close(endpoint));
        say("closed\n");
    } else if (IS("sit-keep")) {
        /* Has a receiver and does not receive. */
        uint32_t channel = keep(address, parameters[0], MILLRACE_SHARE_SENDERS, 0);
        open_on(channel, MILLRACE_RECEIVER);
        say("shared\n");
        pause();
    } else if (IS("churn")) {
        uint32_t times = number(parameters[0]);
        for (uint32_t time = 0; time < times; time++) {
            uint32_t sender = connect_as(address, MILLRACE_SENDER);
            check("send", millrace_send(sender, &time, sizeof time, MILLRACE_FOREVER));
            check("close", millrace_close(sender));
        }
        say("churned %" PRIu32 "\n", times);
    } else if (IS("rude")) {
        /* Speaks something else, or nothing. */
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        strncpy(name.sun_path, address, sizeof name.sun_path - 1);
        static const char nonsense[4096] = "GET / HTTP/1.1\r\n\r\n";
        static const size_t lengths[] = {0, 1, 15, 16, 23, 24, 25, 64, 65, sizeof nonsense};
        for (uint32_t round = 0; round < sizeof lengths / sizeof *lengths; round++) {
            int stranger = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
            if (connect(stranger, (struct sockaddr *)&name, sizeof name) != 0) fail("connect", (int32_t)round);
            if (lengths[round] != 0 && send(stranger, nonsense, lengths[round], MSG_NOSIGNAL) < 0) fail("send", 0);
            if (round % 2 == 0) close(stranger);
        }
        say("done\n");
    } else if (IS("as-user")) {
        /* Of another user: user, role. */
        uint32_t user = number(parameters[0]);
        if (setgid(user) != 0 || setuid(user) != 0) fail("setuid", 0);
        uint32_t endpoint = connect_as(address, number(parameters[1]));
        check("close", millrace_close(endpoint));
        say("closed\n");
    } else if (IS("fork")) {
        /* A child inherits everything, and outlives the process that connected. */
        uint32_t sender = connect_as(address, MILLRACE_SENDER);
        uint32_t value = 7;
        check("send", millrace_send(sender, &value, sizeof value, MILLRACE_FOREVER));
        pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        say("child %d\n", (int)child);
        pause();
    } else {
        fprintf(stderr, "no task %s\n", task);
        exit(1);
    }
}

int main(int count, char **arguments) {
    if (count < 3) return 1;
    perform(arguments[1], arguments[2], arguments + 3);
    return 0;
}
