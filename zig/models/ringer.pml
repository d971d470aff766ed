/* How an event loop that sleeps in a shared segment is woken by whoever publishes, of any process.

   WAKERS threads publish once each, take the arm of the wait word and wake its futex, and know nothing
   of who sleeps. The sleeper arms the word, looks, kicks the ringer of its process and sleeps on its
   bell. The ringer rings when the arm of a watched word is gone, and else sleeps on that word and on
   its own at once. When nothing can move any more the sleeper has seen everything. */

#ifndef WAKERS
#define WAKERS 2
#endif

#define AWAKE 0
#define ARMED 1

/* A bit for each waker: what it has published. */
#define PUBLISHED 0
#define WAIT_WORD 1
#define BELL 2
#define RINGER_WORD 3
#define WORDS 4

#define SLEEPER WAKERS
#define RINGER (WAKERS + 1)
#define THREADS (WAKERS + 2)
#define EVERYTHING ((1 << WAKERS) - 1)

#include "store_buffer.pml"

/* What the kernel and the event loop know. */
bool ringer_sleeps, sleeps_on_word, sleeper_sleeps;
/* Under the ringer's mutex, whose holder is one step here: the sleeper has armed. */
bool is_armed;

inline ring() {
    d_step { add(BELL, 1) };
    d_step { sleeper_sleeps = 0 }
}

proctype waker(byte me) {
    byte was;

#ifdef WITHOUT_PUBLISH_FENCE
    d_step { store_buffered(PUBLISHED + OR, 1 << me) };
#else
    d_step { fetch_or(PUBLISHED, 1 << me) };
#endif
    d_step { was = LOAD(WAIT_WORD) };
    if
    :: was == ARMED ->
        d_step { swap(WAIT_WORD, AWAKE, was) };
        if
        :: was == ARMED ->
            /* The futex of the word. The ringer may sleep elsewhere, or not at all. */
            d_step {
                if
                :: ringer_sleeps && sleeps_on_word -> ringer_sleeps = 0
                :: else -> skip
                fi
            };
            /* A waker of the same process may ring as well. */
            if
            :: ring()
            :: true -> skip
            fi
        :: else -> skip
        fi
    :: else -> skip
    fi
}

proctype sleeper(byte me) {
    byte snapshot, seen, was;

    do
    :: d_step { seen == EVERYTHING -> skip }; break
    :: d_step { seen != EVERYTHING -> skip };
#ifndef WITHOUT_BELL_SNAPSHOT
        d_step { snapshot = LOAD(BELL) };
#endif
#ifdef WITHOUT_ARM_FENCE
        d_step { store_buffered(WAIT_WORD, ARMED) };
#else
        d_step { store_fenced(WAIT_WORD, ARMED) };
#endif
#ifndef WITHOUT_RECHECK
        d_step { was = LOAD(PUBLISHED) };
        if
        :: was != seen -> goto awake
        :: else -> skip
        fi;
#endif
        d_step {
            drain();
            is_armed = 1;
#ifndef WITHOUT_KICK
            if
            :: memory[RINGER_WORD] == ARMED -> memory[RINGER_WORD] = AWAKE; ringer_sleeps = 0
            :: else -> skip
            fi
#endif
        };
#ifdef WITHOUT_BELL_SNAPSHOT
        d_step { snapshot = LOAD(BELL) };
#endif
        d_step {
            if
            :: memory[BELL] == snapshot -> sleeper_sleeps = 1
            :: else -> skip
            fi
        };
        !sleeper_sleeps;
awake:
        skip;
        /* The ringer may overlook this, and ring once in vain. */
        d_step { is_armed = 0; swap(WAIT_WORD, AWAKE, was) };
        d_step { seen = LOAD(PUBLISHED) }
    od
}

proctype ringer(byte me) {
    bool on_word, must_ring;

    do
    :: d_step {
            drain();
            if
            :: is_armed && memory[WAIT_WORD] != ARMED -> is_armed = 0; must_ring = 1
            :: else ->
                memory[RINGER_WORD] = ARMED;
                on_word = is_armed
            fi
        };
        if
        :: must_ring -> must_ring = 0; ring()
        :: else ->
            /* The kernel compares all words, and falls asleep on all of them, in one step. */
            d_step {
                if
#ifdef WITHOUT_RINGER_COMPARE
                :: !on_word || memory[WAIT_WORD] == ARMED ->
#else
                :: memory[RINGER_WORD] == ARMED && (!on_word || memory[WAIT_WORD] == ARMED) ->
#endif
                    ringer_sleeps = 1;
                    sleeps_on_word = on_word
                :: else -> skip
                fi
            };
end_asleep:
            !ringer_sleeps;
            d_step { memory[RINGER_WORD] = AWAKE }
        fi
    od
}

proctype quiescence() {
end_waiting:
    timeout -> assert(!sleeper_sleeps)
}

init {
    byte index;

    atomic {
        for (index : 0 .. THREADS - 1) {
            run store_buffer(index)
        }
        for (index : 0 .. WAKERS - 1) {
            run waker(index)
        }
        run sleeper(SLEEPER);
        run ringer(RINGER);
        run quiescence()
    }
}
