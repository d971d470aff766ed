/* Who waits for a slab of a pool: sleepers share their arms, a free takes them and wakes everyone.

   HOLDERS threads free a slab each. SLEEPERS threads want one, free it, and end; up to GIVE_UPS of
   them give up while they are armed. When nothing can move any more nobody sleeps while a slab is
   free. */

#ifndef HOLDERS
#define HOLDERS 1
#endif
#ifndef SLEEPERS
#define SLEEPERS 2
#endif
#ifndef GIVE_UPS
#define GIVE_UPS 0
#endif

#define FUTEX 1
#define BELL 2
/* How a sleeper sleeps: one way, or by turns. */
#ifndef SLEEPS
#define SLEEPS (1 + me % 2)
#endif

/* A bit for each free slab; how they are found is another model, slabs.pml. */
#define FREE 0
#define FUTEX_ARM 1
#define BELL_ARM 2
/* Counts of the calls that woke: of the futex, and of the bell. */
#define FUTEX_RUNG 3
#define BELL_RUNG 4
#define WORDS 5
#define THREADS (HOLDERS + SLEEPERS)

#define ARM (SLEEPS == BELL -> BELL_ARM : FUTEX_ARM)
#define RUNG (SLEEPS == BELL -> BELL_RUNG : FUTEX_RUNG)

#include "store_buffer.pml"

byte asleep[THREADS];
byte give_ups = GIVE_UPS;

inline wake_all(how) {
    for (index : 0 .. THREADS - 1) {
        if
        :: asleep[index] == how -> asleep[index] = 0
        :: else -> skip
        fi
    }
    index = 0
}

inline free_slab(freed) {
#ifdef WITHOUT_PUSH_FENCE
    d_step { store_buffered(FREE + OR, freed) };
#else
    d_step { fetch_or(FREE, freed) };
#endif
    d_step { armed = LOAD(FUTEX_ARM) };
    if
    :: armed ->
        d_step { swap(FUTEX_ARM, 0, armed) };
        if
        :: armed ->
            d_step { add(FUTEX_RUNG, 1) };
            d_step { wake_all(FUTEX) }
        :: else -> skip
        fi
    :: else -> skip
    fi;
    d_step { armed = LOAD(BELL_ARM) };
    if
    :: armed ->
        d_step { swap(BELL_ARM, 0, armed) };
        if
        :: armed ->
            d_step { add(BELL_RUNG, 1) };
            d_step { wake_all(BELL) }
        :: else -> skip
        fi
    :: else -> skip
    fi;
    armed = 0
}

proctype holder(byte me) {
    byte armed, index;

    free_slab((1 << me))
}

proctype sleeper(byte me) {
    byte armed, index, snapshot, slab;

    do
    :: d_step {
            slab = LOAD(FREE);
            if
            :: slab -> drain(); slab = memory[FREE]
            :: else -> skip
            fi;
            if
            :: slab & 1 -> slab = 1
            :: !(slab & 1) && (slab & 2) -> slab = 2
            :: else -> skip
            fi;
            memory[FREE] = memory[FREE] & ~slab
        };
        if
        :: slab -> free_slab(slab); break
        :: else -> skip
        fi;

#ifndef WITHOUT_SNAPSHOT
        d_step { snapshot = LOAD(RUNG) };
#endif
#ifdef WITHOUT_ARM_FENCE
        d_step { store_buffered(ARM, 1) };
#else
        d_step { store_fenced(ARM, 1) };
#endif
        if
        :: d_step { give_ups > 0 -> give_ups-- };
#ifdef WITHOUT_SHARED_ARM
            /* Takes the arm away, as who has a wait word of his own may. */
            d_step { store_fenced(ARM, 0) };
#endif
            break
        :: true -> skip
        fi;
#ifndef WITHOUT_RECHECK
        if
        :: d_step { LOAD(FREE) != 0 -> skip }; goto again
        :: d_step { LOAD(FREE) == 0 -> skip }
        fi;
#endif
#ifdef WITHOUT_SNAPSHOT
        d_step { snapshot = LOAD(RUNG) };
#endif
        /* The kernel, and waitAsync, compare and fall asleep in one step. */
        d_step {
            drain();
            if
#ifdef WITHOUT_COUNT
            /* As a WaitWord does, which one sleeper has for himself. */
            :: memory[ARM] == 1 -> asleep[me] = SLEEPS
#else
            :: memory[RUNG] == snapshot -> asleep[me] = SLEEPS
#endif
            :: else -> skip
            fi
        };
end_asleep:
        asleep[me] == 0;
again:
        skip
    od
}

proctype quiescence() {
    byte index;

end_waiting:
    timeout ->
    d_step {
        for (index : 0 .. THREADS - 1) {
            assert(memory[FREE] == 0 || asleep[index] == 0)
        }
    }
}

init {
    byte index;

    atomic {
        for (index : 0 .. THREADS - 1) {
            run store_buffer(index)
        }
        for (index : 0 .. HOLDERS - 1) {
            run holder(index)
        }
        for (index : HOLDERS .. THREADS - 1) {
            run sleeper(index)
        }
        run quiescence()
    }
}
