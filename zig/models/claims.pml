/* How several receivers share one ring: gates, claims, the head, and what a receiver leaves behind.

   One sender puts MESSAGES into a ring of CAPACITY. RECEIVERS claim runs, release them whole or in
   parts, and up to DEATHS of them go with what they have claimed; a newcomer takes the place of each. Up to
   OFFERS times one offers what it has claimed to the others, and takes it back unless another has it.
   Every access of a shared word is one step, as in channel.pml. Who sleeps and who wakes is in
   sleepers.pml: here a receiver looks again whenever there is something. */

#ifndef RECEIVERS
#define RECEIVERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef OFFERS
#define OFFERS 0
#endif
/* NEVER_LOOKS: who has offered a claim is not seen again. */
/* STAYS_DEAD: nobody comes instead. LEAVES_CLAIM: one more has died before, with the first message. */
#ifdef LEAVES_CLAIM
#define LINES (RECEIVERS + 1)
#else
#define LINES RECEIVERS
#endif
/* The most messages of one claim. */
#ifndef CLAIM
#define CLAIM 2
#endif

/* The state of a receiver line. */
#define FREE 0
#define TAKEN 1
#define ORPHANED 2
#define OFFERED 3
/* What was offered is being taken over. */
#define BEING_TAKEN 4

#define TAIL 0
#define HEAD 1
#define CURSOR 2
#define ORPHANED_CLAIMS 3
#define GATES_MOVED 4
/* 0: none; else the position the claim begins at, + 1. */
#define GATE(line) (5 + (line))
#define CLAIM_END(line) (5 + LINES + (line))
#define LINE(line) (5 + 2 * LINES + (line))
#define SLOT(position) (5 + 3 * LINES + (position) % CAPACITY)
#define WORDS (5 + 3 * LINES + CAPACITY)
#define SENDER RECEIVERS
#define THREADS (RECEIVERS + 1)

#include "store_buffer.pml"

/* What only the verification knows. */
#define UNCLAIMED 0
#define CLAIMED 1
#define RELEASED 2
byte fate[MESSAGES + 1];
byte deaths;
byte offers;

proctype sender(byte me) {
    byte position;

    position = memory[TAIL];
    do
    :: position == MESSAGES -> break
    :: position < MESSAGES ->
        d_step {
            position < CAPACITY || LOAD(HEAD) > position - CAPACITY;
            assert(position < CAPACITY || fate[position - CAPACITY] == RELEASED);
            store_fenced(SLOT(position), position + 1)
        }
        d_step { store_fenced(TAIL, position + 1); position++ }
    od
}

/* Works out the head, and moves it. */
inline move_head() {
    do
    :: true ->
        moved = LOAD(GATES_MOVED);
        head = LOAD(HEAD);
#ifndef WITHOUT_CURSOR_FIRST
        least = LOAD(CURSOR) - head;
#else
        least = MESSAGES;
#endif
        index = 0;
        do
        :: index == LINES -> index = 0; break
        :: index < LINES ->
            d_step {
                gate = LOAD(GATE(index));
                if
                :: gate > head && gate - 1 - head < least -> least = gate - 1 - head
                :: else -> skip
                fi;
                gate = 0;
                index++
            }
        od;
#ifdef WITHOUT_CURSOR_FIRST
        gate = LOAD(CURSOR) - head;
        if
        :: gate < least -> least = gate
        :: else -> skip
        fi;
        gate = 0;
#endif
        if
#ifndef WITHOUT_MOVES_RECHECK
        :: LOAD(GATES_MOVED) != moved -> skip
        :: LOAD(GATES_MOVED) == moved ->
#else
        :: true ->
#endif
            if
            :: least == 0 || least > CAPACITY -> break
            :: else ->
#ifdef WITHOUT_HEAD_SWAP
                d_step { assert(LOAD(HEAD) <= head + least); store_fenced(HEAD, head + least) }
                break
#else
                d_step { compare_and_swap(HEAD, head, head + least, success) }
                if
                :: success ->
                    /* What lies before the head is the sender's. */
                    d_step {
                        do
                        :: least > 0 -> least--; assert(fate[head + least] == RELEASED)
                        :: else -> break
                        od;
                        success = 0
                    }
                    break
                :: else -> skip
                fi
#endif
            fi
        fi
    od;
    atomic { head = 0; least = 0; moved = 0 }
}

/* Claims from the ring. `slots` is 0 when it is empty. */
inline claim() {
    cursor = LOAD(CURSOR);
    if
    :: LOAD(TAIL) == cursor -> cursor = 0
    :: LOAD(TAIL) != cursor ->
        do
        :: true ->
#if !defined(WITHOUT_GATE_FIRST)
#ifdef WITHOUT_GATE_FENCE
            d_step { store_buffered(GATE(line), cursor + 1) }
#else
            d_step { store_fenced(GATE(line), cursor + 1) }
#endif
#endif
            if
#ifndef WITHOUT_CURSOR_RECHECK
            :: LOAD(CURSOR) != cursor -> d_step { cursor = LOAD(CURSOR); withdrawn = 1 }
            :: LOAD(CURSOR) == cursor ->
#else
            :: true ->
#endif
                tail = LOAD(TAIL);
                if
                :: tail <= cursor -> d_step { store_fenced(GATE(line), 0); withdrawn = 1 }; break
                :: else ->
                    /* The records of the run are looked at: they must be there. */
#ifndef WITHOUT_GATE_FIRST
                    assert(LOAD(SLOT(cursor)) == cursor + 1);
#endif
                    if
                    :: slots = 1
                    :: CLAIM > 1 && tail - cursor > 1 && cursor % CAPACITY + 1 < CAPACITY -> slots = 2
                    fi;
                    d_step {
                        compare_and_swap(CURSOR, cursor, cursor + slots, success);
                        if
                        :: success ->
                            assert(fate[cursor] == UNCLAIMED);
                            fate[cursor] = CLAIMED;
                            if
                            :: slots > 1 -> assert(fate[cursor + 1] == UNCLAIMED); fate[cursor + 1] = CLAIMED
                            :: else -> skip
                            fi
                        :: else -> cursor = memory[CURSOR]; slots = 0; withdrawn = 1
                        fi
                    }
                    if
                    :: success ->
#ifdef WITHOUT_GATE_FIRST
                        d_step { store_fenced(GATE(line), cursor + 1) }
#endif
                        d_step { store_fenced(CLAIM_END(line), cursor + slots); success = 0 }
                        break
                    :: else -> skip
                    fi
                fi
            fi
        od;
        tail = 0;
        if
        :: withdrawn ->
            withdrawn = 0;
#ifndef WITHOUT_HELP_HEAD
            move_head()
#endif
        :: else -> skip
        fi
    fi
}

/* Takes over the claim of line `from`. Newcomers do it with the line that becomes their own, so not with one
   whose receiver is there. */
inline take_over(from, accepts_offers) {
#ifdef WITHOUT_LINE_SWAP
    if
    :: LOAD(LINE(from)) == ORPHANED -> d_step { store_fenced(LINE(from), TAKEN); success = 1 }
    :: else -> skip
    fi;
#else
    d_step {
        drain();
        if
        :: memory[LINE(from)] == ORPHANED -> memory[LINE(from)] = TAKEN; success = 1
        :: memory[LINE(from)] == OFFERED && accepts_offers -> success = 1; was_offered = 1;
#ifdef WITHOUT_TAKER_STATE
            memory[LINE(from)] = TAKEN
#else
            memory[LINE(from)] = BEING_TAKEN
#endif
        :: else -> skip
        fi
    }
#endif
    if
    :: success ->
        d_step { success = 0; add(ORPHANED_CLAIMS, -1) }
        d_step {
            cursor = LOAD(GATE(from)) - 1;
            slots = LOAD(CLAIM_END(from)) - cursor
        }
        if
        :: from == line -> d_step { store_fenced(LINE(from), TAKEN); was_offered = 0 }
        :: else ->
            d_step { store_fenced(CLAIM_END(line), cursor + slots) }
#ifdef WITHOUT_GATE_MOVE_ORDER
            d_step { store_fenced(GATE(from), 0) }
            d_step { add(GATES_MOVED, 1) }
            d_step { store_fenced(GATE(line), cursor + 1) }
#else
            d_step { store_fenced(GATE(line), cursor + 1) }
            d_step { add(GATES_MOVED, 1) }
            d_step { store_fenced(GATE(from), 0) }
#endif
            d_step { store_fenced(LINE(from), (was_offered -> TAKEN : FREE)); was_offered = 0 }
        fi
    :: else -> skip
    fi
}

/* Frees the first message of the window, or all. */
inline release() {
    assert(LOAD(SLOT(cursor)) == cursor + 1);
    if
    :: slots == 1 -> d_step { assert(fate[cursor] == CLAIMED); fate[cursor] = RELEASED; cursor++; slots = 0 }
    :: slots > 1 -> d_step { assert(fate[cursor] == CLAIMED); fate[cursor] = RELEASED; cursor++; slots-- }
    :: slots > 1 ->
        assert(LOAD(SLOT(cursor + 1)) == cursor + 2);
        d_step {
            assert(fate[cursor] == CLAIMED && fate[cursor + 1] == CLAIMED);
            fate[cursor] = RELEASED;
            fate[cursor + 1] = RELEASED;
            cursor = cursor + 2;
            slots = 0
        }
    fi;
    least = (slots != 0 -> cursor + 1 : 0);
#ifdef WITHOUT_RELEASE_FENCE
    d_step { store_buffered(GATE(line), least) }
#else
    d_step { store_fenced(GATE(line), least) }
#endif
    move_head()
}

/* Lets others have the window, or what is left of it. The count, then the state. */
inline offer() {
#ifndef WITHOUT_OFFER_COUNT
    d_step { add(ORPHANED_CLAIMS, 1) }
#endif
    d_step { store_fenced(LINE(line), OFFERED); is_offered = 1 }
}

/* Has the window again, or finds it gone. While another is about to have it, that one reads this line. */
inline take_back() {
#ifdef WITHOUT_TAKE_BACK_SWAP
    if
    :: LOAD(LINE(line)) == OFFERED -> d_step { store_fenced(LINE(line), TAKEN); success = 1 }
    :: LOAD(LINE(line)) != OFFERED -> skip
    fi;
#else
    d_step { compare_and_swap(LINE(line), OFFERED, TAKEN, success) }
#endif
    if
    :: success -> d_step { add(ORPHANED_CLAIMS, -1); success = 0 }
    :: else ->
#ifndef WITHOUT_TAKER_WAIT
        LOAD(LINE(line)) == TAKEN;
#endif
        slots = 0
    fi;
    is_offered = 0
}

proctype receiver(byte me) {
    byte line, cursor, tail, slots, head, least, moved, gate, index;
    bool success, withdrawn, is_offered, was_offered;

    line = me;
    do
    :: true ->
        /* poll() */
        if
        :: is_offered -> take_back()
        :: else -> skip
        fi;
        if
        :: slots == 0 ->
            cursor = 0;
#ifndef WITHOUT_TAKE_OVER
            if
            :: LOAD(ORPHANED_CLAIMS) != 0 ->
                index = 0;
                do
                :: index == LINES || slots != 0 -> index = 0; break
                :: index < LINES && slots == 0 && index == line -> index++
                :: index < LINES && slots == 0 && index != line -> take_over(index, true); index++
                od
            :: LOAD(ORPHANED_CLAIMS) == 0 -> skip
            fi;
#endif
            if
            :: slots == 0 -> claim()
            :: else -> skip
            fi
        :: else -> skip
        fi;
        /* JavaScript */
        if
        :: slots != 0 -> release()
        :: d_step { offers < OFFERS && slots != 0 -> offers++ } ->
            offer();
#ifdef NEVER_LOOKS
            break
#endif
        :: d_step { deaths < DEATHS && slots != 0 -> deaths++ } ->
            /* The state, then the count. */
            d_step { store_fenced(LINE(line), ORPHANED); slots = 0; cursor = 0 }
            d_step { add(ORPHANED_CLAIMS, 1) }
#ifdef STAYS_DEAD
            break;
#endif
            /* A newcomer: any line that is free, or has a claim and no receiver. */
            line = 0;
            do
            :: true ->
                d_step { compare_and_swap(LINE(line), FREE, TAKEN, success) }
                if
                :: success -> success = 0; break
                :: else ->
#ifdef WITHOUT_OWN_LINE
                    take_over(line, true);
#else
                    take_over(line, false);
#endif
                    if
                    :: slots != 0 -> break
                    :: else -> line = (line + 1) % LINES
                    fi
                fi
            od
        :: slots == 0 ->
end_idle:
#ifdef WITHOUT_TAKE_OVER
            memory[TAIL] != memory[CURSOR]
#else
            memory[TAIL] != memory[CURSOR] || memory[ORPHANED_CLAIMS] != 0
#endif
        fi
    od
}

/* Nothing can move any more: every message was released once, and the head is at the tail. */
proctype quiescence() {
    byte index;

    timeout;
    for (index : 0 .. MESSAGES - 1) {
        assert(fate[index] == RELEASED)
    }
    assert(memory[TAIL] == MESSAGES && memory[HEAD] == MESSAGES && memory[CURSOR] == MESSAGES);
    for (index : 0 .. LINES - 1) {
        assert(memory[GATE(index)] == 0)
    }
}

init {
    byte index;

    atomic {
        for (index : 0 .. RECEIVERS - 1) {
            memory[LINE(index)] = TAKEN
        }
#ifdef LEAVES_CLAIM
        memory[SLOT(0)] = 1;
        memory[TAIL] = 1;
        memory[CURSOR] = 1;
        memory[GATE(RECEIVERS)] = 1;
        memory[CLAIM_END(RECEIVERS)] = 1;
        memory[LINE(RECEIVERS)] = ORPHANED;
        memory[ORPHANED_CLAIMS] = 1;
        fate[0] = CLAIMED;
#endif
        for (index : 0 .. THREADS - 1) {
            run store_buffer(index)
        }
        for (index : 0 .. RECEIVERS - 1) {
            run receiver(index)
        }
        run sender(SENDER);
        run quiescence()
    }
}
