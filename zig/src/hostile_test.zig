//! A peer that writes anything anywhere into a shared segment, while others send and receive over a
//! mapping of their own: nobody crashes, nobody hangs. In a safe build every overflow, every index out
//! of bounds and every value an enum does not have is a crash.

const std = @import("std");
const builtin = @import("builtin");
const channel = @import("channel.zig");
const native = @import("native.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const statistics = @import("statistics.zig");
const Kind = segment_module.Kind;
const Receiver = @import("receiver.zig").Receiver;
const Segment = segment_module.Segment;
const Sender = @import("sender.zig").Sender;

const mutations_in_all = 100_000;
const mutations_a_round = 40;
const timeout_ns = 200 * std.time.ns_per_us;

const Party = struct {
    segment: Segment,
    has_records: bool,
    seed: u64,
    is_over: *std.atomic.Value(bool),
    sender: ?Sender = null,
    receiver: ?Receiver = null,
    thread: std.Thread = undefined,

    fn run(self: *Party) void {
        var prng: std.Random.DefaultPrng = .init(self.seed);
        const random = prng.random();
        var buffer: [1024]u8 = undefined;
        while (!self.is_over.load(.monotonic)) {
            if (self.sender) |*sender| self.send(sender, random, &buffer);
            if (self.receiver) |*receiver| self.receive(receiver, random, &buffer);
        }
        if (self.sender) |*sender| _ = sender.close(.can_ring);
        if (self.receiver) |*receiver| _ = receiver.close(if (random.boolean()) .can_ring else .cannot_ring);
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
        switch (random.uintLessThan(u32, 12)) {
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

/// What the keeper of a channel does meanwhile, on its own mapping.
fn disturb(segment: Segment, has_records: bool, random: std.Random) void {
    switch (random.uintLessThan(u32, 8)) {
        0 => {
            const told = statistics.ofChannel(segment);
            var rings: [8]statistics.Ring = undefined;
            std.mem.doNotOptimizeAway(told);
            std.mem.doNotOptimizeAway(statistics.ofRings(segment, &rings));
        },
        1 => if (Sender.open(segment, has_records)) |opened| {
            var sender = opened;
            _ = sender.close(.can_ring);
        } else |_| {},
        2 => if (Receiver.open(segment, has_records)) |opened| {
            var receiver = opened;
            _ = receiver.poll(1);
            _ = receiver.close(.cannot_ring);
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

fn round(kind: Kind, has_records: bool, seed: u64) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    const random = prng.random();
    const made: Segment = try .create(try .init(.{
        .kind = kind,
        .slot_bytes = 8,
        .capacity = @as(u32, 1) << random.intRangeAtMost(u5, 4, 7),
        .senders_max = if (kind.hasManySenders()) 3 else 1,
        .receivers_max = if (kind.hasManyReceivers()) 3 else 1,
        .has_latency = random.boolean(),
        .is_shared = true,
    }), if (random.boolean()) random.int(u32) >> 1 else 0);
    defer made.destroy();
    const foreign: Segment = try .attach(os.duplicateDescriptor(made.fd.?).?);
    defer foreign.destroy();
    var is_over: std.atomic.Value(bool) = .init(false);
    var parties: [4]Party = undefined;
    const senders: usize = if (kind.hasManySenders()) 2 else 1;
    const receivers: usize = if (kind.hasManyReceivers()) 2 else 1;
    for (parties[0 .. senders + receivers], 0..) |*party, index| {
        party.* = .{ .segment = made, .has_records = has_records, .seed = seed + index, .is_over = &is_over };
        if (index < senders) {
            party.sender = try .open(made, has_records);
        } else party.receiver = try .open(made, has_records);
    }
    for (parties[0 .. senders + receivers]) |*party| party.thread = try .spawn(.{}, Party.run, .{party});
    const pause = random.uintLessThan(u32, 200);
    for (0..mutations_a_round) |_| {
        mutate(foreign, random);
        if (random.uintLessThan(u32, 8) == 0) disturb(made, has_records, random);
        if (random.uintLessThan(u32, 25) == 0) os.yieldThread();
        for (0..pause) |_| std.atomic.spinLoopHint();
    }
    is_over.store(true, .monotonic);
    for (parties[0 .. senders + receivers]) |*party| party.thread.join();
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
