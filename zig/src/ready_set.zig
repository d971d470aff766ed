//! The ready set: a bitmap of the rings that have turned non-empty since the receiver last saw them
//! empty, so that finding work costs what is ready and not what is registered.
//!
//! Two levels, so that a poll reads one word: bit w of the summary says that word w may have bits.

const std = @import("std");

pub const words_max = 64;

/// Shared: producers add, the receiver takes.
pub const ReadySet = extern struct {
    summary: std.atomic.Value(u64),
    _: [128 - 8]u8,
    words: [words_max]std.atomic.Value(u64),

    pub const rings_max = words_max * 64;

    pub fn add(self: *ReadySet, ring: u32) void {
        std.debug.assert(ring < rings_max);
        // The word first, then the summary: a receiver that sees the summary bit finds the word's.
        // SC: the publish half where receivers share the set, as the summary is where one takes it;
        // as release it pairs with the acquires below, the commit before it is then visible.
        _ = self.words[ring / 64].fetchOr(@as(u64, 1) << @intCast(ring % 64), .seq_cst);
        // SC: the publish half of the wake protocol; the caller looks at receiver_wait next.
        _ = self.summary.fetchOr(@as(u64, 1) << @intCast(ring / 64), .seq_cst);
    }

    // Where receivers share the set nobody takes it: a ring is removed by whoever finds it empty. They
    // look at the words alone. A summary that one clears while another sets it would hide a ring for a
    // moment, or stay behind with nothing under it. `rings` is how many there may be in the set.

    pub fn remove(self: *ReadySet, ring: u32) void {
        _ = self.words[ring / 64].fetchAnd(~(@as(u64, 1) << @intCast(ring % 64)), .seq_cst);
    }

    /// Whether a ring is in the set.
    pub fn hasAny(self: *const ReadySet, rings: u32) bool {
        // SC: the look half of the wake protocol, after the receiver has armed.
        for (self.words[0..wordsOf(rings)]) |*word| if (word.load(.seq_cst) != 0) return true;
        return false;
    }

    /// Whether a ring other than this one is in the set.
    pub fn hasOther(self: *const ReadySet, ring: u32, rings: u32) bool {
        for (self.words[0..wordsOf(rings)], 0..) |*word, index| {
            const own = if (index == ring / 64) @as(u64, 1) << @intCast(ring % 64) else 0;
            if (word.load(.seq_cst) & ~own != 0) return true;
        }
        return false;
    }

    /// The rings of the set, each once, from `start` on and around. What is added or removed meanwhile
    /// may be seen or not.
    pub fn iterateFrom(self: *const ReadySet, start: u32, rings: u32) Iterator {
        const words = wordsOf(rings);
        const first = start % (words * 64);
        return .{
            .set = self,
            .words = words,
            .start = first,
            .word = first / 64,
            // Acquire: pairs with the fetchOr in add().
            .rest = self.words[first / 64].load(.acquire) & (~@as(u64, 0) << @intCast(first % 64)),
        };
    }

    fn wordsOf(rings: u32) u32 {
        return std.math.clamp((rings + 63) / 64, 1, words_max);
    }

    pub const Iterator = struct {
        set: *const ReadySet,
        words: u32,
        start: u32,
        word: u32,
        rest: u64,
        visited: u32 = 0,

        pub fn next(self: *Iterator) ?u32 {
            while (self.rest == 0) {
                if (self.visited == self.words) return null;
                self.visited += 1;
                self.word = (self.word + 1) % self.words;
                // Acquire: pairs with the fetchOr in add().
                self.rest = self.set.words[self.word].load(.acquire);
                // Back where it began: only what came before the start.
                if (self.visited == self.words) {
                    self.rest &= (@as(u64, 1) << @intCast(self.start % 64)) - 1;
                }
            }
            const ring = self.word * 64 + @ctz(self.rest);
            self.rest &= self.rest - 1;
            return ring;
        }
    };

    pub fn isEmpty(self: *const ReadySet) bool {
        // SC: the look half of the wake protocol, after the one receiver has armed.
        return self.summary.load(.seq_cst) == 0;
    }
};

/// Private to the receiver: the rings it has not yet seen empty, visited in rotation so that none
/// starves.
pub const ActiveSet = struct {
    words: [words_max]u64 = @splat(0),
    summary: u64 = 0,
    /// The ring after which the next search begins.
    cursor: u32 = ReadySet.rings_max - 1,

    pub fn takeFrom(self: *ActiveSet, ready: *ReadySet) void {
        // A plain look first: an exchange would drag the line away from its writers every poll.
        if (ready.summary.load(.monotonic) == 0) return;
        // Acquire: pairs with the fetchOr on the summary in add().
        var taken = ready.summary.swap(0, .acquire);
        self.summary |= taken;
        while (taken != 0) : (taken &= taken - 1) {
            const word = @ctz(taken);
            // Acquire: pairs with the release in add().
            self.words[word] |= ready.words[word].swap(0, .acquire);
        }
    }

    pub fn remove(self: *ActiveSet, ring: u32) void {
        const word = ring / 64;
        self.words[word] &= ~(@as(u64, 1) << @intCast(ring % 64));
        if (self.words[word] == 0) self.summary &= ~(@as(u64, 1) << @intCast(word));
    }

    pub fn isEmpty(self: *const ActiveSet) bool {
        return self.summary == 0;
    }

    /// The next active ring after the cursor, in rotation; moves the cursor there.
    pub fn next(self: *ActiveSet) ?u32 {
        const start = (self.cursor + 1) % ReadySet.rings_max;
        const word: u32 = start / 64;
        const rest = self.words[word] & (~@as(u64, 0) << @intCast(start % 64));
        if (rest != 0) return self.found(word, rest);
        const after: u64 = if (word == words_max - 1) 0 else ~@as(u64, 0) << @intCast(word + 1);
        // The words after this one, then around from the first.
        for ([2]u64{ after, ~@as(u64, 0) }) |mask| {
            var candidates = self.summary & mask;
            while (candidates != 0) : (candidates &= candidates - 1) {
                const candidate: u32 = @ctz(candidates);
                if (self.words[candidate] != 0) return self.found(candidate, self.words[candidate]);
                // A summary bit without a word: add() sets the word's bit first, and a take for
                // another producer of the same word may have it already.
                self.summary &= ~(@as(u64, 1) << @intCast(candidate));
            }
        }
        return null;
    }

    fn found(self: *ActiveSet, word: u32, bits: u64) u32 {
        self.cursor = word * 64 + @ctz(bits);
        return self.cursor;
    }
};

test "ReadySet.iterateFrom gives each ring once, around from the start" {
    var ready: ReadySet = std.mem.zeroes(ReadySet);
    for ([_]u32{ 0, 3, 64, 4095 }) |ring| ready.add(ring);
    for ([_]u32{ 0, 1, 3, 4, 64, 65, 4095 }, [_]u32{ 0, 3, 3, 64, 64, 4095, 4095 }) |start, first| {
        var rings = ready.iterateFrom(start, ReadySet.rings_max);
        try std.testing.expectEqual(first, rings.next().?);
        var count: u32 = 1;
        while (rings.next()) |_| count += 1;
        try std.testing.expectEqual(4, count);
    }
    try std.testing.expect(ready.hasOther(3, ReadySet.rings_max));
    for ([_]u32{ 0, 64, 4095 }) |ring| ready.remove(ring);
    try std.testing.expect(!ready.hasOther(3, ReadySet.rings_max));
    try std.testing.expect(ready.hasAny(64));
    ready.remove(3);
    try std.testing.expect(!ready.hasAny(ReadySet.rings_max));
    ready.add(64);
    try std.testing.expect(!ready.hasAny(64) and ready.hasAny(65));
    var few = ready.iterateFrom(70, 65);
    try std.testing.expectEqual(64, few.next().?);
    try std.testing.expectEqual(null, few.next());
}

test "ActiveSet visits what is ready, in rotation" {
    var ready: ReadySet = std.mem.zeroes(ReadySet);
    var active: ActiveSet = .{};
    for ([_]u32{ 3, 64, 4095 }) |ring| ready.add(ring);
    active.takeFrom(&ready);
    try std.testing.expect(ready.isEmpty());
    for ([_]u32{ 3, 64, 4095, 3, 64 }) |ring| try std.testing.expectEqual(ring, active.next().?);
    active.remove(4095);
    try std.testing.expectEqual(3, active.next().?);
    active.remove(64);
    active.remove(3);
    try std.testing.expectEqual(null, active.next());
    try std.testing.expect(active.isEmpty());
}
