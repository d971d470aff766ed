/* Senders that live: they commit, wait for room, and stop or close themselves. */

#define MAY_STOP true

#include "channel.pml"

init {
    byte index;

    atomic {
        memory[SENDER_REFS] = SENDERS;
        open_rings();
        start_store_buffers();
        run receiver();
        for (index : 1 .. SENDERS) {
            run sender(index, true)
        }
        run quiescence(SENDERS)
    }
}
