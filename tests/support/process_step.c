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

/* Far beyond what a connect takes on a slow machine. */
#define TIMEOUT_US 20000000

static int32_t check(const char *what, int32_t answer) {
    if (answer >= 0) return answer;
    fprintf(stderr, "%s: status %" PRId32 "\n", what, answer);
    _exit(3);
}

static uint32_t connect_as(const char *address, uint32_t role) {
    millrace_connect_options options = {.role = role};
    millrace_endpoint_info info;
    uint32_t bytes = (uint32_t)strlen(address);
    return (uint32_t)check("connect", millrace_connect(&options, (const uint8_t *)address, bytes, TIMEOUT_US, &info));
}

/* The operation is what happens between two stops. */
static void operate(const char *operation, const char *address) {
#define IS(name) (strcmp(operation, name) == 0)
    uint32_t value = 1, bytes;
    if (IS("send") || IS("close-sender")) {
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
        raise(SIGSTOP);
        if (IS("close-receiver")) {
            millrace_close(receiver);
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
