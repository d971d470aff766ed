/* Threads die in JavaScript: senders, the receiver, and with CLOSES a third thread that closes. */

#ifndef DEATHS
#define DEATHS 1
#endif

/* Nobody closes itself: the end is left to the others. */
#ifdef STAYS_OPEN
#define MAY_STOP true
#endif

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
#ifdef CLOSES
        run closer();
        run quiescence(SENDERS + 1)
#else
        run quiescence(SENDERS)
#endif
    }
}
