//! A peer that writes anything anywhere into a shared segment, while others send and receive over a
//! mapping of their own: nobody crashes, nobody hangs. In a safe build every overflow, every index out
//! of bounds and every value an enum does not have is a crash.

const std = @import("std");
const builtin = @import("builtin");
const channel = @import("channel.zig");
const ledger_module = @import("ledger.zig");
const native = @import("native.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const statistics = @import("statistics.zig");
const End = @import("protocol.zig").End;
const Kind = segment_module.Kind;
const Receiver = @import("receiver.zig").Receiver;
const Segment = segment_module.Segment;
const Sender = @import("sender.zig").Sender;

const mutations_in_all = 100_000;
const mutations_a_round = 40;
/// Rounds without a clock.
const ends = 2000;
const timeout_ns = 200 * std.time.ns_per_us;

const Party = struct {
    segment: Segment,
    has_records: bool,
    seed: u64,
    is_over: *std.atomic.Value(bool),
    /// Opening and closing are done under a mutex in the library.
    cold: *os.Mutex,
    sender: ?Sender = null,
    receiver: ?Receiver = null,
    thread: std.Thread = undefined,
    has_ended: std.atomic.Value(bool) = .init(false),

    fn run(self: *Party) void {
        var prng: std.Random.DefaultPrng = .init(self.seed);
        const random = prng.random();
        var buffer: [1024]u8 = undefined;
        while (!self.is_over.load(.monotonic)) {
            if (self.sender) |*sender| self.send(sender, random, &buffer);
            if (self.receiver) |*receiver| self.receive(receiver, random, &buffer);
        }
        self.close(random);
    }

    fn close(self: *Party, random: std.Random) void {
        self.cold.lock();
        defer self.cold.unlock();
        if (self.sender) |*sender| _ = sender.close(.can_ring);
        if (self.receiver) |*receiver| _ = receiver.close(if (random.boolean()) .can_ring else .cannot_ring);
    }

    /// Sends, or receives, without a limit of time, until it is told that it is over.
    fn runToTheEnd(self: *Party) void {
        var prng: std.Random.DefaultPrng = .init(self.seed);
        const random = prng.random();
        var buffer: [1024]u8 = undefined;
        var bytes: u32 = 0;
        const bells: native.NoBells = .{};
        while (true) {
            if (self.sender) |*sender| native.send(sender, buffer[0..8], native.forever, bells) catch break;
            if (self.receiver) |*receiver| {
                if (random.boolean() and receiver.poll(0) == .window) _ = receiver.offer();
                native.receive(receiver, self.segment, self.has_records, &buffer, &bytes, native.forever, bells) catch break;
            }
        }
        self.close(random);
        self.has_ended.store(true, .monotonic);
    }

    fn send(self: *Party, sender: *Sender, random: std.Random, buffer: *[1024]u8) void {
        switch (random.uintLessThan(u32, 10)) {
            0 => if (sender.arm(1)) sender.disarm(),
            1 => _ = sender.wait(1, .block, timeout_ns),
            else => {
                const bytes = if (self.has_records) random.uintLessThan(usize, 60) else self.segment.geometry.slot_bytes;
                native.send(sender, buffer[0..bytes], timeout_ns, native.NoBells{}) catch os.yieldThread();
            },
        }
    }

    fn receive(self: *Party, receiver: *Receiver, random: std.Random, buffer: *[1024]u8) void {
        switch (random.uintLessThan(u32, 16)) {
            0 => if (receiver.arm(.bell)) {
                receiver.disarm();
            },
            1 => {
                receiver.mark();
                _ = receiver.hasReachedMarks();
            },
            2 => _ = receiver.wait(.block, timeout_ns),
            3 => _ = receiver.giveUp(),
            4 => channel.lookAround(self.segment),
            6, 7 => if (receiver.poll(0) == .window) {
                _ = receiver.offer();
            },
            8 => _ = receiver.look(),
            9 => _ = receiver.pollSurely(1),
            5 => if (!self.has_records) {
                _ = native.receiveMany(receiver, self.segment, buffer, timeout_ns, native.NoBells{}) catch os.yieldThread();
            },
            else => {
                var bytes: u32 = 0;
                native.receive(
                    receiver,
                    self.segment,
                    self.has_records,
                    buffer,
                    &bytes,
                    timeout_ns,
                    native.NoBells{},
                ) catch os.yieldThread();
            },
        }
    }
};

/// Somewhere in the header, the control block, a line, or among the records.
fn place(segment: Segment, random: std.Random) []u8 {
    const geometry = segment.geometry;
    const ring: u64 = random.uintLessThan(u32, geometry.senders_max);
    const receiver: u64 = random.uintLessThan(u32, geometry.receivers_max);
    const line = segment_module.line_bytes;
    const from: u64, const length: u64 = switch (random.uintLessThan(u32, 16)) {
        0 => .{ 0, @sizeOf(segment_module.Header) },
        1...3 => .{ 256, 512 },
        4 => .{ 256, @sizeOf(segment_module.Control) },
        5...6 => .{ geometry.waits_offset + ring * line, line },
        7...9 => .{ geometry.consumers_offset + ring * line, line / 2 },
        10...11 => .{ geometry.receivers_offset + receiver * line, line / 2 },
        12...13 => .{ geometry.rings_offset + ring * geometry.ring_stride, line / 2 },
        14 => .{ geometry.rings_offset + ring * geometry.ring_stride + line, geometry.dataBytes() },
        else => .{ 0, geometry.total_bytes },
    };
    return segment.base[from..][0..length];
}

fn mutate(segment: Segment, random: std.Random) void {
    const bytes = place(segment, random);
    const index = random.uintLessThan(usize, bytes.len);
    const byte: *volatile u8 = &bytes[index];
    const word: *volatile u32 = @ptrCast(@alignCast(&bytes[index & ~@as(usize, 3)]));
    const capacity = segment.geometry.capacity;
    switch (random.uintLessThan(u32, 8)) {
        0, 1 => byte.* ^= @as(u8, 1) << random.int(u3),
        2 => byte.* = random.int(u8),
        3 => word.* = random.int(u32),
        4 => word.* +%= 1,
        5 => word.* -%= random.uintLessThan(u32, 2 * capacity),
        6 => word.* ^= @as(u32, 1) << random.int(u5),
        else => word.* = ([_]u32{
            0,
            1,
            2,
            capacity,
            2 * capacity,
            2 * capacity + 2,
            1 << 30,
            1 << 31,
            std.math.maxInt(i32),
            std.math.maxInt(u32) - 1,
            std.math.maxInt(u32),
        })[random.uintLessThan(usize, 11)],
    }
}

/// The same with a word that says how a channel stands.
fn mutateState(segment: Segment, random: std.Random) void {
    const control = segment.control();
    const ring = random.uintLessThan(u32, segment.geometry.senders_max);
    const receiver = random.uintLessThan(u32, segment.geometry.receivers_max);
    const producer_line = segment.producerLine(ring);
    const consumer_line = segment.consumerLine(ring);
    const receiver_line = segment.receiverLine(receiver);
    const word = switch (random.uintLessThan(u32, 12)) {
        0, 1 => &control.close_state,
        2 => &control.receiver_state,
        3 => &control.rings_used,
        4 => &control.receivers_used,
        5 => &control.receivers_open,
        6 => &producer_line.tail,
        7 => &producer_line.tenancy,
        8 => &consumer_line.head,
        9 => &consumer_line.claimed,
        10 => &receiver_line.state,
        else => {
            const sequence = consumer_line.head.load(.monotonic) +% random.uintLessThan(u32, 8);
            return receiver_line.gate.store(@as(u64, ring + 1) << 32 | sequence, .monotonic);
        },
    };
    const was = word.load(.monotonic);
    word.store(switch (random.uintLessThan(u32, 6)) {
        0, 1 => random.uintLessThan(u32, 5),
        2 => was +% 2,
        3 => was -% 2,
        4 => was ^ 1,
        else => random.int(u32),
    }, .monotonic);
}

/// What the keeper of a channel does meanwhile, on its own mapping.
fn disturb(segment: Segment, has_records: bool, random: std.Random, cold: *os.Mutex) void {
    cold.lock();
    defer cold.unlock();
    switch (random.uintLessThan(u32, 8)) {
        0 => {
            const told = statistics.ofChannel(segment);
            var rings: [8]statistics.Ring = undefined;
            std.mem.doNotOptimizeAway(told);
            std.mem.doNotOptimizeAway(statistics.ofRings(segment, &rings));
        },
        1 => if (Sender.open(segment, has_records)) |opened| {
            var sender = opened;
            if (random.boolean()) {
                _ = sender.close(.can_ring);
            } else {
                // It was in another process.
                Receiver.sweep(segment);
                Sender.sealLeft(segment, sender.producer.ring);
            }
        } else |_| {},
        2 => if (Receiver.open(segment, has_records)) |opened| {
            var receiver = opened;
            _ = receiver.poll(1);
            if (random.boolean()) {
                _ = receiver.close(.cannot_ring);
            } else Receiver.leaveBehind(segment, receiver.index(), .{
                .how = ([_]End{ .closed, .declined, .died })[random.uintLessThan(usize, 3)],
                .is_awaited = random.boolean(),
                .has_tickets = random.boolean(),
            });
        } else |_| {},
        3 => channel.wakeReceivers(segment, .cannot_ring),
        4 => std.mem.doNotOptimizeAway(channel.isDrained(segment)),
        5 => if (segment.geometry.has_latency) std.mem.doNotOptimizeAway(segment.histogram().summary()),
        6 => _ = channel.armDrain(segment),
        else => if (random.uintLessThan(u32, 20) == 0) {
            _ = channel.close(segment, .closed, .cannot_ring);
        },
    }
}

/// A channel, as its keeper has it and as a peer does, and who sends and receives.
const Stage = struct {
    made: Segment,
    foreign: Segment,
    ledger: ledger_module.Ledger,
    has_records: bool,
    is_over: std.atomic.Value(bool) = .init(false),
    cold: os.Mutex = .{},
    parties: [4]Party = undefined,
    count: usize,

    fn open(self: *Stage, kind: Kind, has_records: bool, is_kept: bool, random: std.Random) !void {
        const geometry: segment_module.Geometry = try .init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = @as(u32, 1) << random.intRangeAtMost(u5, 4, 7),
            .senders_max = if (kind.hasManySenders()) 3 else 1,
            .receivers_max = if (kind.hasManyReceivers()) 3 else 1,
            .has_latency = random.boolean(),
            .is_shared = true,
        });
        const senders: usize = if (kind.hasManySenders()) 2 else 1;
        const receivers: usize = if (kind.hasManyReceivers()) 2 else 1;
        self.* = .{
            .made = try .create(geometry, if (random.boolean()) random.int(u32) >> 1 else 0),
            .foreign = undefined,
            .ledger = .{ .keeper = if (is_kept) try .create(geometry) else null },
            .has_records = has_records,
            .count = senders + receivers,
        };
        self.made.ledger = &self.ledger;
        self.foreign = try .attach(try os.duplicateDescriptor(self.made.fd.?));
        for (self.parties[0..self.count], 0..) |*party, index| {
            party.* = .{
                .segment = self.made,
                .has_records = has_records,
                .seed = random.int(u64),
                .is_over = &self.is_over,
                .cold = &self.cold,
            };
            if (index < senders) {
                party.sender = try .open(self.made, has_records);
            } else party.receiver = try .open(self.made, has_records);
        }
    }

    fn start(self: *Stage, comptime run: fn (*Party) void) !void {
        for (self.parties[0..self.count]) |*party| party.thread = try .spawn(.{}, run, .{party});
    }

    /// Writes nonsense for a while.
    fn garble(self: *Stage, random: std.Random) void {
        const pause = random.uintLessThan(u32, 200);
        for (0..mutations_a_round) |_| {
            mutate(self.foreign, random);
            if (random.uintLessThan(u32, 8) == 0) disturb(self.made, self.has_records, random, &self.cold);
            if (random.uintLessThan(u32, 25) == 0) os.yieldThread();
            for (0..pause) |_| std.atomic.spinLoopHint();
        }
    }

    fn join(self: *Stage) void {
        for (self.parties[0..self.count]) |*party| party.thread.join();
        if (self.ledger.keeper) |keeper| keeper.destroy();
        self.foreign.destroy();
        self.made.destroy();
    }
};

/// The one that is on, to be told of when it hangs.
var on_stage: std.atomic.Value(?*Stage) = .init(null);

fn describe(stage: *Stage) void {
    const segment = stage.made;
    const control = segment.control();
    std.debug.print("{t}, {d} slots, closed {d} ({d} seen), receiver {d}, rings {d}, receivers {d}\n", .{
        segment.geometry.kind,
        segment.geometry.capacity,
        control.close_state.raw,
        stage.ledger.close_state.raw,
        control.receiver_state.raw,
        control.rings_used.raw,
        control.receivers_used.raw,
    });
    for (0..segment.geometry.senders_max) |ring| {
        const producer_line = segment.producerLine(@intCast(ring));
        const consumer_line = segment.consumerLine(@intCast(ring));
        std.debug.print("ring {d}: tail {d}, head {d}, claimed {d}, tenancy {x}, asleep {d}\n", .{
            ring,
            producer_line.tail.raw,
            consumer_line.head.raw,
            consumer_line.claimed.raw,
            producer_line.tenancy.raw,
            segment.waitLine(@intCast(ring)).sender_wait.word.raw,
        });
    }
    for (0..segment.geometry.receivers_max) |index| {
        const line = segment.receiverLine(@intCast(index));
        std.debug.print("receiver {d}: gate {x} to {d}, state {d}, asleep {d}\n", .{
            index,
            line.gate.raw,
            line.claim_end.raw,
            line.state.raw,
            line.wait.word.raw,
        });
    }
    for (stage.parties[0..stage.count], 0..) |*party, index| {
        std.debug.print("party {d} of {s} has {s}\n", .{
            index,
            if (party.sender == null) "receivers" else "senders",
            if (party.has_ended.load(.monotonic)) "ended" else "not ended",
        });
    }
}

fn round(kind: Kind, has_records: bool, seed: u64) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    const random = prng.random();
    var stage: Stage = undefined;
    try stage.open(kind, has_records, random.boolean(), random);
    try stage.start(Party.run);
    stage.garble(random);
    stage.is_over.store(true, .monotonic);
    stage.join();
}

/// The same with nobody who looks at a clock: after the garbage the keeper closes, and the peer is gone.
fn roundToTheEnd(kind: Kind, has_records: bool, seed: u64) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    const random = prng.random();
    var stage: Stage = undefined;
    try stage.open(kind, has_records, true, random);
    on_stage.store(&stage, .release);
    defer on_stage.store(null, .monotonic);
    try stage.start(Party.runToTheEnd);
    if (random.boolean()) stage.garble(random);
    for (0..random.uintLessThan(usize, 20)) |_| mutateState(stage.foreign, random);
    _ = channel.close(stage.made, .closed, .can_ring);
    // The peer sees that, and goes on.
    for (0..random.uintLessThan(usize, 60)) |_| mutateState(stage.foreign, random);
    stage.cold.lock();
    Receiver.sweep(stage.made);
    channel.wakeEveryone(stage.made);
    stage.cold.unlock();
    stage.join();
}

/// Ends the program when a round does not end.
const Watchdog = struct {
    rounds: std.atomic.Value(u32) = .init(0),
    is_over: std.atomic.Value(bool) = .init(false),

    const patience_ns = 60 * std.time.ns_per_s;

    fn run(self: *Watchdog) void {
        var seen: u32 = 0;
        var since = os.now();
        while (!self.is_over.load(.monotonic)) {
            os.sleep(5 * std.time.ns_per_ms);
            const now = self.rounds.load(.monotonic);
            if (now != seen) {
                seen = now;
                since = os.now();
            } else if (os.now() - since > patience_ns) {
                if (on_stage.load(.acquire)) |stage| describe(stage);
                std.debug.panic("round {d} hangs", .{now});
            }
        }
    }
};

test "a peer that writes anything anywhere crashes and hangs nobody" {
    // What is done here to the memory is a race on purpose.
    if (builtin.sanitize_thread) return error.SkipZigTest;
    var watchdog: Watchdog = .{};
    const thread = try std.Thread.spawn(.{}, Watchdog.run, .{&watchdog});
    defer thread.join();
    defer watchdog.is_over.store(true, .monotonic);
    for (0..mutations_in_all / mutations_a_round) |index| {
        errdefer std.debug.print("in round {d}\n", .{index});
        try round(Kind.fromInt(@intCast(index % 4)).?, index / 4 % 2 == 0, index);
        _ = watchdog.rounds.fetchAdd(1, .monotonic);
    }
}

test "a close ends every wait, whatever a peer that is gone has written" {
    if (builtin.sanitize_thread) return error.SkipZigTest;
    var watchdog: Watchdog = .{};
    const thread = try std.Thread.spawn(.{}, Watchdog.run, .{&watchdog});
    defer thread.join();
    defer watchdog.is_over.store(true, .monotonic);
    for (0..ends) |index| {
        errdefer std.debug.print("in round {d}\n", .{index});
        try roundToTheEnd(Kind.fromInt(@intCast(index % 4)).?, index / 4 % 2 == 0, index + 1000 * 4);
        _ = watchdog.rounds.fetchAdd(1, .monotonic);
    }
}
