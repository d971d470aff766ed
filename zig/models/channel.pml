/* The wake protocol and the end of a channel, step by step as the native core does it.

   Every statement that touches a shared word is one step, so that every interleaving of the
   threads is explored. The scenarios (wake.pml, close.pml, death.pml, recycle.pml) include this
   file, choose the sizes below and start the processes.

   A macro WITHOUT_... takes one fence, one check or one ordering away. check.mjs shows that every
   one of them is needed. */

#ifndef RINGS
#define RINGS 2
#endif
#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 1
#endif
#ifndef CAPACITY
#define CAPACITY 1
#endif
/* How many threads may die in one run. */
#ifndef DEATHS
#define DEATHS 0
#endif
/* How often the receiver may give up a wait (a timeout, an abort signal) in one run. */
#ifndef GIVE_UPS
#define GIVE_UPS 0
#endif

#define AWAKE 0
#define FUTEX 1
#define BELL 2
/* A new choice before every sleep. */
#define EITHER 3
#ifndef RECEIVER_SLEEPS
#define RECEIVER_SLEEPS EITHER
#endif
#ifndef SENDER_SLEEPS
#define SENDER_SLEEPS EITHER
#endif

#define OPEN 0
#define CLOSED_BY_CALL 1
#define LAST_SENDER_GONE 2
#define RECEIVER_GONE 3

#define FREE 0
#define CLAIMING 1
#define CLAIMED 2

/* Thread numbers: the receiver, the senders, the third thread that closes. */
#define RECEIVER 0
#define CLOSER (SENDERS + 1)
#define THREADS (SENDERS + 2)

/* The shared words. */
#define TAIL(r) (r)
#define HEAD(r) (RINGS + (r))
#define IDLE(r) (2 * RINGS + (r))
#define SENDER_WAIT(r) (3 * RINGS + (r))
#define STATE(r) (4 * RINGS + (r))
#define SLOT(r, position) (5 * RINGS + CAPACITY * (r) + (position) % CAPACITY)
#define BELL_WORD(k) (5 * RINGS + CAPACITY * RINGS + (k))
#define CONTROL (6 * RINGS + CAPACITY * RINGS + 1)
#define READY (CONTROL)
#define CLOSE_STATE (CONTROL + 1)
#define RECEIVER_WAIT (CONTROL + 2)
#define RINGS_CLAIMED (CONTROL + 3)
#define ORPHANS (CONTROL + 4)
#define SENDER_REFS (CONTROL + 5)
#define WORDS (CONTROL + 6)

/* tail is (position << 1) | CLOSED, head is position << 1. */
#define CLOSED 1
#define POSITION(word) ((word) >> 1)

#include "store_buffer.pml"

/* What the operating system and the event loop know: how the owner of bell k sleeps. Bell 0 is the
   receiver's, bell 1 + r that of the sender of ring r. A futex sleeper has the same number. */
byte asleep[RINGS + 1];

/* What only the verification knows. */
byte owner[RINGS];          /* the sender a ring belongs to */
bool sealed[SENDERS + 1];   /* the ring of this sender was sealed */
byte accepted;              /* commits that succeeded */
byte received;              /* messages the receiver read */
byte finished;              /* senders and closers that came to their end */
byte deaths;
byte give_ups;
bool ended;                 /* the receiver was told that the channel is over */
bool receiver_gone;
bool left_open;             /* a sender stopped without closing */

/* A thread dies in JavaScript only: between two native calls, never inside one. */
#ifdef ONLY_FIRST_SENDER_DIES
#define MORTAL (me == 1)
#else
#define MORTAL true
#endif
#if DEATHS > 0
#define may_die() \
    if \
    :: MORTAL && deaths < DEATHS -> deaths++; dying = 1; goto closing \
    :: skip \
    fi
#else
#define may_die() skip
#endif

/* ---- waking ---- */

inline futex_wake(k) {
    if
    :: asleep[k] == FUTEX -> asleep[k] = AWAKE
    :: else -> skip
    fi
}

inline notify(k) {
    if
    :: asleep[k] == BELL -> asleep[k] = AWAKE
    :: else -> skip
    fi
}

/* Takes the arm of the owner of bell k and wakes it, or adds the bell to `must_ring` for JavaScript
   to ring. The destructor of a dead thread has no JavaScript any more: it leaves a bell's arm. */
inline wake(word, k) {
    if
    :: dying ->
        d_step {
            compare_and_swap(word, FUTEX, AWAKE, taken);
            taken = (taken -> FUTEX : AWAKE)
        }
    :: !dying && LOAD(word) == AWAKE -> skip
    :: !dying && LOAD(word) != AWAKE ->
        d_step {
            swap(word, AWAKE, taken);
            if
            :: taken == BELL -> must_ring = must_ring | (1 << (k)); taken = AWAKE
            :: else -> skip
            fi
        }
    fi;
    if
    :: taken == FUTEX -> d_step { futex_wake(k); taken = AWAKE }
    :: else -> skip
    fi
}

/* JavaScript rings what a native call told it to; it may die before, between and after. */
inline ring_bells() {
    do
    :: must_ring != 0 ->
        may_die();
        d_step {
            bell = 0;
            do
            :: (must_ring & (1 << bell)) == 0 -> bell++
            :: else -> break
            od;
            must_ring = must_ring & ~(1 << bell);
            store_fenced(BELL_WORD(bell), 1)
        }
        may_die();
        d_step { notify(bell); bell = 0 }
    :: else -> break
    od
}

/* ---- sender ---- */

inline set_ready(r) {
#ifdef WITHOUT_READY_FENCE
    d_step { store_buffered(READY + OR, 1 << (r)) }
#else
    d_step { fetch_or(READY, 1 << (r)) }
#endif
}

inline seal(r) {
    d_step { fetch_or(TAIL(r), CLOSED); sealed[owner[r]] = 1 }
}

/* The slot at `position` was written. Sets `refused` when the ring is sealed. */
inline commit() {
#ifdef WITHOUT_COMMIT_FENCE
    atomic {
        if
        :: LOAD(TAIL(ring)) == 2 * position ->
            d_step { store_buffered(TAIL(ring), 2 * position + 2); success = 1 }
        :: else -> success = 0
        fi;
#else
    d_step {
        compare_and_swap(TAIL(ring), 2 * position, 2 * position + 2, success);
#endif
        if
        :: success ->
            assert(!sealed[me]);
            assert(!ended);
            accepted++;
            position++;
            sent++
        :: else -> refused = 1
        fi
    }
    if
    :: success && LOAD(IDLE(ring)) == 1 ->
        d_step { success = 0; swap(IDLE(ring), 0, taken) }
        if
        :: taken == 1 ->
            taken = 0;
            set_ready(ring);
            wake(RECEIVER_WAIT, 0)
        :: else -> skip
        fi
    :: else -> success = 0
    fi
}

inline choose_sleep(how) {
    if
    :: how != BELL -> mode = FUTEX
    :: how != FUTEX -> mode = BELL
    fi
}

/* The watch of a bell's sleeper may do nothing but look whether a thread has died since. */
inline fall_asleep(word, k) {
#ifdef WITHOUT_BELL_SNAPSHOT
    if
    :: mode == BELL -> d_step { store_fenced(BELL_WORD(k), 0) }
    :: else -> skip
    fi;
#endif
#ifdef WITHOUT_ORPHANS_SNAPSHOT
    if
    :: mode == BELL -> orphans = LOAD(ORPHANS)
    :: else -> skip
    fi;
#endif
    d_step {
        drain();
        if
#ifdef WITHOUT_FUTEX_COMPARE
        :: mode == FUTEX -> asleep[k] = FUTEX
#else
        :: mode == FUTEX && memory[word] == FUTEX -> asleep[k] = FUTEX
#endif
        :: mode == BELL && memory[BELL_WORD(k)] == 0 -> asleep[k] = BELL
        :: else -> skip
        fi
    }
end_asleep:
    d_step {
        asleep[k] == AWAKE || (mode == BELL && memory[ORPHANS] != orphans);
        asleep[k] = AWAKE;
        memory[BELL_WORD(k)] = 0;
        mode = AWAKE;
        orphans = 0
    }
}

/* Both snapshots are taken as late as they may be: earlier ones only wake more often. Of a bell only
   matters whether it was rung since the snapshot, so its word is that: 0 no, 1 yes. */
inline take_snapshots(k) {
    d_step {
        if
        :: mode == BELL ->
            memory[BELL_WORD(k)] = 0;
            orphans = LOAD(ORPHANS)
        :: else -> skip
        fi
    }
}

inline wait_for_room() {
    choose_sleep(SENDER_SLEEPS);
    take_snapshots(1 + ring);
#ifdef WITHOUT_SENDER_ARM_FENCE
    d_step { store_buffered(SENDER_WAIT(ring), mode) }
#else
    d_step { store_fenced(SENDER_WAIT(ring), mode) }
#endif
    if
#ifndef WITHOUT_ROOM_RECHECK
    :: LOAD(HEAD(ring)) != 2 * (position - CAPACITY) -> success = 1
    :: LOAD(HEAD(ring)) == 2 * (position - CAPACITY) ->
        if
        :: LOAD(TAIL(ring)) & CLOSED -> success = 1
        :: else -> skip
        fi
#else
    :: skip
#endif
    fi;
    if
    :: success ->
        d_step { success = 0; swap(SENDER_WAIT(ring), AWAKE, taken); taken = 0; mode = AWAKE; orphans = 0 }
    :: else ->
        if
        :: mode == BELL -> may_die()
        :: else -> skip
        fi;
        fall_asleep(SENDER_WAIT(ring), 1 + ring)
    fi
}

/* Claims a free ring. `refused` when the channel is closed: the ring is then given back through the
   receiver, as by a sender that closes itself. The ring is CLAIMING until its seal of an earlier
   life is off, so that a late ready bit cannot make the receiver recycle it. */
inline register_sender() {
    atomic {
        if
        :: memory[STATE(0)] == FREE -> ring = 0; holds = 1
#if RINGS > 1
        :: memory[STATE(1)] == FREE -> ring = 1; holds = 1
#endif
        /* No ring is free any more: a receiver that is gone gives none back. */
        :: memory[CLOSE_STATE] != OPEN -> refused = 1
        fi;
        if
        :: holds ->
            d_step {
#ifdef WITHOUT_CLAIMING
                store_fenced(STATE(ring), CLAIMED);
#else
                store_fenced(STATE(ring), CLAIMING);
#endif
                owner[ring] = me
            }
        :: else -> goto closing
        fi
    }
    d_step { add(RINGS_CLAIMED, 1) }
    /* A ring that was sealed by the end of the channel still has its owner, which could commit
       again if the seal were taken away: look before doing so. */
    if
#ifndef WITHOUT_REGISTRATION_CHECK
    :: d_step { LOAD(CLOSE_STATE) != OPEN -> refused = 1; sealed[me] = 1 }
    :: LOAD(CLOSE_STATE) == OPEN ->
#else
    :: true ->
#endif
        position = POSITION(LOAD(TAIL(ring)));
        d_step { store_fenced(TAIL(ring), 2 * position) }
        /* The receiver dropped the ring when it recycled it: the first commit has to say so. */
#ifndef WITHOUT_REGISTRATION_IDLE
        d_step { store_fenced(IDLE(ring), 1) }
#endif
    fi;
#ifdef WITHOUT_REGISTRATION_FENCE
    d_step { store_buffered(STATE(ring), CLAIMED) }
#elif !defined(WITHOUT_CLAIMING)
    d_step { store_fenced(STATE(ring), CLAIMED) }
#endif
    /* Whoever closes the channel looks for CLAIMED rings after it has set the close state. */
    if
#ifndef WITHOUT_REGISTRATION_RECHECK
    :: LOAD(CLOSE_STATE) != OPEN -> refused = 1
    :: LOAD(CLOSE_STATE) == OPEN -> skip
#else
    :: skip
#endif
    fi
}

/* ---- the end ---- */

/* JavaScript is told to ring every bell; here it rings only those whose arms were taken, which wakes
   fewer. Whoever loses the compare-and-swap has nothing to do. */
inline close_channel(reason) {
    d_step { compare_and_swap(CLOSE_STATE, OPEN, reason, success) }
    if
    :: success ->
        success = 0;
        do
        :: index < RINGS && LOAD(STATE(index)) == CLAIMED ->
#ifdef WITHOUT_CLOSE_SEAL
            /* A load and a store instead of one read-modify-write. */
            taken = LOAD(TAIL(index));
            d_step { store_fenced(TAIL(index), taken | CLOSED); sealed[owner[index]] = 1; taken = 0 }
#else
            seal(index);
#endif
            set_ready(index);
#ifndef WITHOUT_CLOSE_ROOM_WAKE
            wake(SENDER_WAIT(index), 1 + index);
#endif
            index++
        :: index < RINGS && LOAD(STATE(index)) != CLAIMED -> index++
        :: index == RINGS -> index = 0; break
        od;
#ifndef WITHOUT_END_WAKE
        wake(RECEIVER_WAIT, 0)
#endif
    :: else -> skip
    fi
}

/* The last step of the destructor of a dead thread: what the thread held is closed by then. A
   thread that holds nothing any more leaves orphans too: it may have taken an arm. */
inline leave_orphans() {
    if
#ifdef WITHOUT_ORPHANS
    :: true -> skip
#endif
#ifdef WITHOUT_EMPTY_HANDED_ORPHANS
    :: empty_handed -> skip
#endif
    :: else -> d_step { add(ORPHANS, 1) }
    fi
}

proctype sender(byte me; bool registered) {
    byte ring, position, sent, taken, must_ring, bell, mode, orphans, index;
    bool success, refused, holds, dying, released, empty_handed;

    if
    :: registered -> d_step { ring = me - 1; holds = 1 }
    :: else ->
        register_sender();
        if
        :: refused -> goto closing
        :: else -> skip
        fi
    fi;
    do
    :: refused || sent == MESSAGES -> break
    :: else ->
        may_die();
        if
        :: d_step {
                LOAD(HEAD(ring)) != 2 * (position - CAPACITY) ->
                /* JavaScript writes the slot, with a plain store. */
                store_buffered(SLOT(ring, position), position + 1)
            }
            may_die();
            commit();
            ring_bells()
        :: LOAD(HEAD(ring)) == 2 * (position - CAPACITY) ->
            wait_for_room();
            if
            :: LOAD(TAIL(ring)) & CLOSED -> refused = 1
            :: else -> skip
            fi
        fi
    od;
    may_die();
    if
#ifndef STAYS_OPEN
    :: skip
#endif
#ifdef MAY_STOP
    :: MAY_STOP -> left_open = 1; goto stopped
#endif
    fi;

closing:
    /* close(), or the destructor of a dead thread: native code, it does not die. */
    if
    :: holds ->
        holds = 0;
        seal(ring);
#ifndef WITHOUT_SEAL_READY
        set_ready(ring);
#endif
#ifndef WITHOUT_SEAL_WAKE
        wake(RECEIVER_WAIT, 0)
#endif
    :: else -> skip
    fi;
#ifdef WITHOUT_ORPHANS_LAST
    if
    :: dying -> leave_orphans()
    :: else -> skip
    fi;
#endif
    if
    :: !released ->
        released = 1;
        d_step { add(SENDER_REFS, -1); success = (memory[SENDER_REFS] == 0) }
        if
        :: success -> success = 0; close_channel(LAST_SENDER_GONE)
        :: else -> skip
        fi
    :: else -> skip
    fi;
    if
#ifndef WITHOUT_ORPHANS_LAST
    :: dying -> leave_orphans()
#else
    :: dying -> skip
#endif
    :: else -> empty_handed = 1; ring_bells()
    fi;

stopped:
    atomic { finished++; ring = 0; position = 0; sent = 0; refused = 0; must_ring = 0; bell = 0; dying = 0; empty_handed = 0 }
}

/* A third thread that has the channel and no endpoint. */
proctype closer() {
    byte me = CLOSER;
    byte taken, must_ring, bell, index;
    bool success, dying, empty_handed;

    close_channel(CLOSED_BY_CALL);
    empty_handed = 1;
    ring_bells();
closing:
    if
    :: dying -> leave_orphans()
    :: else -> skip
    fi;
    atomic { finished++; must_ring = 0; bell = 0; dying = 0; empty_handed = 0 }
}

/* ---- receiver ---- */

inline recycle(r) {
    d_step { assert(sealed[owner[r]]); add(RINGS_CLAIMED, -1) }
    d_step { store_fenced(STATE(r), FREE) }
}

inline release() {
#ifdef WITHOUT_RELEASE_FENCE
    d_step { store_buffered(HEAD(ring), 2 * head[ring]) }
#else
    d_step { store_fenced(HEAD(ring), 2 * head[ring]) }
#endif
    wake(SENDER_WAIT(ring), 1 + ring)
}

/* Looks at one active ring. */
inline visit() {
    d_step { tail = LOAD(TAIL(ring)) }
    if
    :: POSITION(tail) != head[ring] ->
        d_step {
            tail = 0;
            assert(LOAD(SLOT(ring, head[ring])) == head[ring] + 1);
            head[ring] = head[ring] + 1;
            received++
        }
        may_die();
        release();
        ring_bells()
    :: POSITION(tail) == head[ring] && (tail & CLOSED) ->
#ifndef WITHOUT_RING_STATE_CHECK
        if
        /* A late ready bit of an earlier owner. The state is read before the tail: a ring that is
           CLAIMED stays so until this thread frees it, so the seal seen next is the owner's. */
        :: LOAD(STATE(ring)) != CLAIMED -> active_rings = active_rings & ~(1 << ring)
        :: LOAD(STATE(ring)) == CLAIMED ->
            if
#ifndef WITHOUT_RING_STATE_FIRST
            :: LOAD(TAIL(ring)) != tail -> skip
            :: LOAD(TAIL(ring)) == tail ->
#else
            :: true ->
#endif
                active_rings = active_rings & ~(1 << ring); recycle(ring)
            fi
        fi;
#else
        active_rings = active_rings & ~(1 << ring);
        recycle(ring);
#endif
        tail = 0
    :: else ->
#ifdef WITHOUT_IDLE_FENCE
        d_step { store_buffered(IDLE(ring), 1) }
#else
        d_step { store_fenced(IDLE(ring), 1) }
#endif
        if
#ifndef WITHOUT_IDLE_RECHECK
        :: LOAD(TAIL(ring)) != tail -> d_step { swap(IDLE(ring), 0, taken); taken = 0; tail = 0 }
        :: LOAD(TAIL(ring)) == tail -> d_step { tail = 0; active_rings = active_rings & ~(1 << ring) }
#else
        :: d_step { true; tail = 0; active_rings = active_rings & ~(1 << ring) }
#endif
        fi
    fi
}

/* The close state is read first: a registration that was not refused has counted its ring before
   the channel was closed. */
inline look_for_end() {
    if
    :: LOAD(CLOSE_STATE) != OPEN ->
        if
        :: LOAD(RINGS_CLAIMED) == 0 -> over = 1
        :: LOAD(RINGS_CLAIMED) != 0 -> skip
        fi
    :: LOAD(CLOSE_STATE) == OPEN -> skip
    fi
}

inline receiver_sleep() {
    choose_sleep(RECEIVER_SLEEPS);
    take_snapshots(0);
#ifdef WITHOUT_RECEIVER_ARM_FENCE
    d_step { store_buffered(RECEIVER_WAIT, mode) }
#else
    d_step { store_fenced(RECEIVER_WAIT, mode) }
#endif
#ifndef WITHOUT_RECEIVER_RECHECK
    if
    :: LOAD(READY) != 0 -> again = 1
    :: LOAD(READY) == 0 -> look_for_end(); again = over; over = 0
    fi;
#endif
    if
    :: again ->
        d_step { again = 0; swap(RECEIVER_WAIT, AWAKE, taken); taken = 0; mode = AWAKE; orphans = 0 }
#if GIVE_UPS > 0
    :: !again && give_ups < GIVE_UPS ->
        d_step { give_ups++; swap(RECEIVER_WAIT, AWAKE, taken); taken = 0; mode = AWAKE; orphans = 0 }
#endif
    :: !again ->
        if
        :: mode == BELL -> may_die()
        :: else -> skip
        fi;
        fall_asleep(RECEIVER_WAIT, 0)
    fi
}

proctype receiver() {
    byte me = RECEIVER;
    byte head[RINGS];
    byte ring, tail, active_rings, taken, must_ring, bell, mode, orphans, index;
    bool success, again, over, dying, empty_handed;

    do
    :: true ->
        d_step { swap(READY, 0, taken); active_rings = active_rings | taken; taken = 0 }
        if
        :: active_rings == 0 ->
            look_for_end();
            if
            :: over && LOAD(READY) == 0 -> break
            :: over && LOAD(READY) != 0 -> over = 0
            :: !over -> receiver_sleep()
            fi
        :: else ->
            /* Any active ring may be next: rotating is one of the ways. */
            if
            :: active_rings & 1 -> ring = 0
#if RINGS > 1
            :: active_rings & 2 -> ring = 1
#endif
            fi;
            visit()
        fi;
#ifdef RECEIVER_MAY_CLOSE
        if
        :: goto closing
        :: skip
        fi
#endif
    od;
    atomic { ended = 1; over = 0; ring = 0; assert(accepted == received) }
    goto gone;

closing:
    receiver_gone = 1;
    if
    :: !empty_handed -> close_channel(RECEIVER_GONE)
    :: else -> skip
    fi;
    if
    :: dying -> leave_orphans()
    :: else -> empty_handed = 1; ring_bells()
    fi;
gone:
    skip
}

/* ---- what must hold when nothing can move any more ---- */

proctype quiescence(byte others) {
    timeout;
    /* Nobody waits for room, for a ring or for the channel to close. */
    assert(finished == others);
    if
    :: ended || receiver_gone -> skip
    :: else ->
        /* The receiver sleeps: only because a sender neither closed nor died, and not over a
           message. */
        assert(left_open && memory[CLOSE_STATE] == OPEN);
        assert(accepted == received)
    fi
}

inline start_store_buffers() {
    for (index : 0 .. THREADS - 1) {
        run store_buffer(index)
    }
}

/* Sender 1 + r owns ring r from the beginning. */
inline open_rings() {
    for (index : 0 .. RINGS - 1) {
        memory[STATE(index)] = CLAIMED;
        memory[IDLE(index)] = 1;
        owner[index] = index + 1
    }
    memory[RINGS_CLAIMED] = RINGS
}
