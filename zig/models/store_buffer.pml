/* Total store order: every thread has a FIFO buffer between it and memory.

   A plain or release store goes into the buffer and reaches memory at any later moment. A
   sequentially consistent store and every read-modify-write empty the buffer first. A load looks
   into the buffer of its own thread, then into memory.

   The including file defines WORDS (words of memory) and THREADS. Every inline below is meant to
   be one indivisible step: callers wrap it in d_step. `me` is the variable of the calling process
   that holds its thread number. */

byte memory[WORDS];

byte stores[THREADS];
byte store_word[THREADS * 2];
byte store_value[THREADS * 2];

/* Added to the word of a buffered store that ORs its value in when it reaches memory. It serves to
   take the fence away from a fetch_or without taking away its atomicity as well. */
#define OR 128

#define LOAD(word) ((stores[me] > 1 && store_word[2 * me + 1] == (word)) -> store_value[2 * me + 1] : \
    ((stores[me] > 0 && store_word[2 * me] == (word)) -> store_value[2 * me] : memory[word]))

inline write_oldest_store(thread) {
    if
    :: store_word[2 * thread] >= OR ->
        memory[store_word[2 * thread] - OR] = memory[store_word[2 * thread] - OR] | store_value[2 * thread]
    :: else ->
        memory[store_word[2 * thread]] = store_value[2 * thread]
    fi;
    store_word[2 * thread] = store_word[2 * thread + 1];
    store_value[2 * thread] = store_value[2 * thread + 1];
    store_word[2 * thread + 1] = 0;
    store_value[2 * thread + 1] = 0;
    stores[thread]--
}

inline drain() {
    do
    :: stores[me] > 0 -> write_oldest_store(me)
    :: else -> break
    od
}

/* A plain or release store. */
inline store_buffered(word, value) {
    if
    :: stores[me] == 2 -> write_oldest_store(me)
    :: else -> skip
    fi;
    store_word[2 * me + stores[me]] = word;
    store_value[2 * me + stores[me]] = value;
    stores[me]++
}

/* A sequentially consistent store. */
inline store_fenced(word, value) {
    drain();
    memory[word] = value
}

inline swap(word, value, previous) {
    drain();
    previous = memory[word];
    memory[word] = value
}

inline fetch_or(word, bits) {
    drain();
    memory[word] = memory[word] | (bits)
}

inline add(word, amount) {
    drain();
    memory[word] = memory[word] + (amount)
}

inline compare_and_swap(word, expected, desired, success) {
    drain();
    if
    :: memory[word] == (expected) -> memory[word] = desired; success = 1
    :: else -> success = 0
    fi
}

/* A store in a buffer reaches memory some time: one such process a thread. */
proctype store_buffer(byte thread) {
end_empty:
    do
    :: d_step { stores[thread] > 0 -> write_oldest_store(thread) }
    od
}
