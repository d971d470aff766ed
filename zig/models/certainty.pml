/* A receiver that says "empty" while others send and receive: there was an instant without a message.

   RINGS are sent to and received from in any order, PUTS times, in such a way that at every instant there is
   a message in one of them. So a receiver that is sure never says that there is none. It looks at one ring
   after the other: see verifyEmpty() in claims.zig. All accesses there are sequentially consistent. */

#ifndef RINGS
#define RINGS 3
#endif
#ifndef PUTS
#define PUTS 4
#endif

byte tail[RINGS];
byte claimed[RINGS];
byte messages;

active proctype others() {
    byte ring, puts;

    do
    :: puts < PUTS ->
        select(ring : 0 .. RINGS - 1);
        skip;
        d_step { tail[ring]++; messages++; puts++ }
    :: messages > 1 ->
        select(ring : 0 .. RINGS - 1);
        skip;
        d_step {
            if
            :: claimed[ring] < tail[ring] && messages > 1 -> claimed[ring]++; messages--
            :: else -> skip
            fi
        }
    :: puts == PUTS && messages <= 1 -> break
    od
}

active proctype receiver() {
    byte ring, sum, cursor, seen;

    messages > 0;
    do
    :: ring < RINGS ->
#ifdef WITHOUT_CURSOR_FIRST
        seen = tail[ring];
        cursor = claimed[ring];
#else
        cursor = claimed[ring];
        seen = tail[ring];
#endif
        if
        :: seen != cursor -> goto found
        :: else -> skip
        fi;
#ifdef WITHOUT_ONE_LOAD
        sum = sum + tail[ring];
#else
        sum = sum + seen;
#endif
        ring++
    :: ring == RINGS -> break
    od;
#ifndef WITHOUT_SECOND_PASS
    ring = 0;
    do
    :: ring < RINGS -> sum = sum - tail[ring]; ring++
    :: ring == RINGS -> break
    od;
    if
    :: sum != 0 -> goto found /* something was sent meanwhile: it looks again */
    :: else -> skip
    fi;
#endif
    assert(false);
found:
    skip
}
