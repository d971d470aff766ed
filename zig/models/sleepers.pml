/* Several receivers that share rings: who sleeps, and who is woken.

   Each of SENDERS has a ring and commits MESSAGES. RECEIVERS claim them one by one (how is in
   claims.pml; here a claim is one step) and are at work with what they claimed for as long as they
   please, perhaps for ever. They may give a wait up, close with their claim, or offer it to the others; one
   may die with it. LOOKERS of them only look, as in ready(), and do not come back once they have seen
   something. When nothing can move any more, nobody sleeps beside a message.

   A ring is never full here, and the watch over deaths is left out: it would hide what a living
   receiver has to do at once. */

#ifndef SENDERS
#define SENDERS 1
#endif
#ifndef RECEIVERS
#define RECEIVERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
/* How many receivers may give up and close in one run; with DEATHS one more dies. */
#ifndef GIVE_UPS
#define GIVE_UPS 0
#endif
#ifndef CLOSES
#define CLOSES 0
#endif
#ifndef OFFERS
#define OFFERS 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
/* IS_SURE: a receiver may also find what is in a ring that is not ready. */
#ifndef LOOKERS
#define LOOKERS 0
#endif

#define TAIL(ring) (ring)
#define CURSOR(ring) (SENDERS + (ring))
#define IDLE(ring) (2 * SENDERS + (ring))
#define WAIT(receiver) (3 * SENDERS + (receiver))
#define READY (3 * SENDERS + RECEIVERS)
#define SLEEPING (READY + 1)
#define LEFT_CLAIMS (READY + 2)
#define WORDS (READY + 3)
#define THREADS (RECEIVERS + SENDERS + 1)

#include "store_buffer.pml"

bool asleep[RECEIVERS];
byte give_ups;
byte closes;
byte offers;

/* Wakes one of those that sleep. In rotation, which is one of the ways. */
inline wake_one() {
    do
    :: LOAD(SLEEPING) == 0 -> break
    :: LOAD(SLEEPING) != 0 ->
        if
        :: LOAD(SLEEPING) & 1 -> who = 0
        :: LOAD(SLEEPING) & 2 -> who = 1
#if RECEIVERS > 2
        :: LOAD(SLEEPING) & 4 -> who = 2
#endif
        :: LOAD(SLEEPING) == 0 -> who = RECEIVERS
        fi;
        if
        :: who == RECEIVERS -> who = 0; break
        :: else ->
            d_step {
                drain();
                taken = memory[SLEEPING] & (1 << who);
                memory[SLEEPING] = memory[SLEEPING] & ~(1 << who)
            }
            if
            :: taken != 0 ->
                d_step { swap(WAIT(who), 0, taken) }
                if
                :: taken != 0 -> atomic { asleep[who] = 0; taken = 0; who = 0 }; break
#ifdef WITHOUT_NEXT_SLEEPER
                :: else -> who = 0; break
#else
                :: else -> who = 0
#endif
                fi
            :: else -> who = 0
            fi
        fi
    od
}

proctype sender(byte me; byte ring) {
    byte sent, taken, who;

    do
    :: sent == MESSAGES -> break
    :: sent < MESSAGES ->
        sent++;
#ifdef WITHOUT_COMMIT_FENCE
        d_step { store_buffered(TAIL(ring), sent) }
#else
        d_step { store_fenced(TAIL(ring), sent) }
#endif
        if
        :: LOAD(IDLE(ring)) == 0 -> skip
        :: LOAD(IDLE(ring)) != 0 ->
            d_step { swap(IDLE(ring), 0, taken) }
            if
            :: taken != 0 ->
                taken = 0;
#ifdef WITHOUT_READY_FENCE
                d_step { store_buffered(READY + OR, 1 << ring) }
#else
                d_step { fetch_or(READY, 1 << ring) }
#endif
                wake_one()
            :: else -> skip
            fi
        fi
    od
}

/* Takes an empty ring out of the ready set. Not `idle`: there is something after all. */
inline go_idle() {
    d_step { drain(); memory[READY] = memory[READY] & ~(1 << ring) }
#ifdef WITHOUT_IDLE_FENCE
    d_step { store_buffered(IDLE(ring), 1) }
#else
    d_step { store_fenced(IDLE(ring), 1) }
#endif
    tail = LOAD(TAIL(ring));
    if
#ifdef WITHOUT_IDLE_RECHECK
    :: true -> idle = 1
#else
    :: LOAD(CURSOR(ring)) == tail -> idle = 1
    :: LOAD(CURSOR(ring)) != tail ->
        d_step { swap(IDLE(ring), 0, taken) }
        if
        :: taken != 0 -> taken = 0; d_step { fetch_or(READY, 1 << ring) }
        :: else -> skip
        fi
#endif
    fi;
    tail = 0
}

/* Claims a message of `ring`, if there is one. */
inline claim() {
    do
    :: true ->
        cursor = LOAD(CURSOR(ring));
        tail = LOAD(TAIL(ring));
        if
        :: tail <= cursor ->
            go_idle();
            if
            :: idle -> idle = 0; break
            :: else -> skip
            fi
        :: else ->
            d_step { compare_and_swap(CURSOR(ring), cursor, cursor + 1, holds) }
            if
            :: holds ->
                has_more = (tail - cursor > 1);
                tail = 0;
                /* Another is wanted for what is left. */
                if
                :: LOAD(SLEEPING) == 0 -> skip
                :: LOAD(SLEEPING) != 0 ->
                    if
#ifdef WITHOUT_CALL_FOR_REST
                    :: has_more -> skip
#else
                    :: has_more -> wake_one()
#endif
                    :: !has_more ->
#ifdef WITHOUT_IDLE_AT_WORK
                        idle = 1;
#else
                        go_idle();
#endif
                        if
                        :: !idle -> wake_one()
                        :: idle && (LOAD(READY) & ~(1 << ring)) != 0 -> wake_one()
                        :: else -> skip
                        fi;
                        idle = 0
                    fi
                fi;
                has_more = 0;
                break
            :: else -> skip
            fi
        fi
    od;
    atomic { cursor = 0; tail = 0 }
}

/* Looks whether there is something in `ring`, and claims nothing. */
inline look() {
    do
    :: true ->
        cursor = LOAD(CURSOR(ring));
        if
        :: LOAD(TAIL(ring)) != cursor -> holds = 1; break
        :: LOAD(TAIL(ring)) == cursor ->
            go_idle();
            if
            :: idle -> idle = 0; break
            :: else -> skip
            fi
        fi
    od;
    cursor = 0
}

inline disarm() {
    d_step { swap(WAIT(me), 0, armed) }
    d_step { drain(); memory[SLEEPING] = memory[SLEEPING] & ~(1 << me) }
}

proctype receiver(byte me) {
    byte ring, cursor, tail, taken, who;
    bool holds, idle, has_more, armed;

    do
    :: true ->
        /* poll() */
        if
        :: LOAD(LEFT_CLAIMS) != 0 && me < LOOKERS -> holds = 1
        :: LOAD(LEFT_CLAIMS) != 0 && me >= LOOKERS ->
            d_step {
                drain();
                if
                :: memory[LEFT_CLAIMS] != 0 -> memory[LEFT_CLAIMS] = memory[LEFT_CLAIMS] - 1; holds = 1
                :: else -> skip
                fi
            }
#ifndef WITHOUT_CALL_AFTER_TAKE_OVER
            if
            :: holds && LOAD(SLEEPING) != 0 ->
                if
                :: LOAD(LEFT_CLAIMS) != 0 || LOAD(READY) != 0 -> wake_one()
                :: LOAD(LEFT_CLAIMS) == 0 && LOAD(READY) == 0 -> skip
                fi
            :: else -> skip
            fi
#endif
        :: LOAD(LEFT_CLAIMS) == 0 -> skip
        fi;
        ring = 0;
        do
        :: holds || ring == SENDERS -> ring = 0; break
        :: !holds && ring < SENDERS ->
            if
            :: LOAD(READY) & (1 << ring) ->
                if
                :: me < LOOKERS -> look()
                :: else -> claim()
                fi
#ifdef IS_SURE
            :: LOAD(TAIL(ring)) != LOAD(CURSOR(ring)) && me >= LOOKERS -> claim()
#endif
            :: else -> skip
            fi;
            if
            :: !holds -> ring++
            :: else -> skip
            fi
        od;
        if
        :: holds && me < LOOKERS ->
#ifndef WITHOUT_LOOK_PASS_ON
            wake_one();
#endif
            goto away
        :: holds && me >= LOOKERS ->
            /* At work: it comes to an end, or it does not. */
            if
            :: holds = 0
            :: goto away
            :: d_step { closes < CLOSES -> closes++; holds = 0 };
                d_step { add(LEFT_CLAIMS, 1) }
                wake_one();
                goto away
            :: d_step { offers < OFFERS -> offers++; holds = 0 };
                d_step { add(LEFT_CLAIMS, 1) }
#ifndef WITHOUT_OFFER_WAKE
                wake_one();
#endif
                if
                :: true -> skip
                :: true -> goto away
                fi
            fi
        :: else ->
#ifdef WITHOUT_ARM_FENCE
            d_step { store_fenced(WAIT(me), 1) }
            d_step { store_buffered(SLEEPING + OR, 1 << me) }
#else
            d_step { store_fenced(WAIT(me), 1) }
            d_step { fetch_or(SLEEPING, 1 << me) }
#endif
            if
#ifndef WITHOUT_RECHECK
            :: LOAD(LEFT_CLAIMS) != 0 || LOAD(READY) != 0 -> disarm()
            :: LOAD(LEFT_CLAIMS) == 0 && LOAD(READY) == 0 ->
#else
            :: true ->
#endif
                if
                :: d_step { give_ups < GIVE_UPS -> give_ups++ };
                    disarm();
                    if
#ifndef WITHOUT_PASS_ON
                    :: !armed -> wake_one()
#endif
                    :: else -> skip
                    fi;
                    goto away
                :: true ->
                    /* The futex, or the bell, compares as it falls asleep. */
                    d_step { drain(); asleep[me] = (memory[WAIT(me)] != 0) }
end_asleep:
                    !asleep[me];
                    disarm()
                fi
            fi;
            armed = 0
        fi
    od;
away:
    skip
}

/* One more receiver, which dies at work, and can ring nobody. */
proctype mortal(byte me) {
    d_step { add(LEFT_CLAIMS, 1) }
}

proctype quiescence() {
    byte ring, index;

end_waiting:
    timeout ->
    d_step {
        for (index : 0 .. RECEIVERS - 1) {
            for (ring : 0 .. SENDERS - 1) {
                assert(!asleep[index] || memory[TAIL(ring)] == memory[CURSOR(ring)])
            }
            /* A claim of one that died waits for the watch at the worst. */
            assert(!asleep[index] || memory[LEFT_CLAIMS] == 0 || DEATHS > 0)
        }
    }
}

init {
    byte index;

    atomic {
        for (index : 0 .. SENDERS - 1) {
            memory[IDLE(index)] = 1
        }
        for (index : 0 .. THREADS - 1) {
            run store_buffer(index)
        }
        for (index : 0 .. RECEIVERS - 1) {
            run receiver(index)
        }
        for (index : 0 .. SENDERS - 1) {
            run sender(RECEIVERS + index, index)
        }
#if DEATHS > 0
        run mortal(RECEIVERS + SENDERS);
#endif
        run quiescence()
    }
}
