//! The buffer pool: slabs of one size for messages too large to copy through a ring.
//!
//! A slab is owned by one pool endpoint, or by nobody: free, or in flight between a send and its
//! receive. Ownership is one word a slab, `generation | owner`, that changes by compare-and-swap and
//! whose generation changes with every step. So a handle (slab and generation) is good for exactly
//! one step: freeing twice, using what was sent, or freeing another's slab loses that race with a
//! status, and never reaches memory.
//!
//! Free slabs are found through a set of bits (free_set.zig), which only says where to look: the word
//! is what counts, so a process that is killed at any moment leaves nothing half done.
//!
//! The pool lies behind the control block of a segment of its own (segment.zig), which gives it
//! tickets, references and the count of deaths that every channel has. Over a memfd it is good for
//! several processes.

const std = @import("std");
const os = @import("os/linux.zig");
const FreeSet = @import("free_set.zig").FreeSet;
const bell = @import("bell.zig");
const segment_module = @import("segment.zig");
const wait_module = @import("wait.zig");
const Wake = bell.Wake;
const Segment = segment_module.Segment;

/// What a handle can be refused for.
pub const Error = error{
    /// It was freed, sent or received since: its generation is over.
    SlabStale,
    /// There is no such slab in this pool.
    SlabForeign,
    /// It is another endpoint's, or in flight.
    SlabNotOwned,
};

/// Nobody's: free.
const owner_nobody: u32 = 0;
/// Nobody's: its handle is in a ring. A handle of an endpoint is positive as i32.
const owner_in_flight: u32 = 1 << 31;
/// Nobody's, for good: a view of it is out of reach.
const owner_retired: u32 = std.math.maxInt(u32);

/// What endpoints in other processes own by: numbers that are no handle of this one.
pub const owner_remote_first: u32 = owner_in_flight + 1;
pub const owner_remote_last: u32 = owner_retired - 1;

/// One word, so that a step is one compare-and-swap.
const Word = packed struct(u64) {
    generation: u32,
    owner: u32,

    fn next(self: Word, owner: u32) Word {
        return .{ .generation = self.generation +% 1, .owner = owner };
    }
};

const SlabHeader = extern struct {
    /// A Word.
    word: std.atomic.Value(u64),
    /// In flight: the channel, and where in its rings the handle was put.
    channel: std.atomic.Value(u64),
    ring: std.atomic.Value(u32),
    sequence: std.atomic.Value(u32),
    _: [40]u8,

    fn load(self: *const SlabHeader, comptime order: std.builtin.AtomicOrder) Word {
        return @bitCast(self.word.load(order));
    }

    /// One step of ownership. Its acquire half: what the last owner did with the slab comes before what
    /// the next one does; its release half: and what this one did, before the next step. SC, for a step
    /// to free is the first half of what free_set.zig tells. Null: it was made.
    fn step(self: *SlabHeader, from: Word, owner: u32) ?Word {
        const seen = self.word.cmpxchgStrong(
            @bitCast(from),
            @bitCast(from.next(owner)),
            .seq_cst,
            .seq_cst,
        ) orelse return null;
        return @bitCast(seen);
    }
};

/// Says that somebody sleeps until a slab is free. Unlike a WaitWord it is shared by all who wait:
/// nobody takes his own arm away, and a free wakes everyone. At worst that is a wake-up in vain.
///
/// The protocol is that of bell.zig: add to the free set (SC), then load these words (SC); store them
/// (SC), then look at the set (SC). One of the two loads comes last and sees the other side's store. What
/// a sleeper compares when it falls asleep is a count and not the arm, which another sleeper may have
/// set again after it was taken. Model-checked in zig/models/pool.pml.
///
/// Where other processes free, event loops sleep as threads do: the ringer of their process sleeps on
/// the count for them.
pub const Sleepers = extern struct {
    /// 1: threads may sleep in a futex on `futex_count`.
    futex: std.atomic.Value(u32),
    /// 1: event loops may sleep on the pool's bell, which is a count, too.
    bell: std.atomic.Value(u32),
    /// Odd, so that it is never 0: that is what a ringer takes for no arm.
    futex_count: std.atomic.Value(u32),

    fn armBell(self: *Sleepers) void {
        self.bell.store(1, .seq_cst); // SC: partner of the load in take()
    }

    /// After a slab was added: wakes every thread; the caller has the bell rung if the answer says so.
    inline fn take(self: *Sleepers, is_shared: bool) Wake {
        const woken = self.takeFutex(is_shared);
        if (is_shared) return if (woken == .woken) .ring_bell else .nobody; // quicker than the ringer
        if (self.bell.load(.seq_cst) != 0 and self.bell.swap(0, .seq_cst) != 0) return .ring_bell;
        return woken;
    }

    inline fn takeFutex(self: *Sleepers, is_shared: bool) Wake {
        if (self.futex.load(.seq_cst) == 0 or self.futex.swap(0, .seq_cst) == 0) return .nobody;
        self.wakeThreads(is_shared);
        return .woken;
    }

    fn wakeThreads(self: *Sleepers, is_shared: bool) void {
        // The count first: who looked at it before and sleeps after finds another number.
        _ = self.futex_count.fetchAdd(2, .seq_cst);
        const all = std.math.maxInt(i32);
        if (is_shared) os.futexWakeShared(&self.futex_count, all) else os.futexWake(&self.futex_count, all);
    }

    /// Says that somebody sleeps on the count, and what it is.
    fn armFutex(self: *Sleepers) u32 {
        const count = self.futex_count.load(.seq_cst);
        self.futex.store(1, .seq_cst); // SC: partner of the load in takeFutex()
        return count;
    }
};

/// One thread's wait: a wait word as wait.zig wants it.
const Sleeper = struct {
    sleepers: *Sleepers,
    is_shared: bool,
    count_seen: u32 = 0,

    pub fn arm(self: *Sleeper, _: bell.Waiting) void {
        self.count_seen = self.sleepers.armFutex();
    }

    /// The arm may be another sleeper's as well: it stays.
    pub fn disarm(_: *Sleeper) bool {
        return true;
    }

    pub fn sleep(self: *Sleeper, timeout_ns: u64) void {
        const count = &self.sleepers.futex_count;
        if (!self.is_shared) return os.futexWait(count, self.count_seen, timeout_ns);
        os.futexWaitShared(count, self.count_seen, @min(timeout_ns, bell.shared_sleep_ns_max));
    }
};

const Control = extern struct {
    sleepers: Sleepers align(segment_module.line_bytes),
    /// How often no slab was free.
    times_empty: std.atomic.Value(u64) align(segment_module.line_bytes),
    _: [segment_module.line_bytes]u8 align(segment_module.line_bytes),
};

comptime {
    std.debug.assert(segment_module.ring_bytes_max / segment_module.record_slot_bytes < 1 << 30);
    std.debug.assert(@sizeOf(SlabHeader) == segment_module.Slabs.header_bytes);
    std.debug.assert(@sizeOf(Control) == segment_module.Slabs.control_bytes);
}

pub const Statistics = extern struct {
    free: u64 = 0,
    owned: u64 = 0,
    in_flight: u64 = 0,
    retired: u64 = 0,
    times_empty: u64 = 0,
};

/// Where a handle was put: a channel, a ring of it, and the sequence of its slot there.
pub const Place = struct { channel: u64, ring: u32, sequence: u32 };

pub const Slab = struct { index: u32, generation: u32 };

/// The slabs at addresses of one endpoint alone: what is left of its views, or of I/O that it began, cannot
/// reach the slabs of others.
pub const Mirror = struct {
    base: [*]align(os.page_bytes) u8,
    length: usize,

    pub fn unmap(self: Mirror) void {
        os.releasePages(self.base, self.length);
    }

    /// Takes the slabs away from it. Its addresses are never given to anyone else.
    pub fn leave(self: Mirror) void {
        os.leaveSharedPages(self.base, self.length);
    }
};

/// A pool as this process knows it. The numbers are private copies, as in Segment.
pub const Pool = struct {
    segment: Segment,
    slab_bytes: u32,
    count: u32,
    stride: u64,
    control: *Control,
    free_set: FreeSet,
    headers: [*]SlabHeader,
    slabs: [*]u8,

    pub const CreateError = Segment.CreateError || error{InvalidGeometry};

    pub fn create(slab_bytes: u32, count: u32, is_shared: bool) CreateError!Pool {
        if (slab_bytes == 0 or count == 0) return error.InvalidGeometry;
        const geometry = try segment_module.Geometry.init(.{
            .slot_bytes = segment_module.record_slot_bytes,
            .capacity = 1,
            .is_shared = is_shared,
            .slab_count = count,
            .slab_bytes = slab_bytes,
        });
        const self: Pool = .in(try Segment.create(geometry, 0));
        self.control.sleepers.futex_count.store(1, .monotonic);
        for (0..count) |index| self.free_set.add(@intCast(index));
        return self;
    }

    /// In a segment that has slabs.
    pub fn in(segment: Segment) Pool {
        const geometry = segment.geometry.slabs;
        return .{
            .segment = segment,
            .slab_bytes = geometry.bytes,
            .count = geometry.count,
            .stride = geometry.stride,
            .control = @ptrCast(@alignCast(segment.base + geometry.control_offset)),
            .free_set = .at(@ptrCast(@alignCast(segment.base + geometry.free_offset)), geometry.count),
            .headers = @ptrCast(@alignCast(segment.base + geometry.headers_offset)),
            .slabs = segment.base + geometry.offset,
        };
    }

    fn isShared(self: *const Pool) bool {
        return self.segment.geometry.is_shared;
    }

    /// Bytes from the first slab on.
    pub fn offset(self: *const Pool, index: u32) error{SlabForeign}!usize {
        if (index >= self.count) return error.SlabForeign;
        return self.stride * index;
    }

    /// Maps the slabs once more.
    pub fn mirror(self: *const Pool) ?Mirror {
        const length = std.mem.alignForward(usize, self.stride * self.count, os.page_bytes);
        const base = os.mirrorPages(@alignCast(self.slabs), length) orelse return null;
        return .{ .base = base, .length = length };
    }

    fn headerOf(self: *const Pool, index: u32) error{SlabForeign}!*SlabHeader {
        return if (index < self.count) &self.headers[index] else error.SlabForeign;
    }

    /// Whether a slab may be free; what a sleeper looks at after it armed.
    pub fn holds(self: *const Pool) bool {
        return self.free_set.hasAny();
    }

    // ---- steps of ownership ----

    /// Takes a free slab for `owner`.
    pub fn alloc(self: *const Pool, owner: u32) ?Slab {
        var taking: Taking = .{ .pool = self, .owner = owner };
        if (self.free_set.find(&taking)) |index| return .{ .index = index, .generation = taking.generation };
        _ = self.control.times_empty.fetchAdd(1, .monotonic);
        return null;
    }

    const Taking = struct {
        pool: *const Pool,
        owner: u32,
        generation: u32 = 0,

        pub fn tryTake(self: *Taking, index: u32) bool {
            const header = &self.pool.headers[index];
            // SC: the look after a misleading bit was taken away, see free_set.zig.
            const seen = header.load(.seq_cst);
            if (seen.owner != owner_nobody or header.step(seen, self.owner) != null) return false;
            self.generation = seen.next(self.owner).generation;
            return true;
        }
    };

    fn refusal(self: *const Pool, seen: Word, slab: Slab) Error {
        _ = self;
        return if (seen.generation == slab.generation) error.SlabNotOwned else error.SlabStale;
    }

    fn own(slab: Slab, owner: u32) Word {
        return .{ .generation = slab.generation, .owner = owner };
    }

    /// Says whether `owner` owns the slab, under this generation.
    pub fn check(self: *const Pool, slab: Slab, owner: u32) Error!*SlabHeader {
        const header = try self.headerOf(slab.index);
        const seen = header.load(.acquire);
        if (seen != own(slab, owner)) return self.refusal(seen, slab);
        return header;
    }

    /// Gives a slab back. Says whether a bell has to be rung.
    pub fn free(self: *const Pool, slab: Slab, owner: u32) Error!Wake {
        const header = try self.headerOf(slab.index);
        if (header.step(own(slab, owner), owner_nobody)) |seen| return self.refusal(seen, slab);
        self.free_set.add(slab.index);
        return self.control.sleepers.take(self.isShared());
    }

    /// Takes a slab out of use for good: somebody may still see its memory.
    pub fn retire(self: *const Pool, slab: Slab, owner: u32) Error!void {
        const header = try self.headerOf(slab.index);
        if (header.step(own(slab, owner), owner_retired)) |seen| return self.refusal(seen, slab);
    }

    /// Before its handle is committed to a ring: the slab is nobody's, on its way to `place`.
    pub fn stage(self: *const Pool, slab: Slab, owner: u32, place: Place) Error!void {
        const header = try self.check(slab, owner);
        // Ours until the step below, which publishes these.
        header.channel.store(place.channel, .monotonic);
        header.ring.store(place.ring, .monotonic);
        header.sequence.store(place.sequence, .monotonic);
        if (header.step(own(slab, owner), owner_in_flight)) |seen| return self.refusal(seen, slab);
    }

    /// Takes a slab that is in flight: its receiver does, or its sender if it was not committed.
    pub fn claim(self: *const Pool, slab: Slab, owner: u32) Error!void {
        const header = try self.headerOf(slab.index);
        if (header.step(own(slab, owner_in_flight), owner)) |seen| return self.refusal(seen, slab);
    }

    /// Frees a slab that is in flight, for its receiver. Says whether a bell has to be rung.
    pub fn drop(self: *const Pool, slab: Slab) Error!Wake {
        return self.free(slab, owner_in_flight);
    }

    // ---- what the dead and the closed leave behind ----

    /// Returns every slab `owner` owns. Whether any was.
    pub fn returnOwned(self: *const Pool, owner: u32) bool {
        var any = false;
        for (0..self.count) |index| {
            const word = self.headers[index].load(.acquire);
            if (word.owner != owner) continue;
            any = self.returnOne(@intCast(index), word) or any;
        }
        return any;
    }

    /// Returns what is in flight in a channel, as far as `lost` (with a Place) says so: where nobody
    /// will ever receive it. Whether any was.
    pub fn returnInFlight(self: *const Pool, channel: u64, lost: anytype) bool {
        var any = false;
        for (0..self.count) |index| {
            const header = &self.headers[index];
            // Acquire: pairs with the step in stage(). If the slab moves on meanwhile, and with it
            // its place, the step in returnOne() fails.
            const word = header.load(.acquire);
            if (word.owner != owner_in_flight) continue;
            const place: Place = .{
                .channel = header.channel.load(.monotonic),
                .ring = header.ring.load(.monotonic),
                .sequence = header.sequence.load(.monotonic),
            };
            if (place.channel != channel or !lost.isLost(place)) continue;
            any = self.returnOne(@intCast(index), word) or any;
        }
        return any;
    }

    fn returnOne(self: *const Pool, index: u32, word: Word) bool {
        if (self.headers[index].step(word, owner_nobody) != null) return false;
        self.free_set.add(index);
        // The caller may be dying, or have no bell of this pool: event loops are told by `orphans`.
        _ = self.control.sleepers.takeFutex(self.isShared());
        return true;
    }

    /// Does what a process that was killed may have begun: a slab that it freed is in the set, and
    /// whoever it was to wake is awake.
    pub fn mend(self: *const Pool) void {
        for (0..self.count) |index| {
            if (self.headers[index].load(.seq_cst).owner == owner_nobody) self.free_set.add(@intCast(index));
        }
        self.interrupt();
    }

    // ---- waiting ----

    /// Waits until a slab is free, or there is another reason to look (interrupt()). False: the time
    /// is up.
    pub fn wait(self: *const Pool, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        const sleepers = &self.control.sleepers;
        var sleeper: Sleeper = .{ .sleepers = sleepers, .is_shared = self.isShared() };
        const condition: WorthALook = .{ .pool = self, .count_before = sleepers.futex_count.load(.seq_cst) };
        return wait_module.wait(strategy, timeout_ns, &sleeper, condition);
    }

    const WorthALook = struct {
        pool: *const Pool,
        count_before: u32,

        pub fn holds(self: WorthALook) bool {
            return self.pool.holds() or
                self.pool.control.sleepers.futex_count.load(.seq_cst) != self.count_before;
        }
    };

    /// Ends the wait of every thread that waits for a slab: what it wants it for may be over.
    pub fn interrupt(self: *const Pool) void {
        self.control.sleepers.wakeThreads(self.isShared());
    }

    /// Arms the pool's bell. Null: a slab is free; do not sleep. Else what a ringer has to see in
    /// wakeWord() that is to ring it, where other processes free.
    pub fn arm(self: *const Pool) ?u32 {
        var count: u32 = 0;
        if (self.isShared()) count = self.control.sleepers.armFutex() else self.control.sleepers.armBell();
        return if (self.holds()) null else count;
    }

    pub fn wakeWord(self: *const Pool) *const std.atomic.Value(u32) {
        return &self.control.sleepers.futex_count;
    }

    pub fn statistics(self: *const Pool) Statistics {
        var sum: Statistics = .{ .times_empty = self.control.times_empty.load(.monotonic) };
        for (0..self.count) |index| switch (self.headers[index].load(.monotonic).owner) {
            owner_nobody => sum.free += 1,
            owner_in_flight => sum.in_flight += 1,
            owner_retired => sum.retired += 1,
            else => sum.owned += 1,
        };
        return sum;
    }
};

/// Every place: the channel is gone.
pub const Everywhere = struct {
    pub fn isLost(_: Everywhere, _: Place) bool {
        return true;
    }
};

/// What was committed to sealed rings, when there is no receiver any more.
pub const Committed = struct {
    segment: Segment,

    pub fn isLost(self: Committed, place: Place) bool {
        if (place.ring >= self.segment.geometry.senders_max) return false;
        // SC: the seal; after it the tail does not move.
        const tail = self.segment.producerLine(place.ring).tail.load(.seq_cst);
        return tail & 1 != 0 and isBefore(place.sequence, tail);
    }
};

/// What was given back to the rings. A receiver frees the slab of a record after it gave the record
/// back; one that died in between leaves it to this.
pub const Released = struct {
    segment: Segment,

    pub fn isLost(self: Released, place: Place) bool {
        if (place.ring >= self.segment.geometry.senders_max) return false;
        const line = self.segment.consumerLine(place.ring);
        if (isBefore(place.sequence, line.head.load(.seq_cst))) return true;
        if (!self.segment.geometry.kind.hasManyReceivers()) return false;
        // The head may be held back by an older claim. SC, the cursor before the lines: of a claim
        // that is in the cursor, gate and end are seen, or what came after it was given back.
        if (!isBefore(place.sequence, line.claimed.load(.seq_cst))) return false;
        const receivers = self.segment.control().receivers_used.load(.seq_cst);
        for (0..@min(receivers, self.segment.geometry.receivers_max)) |index| {
            const receiver = self.segment.receiverLine(@intCast(index));
            const gate = receiver.gate.load(.seq_cst);
            if (gate >> 32 != place.ring + 1) continue;
            const is_given_back = isBefore(place.sequence, @truncate(gate));
            if (!is_given_back and isBefore(place.sequence, receiver.claim_end.load(.seq_cst))) return false;
        }
        return true;
    }
};

/// What a sender that closes staged and did not commit. Its own thread asks, before the seal.
pub const Uncommitted = struct {
    segment: Segment,
    ring: u32,

    pub fn isLost(self: Uncommitted, place: Place) bool {
        if (place.ring != self.ring) return false;
        return !isBefore(place.sequence, self.segment.producerLine(self.ring).tail.load(.seq_cst));
    }
};

/// Whether a slot's sequence, of 31 bits, lies before a tail or head. A ring that holds handles has
/// slots of 8 bytes or more, so fewer than 2^30: what is in it is never further apart.
fn isBefore(sequence: u32, counter: u32) bool {
    const distance = ((counter >> 1) -% sequence) & 0x7fff_ffff;
    return distance != 0 and distance <= 1 << 30;
}

const testing = std.testing;

test "a slab is good for one step: every other use of its handle is refused" {
    const pool = try Pool.create(100, 2, false);
    defer pool.segment.destroy();
    const first = pool.alloc(7).?;
    const second = pool.alloc(8).?;
    try testing.expect(pool.alloc(7) == null);
    try testing.expectEqual(128, try pool.offset(1) - try pool.offset(0));
    try testing.expectError(error.SlabNotOwned, pool.free(second, 7));
    try testing.expectError(error.SlabForeign, pool.free(.{ .index = 2, .generation = 1 }, 7));
    try testing.expectEqual(.nobody, try pool.free(first, 7));
    try testing.expectError(error.SlabStale, pool.free(first, 7));
    const again = pool.alloc(7).?;
    try testing.expectEqual(first.index, again.index);
    try testing.expectError(error.SlabStale, pool.free(first, 7));
    try pool.stage(again, 7, .{ .channel = 1, .ring = 0, .sequence = 0 });
    try testing.expectError(error.SlabStale, pool.free(again, 7));
    const sent: Slab = .{ .index = again.index, .generation = again.generation + 1 };
    try testing.expectError(error.SlabNotOwned, pool.free(sent, 7));
    try pool.claim(sent, 8);
    try testing.expectError(error.SlabStale, pool.claim(sent, 8));
    try testing.expect(pool.returnOwned(8));
    try testing.expectEqual(Statistics{ .free = 2, .times_empty = 1 }, pool.statistics());
}

test "what is in flight returns when its place is lost" {
    const pool = try Pool.create(4096, 3, false);
    defer pool.segment.destroy();
    for (0..3) |sequence| {
        const slab = pool.alloc(7).?;
        try pool.stage(slab, 7, .{ .channel = 5, .ring = 0, .sequence = @truncate(0x7fff_ffff + sequence & 0x7fff_ffff) });
    }
    const line = pool.segment.producerLine(0);
    line.tail.store(0 << 1, .seq_cst); // one past 0x7fffffff
    try testing.expect(!pool.returnInFlight(5, Committed{ .segment = pool.segment }));
    try testing.expect(pool.returnInFlight(5, Uncommitted{ .segment = pool.segment, .ring = 0 }));
    try testing.expectEqual(Statistics{ .free = 2, .in_flight = 1 }, pool.statistics());
    line.tail.store(1, .seq_cst);
    pool.segment.consumerLine(0).head.store(0x7fff_ffff << 1, .seq_cst);
    try testing.expect(!pool.returnInFlight(5, Released{ .segment = pool.segment }));
    try testing.expect(!pool.returnInFlight(6, Everywhere{}));
    try testing.expect(pool.returnInFlight(5, Committed{ .segment = pool.segment }));
    try testing.expectEqual(3, pool.statistics().free);
}

test "a free wakes whoever sleeps, and says when a bell has to be rung" {
    for ([_]bool{ false, true }) |is_shared| try expectWakes(is_shared);
}

fn expectWakes(is_shared: bool) !void {
    const pool = try Pool.create(1, 1, is_shared);
    defer pool.segment.destroy();
    var slab = pool.alloc(7).?;
    const armed = pool.arm().?;
    if (is_shared) try testing.expectEqual(pool.wakeWord().load(.seq_cst), armed);
    try testing.expectEqual(.ring_bell, try pool.free(slab, 7));
    if (is_shared) try testing.expect(pool.wakeWord().load(.seq_cst) != armed);
    try testing.expect(pool.arm() == null);
    slab = pool.alloc(7).?;
    const Waiter = struct {
        fn run(waiting: *const Pool, got: *bool) void {
            got.* = waiting.wait(.block, 60 * std.time.ns_per_s);
        }
    };
    var got = false;
    const thread = try std.Thread.spawn(.{}, Waiter.run, .{ &pool, &got });
    while (pool.control.sleepers.futex.load(.seq_cst) == 0) os.yieldThread();
    _ = try pool.free(slab, 7);
    thread.join();
    try testing.expect(got);
}

test "what a killed process freed and did not add to the set is found after mend()" {
    const pool = try Pool.create(64, 2, true);
    defer pool.segment.destroy();
    const slab = pool.alloc(7).?;
    _ = pool.alloc(7).?;
    try testing.expect(pool.headers[slab.index].step(Pool.own(slab, 7), owner_nobody) == null);
    try testing.expect(pool.alloc(7) == null);
    const armed = pool.arm().?;
    pool.mend();
    try testing.expect(pool.wakeWord().load(.seq_cst) != armed);
    try testing.expectEqual(slab.index, pool.alloc(7).?.index);
    // A retired one stays out of use.
    try pool.retire(.{ .index = slab.index, .generation = slab.generation + 2 }, 7);
    pool.mend();
    try testing.expect(pool.alloc(7) == null);
    try testing.expectEqual(Statistics{ .owned = 1, .retired = 1, .times_empty = 2 }, pool.statistics());
}

test "threads that allocate, write, hand over and free never share a slab" {
    for ([_]bool{ false, true }) |is_shared| try expectUnshared(is_shared);
}

fn expectUnshared(is_shared: bool) !void {
    const pool = try Pool.create(64, 4, is_shared);
    defer pool.segment.destroy();
    const Work = struct {
        fn run(shared: *const Pool, owner: u32, failures: *std.atomic.Value(u32)) void {
            for (0..5_000) |round| {
                var slab = shared.alloc(owner) orelse {
                    os.yieldThread();
                    continue;
                };
                const memory: *u64 = @ptrCast(@alignCast(shared.slabs + (shared.offset(slab.index) catch unreachable)));
                const mark = @as(u64, owner) << 32 | round;
                memory.* = mark; // plain: two owners at a time are a race the sanitizer sees
                if (round % 3 == 0) {
                    shared.stage(slab, owner, .{ .channel = 1, .ring = 0, .sequence = 0 }) catch unreachable;
                    slab.generation +%= 1;
                    shared.claim(slab, owner) catch unreachable;
                    slab.generation +%= 1;
                }
                if (memory.* != mark) _ = failures.fetchAdd(1, .monotonic);
                const stale = slab;
                _ = shared.free(slab, owner) catch unreachable;
                _ = shared.free(stale, owner) catch continue;
                _ = failures.fetchAdd(1, .monotonic);
            }
        }
    };
    var failures: std.atomic.Value(u32) = .init(0);
    var threads: [6]std.Thread = undefined;
    for (&threads, 1..) |*thread, owner| {
        thread.* = try std.Thread.spawn(.{}, Work.run, .{ &pool, @as(u32, @intCast(owner)), &failures });
    }
    for (threads) |thread| thread.join();
    try testing.expectEqual(0, failures.raw);
    try testing.expectEqual(4, pool.statistics().free);
}
