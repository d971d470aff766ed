//! The buffer pool: slabs of one size for messages too large to copy through a ring.
//!
//! A slab is owned by one pool endpoint, or by nobody: free, or in flight between a send and its
//! receive. Ownership is one word a slab, `generation | owner`, that changes by compare-and-swap and
//! whose generation changes with every step. So a handle (slab and generation) is good for exactly
//! one step: freeing twice, using what was sent, or freeing another's slab loses that race with a
//! status, and never reaches memory.
//!
//! Free slabs are a stack: R. K. Treiber, "Systems Programming: Coping with Parallelism", IBM
//! Research Report RJ 5118 (1986), with a tag in the head against ABA, as there.
//!
//!   0             control      head of the free stack; who sleeps for want of a slab
//!   headers       a line of 64 bytes for every slab
//!   slabs         page aligned; slabs of less than a page are 128 bytes apart or more
//!
//! The pool lies behind the control block of a segment of its own (segment.zig), which gives it
//! tickets, references and the count of deaths that every channel has.

const std = @import("std");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const wait_module = @import("wait.zig");
const Wake = @import("bell.zig").Wake;
const Waiting = @import("bell.zig").Waiting;
const Segment = segment_module.Segment;

pub const slabs_max = 1 << 20;
pub const slab_bytes_max = 1 << 30;

/// What a handle can be refused for.
pub const Error = error{
    /// It was freed, sent or received since: its generation is over.
    SlabStale,
    /// There is no such slab in this pool.
    SlabForeign,
    /// It is another endpoint's, or in flight.
    SlabNotOwned,
};

/// Nobody's: in the free stack, or about to be.
const owner_nobody: u32 = 0;
/// Nobody's: its handle is in a ring. A handle of an endpoint is positive as i32.
const owner_in_flight: u32 = 1 << 31;

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
    /// Free: the next free slab, an index + 1; 0 ends the stack.
    next: std.atomic.Value(u32),
    _: [36]u8,

    fn load(self: *const SlabHeader, comptime order: std.builtin.AtomicOrder) Word {
        return @bitCast(self.word.load(order));
    }

    /// One step of ownership. Acquire: what the last owner did with the slab comes before what the
    /// next one does. Release: and what this one did, before the next step. Null: it was made.
    fn step(self: *SlabHeader, from: Word, owner: u32) ?Word {
        const seen = self.word.cmpxchgStrong(
            @bitCast(from),
            @bitCast(from.next(owner)),
            .acq_rel,
            .acquire,
        ) orelse return null;
        return @bitCast(seen);
    }
};

/// The head of the free stack. The tag changes with every push and pop: a pop that has read `first`
/// and its `next` fails if anything happened in between.
const Head = packed struct(u64) {
    /// An index + 1; 0: empty.
    first: u32,
    tag: u32,

    fn with(self: Head, first: u32) Head {
        return .{ .first = first, .tag = self.tag +% 1 };
    }
};

/// Says that somebody sleeps until a slab is free. Unlike a WaitWord it is shared by all who wait:
/// nobody takes his own arm away, and a free wakes everyone. At worst that is a wake-up in vain.
///
/// The protocol is that of bell.zig: push (SC), then load these words (SC); store them (SC), then
/// load the head (SC). One of the two loads comes last and sees the other side's store. What a
/// sleeper compares when it falls asleep is a count and not the arm, which another sleeper may have
/// set again after it was taken. Model-checked in zig/models/pool.pml.
pub const Sleepers = extern struct {
    /// 1: threads may sleep in a futex on `futex_count`.
    futex: std.atomic.Value(u32),
    /// 1: event loops may sleep on the pool's bell, which is a count, too.
    bell: std.atomic.Value(u32),
    futex_count: std.atomic.Value(u32),

    fn armBell(self: *Sleepers) void {
        self.bell.store(1, .seq_cst); // SC: partner of the load in take()
    }

    /// After a push: wakes every thread; the caller has the bell rung if the answer says so.
    inline fn take(self: *Sleepers) Wake {
        const woken = self.takeFutex();
        if (self.bell.load(.seq_cst) != 0 and self.bell.swap(0, .seq_cst) != 0) return .ring_bell;
        return woken;
    }

    inline fn takeFutex(self: *Sleepers) Wake {
        if (self.futex.load(.seq_cst) == 0 or self.futex.swap(0, .seq_cst) == 0) return .nobody;
        self.wakeThreads();
        return .woken;
    }

    fn wakeThreads(self: *Sleepers) void {
        // The count first: who looked at it before and sleeps after finds another number.
        _ = self.futex_count.fetchAdd(1, .seq_cst);
        os.futexWake(&self.futex_count, std.math.maxInt(i32));
    }
};

/// One thread's wait: a wait word as wait.zig wants it.
const Sleeper = struct {
    sleepers: *Sleepers,
    count_seen: u32 = 0,

    pub fn arm(self: *Sleeper, _: Waiting) void {
        self.count_seen = self.sleepers.futex_count.load(.seq_cst);
        self.sleepers.futex.store(1, .seq_cst); // SC: partner of the load in takeFutex()
    }

    /// The arm may be another sleeper's as well: it stays.
    pub fn disarm(_: *Sleeper) bool {
        return true;
    }

    pub fn sleep(self: *Sleeper, timeout_ns: u64) void {
        os.futexWait(&self.sleepers.futex_count, self.count_seen, timeout_ns);
    }
};

const Control = extern struct {
    /// A Head.
    head: std.atomic.Value(u64) align(segment_module.line_bytes),
    sleepers: Sleepers align(segment_module.line_bytes),
    /// How often no slab was free.
    times_empty: std.atomic.Value(u64) align(segment_module.line_bytes),
    /// Slabs that will never be free again: a view of them is out of reach.
    retired: std.atomic.Value(u64),
};

comptime {
    std.debug.assert(segment_module.ring_bytes_max / segment_module.record_slot_bytes < 1 << 30);
    std.debug.assert(@sizeOf(SlabHeader) == 64);
    std.debug.assert(@sizeOf(Control) == 3 * segment_module.line_bytes);
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

/// A pool as this process knows it. The numbers are private copies, as in Segment.
pub const Pool = struct {
    segment: Segment,
    slab_bytes: u32,
    count: u32,
    stride: u64,
    control: *Control,
    headers: [*]SlabHeader,
    slabs: [*]u8,

    pub const CreateError = error{ OutOfMemory, InvalidGeometry };

    pub fn create(slab_bytes: u32, count: u32) CreateError!Pool {
        if (slab_bytes == 0 or slab_bytes > slab_bytes_max) return error.InvalidGeometry;
        if (count == 0 or count > slabs_max) return error.InvalidGeometry;
        const stride = std.mem.alignForward(
            u64,
            slab_bytes,
            if (slab_bytes >= os.page_bytes) os.page_bytes else segment_module.line_bytes,
        );
        var geometry = try segment_module.Geometry.init(.{ .slot_bytes = segment_module.record_slot_bytes, .capacity = 1 });
        const control_offset = std.mem.alignForward(u64, geometry.total_bytes, os.page_bytes);
        const headers_offset = control_offset + @sizeOf(Control);
        const slabs_offset = std.mem.alignForward(
            u64,
            headers_offset + @as(u64, count) * @sizeOf(SlabHeader),
            os.page_bytes,
        );
        geometry.total_bytes = slabs_offset + stride * count;
        const segment = try Segment.create(geometry, 0);
        const self: Pool = .{
            .segment = segment,
            .slab_bytes = slab_bytes,
            .count = count,
            .stride = stride,
            .control = @ptrCast(@alignCast(segment.base + control_offset)),
            .headers = @ptrCast(@alignCast(segment.base + headers_offset)),
            .slabs = segment.base + slabs_offset,
        };
        for (0..count) |index| {
            const next: u32 = @intCast(index + 2);
            self.headers[index].next.store(if (next > count) 0 else next, .monotonic);
        }
        self.control.head.store(@bitCast(Head{ .first = 1, .tag = 0 }), .release);
        return self;
    }

    pub fn address(self: *const Pool, index: u32) error{SlabForeign}!usize {
        if (index >= self.count) return error.SlabForeign;
        return @intFromPtr(self.slabs) + self.stride * index;
    }

    fn headerOf(self: *const Pool, index: u32) error{SlabForeign}!*SlabHeader {
        return if (index < self.count) &self.headers[index] else error.SlabForeign;
    }

    // ---- the free stack ----

    fn pop(self: *const Pool) ?u32 {
        // Acquire, here and below: pairs with the release of the push that put `first` there.
        var head: Head = @bitCast(self.control.head.load(.acquire));
        // A slab that is not there ends the stack: somebody has overwritten it.
        while (head.first != 0 and head.first <= self.count) {
            // Stale if somebody else pops it meanwhile: the tag then refuses what was read.
            const next = self.headers[head.first - 1].next.load(.monotonic);
            const seen = self.control.head.cmpxchgWeak(
                @bitCast(head),
                @bitCast(head.with(next)),
                .acq_rel,
                .acquire,
            ) orelse return head.first - 1;
            head = @bitCast(seen);
        }
        return null;
    }

    /// The slab must just have been made nobody's, by the caller.
    fn push(self: *const Pool, index: u32) void {
        var head: Head = @bitCast(self.control.head.load(.monotonic));
        while (true) {
            self.headers[index].next.store(head.first, .monotonic);
            // SC: publishes for who sleeps; its release half publishes `next` and the slab's word.
            const seen = self.control.head.cmpxchgWeak(
                @bitCast(head),
                @bitCast(head.with(index + 1)),
                .seq_cst,
                .monotonic,
            ) orelse return;
            head = @bitCast(seen);
        }
    }

    /// Whether a slab is free; what a sleeper looks at after it armed.
    pub fn holds(self: *const Pool) bool {
        const head: Head = @bitCast(self.control.head.load(.seq_cst));
        return head.first != 0;
    }

    // ---- steps of ownership ----

    /// Takes a free slab for `owner`, the handle of an endpoint.
    pub fn alloc(self: *const Pool, owner: u32) ?Slab {
        for (0..self.count) |_| {
            const index = self.pop() orelse break;
            const header = &self.headers[index];
            const was = header.load(.monotonic);
            // Only if somebody has overwritten the stack: then another's slab stays another's.
            if (was.owner != owner_nobody) continue;
            // It is nobody's and out of the stack: no step from here can be anyone else's.
            const word = was.next(owner);
            header.word.store(@bitCast(word), .release);
            return .{ .index = index, .generation = word.generation };
        }
        _ = self.control.times_empty.fetchAdd(1, .monotonic);
        return null;
    }

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
        self.push(slab.index);
        return self.control.sleepers.take();
    }

    /// Takes a slab out of use for good: somebody may still see its memory.
    pub fn retire(self: *const Pool, slab: Slab, owner: u32) Error!void {
        const header = try self.headerOf(slab.index);
        if (header.step(own(slab, owner), owner_nobody)) |seen| return self.refusal(seen, slab);
        _ = self.control.retired.fetchAdd(1, .monotonic);
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
        self.push(index);
        // The caller may be dying, or have no bell of this pool: event loops are told by `orphans`.
        _ = self.control.sleepers.takeFutex();
        return true;
    }

    // ---- waiting ----

    /// Waits until a slab is free, or there is another reason to look (interrupt()). False: the time
    /// is up.
    pub fn wait(self: *const Pool, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        const sleepers = &self.control.sleepers;
        var sleeper: Sleeper = .{ .sleepers = sleepers };
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
        self.control.sleepers.wakeThreads();
    }

    /// Arms the pool's bell. False: a slab is free; do not sleep.
    pub fn arm(self: *const Pool) bool {
        self.control.sleepers.armBell();
        return !self.holds();
    }

    pub fn statistics(self: *const Pool) Statistics {
        var sum: Statistics = .{
            .retired = self.control.retired.load(.monotonic),
            .times_empty = self.control.times_empty.load(.monotonic),
        };
        for (0..self.count) |index| switch (self.headers[index].load(.monotonic).owner) {
            owner_nobody => sum.free += 1,
            owner_in_flight => sum.in_flight += 1,
            else => sum.owned += 1,
        };
        sum.free -|= sum.retired;
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
    const pool = try Pool.create(100, 2);
    defer pool.segment.destroy();
    const first = pool.alloc(7).?;
    const second = pool.alloc(8).?;
    try testing.expect(pool.alloc(7) == null);
    try testing.expectEqual(128, try pool.address(1) - try pool.address(0));
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

test "the head of the free stack is never the same word twice" {
    const pool = try Pool.create(64, 2);
    defer pool.segment.destroy();
    const before = pool.control.head.load(.seq_cst);
    const first = pool.alloc(7).?;
    const second = pool.alloc(7).?;
    _ = try pool.free(first, 7);
    // The same slab is first again and its `next` another: a pop that has read both must fail.
    const after = pool.control.head.load(.seq_cst);
    try testing.expectEqual(@as(Head, @bitCast(before)).first, @as(Head, @bitCast(after)).first);
    try testing.expect(before != after);
    _ = try pool.free(second, 7);
}

test "what is in flight returns when its place is lost" {
    const pool = try Pool.create(4096, 3);
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
    const pool = try Pool.create(1, 1);
    defer pool.segment.destroy();
    var slab = pool.alloc(7).?;
    try testing.expect(pool.arm());
    try testing.expectEqual(.ring_bell, try pool.free(slab, 7));
    try testing.expect(!pool.arm());
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

test "threads that allocate, write, hand over and free never share a slab" {
    const pool = try Pool.create(64, 4);
    defer pool.segment.destroy();
    const Work = struct {
        fn run(shared: *const Pool, owner: u32, failures: *std.atomic.Value(u32)) void {
            for (0..5_000) |round| {
                var slab = shared.alloc(owner) orelse {
                    os.yieldThread();
                    continue;
                };
                const memory: *u64 = @ptrFromInt(shared.address(slab.index) catch unreachable);
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
