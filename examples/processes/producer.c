/* The producer in C: connects to the channel that is shared at the address it is given, and sends samples.
 *
 * cc -O2 -I zig/include examples/processes/producer.c -o producer \
 *    -L zig/zig-out/lib -lmillrace -Wl,-rpath,$PWD/zig/zig-out/lib
 */
#include <inttypes.h>
#include <millrace.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define COUNT 100000
#define FIVE_SECONDS_US 5000000

/* As the struct of sample.ts: fields at their natural alignment. */
struct sample {
    uint32_t sequence;
    double value;
};

int main(int count, char **arguments) {
    if (count != 2) return 2;
    const char *address = arguments[1];
    millrace_connect_options options = {.role = MILLRACE_SENDER};
    millrace_endpoint_info info;
    int32_t sender = millrace_connect(&options, (const uint8_t *)address, (uint32_t)strlen(address),
                                      FIVE_SECONDS_US, &info);
    if (sender < 0 || info.slot_bytes != sizeof(struct sample)) {
        fprintf(stderr, "%s: status %" PRId32 ", slots of %" PRIu32 " bytes\n", address, sender, info.slot_bytes);
        return 1;
    }
    for (uint32_t sequence = 0; sequence < COUNT; sequence++) {
        struct sample sample = {sequence, sequence / 2.0};
        int32_t status = millrace_send((uint32_t)sender, &sample, sizeof sample, MILLRACE_FOREVER);
        if (status != MILLRACE_OK) {
            fprintf(stderr, "sample %" PRIu32 ": status %" PRId32 "\n", sequence, status);
            return 1;
        }
    }
    return millrace_close((uint32_t)sender) < 0;
}
