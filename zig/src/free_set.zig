//! The free set: which slabs of a pool are free, as hints.
//!
//! The truth is the ownership word of a slab (pool.zig): whoever changes it from free to his own has
//! the slab. The set only says where to look: a bit for each slab, and above it a bit for each word that
//! has any. So no step here can be left half done: a process that is killed between two of them leaves
//! a hint that is wrong: one too many is taken back by whoever meets it, one too few is added again by
//! whoever learns of the death.
//!
//!   who frees:       word := free        then  bit := 1, if it is 0      then looks who sleeps
//!   who allocates:   bit is 1            then  free := its own           then  bit := 0
//!   who was misled:  bit := 0            then  is the word free?         then takes it, if it is
//!
//! Everything is sequentially consistent. Who frees and finds the bit set leaves it; who takes a bit
//! away looks at the word once more afterwards. One of the two looks comes last: either the one who frees
//! finds no bit, and sets it, or the one who was misled finds the slab free, and takes it. The same holds
//! one level up. Model-checked in zig/models/slabs.pml.

const std = @import("std");

const Bits = std.atomic.Value(u64);

/// Where the bits of a pool lie, as this process knows it.
pub const FreeSet = struct {
    /// A bit for each word below.
    summary: [*]Bits,
    /// A bit for each slab.
    words: [*]Bits,
    count: u32,

    pub fn wordsOf(count: u32) u32 {
        return (count + 63) / 64;
    }

    /// Words of 64 bits that the set of so many slabs takes.
    pub fn lengthOf(count: u32) u32 {
        return wordsOf(count) + wordsOf(wordsOf(count));
    }

    pub fn at(base: [*]Bits, count: u32) FreeSet {
        return .{ .summary = base, .words = base + wordsOf(wordsOf(count)), .count = count };
    }

    /// Sets the bits of a slab whose word says that it is free. Whoever calls it looks next whether
    /// anyone sleeps.
    pub fn add(self: FreeSet, index: u32) void {
        const word = index / 64;
        raise(&self.words[word], index % 64);
        raise(&self.summary[word / 64], word % 64);
    }

    /// Takes the bit of a slab away: by whoever has just made it his own, or was misled by it.
    pub fn remove(self: FreeSet, index: u32) void {
        _ = self.words[index / 64].fetchAnd(~bitOf(index % 64), .seq_cst);
    }

    /// Whether there may be a free slab: the look of whoever is about to sleep.
    pub fn hasAny(self: FreeSet) bool {
        const words = wordsOf(self.count);
        for (0..wordsOf(words)) |group| {
            var rest = load(&self.summary[group], @intCast(group), words);
            while (rest != 0) : (rest &= rest - 1) {
                const word: u32 = @intCast(group * 64 + @ctz(rest));
                if (load(&self.words[word], word, self.count) != 0) return true;
            }
        }
        return false;
    }

    /// The first slab that `claim.try(index)` gets. What misleads is taken away on the way.
    pub fn find(self: FreeSet, claim: anytype) ?u32 {
        const words = wordsOf(self.count);
        for (0..wordsOf(words)) |group| {
            var rest = load(&self.summary[group], @intCast(group), words);
            while (rest != 0) : (rest &= rest - 1) {
                const word: u32 = @intCast(group * 64 + @ctz(rest));
                if (self.findIn(word, claim)) |index| return index;
            }
        }
        return null;
    }

    fn findIn(self: FreeSet, word: u32, claim: anytype) ?u32 {
        // Bounded: others may free and take here all the time, and nothing but time is lost then.
        for (0..attempts_max) |_| {
            var rest = load(&self.words[word], word, self.count);
            while (rest != 0) : (rest &= rest - 1) {
                const index: u32 = word * 64 + @ctz(rest);
                if (claim.tryTake(index)) {
                    // Its summary bit may be without anything below it now: who looks in vain takes it.
                    self.remove(index);
                    return index;
                }
                self.remove(index);
                if (claim.tryTake(index)) return index;
            }
            _ = self.summary[word / 64].fetchAnd(~bitOf(word % 64), .seq_cst);
            if (load(&self.words[word], word, self.count) == 0) return null;
            raise(&self.summary[word / 64], word % 64);
        }
        return null;
    }

    const attempts_max = 1 << 16;

    fn bitOf(position: u32) u64 {
        return @as(u64, 1) << @intCast(position);
    }

    fn raise(bits: *Bits, position: u32) void {
        // A look first: the line is everybody's.
        if (bits.load(.seq_cst) & bitOf(position) == 0) _ = bits.fetchOr(bitOf(position), .seq_cst);
    }

    /// Without what stands for nothing: another process may have written there.
    fn load(bits: *const Bits, position: u32, count: u32) u64 {
        const valid = @min(count - position * 64, 64);
        const mask = if (valid == 64) ~@as(u64, 0) else bitOf(valid) - 1;
        return bits.load(.seq_cst) & mask;
    }
};

const testing = std.testing;

/// Slabs that are free by their word.
const TestSlabs = struct {
    free: []bool,

    pub fn tryTake(self: TestSlabs, index: u32) bool {
        defer self.free[index] = false;
        return self.free[index];
    }
};

fn expectTakes(set: FreeSet, slabs: TestSlabs, expected: ?u32) !void {
    try testing.expectEqual(expected, set.find(slabs));
}

test "the lowest free slab is found, over words and groups" {
    const count = 64 * 64 + 70;
    var memory: [FreeSet.lengthOf(count)]Bits = @splat(.init(0));
    var free: [count]bool = @splat(false);
    const set: FreeSet = .at(&memory, count);
    const slabs: TestSlabs = .{ .free = &free };
    try testing.expect(!set.hasAny());
    try expectTakes(set, slabs, null);
    const indexes = [_]u32{ 0, 63, 64, 4095, 4096, count - 1 };
    for (indexes) |index| {
        free[index] = true;
        set.add(index);
    }
    for (indexes) |index| {
        try testing.expect(set.hasAny());
        try expectTakes(set, slabs, index);
    }
    try expectTakes(set, slabs, null);
    try testing.expect(!set.hasAny());
}

test "a hint that misleads is taken away, and one that is missing is added again" {
    var memory: [FreeSet.lengthOf(3)]Bits = @splat(.init(0));
    var free = [_]bool{ false, true, false };
    const set: FreeSet = .at(&memory, 3);
    const slabs: TestSlabs = .{ .free = &free };
    set.add(0);
    try expectTakes(set, slabs, null);
    try testing.expect(!set.hasAny());
    set.add(1);
    set.remove(1); // what is above it stays, until somebody looks in vain
    try testing.expect(!set.hasAny());
    set.add(1);
    try expectTakes(set, slabs, 1);
    // Bits that stand for nothing.
    memory[0].raw = ~@as(u64, 1);
    memory[1].raw = ~@as(u64, 7);
    try testing.expect(!set.hasAny());
    try expectTakes(set, slabs, null);
}
