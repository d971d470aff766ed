//! The mpsc channel with real threads: counts, order, close and death, at the smallest capacities
//! and across the wrap of the counters. Run under ThreadSanitizer too.

const std = @import("std");
const channel_module = @import("channel.zig");
const endpoint = @import("endpoint.zig");
const mpsc = @import("mpsc.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const Segment = segment_module.Segment;
const Strategy = @import("wait.zig").Strategy;
const testing = std.testing;

const slice_ns = 50 * std.time.ns_per_ms;
const just_below_wrap = (1 << 31) - 3;

fn newSegment(capacity: u32, senders: u32) !Segment {
    return Segment.create(try segment_module.Geometry.init(.{ .slot_bytes = 8, .capacity = capacity, .senders_max = senders }), just_below_wrap);
}

fn slotOf(segment: Segment, ring: u32, position: u32) *u64 {
    const data: [*]u64 = @ptrCast(@alignCast(segment.data(ring)));
    return &data[position];
}

/// Sends one value, waiting for room. False: the channel is closed.
fn send(sender: *mpsc.Sender, value: u64, strategy: Strategy) bool {
    while (true) {
        switch (sender.producer.reserve(1)) {
            .slots => {
                slotOf(sender.segment, sender.producer.ring, sender.producer.position()).* = value;
                return switch (sender.commit(1, 1)) {
                    .bells => true,
                    .closed => false,
                };
            },
            .closed, .corrupt => return false,
            .full => _ = sender.wait(1, strategy, slice_ns),
        }
    }
}

/// Counts what arrives and checks that each sender's values come in order. A value is
/// (sender << 32) | count.
const Ledger = struct {
    next: [64]u32 = @splat(0),
    total: u64 = 0,

    fn take(self: *Ledger, receiver: *mpsc.Receiver, slots: u32) !void {
        for (0..slots) |index| {
            const value = slotOf(receiver.segment, receiver.ring, receiver.position + @as(u32, @intCast(index))).*;
            const sender: usize = @intCast(value >> 32);
            try testing.expectEqual(self.next[sender], @as(u32, @truncate(value)));
            self.next[sender] += 1;
        }
        self.total += slots;
        _ = receiver.release(slots, slots);
    }

    fn drain(self: *Ledger, receiver: *mpsc.Receiver, strategy: Strategy) !void {
        while (true) switch (receiver.poll()) {
            .window => |slots| try self.take(receiver, slots),
            .empty => _ = receiver.wait(strategy, slice_ns),
            .ended => return,
            .corrupt => return error.Corrupt,
        };
    }
};

const Job = struct {
    segment: Segment,
    number: u32,
    count: u32,
    strategy: Strategy,
    sent: u32 = 0,
    sender: mpsc.Sender = undefined,

    fn run(self: *Job) void {
        defer _ = self.sender.close(.can_ring);
        while (self.sent < self.count) : (self.sent += 1) {
            if (!send(&self.sender, @as(u64, self.number) << 32 | self.sent, self.strategy)) return;
        }
    }
};

fn stream(capacity: u32, comptime senders: u32, count: u32, strategy: Strategy) !void {
    const segment = try newSegment(capacity, senders);
    defer segment.destroy();
    var receiver = try mpsc.Receiver.open(segment);
    var jobs: [senders]Job = undefined;
    var threads: [senders]std.Thread = undefined;
    for (&jobs, &threads, 0..) |*job, *thread, number| {
        job.* = .{ .segment = segment, .number = @intCast(number), .count = count, .strategy = strategy };
        job.sender = try mpsc.Sender.open(segment, false);
        thread.* = try std.Thread.spawn(.{}, Job.run, .{job});
    }
    var ledger: Ledger = .{};
    while (ledger.total < @as(u64, senders) * count) switch (receiver.poll()) {
        .window => |slots| try ledger.take(&receiver, slots),
        .empty => _ = receiver.wait(strategy, slice_ns),
        .ended, .corrupt => return error.Unexpected,
    };
    for (threads) |thread| thread.join();
    // Every ring is given back once its end has been seen.
    try testing.expectEqual(.empty, receiver.poll());
    try testing.expectEqual(0, segment.control().rings_claimed.load(.seq_cst));
}

test "every strategy: nothing lost, order kept, at capacities 1, 2, 4 and 65536" {
    inline for (comptime std.enums.values(Strategy)) |strategy| {
        for ([_]u32{ 1, 2, 4 }) |capacity| try stream(capacity, 3, 2_000, strategy);
        try stream(1 << 16, 3, 20_000, strategy);
    }
}

test "close() races with sends: what was accepted arrives, what was refused does not" {
    for (0..200) |round| {
        const segment = try newSegment(4, 2);
        defer segment.destroy();
        var receiver = try mpsc.Receiver.open(segment);
        var jobs: [2]Job = undefined;
        var threads: [2]std.Thread = undefined;
        for (&jobs, &threads, 0..) |*job, *thread, number| {
            job.* = .{ .segment = segment, .number = @intCast(number), .count = 1 << 30, .strategy = .phased };
            job.sender = try mpsc.Sender.open(segment, false);
            thread.* = try std.Thread.spawn(.{}, Job.run, .{job});
        }
        var ledger: Ledger = .{};
        while (ledger.total < round * 7) switch (receiver.poll()) {
            .window => |slots| try ledger.take(&receiver, slots),
            else => _ = receiver.wait(.phased, slice_ns),
        };
        const closer = try std.Thread.spawn(.{}, struct {
            fn run(target: Segment) void {
                _ = channel_module.close(target, .closed, .can_ring);
            }
        }.run, .{segment});
        try ledger.drain(&receiver, .block);
        closer.join();
        for (threads) |thread| thread.join();
        for (jobs) |job| try testing.expectEqual(job.sent, ledger.next[job.number]);
        try testing.expect(channel_module.isDrained(segment));
    }
}

test "a blocked sender is woken when the receiver goes" {
    const segment = try newSegment(1, 1);
    defer segment.destroy();
    var receiver = try mpsc.Receiver.open(segment);
    var job: Job = .{ .segment = segment, .number = 0, .count = 1 << 30, .strategy = .block };
    job.sender = try mpsc.Sender.open(segment, false);
    const thread = try std.Thread.spawn(.{}, Job.run, .{&job});
    while (receiver.poll() != .window) _ = receiver.wait(.block, slice_ns);
    _ = receiver.close(.can_ring);
    thread.join(); // hangs if the wake-up is lost
    try testing.expectError(error.ChannelClosed, mpsc.Sender.open(segment, false));
}

test "senders come and go: rings are given back and taken again" {
    const segment = try newSegment(2, 2);
    defer segment.destroy();
    var receiver = try mpsc.Receiver.open(segment);
    const Visitor = struct {
        fn run(target: Segment, number: u32, visits: u32) void {
            var visit: u32 = 0;
            while (visit < visits) {
                var sender = mpsc.Sender.open(target, false) catch {
                    os.yieldThread(); // both rings taken
                    continue;
                };
                _ = send(&sender, @as(u64, number) << 32 | visit, .phased);
                _ = sender.close(.can_ring);
                visit += 1;
            }
        }
    };
    const visits = 3_000;
    var threads: [3]std.Thread = undefined;
    for (&threads, 0..) |*thread, number| {
        thread.* = try std.Thread.spawn(.{}, Visitor.run, .{ segment, @as(u32, @intCast(number)), visits });
    }
    var ledger: Ledger = .{};
    var order: [3]u32 = @splat(0);
    while (ledger.total < 3 * visits) switch (receiver.poll()) {
        .window => |slots| {
            // One sender's visits may lie in two rings, so only the count is checked.
            for (0..slots) |index| order[@intCast(slotOf(segment, receiver.ring, receiver.position + @as(u32, @intCast(index))).* >> 32)] += 1;
            ledger.total += slots;
            _ = receiver.release(slots, slots);
        },
        else => _ = receiver.wait(.phased, slice_ns),
    };
    for (threads) |thread| thread.join();
    try testing.expectEqual([3]u32{ visits, visits, visits }, order);
}

test "records: a padding record fills the end of the ring" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{ .slot_bytes = 8, .capacity = 8 }), just_below_wrap);
    defer segment.destroy();
    var receiver = try mpsc.Receiver.open(segment);
    var sender = try mpsc.Sender.open(segment, true);
    // The counters start at slot 5 of 8: a record of 4 slots does not fit the 3 at the end.
    try testing.expectEqual(5, sender.producer.position());
    try testing.expectEqual(5, sender.producer.reserve(4).slots);
    try testing.expectEqual(0, sender.producer.position());
    _ = sender.commit(4, 1);
    try testing.expectEqual(3, receiver.poll().window);
    const header: *const segment_module.RecordHeader = @ptrCast(slotOf(segment, 0, 5));
    try testing.expectEqual(segment_module.RecordHeader.flag_padding, header.flags);
    try testing.expectEqual(16, header.payload_bytes);
    _ = receiver.release(3, 0);
    try testing.expectEqual(4, receiver.poll().window);
    _ = receiver.release(4, 1);
    try testing.expectEqual(.empty, receiver.poll());
}

const Options = endpoint.ChannelOptions;
const small: Options = .{
    .shape = .{ .slot_bytes = 8, .capacity = 4, .senders_max = 4 },
    .has_records = false,
    .initial_sequence = just_below_wrap,
};

test "a thread that dies leaves its committed messages, and the channel ends with its last sender" {
    const channel = try endpoint.createChannel(small);
    const ticket = try endpoint.issueTicket(channel, .sender);
    const receiver_slot = try endpoint.openDirectly(channel, .receiver);
    const thread = try std.Thread.spawn(.{}, struct {
        fn run(right: @import("ticket.zig").Ticket) void {
            const slot = endpoint.openEndpoint(right, .sender) catch unreachable;
            for (0..3) |count| _ = send(&slot.body.sender, count, .block);
            // Reserved and written, but never committed: it never was sent.
            const producer = &slot.body.sender.producer;
            _ = producer.reserve(1);
            slotOf(slot.body.sender.segment, producer.ring, producer.position()).* = 99;
        }
    }.run, .{ticket});
    var ledger: Ledger = .{};
    const receiver = &receiver_slot.body.receiver.mpsc;
    try ledger.drain(receiver, .block);
    try testing.expectEqual(3, ledger.total);
    thread.join();
    try testing.expect(receiver.segment.control().orphans.load(.seq_cst) > 0);
    _ = try endpoint.closeEndpoint(receiver_slot.handle.raw);
    _ = try endpoint.disposeChannel(channel);
    try testing.expectEqual(0, endpoint.channelCount());
}

test "handles and tickets refuse what they are not for" {
    const channel = try endpoint.createChannel(small);
    const ticket = try endpoint.issueTicket(channel, .sender);
    try testing.expectError(error.TicketRole, endpoint.openEndpoint(ticket, .receiver));
    const slot = try endpoint.openEndpoint(ticket, .sender);
    const handle = slot.handle.raw;
    try testing.expectError(error.TicketUsed, endpoint.openEndpoint(ticket, .sender));
    const thread = try std.Thread.spawn(.{}, struct {
        fn run(foreign: u32) void {
            testing.expectError(error.WrongThread, endpoint.findSender(foreign)) catch unreachable;
        }
    }.run, .{handle});
    thread.join();
    try testing.expectError(error.InvalidHandle, endpoint.findReceiver(handle));
    _ = try endpoint.closeEndpoint(handle);
    try testing.expectError(error.InvalidHandle, endpoint.findSender(handle));
    var beyond: u32 = 0xffff_ffff;
    _ = &beyond;
    try testing.expectError(error.InvalidHandle, endpoint.find(beyond));
    const late = try endpoint.issueTicket(channel, .receiver);
    _ = try endpoint.disposeChannel(channel);
    try testing.expectError(error.TicketFreed, endpoint.openEndpoint(late, .receiver));
}
