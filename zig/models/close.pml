/* A third thread closes the channel while senders commit and wait for room. */

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
        run closer();
        run quiescence(SENDERS + 1)
    }
}
