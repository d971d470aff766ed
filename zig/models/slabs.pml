/* The free set of a pool: bits that say where a free slab may be, and words that are the truth.

   TAKERS threads take a slab each, FREES times, and give it back. Some bits mislead at first, and one
   process may be killed between the two steps of a free; the keeper then mends. When nothing can move any
   more, every free slab is found: it has its bit, and its word's bit in the summary has, too. And whoever
   looked for a slab after it had armed, and slept, does not sleep while one is free. */

#ifndef TAKERS
#define TAKERS 2
#endif
#ifndef FREES
#define FREES 2
#endif
#ifndef SLABS
#define SLABS 2
#endif

/* All accesses are sequentially consistent, so no store is buffered here: each step is one access. */
bit word_is_free[SLABS];
bit bits[SLABS];
bit summary;
bit armed;
bit asleep;
bit sleeper_is_done;
byte takers_left = TAKERS;
#ifdef DEATH
bit may_die = 1;
#else
bit may_die = 0;
#endif

#define ANY_BIT (bits[0] || bits[1])
#define ANY_FREE (word_is_free[0] || word_is_free[1])

/* Sets the bits of a free slab, each after a look. */
inline add_to_set(slab) {
    if
    :: bits[slab] -> skip
    :: !bits[slab] -> bits[slab] = 1
    fi;
    if
    :: summary -> skip
    :: !summary -> summary = 1
    fi
}

inline wake() {
    if
    :: armed -> atomic { armed = 0; asleep = 0 }
    :: !armed -> skip
    fi
}

inline try_take(slab, got) {
    if
    :: atomic { word_is_free[slab] -> word_is_free[slab] = 0; got = 1 }
    :: atomic { !word_is_free[slab] -> got = 0 }
    fi
}

/* FreeSet.findIn(): one look through the word below the summary. */
inline find(got, slab) {
    got = 0;
    if
    :: !summary -> goto nothing
    :: summary -> skip
    fi;
again:
    slab = 0;
    do
    :: slab == SLABS -> break
    :: slab < SLABS && !bits[slab] -> slab++
    :: slab < SLABS && bits[slab] ->
        try_take(slab, got);
        if
        :: got -> bits[slab] = 0; goto nothing
        :: !got ->
            bits[slab] = 0;
#ifndef WITHOUT_SECOND_LOOK
            try_take(slab, got);
#endif
            if
            :: got -> goto nothing
            :: !got -> slab++
            fi
        fi
    od;
    summary = 0;
#ifndef WITHOUT_LOOK_BELOW
    if
    :: ANY_BIT -> summary = 1; goto again
    :: !ANY_BIT -> skip
    fi;
#endif
nothing:
    skip
}

proctype taker() {
    byte slab, frees;
    bit got;

    do
    :: frees == FREES -> break
    :: frees < FREES ->
        find(got, slab);
        if
        :: !got -> frees++
        :: got ->
            frees++;
#ifdef WITHOUT_FREE_FIRST
            add_to_set(slab);
            word_is_free[slab] = 1;
#else
            word_is_free[slab] = 1;
            if
            :: atomic { may_die -> may_die = 0 };
                /* Killed; the keeper mends, and wakes. */
#ifndef WITHOUT_MENDING
                slab = 0;
                do
                :: slab == SLABS -> break
                :: slab < SLABS && word_is_free[slab] -> add_to_set(slab); slab++
                :: slab < SLABS && !word_is_free[slab] -> slab++
                od;
                atomic { armed = 0; asleep = 0 };
#endif
                break
            :: true -> skip
            fi;
            add_to_set(slab);
#endif
            wake()
        fi
    od;
    atomic { takers_left-- }
}

/* Wants a slab, and keeps it. */
proctype sleeper() {
    byte slab;
    bit got;

    do
    :: find(got, slab);
        if
        :: got -> break
        :: !got -> skip
        fi;
        armed = 1;
        /* FreeSet.hasAny(). */
        if
        :: summary ->
            if
            :: ANY_BIT -> goto again_at_once
            :: !ANY_BIT -> skip
            fi
        :: !summary -> skip
        fi;
        /* What it compares as it falls asleep is the count of wake-ups from before the arm. */
        atomic {
            if
            :: armed -> asleep = 1
            :: else -> skip
            fi
        };
end_asleep:
        !asleep;
again_at_once:
        skip
    od;
    sleeper_is_done = 1
}

proctype quiescence() {
end_waiting:
    timeout ->
    assert(takers_left == 0);
    assert(sleeper_is_done || !ANY_FREE);
    assert(!word_is_free[0] || (bits[0] && summary));
    assert(!word_is_free[1] || (bits[1] && summary))
}

init {
    byte index;

    atomic {
        /* One is free and has its bits; of the other the bit misleads. */
        word_is_free[0] = 1;
        bits[0] = 1;
        bits[1] = 1;
        summary = 1;
        for (index : 1 .. TAKERS) {
            run taker()
        }
        run sleeper();
        run quiescence()
    }
}
