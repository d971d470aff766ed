/* Senders register one after the other on rings that earlier senders gave back; with CLOSES a third
   thread closes the channel in the middle of it. */

#ifndef RINGS
#define RINGS 1
#endif
/* Nobody waits for a ring any more. */
#define MAY_STOP (finished >= SENDERS - 1)

#include "channel.pml"

init {
    byte index;

    atomic {
        memory[SENDER_REFS] = SENDERS;
        open_rings();
        start_store_buffers();
        run receiver();
        for (index : 1 .. SENDERS) {
            run sender(index, index <= RINGS)
        }
#ifdef CLOSES
        run closer();
        run quiescence(SENDERS + 1)
#else
        run quiescence(SENDERS)
#endif
    }
}
