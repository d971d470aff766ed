//! Tests of the memory of rings: a ring that was drained after its sender closed takes no more than a page.

const std = @import("std");
const channel = @import("channel.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const system = @import("os/numa.zig");
const Kind = segment_module.Kind;
const Receiver = @import("receiver.zig").Receiver;
const Segment = segment_module.Segment;
const Sender = @import("sender.zig").Sender;
const testing = std.testing;

const kinds = [_]Kind{ .mpsc, .spsc, .spmc, .mpmc };
const capacity = 1 << 14;

fn create(kind: Kind, is_shared: bool, huge_pages: segment_module.HugePages) !Segment {
    return .create(try .init(.{
        .kind = kind,
        .slot_bytes = 8,
        .capacity = capacity,
        .senders_max = if (kind.hasManySenders()) 3 else 1,
        .receivers_max = if (kind.hasManyReceivers()) 2 else 1,
        .is_shared = is_shared,
        .has_latency = true,
        .huge_pages = huge_pages,
    }), 0);
}

/// Pages of a ring's data, and its stamps, that are there.
fn residentPages(segment: Segment, ring: u32) !usize {
    const geometry = segment.geometry;
    const stamps: [*]align(os.page_bytes) u8 = @ptrCast(@alignCast(segment.stamps(ring)));
    const line: [*]align(os.page_bytes) u8 = @ptrCast(@alignCast(segment.producerLine(ring)));
    return try countResident(line, geometry.ringBytes()) + try countResident(stamps, geometry.stamps_stride);
}

fn countResident(base: [*]align(os.page_bytes) u8, length: usize) !usize {
    var residence: [256]u8 = undefined;
    const pages = length / segment_module.pageBytes();
    system.residentPages(base, length, &residence) orelse return error.SkipZigTest;
    var count: usize = 0;
    for (residence[0..pages]) |resident| count += resident & 1;
    return count;
}

fn fill(sender: *Sender, first: u64) !void {
    try testing.expect(sender.reserve(capacity) == .slots);
    const slots: [*]u64 = @ptrCast(sender.producer.data);
    for (0..capacity) |index| slots[index] = first + index;
    try testing.expect(sender.commit(capacity, capacity) == .bells);
}

/// Receives everything there is; answers the sum, and what the last look found.
fn drain(segment: Segment, receiver: *Receiver) !struct { sum: u64, polled: channel.Polled } {
    var sum: u64 = 0;
    while (true) {
        const polled = receiver.poll(0);
        if (polled != .window) return .{ .sum = sum, .polled = polled };
        const window = receiver.window();
        const slots: [*]const u64 = @ptrCast(segment.data(window.ring));
        for (slots[window.position..][0..window.slots]) |value| sum += value;
        _ = receiver.release(window.slots, window.slots);
    }
}

const sum_of_all = capacity * (capacity - 1) / 2;

test "the memory of a ring is given back when its sender has closed and it is drained, not before" {
    for (kinds) |kind| for ([_]bool{ false, true }) |is_shared| {
        const segment = try create(kind, is_shared, .system);
        defer segment.destroy();
        var receiver: Receiver = try .open(segment, false);
        var sender: Sender = try .open(segment, false);
        try testing.expectEqual(0, sender.producer.ring);
        try fill(&sender, 0);
        const full = capacity * 8 * 2 / segment_module.pageBytes();
        try testing.expect(try residentPages(segment, 0) >= full);
        _ = sender.close(.can_ring);
        try testing.expect(try residentPages(segment, 0) >= full);
        try testing.expectEqual(sum_of_all, (try drain(segment, &receiver)).sum);
        try testing.expect(!segment.producerLine(0).isClaimed());
        // The page of the producer line.
        try testing.expectEqual(1, try residentPages(segment, 0));
        // What it counted stays.
        try testing.expectEqual(capacity, segment.producerLine(0).messages.raw);

        // And the ring is the next sender's, whatever others have never been used.
        sender = try .open(segment, false);
        try testing.expectEqual(0, sender.producer.ring);
        try fill(&sender, 1);
        try testing.expectEqual(sum_of_all + capacity, (try drain(segment, &receiver)).sum);
        // While it has a sender nothing is given back.
        try testing.expect(try residentPages(segment, 0) >= full);
        _ = sender.close(.can_ring);
        _ = channel.close(segment, .senders_gone, .can_ring);
        try testing.expect((try drain(segment, &receiver)).polled == .ended);
        try testing.expectEqual(1, try residentPages(segment, 0));
    };
}

test "what a sender wrote and could not send stays, until it closes, in a ring that a close has sealed" {
    for (kinds) |kind| for ([_]bool{ false, true }) |is_shared| for ([_]bool{ false, true }) |closes_first| {
        const segment = try create(kind, is_shared, .system);
        defer segment.destroy();
        var receiver: Receiver = try .open(segment, false);
        var sender: Sender = try .open(segment, false);
        const slots: [*]u64 = @ptrCast(sender.producer.data);
        try testing.expect(sender.reserve(1) == .slots);
        for (0..capacity) |index| slots[index] = index;
        try testing.expect(sender.commit(10, 10) == .bells);
        _ = channel.close(segment, .closed, .can_ring);
        try testing.expect(sender.commit(10, 10) == .closed);
        if (closes_first) _ = sender.close(.can_ring);
        try testing.expect((try drain(segment, &receiver)).polled == .ended);
        if (!closes_first) {
            for (0..capacity) |index| try testing.expectEqual(index, slots[index]);
            _ = sender.close(.can_ring);
        }
        try testing.expectEqual(1, try residentPages(segment, 0));
    };
}

test "a ring that has been used before is the next sender's before one that never was" {
    for ([_]Kind{ .mpsc, .mpmc }) |kind| {
        const segment = try create(kind, false, .system);
        defer segment.destroy();
        var receiver: Receiver = try .open(segment, false);
        var senders = [_]Sender{ try .open(segment, false), try .open(segment, false) };
        for ([_]u32{ 1, 0, 1, 0 }) |ring| {
            _ = senders[ring].close(.can_ring);
            _ = try drain(segment, &receiver);
            senders[ring] = try .open(segment, false);
            try testing.expectEqual(ring, senders[ring].producer.ring);
        }
        try testing.expectEqual(2, channel.ringsUsed(segment));
    }
}

test "a ring that a receiver still holds some of keeps its memory" {
    for (kinds) |kind| {
        const segment = try create(kind, false, .system);
        defer segment.destroy();
        var receiver: Receiver = try .open(segment, false);
        var sender: Sender = try .open(segment, false);
        try fill(&sender, 0);
        _ = sender.close(.can_ring);
        try testing.expect(receiver.poll(0) == .window);
        const window = receiver.window();
        _ = receiver.release(window.slots - 1, window.slots - 1);
        if (kind.hasManyReceivers()) {
            var other: Receiver = try .open(segment, false);
            try testing.expect(other.poll(0) != .window);
        }
        const slots: [*]const u64 = @ptrCast(segment.data(0));
        try testing.expectEqual(capacity - 1, slots[capacity - 1]);
        try testing.expect(try residentPages(segment, 0) > 1);
        _ = receiver.release(1, 1);
        _ = try drain(segment, &receiver);
        try testing.expectEqual(1, try residentPages(segment, 0));
    }
}

test "a ring that a killed receiver was giving back is free again, and its memory is given back" {
    const ledger = @import("ledger.zig");
    for ([_]Kind{ .spmc, .mpmc }) |kind| {
        var segment = try create(kind, true, .system);
        defer segment.destroy();
        var own: ledger.Ledger = .{ .keeper = try .create(segment.geometry) };
        defer own.keeper.?.destroy();
        segment.ledger = &own;
        const victim: Receiver = try .open(segment, false);
        var other: Receiver = try .open(segment, false);
        var sender: Sender = try .open(segment, false);
        try fill(&sender, 0);
        try testing.expectEqual(sum_of_all, (try drain(segment, &other)).sum);
        _ = sender.close(.can_ring);
        const word = &segment.producerLine(0).tenancy;
        const tenancy: segment_module.Tenancy = @bitCast(word.raw);
        for ([_]u32{ other.index(), victim.index() }) |place| {
            word.store(tenancy.emptiedBy(place), .seq_cst);
            try testing.expect((try drain(segment, &other)).polled == .empty);
            if (place == victim.index()) break;
            // It belongs to one that lives: nobody else gives it back.
            try testing.expectError(error.TooManySenders, openAll(segment));
        }
        Receiver.leaveBehind(segment, victim.index(), .{ .how = .died, .is_awaited = false, .has_tickets = false });
        try testing.expectEqual(.free, segment_module.stateOf(word.raw));
        try testing.expectEqual(1, try residentPages(segment, 0));
        sender = try .open(segment, false);
        try testing.expectEqual(0, sender.producer.ring);
    }
}

test "a receiver that is slow to give a ring back does not take the memory of its next sender" {
    const segment = try create(.mpmc, false, .system);
    defer segment.destroy();
    var fast: Receiver = try .open(segment, false);
    var sender: Sender = try .open(segment, false);
    _ = sender.close(.can_ring);
    // What the slow one has seen: sealed and drained.
    const seen = segment.producerLine(0).tenancy.raw;
    _ = try drain(segment, &fast);
    sender = try .open(segment, false);
    try testing.expectEqual(0, sender.producer.ring);
    try fill(&sender, 0);
    try testing.expect(!channel.emptyAndGiveBack(segment, 0, seen, 1));
    try testing.expectEqual(sum_of_all, (try drain(segment, &fast)).sum);
}

/// Opens senders on every ring but the first, which nobody gets.
fn openAll(segment: Segment) !void {
    for (0..segment.geometry.senders_max) |_| {
        const sender: Sender = try .open(segment, false);
        try testing.expect(sender.producer.ring != 0);
    }
}

test "senders that come and go lose nothing where several receivers give their rings back" {
    const segment = try create(.mpmc, false, .system);
    defer segment.destroy();
    const rounds = 300;
    const burst = 700; // two pages
    const Sending = struct {
        fn run(on: Segment) void {
            for (0..rounds) |_| {
                var sender = while (true) {
                    break Sender.open(on, false) catch {
                        os.yieldThread();
                        continue;
                    };
                };
                const slots: [*]u64 = @ptrCast(sender.producer.data);
                var left: u32 = burst;
                while (left != 0) {
                    const granted = sender.reserve(1).slots;
                    const count = @min(granted, left);
                    for (sender.producer.position()..sender.producer.position() + count) |slot| slots[slot] = 1;
                    _ = sender.commit(count, count);
                    left -= count;
                }
                _ = sender.close(.can_ring);
            }
        }
    };
    const Receiving = struct {
        segment: Segment,
        receiver: Receiver,
        sum: u64 = 0,

        fn run(self: *@This()) void {
            while (true) {
                const got = drain(self.segment, &self.receiver) catch unreachable;
                self.sum += got.sum;
                if (got.polled == .ended) return;
                _ = self.receiver.wait(.yield, std.time.ns_per_ms);
            }
        }
    };
    var receivings = [_]Receiving{
        .{ .segment = segment, .receiver = try .open(segment, false) },
        .{ .segment = segment, .receiver = try .open(segment, false) },
    };
    var receivers: [2]std.Thread = undefined;
    for (&receivers, &receivings) |*thread, *receiving| thread.* = try .spawn(.{}, Receiving.run, .{receiving});
    var senders: [2]std.Thread = undefined;
    for (&senders) |*thread| thread.* = try .spawn(.{}, Sending.run, .{segment});
    for (senders) |thread| thread.join();
    _ = channel.close(segment, .senders_gone, .can_ring);
    for (receivers) |thread| thread.join();
    try testing.expectEqual(2 * rounds * burst, receivings[0].sum + receivings[1].sum);
}
