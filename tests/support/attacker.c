/* A peer that rewrites messages while others decode them: what a hostile process can do to memory it shares,
 * at full speed, until its parent is gone or kills it.
 *
 * Usage: FILE OFFSET BYTES STRIDE HEADER LENGTH KIND. In BYTES of FILE from OFFSET on lie places of STRIDE
 * bytes; behind HEADER bytes each has a payload of LENGTH bytes. KIND is what the payload is:
 *   text    any text of its length, between its first and its last byte: those of JSON are quotes
 *   handle  a slab's handle: its length and flags change
 * A header of 8 bytes is one of a record: it changes as well, so that it stays as many slots. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* As many UTF-16 units as bytes, half, a third, half again, and what is no UTF-8. */
static const char *const texts[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xff"};
#define TEXTS (sizeof texts / sizeof *texts)

static uint32_t state = 2463534242u;
static uint32_t any(void) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void change_header(volatile uint32_t *header, uint32_t length) {
    uint32_t slack = (length - 1) % 8; /* so much shorter it still takes as many slots */
    header[0] = length - any() % (slack + 1);
    header[1] = any() % 2 == 0 ? 0 : 2; /* ASCII */
}

int main(int count, char **arguments) {
    if (count != 8) return 2;
    size_t offset = strtoull(arguments[2], NULL, 10), bytes = strtoull(arguments[3], NULL, 10);
    size_t stride = strtoull(arguments[4], NULL, 10), header = strtoull(arguments[5], NULL, 10);
    size_t length = strtoull(arguments[6], NULL, 10);
    int is_text = strcmp(arguments[7], "text") == 0;
    int file = open(arguments[1], O_RDWR | O_CLOEXEC);
    if (file < 0) return 3;
    char *memory = mmap(NULL, offset + bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) return 4;
    char *patterns[TEXTS];
    for (size_t text = 0; text < TEXTS; text++) {
        size_t unit = strlen(texts[text]);
        patterns[text] = malloc(length + unit);
        if (patterns[text] == NULL) return 5;
        for (size_t at = 0; at < length; at += unit) memcpy(patterns[text] + at, texts[text], unit);
    }
    printf("attacking\n");
    fflush(stdout);
    pid_t parent = getppid();
    for (size_t round = 0; getppid() == parent; round++) {
        for (size_t at = 0; at + header + length <= bytes; at += stride) {
            char *place = memory + offset + at;
            char *payload = place + header;
            if (!is_text) {
                ((volatile uint32_t *)payload)[2] = any() % 5000;
                ((volatile uint32_t *)payload)[3] = any() % 4;
            } else if (length > 2) {
                memcpy(payload + 1, patterns[round % TEXTS] + 1, length - 2);
            }
            if (header == 8 && is_text) change_header((volatile uint32_t *)place, (uint32_t)length);
        }
    }
    return 0;
}
