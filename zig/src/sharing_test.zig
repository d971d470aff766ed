//! The kinds whose receivers share the rings, and spsc, with real threads: every message once, each
//! sender's in order for each receiver, at the smallest capacities and across the wrap of the
//! counters; receivers that come, go and die in the middle. Run under ThreadSanitizer too.

const std = @import("std");
const channel_module = @import("channel.zig");
const mpmc = @import("mpmc.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const statistics = @import("statistics.zig");
const Kind = segment_module.Kind;
const Ledger = @import("ledger.zig").Ledger;
const LineState = segment_module.LineState;
const Receiver = @import("receiver.zig").Receiver;
const Segment = segment_module.Segment;
const Sender = @import("sender.zig").Sender;
const Strategy = @import("wait.zig").Strategy;
const testing = std.testing;

const slice_ns = 20 * std.time.ns_per_ms;
const just_below_wrap = (1 << 31) - 3;
const senders_most = 4;
const receivers_most = 4;
const each_most = 20_000;

/// What a round is about, and what it has seen.
const Round = struct {
    segment: Segment,
    each: u32,
    strategy: Strategy,
    messages_max: u32,
    /// Receivers die after so many windows, with the window in their hands.
    windows_to_death: u32 = 0,
    /// Receivers offer every third window to the others before they look at it.
    offers: bool = false,
    /// How often each message was seen.
    seen: [senders_most][each_most]std.atomic.Value(u8) = undefined,
    failed: std.atomic.Value(bool) = .init(false),
    /// Opening and closing are done under a mutex in the library.
    cold: os.Mutex = .{},
    deaths: std.atomic.Value(u32) = .init(0),
    is_over: std.atomic.Value(bool) = .init(false),
    /// Another thread closes the channel once so many messages were received.
    closes_after: ?u32 = null,
    /// How many messages of each sender were committed; its own thread writes it.
    accepted: [senders_most]u32 = @splat(0),

    fn valueAt(self: *Round, ring: u32, position: u32) *u64 {
        const data: [*]u64 = @ptrCast(@alignCast(self.segment.data(ring)));
        return &data[position];
    }

    fn send(self: *Round, sender: *Sender, number: u32) void {
        sending: for (0..self.each) |count| {
            while (true) switch (sender.producer.reserve(1)) {
                .slots => {
                    self.valueAt(sender.producer.ring, sender.producer.position()).* = @as(u64, number) << 32 | count;
                    if (sender.commit(1, 1) == .closed) break :sending;
                    self.accepted[number] += 1;
                    break;
                },
                .full => _ = sender.wait(1, self.strategy, slice_ns),
                .closed => break :sending,
                .corrupt => return self.failed.store(true, .seq_cst),
            };
        }
        if (self.closes_after == null and self.accepted[number] != self.each) self.failed.store(true, .seq_cst);
        self.cold.lock();
        defer self.cold.unlock();
        _ = sender.close(.can_ring);
        if (self.segment.control().sender_references.fetchSub(1, .seq_cst) == 1) {
            _ = channel_module.close(self.segment, .senders_gone, .can_ring);
        }
    }

    /// Closes the channel in the middle of it.
    fn closeChannel(self: *Round, received: u32) void {
        while (statistics.ofChannel(self.segment).messages_received < received) {
            if (self.failed.load(.seq_cst)) return;
            os.yieldThread();
        }
        _ = channel_module.close(self.segment, .closed, .can_ring);
    }

    /// Reads what is counted while the others are at it.
    fn watch(self: *Round) void {
        var rings: [senders_most]statistics.Ring = undefined;
        var sent: u64 = 0;
        while (!self.is_over.load(.seq_cst)) {
            const told = statistics.ofChannel(self.segment);
            if (told.messages_sent < sent or told.slots_used_most > self.segment.geometry.capacity) {
                self.failed.store(true, .seq_cst);
            }
            sent = told.messages_sent;
            for (rings[0..statistics.ofRings(self.segment, &rings)]) |ring| {
                if (ring.slots_used > self.segment.geometry.capacity) self.failed.store(true, .seq_cst);
            }
            if (self.segment.geometry.has_latency) _ = self.segment.histogram().summary();
            os.sleep(200 * std.time.ns_per_us);
        }
    }

    fn open(self: *Round) !Receiver {
        self.cold.lock();
        defer self.cold.unlock();
        return Receiver.open(self.segment, false);
    }

    fn close(self: *Round, receiver: *Receiver, ringer: channel_module.Ringer) void {
        self.cold.lock();
        defer self.cold.unlock();
        _ = receiver.close(ringer);
    }

    fn receive(self: *Round) void {
        var receiver = self.open() catch return self.failed.store(true, .seq_cst);
        var next: [senders_most]u32 = @splat(0);
        var windows: u32 = 0;
        while (true) switch (if (self.offers and windows % 2 == 0)
            receiver.pollSurely(self.messages_max)
        else
            receiver.poll(self.messages_max)) {
            .window => {
                const window = receiver.window();
                windows += 1;
                if (self.offers and windows % 3 == 0) {
                    _ = receiver.offer();
                    if (windows % 2 == 0) os.yieldThread();
                    if (windows % 5 == 0) _ = receiver.wait(self.strategy, std.time.ns_per_ms);
                    continue;
                }
                if (self.windows_to_death != 0 and windows == self.windows_to_death) {
                    // Seen, and not released. The next receiver is a newcomer.
                    _ = self.deaths.fetchAdd(1, .monotonic);
                    self.close(&receiver, .cannot_ring);
                    receiver = self.open() catch return self.failed.store(true, .seq_cst);
                    next = @splat(0);
                    windows = 0;
                    continue;
                }
                for (0..window.slots) |index| {
                    const value = self.valueAt(window.ring, window.position + @as(u32, @intCast(index))).*;
                    const number: usize = @intCast(value >> 32);
                    const count: u32 = @truncate(value);
                    if (number >= senders_most or count >= self.each) return self.failed.store(true, .seq_cst);
                    _ = self.seen[number][count].fetchAdd(1, .monotonic);
                    // In order, but for what was taken over from one that died.
                    if (self.windows_to_death == 0 and !self.offers and count < next[number]) self.failed.store(true, .seq_cst);
                    next[number] = count + 1;
                }
                _ = receiver.release(window.slots, window.slots);
            },
            .empty => {
                if (self.offers) _ = receiver.look();
                _ = receiver.wait(self.strategy, slice_ns);
            },
            .ended => return self.close(&receiver, .can_ring),
            .corrupt => return self.failed.store(true, .seq_cst),
        };
    }
};

fn play(kind: Kind, senders: u32, receivers: u32, capacity: u32, each: u32, strategy: Strategy, messages_max: u32, windows_to_death: u32) !void {
    try playWith(.{}, kind, senders, receivers, capacity, each, strategy, messages_max, windows_to_death);
}

const Plot = struct { closes_after: ?u32 = null, offers: bool = false };

fn playUntil(closes_after: u32, kind: Kind, senders: u32, receivers: u32, capacity: u32, each: u32, strategy: Strategy, messages_max: u32, windows_to_death: u32) !void {
    try playWith(.{ .closes_after = closes_after }, kind, senders, receivers, capacity, each, strategy, messages_max, windows_to_death);
}

fn playWith(plot: Plot, kind: Kind, senders: u32, receivers: u32, capacity: u32, each: u32, strategy: Strategy, messages_max: u32, windows_to_death: u32) !void {
    const round = try testing.allocator.create(Round);
    defer testing.allocator.destroy(round);
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = kind,
        .slot_bytes = 8,
        .capacity = capacity,
        .senders_max = senders,
        .receivers_max = if (kind.hasManyReceivers()) receivers_most + 2 else 1,
        .has_latency = messages_max != 1,
    }), just_below_wrap);
    defer segment.destroy();
    round.* = .{ .segment = segment, .each = each, .strategy = strategy, .messages_max = messages_max, .windows_to_death = windows_to_death, .closes_after = plot.closes_after, .offers = plot.offers };
    for (&round.seen) |*counts| @memset(counts, .init(0));
    const control = segment.control();
    _ = control.sender_references.fetchAdd(senders, .seq_cst);
    // As tickets would: the channel does not end while a receiver is between two lives.
    _ = control.receiver_tickets.fetchAdd(1, .seq_cst);
    var open_senders: [senders_most]Sender = undefined;
    for (open_senders[0..senders]) |*sender| sender.* = try Sender.open(segment, false);
    var threads: [senders_most + receivers_most]std.Thread = undefined;
    for (0..senders) |index| {
        threads[index] = try std.Thread.spawn(.{}, Round.send, .{ round, &open_senders[index], @as(u32, @intCast(index)) });
    }
    for (0..receivers) |index| {
        threads[senders + index] = try std.Thread.spawn(.{}, Round.receive, .{round});
    }
    const watcher = try std.Thread.spawn(.{}, Round.watch, .{round});
    const closer = if (plot.closes_after) |received| try std.Thread.spawn(.{}, Round.closeChannel, .{ round, received }) else null;
    for (threads[0 .. senders + receivers]) |thread| thread.join();
    if (closer) |thread| thread.join();
    round.is_over.store(true, .seq_cst);
    watcher.join();
    const told = statistics.ofChannel(segment);
    var accepted: u64 = 0;
    for (round.accepted) |count| accepted += count;
    try testing.expectEqual(accepted, told.messages_sent);
    try testing.expectEqual(accepted, told.messages_received);
    try testing.expectEqual(accepted * 8, told.bytes_received);
    try testing.expectEqual(0, told.slots_used);
    if (segment.geometry.has_latency) try testing.expectEqual(accepted, segment.histogram().summary().count);
    try testing.expect(!round.failed.load(.seq_cst));
    for (0..senders) |number| {
        // What was refused, by a commit that failed, too, was seen by nobody.
        for (0..each) |count| {
            const times: u8 = if (count < round.accepted[number]) 1 else 0;
            try testing.expectEqual(times, round.seen[number][count].load(.monotonic));
        }
    }
    try testing.expect(channel_module.isDrained(segment));
    const died = round.deaths.load(.monotonic) != 0;
    try testing.expectEqual(died, control.redelivered.load(.monotonic) != 0);
    try testing.expectEqual(0, control.orphaned_claims.load(.monotonic));
}

const messages = if (@import("builtin").sanitize_thread) 1_000 else each_most;

test "spsc: every message once and in order" {
    for ([_]u32{ 1, 2, 64 }) |capacity| {
        for ([_]Strategy{ .phased, .block }) |strategy| try play(.spsc, 1, 1, capacity, messages, strategy, 0, 0);
    }
}

test "spmc: every message once, in order for each receiver" {
    for ([_]u32{ 1, 2, 64 }) |capacity| {
        for ([_]Strategy{ .phased, .block }) |strategy| {
            for ([_]u32{ 0, 1, 7 }) |most| try play(.spmc, 1, receivers_most, capacity, messages, strategy, most, 0);
        }
    }
}

test "mpmc: every message once, in order for each sender and receiver" {
    for ([_]u32{ 1, 2, 64 }) |capacity| {
        for ([_]Strategy{ .phased, .block }) |strategy| {
            for ([_]u32{ 0, 1, 7 }) |most| try play(.mpmc, senders_most, receivers_most, capacity, messages / 4, strategy, most, 0);
        }
    }
}

test "close() races with sends in every kind: what was accepted is seen once, what was refused by nobody" {
    const rounds = if (@import("builtin").sanitize_thread) 8 else 60;
    for (0..rounds) |round| {
        const received: u32 = @intCast(round * 7);
        const capacity = @as(u32, 1) << @intCast(round % 4);
        const strategy: Strategy = if (round % 2 == 0) .phased else .block;
        const most: u32 = @intCast(round % 3);
        try playUntil(received, .spsc, 1, 1, capacity, each_most, strategy, most, 0);
        const shared: Plot = .{ .closes_after = received, .offers = round % 4 > 1 };
        try playWith(shared, .spmc, 1, 3, capacity, each_most, strategy, most, 0);
        try playWith(shared, .mpmc, 2, 2, capacity, each_most, strategy, most, 0);
        try playUntil(received, .mpsc, 2, 1, capacity, each_most, strategy, most, 0);
    }
}

test "what a receiver that died had claimed goes to another, and the channel ends" {
    for ([_]u32{ 2, 64 }) |capacity| {
        for ([_]u32{ 0, 3 }) |most| {
            try play(.spmc, 1, 3, capacity, messages / 4, .block, most, 5);
            try play(.mpmc, 3, 3, capacity, messages / 4, .block, most, 5);
        }
    }
}

test "what a receiver offers is seen once, by it or by another, also if some die" {
    for ([_]u32{ 2, 64 }) |capacity| {
        for ([_]u32{ 0, 1, 3 }) |most| for ([_]u32{ 0, 7 }) |windows_to_death| {
            try playWith(.{ .offers = true }, .spmc, 1, 3, capacity, messages / 4, .block, most, windows_to_death);
            try playWith(.{ .offers = true }, .mpmc, 3, 3, capacity, messages / 4, .phased, most, windows_to_death);
        };
    }
}

test "a poll that is sure finds a message whenever there is one" {
    const threads_count = 4;
    const Turn = struct {
        fn run(failed: *std.atomic.Value(u32), sender: *Sender, receiver: *Receiver) void {
            for (0..messages) |_| {
                while (sender.producer.reserve(1) != .slots) os.yieldThread();
                _ = sender.commit(1, 1);
                // Every thread has sent one more than it has received, so there is one for each.
                if (receiver.pollSurely(1) == .window) {
                    _ = receiver.release(1, 1);
                } else {
                    _ = failed.fetchAdd(1, .monotonic);
                    while (receiver.poll(1) != .window) os.yieldThread();
                    _ = receiver.release(1, 1);
                }
            }
        }
    };
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .mpmc,
        .slot_bytes = 8,
        .capacity = threads_count,
        .senders_max = threads_count,
        .receivers_max = threads_count,
    }), just_below_wrap);
    defer segment.destroy();
    var senders: [threads_count]Sender = undefined;
    for (&senders) |*sender| sender.* = try Sender.open(segment, false);
    var receivers: [threads_count]Receiver = undefined;
    for (&receivers) |*receiver| receiver.* = try Receiver.open(segment, false);
    var failed: std.atomic.Value(u32) = .init(0);
    var threads: [threads_count]std.Thread = undefined;
    for (&threads, &senders, &receivers) |*thread, *sender, *receiver| {
        thread.* = try std.Thread.spawn(.{}, Turn.run, .{ &failed, sender, receiver });
    }
    for (threads) |thread| thread.join();
    try testing.expectEqual(0, failed.raw);
}

fn put(segment: Segment, sender: *Sender, value: u64) !void {
    try testing.expect(sender.producer.reserve(1) == .slots);
    const data: [*]u64 = @ptrCast(@alignCast(segment.data(sender.producer.ring)));
    data[sender.producer.position()] = value;
    try testing.expect(sender.commit(1, 1) == .bells);
}

/// A random sequence of calls in one thread on a fresh channel; the answers, as one number.
fn outcomeOf(kind: Kind, capacity: u32, seed: u64) !u64 {
    const senders_count: u32 = if (kind.hasManySenders()) 3 else 1;
    const receivers_count: u32 = if (kind.hasManyReceivers()) 3 else 1;
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = kind,
        .slot_bytes = 8,
        .capacity = capacity,
        .senders_max = senders_count,
        .receivers_max = receivers_count,
    }), just_below_wrap);
    defer segment.destroy();
    var senders: [3]Sender = undefined;
    for (senders[0..senders_count]) |*sender| sender.* = try Sender.open(segment, false);
    var receivers: [3]Receiver = undefined;
    for (receivers[0..receivers_count]) |*receiver| receiver.* = try Receiver.open(segment, false);
    var random_state: std.Random.DefaultPrng = .init(seed);
    const random = random_state.random();
    var outcome: std.hash.Wyhash = .init(0);
    for (0..2_000) |count| {
        const answers: [4]u64 = if (random.boolean()) answers: {
            const sender = &senders[random.uintLessThan(u32, senders_count)];
            if (sender.producer.reserve(1) != .slots) break :answers .{ 0, 0, 0, 0 };
            try put(segment, sender, count);
            break :answers .{ 1, sender.producer.ring, sender.producer.position(), count };
        } else answers: {
            const receiver = &receivers[random.uintLessThan(u32, receivers_count)];
            const most = random.uintLessThan(u32, 4);
            if (receiver.poll(most) != .window) break :answers .{ 2, 0, 0, 0 };
            const window = receiver.window();
            const data: [*]const u64 = @ptrCast(@alignCast(segment.data(window.ring)));
            const value = data[window.position];
            const slots = random.uintAtMost(u32, window.slots);
            _ = receiver.release(slots, slots);
            break :answers .{ 3, window.ring, window.slots, value };
        };
        outcome.update(std.mem.sliceAsBytes(&answers));
    }
    const told = statistics.ofChannel(segment);
    // Something was received: a sequence that does nothing has one outcome, too.
    try testing.expect(told.messages_received > 100);
    outcome.update(std.mem.asBytes(&told.messages_sent));
    outcome.update(std.mem.asBytes(&told.messages_received));
    return outcome.final();
}

test "a sequence of calls in one thread has one outcome, in every kind" {
    for (std.enums.values(Kind)) |kind| {
        for ([_]u32{ 1, 4 }) |capacity| {
            const outcome = try outcomeOf(kind, capacity, 7);
            try testing.expectEqual(outcome, try outcomeOf(kind, capacity, 7));
            try testing.expect(outcome != try outcomeOf(kind, capacity, 8));
        }
    }
}

test "mpmc: a ring that is neither one's own nor the fullest is looked at within the bound" {
    const rings = 6;
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .mpmc,
        .slot_bytes = 8,
        .capacity = 64,
        .senders_max = rings,
        .receivers_max = 2,
    }), 0);
    defer segment.destroy();
    var senders: [rings]Sender = undefined;
    for (&senders) |*sender| sender.* = try Sender.open(segment, false);
    var receiver = try Receiver.open(segment, false);
    _ = try Receiver.open(segment, false); // so that half of the rings are not the first one's
    for ([_]u32{ 0, 2, 3, 4 }) |busy| {
        for (0..32) |value| try put(segment, &senders[busy], value);
    }
    try put(segment, &senders[5], 5);
    var polls: u32 = 0;
    while (true) {
        polls += 1;
        try testing.expect(polls <= mpmc.polls_between_scans * rings);
        try testing.expect(receiver.poll(1) == .window);
        const window = receiver.window();
        _ = receiver.release(window.slots, window.slots);
        if (window.ring == 5) break;
        try put(segment, &senders[window.ring], 0); // the busy ones stay as full as they are
    }
}

test "a producer whose ring was full goes on when receivers release in any order" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .spmc,
        .slot_bytes = 8,
        .capacity = 4,
        .receivers_max = 3,
    }), just_below_wrap);
    defer segment.destroy();
    var sender = try Sender.open(segment, false);
    var receivers: [3]Receiver = undefined;
    for (&receivers) |*receiver| receiver.* = try Receiver.open(segment, false);
    for (0..4) |value| try put(segment, &sender, value);
    for (&receivers) |*receiver| try testing.expectEqual(1, receiver.poll(1).window);
    // The second and third are done first: the first one's claim gates the ring.
    for ([_]usize{ 2, 1 }) |index| {
        _ = receivers[index].release(1, 1);
        try testing.expect(sender.producer.reserve(1) == .full);
    }
    _ = receivers[0].release(1, 1);
    try testing.expectEqual(3, sender.producer.reserve(1).slots);
    try testing.expect(sender.producer.hasRoom(1));
}

test "a message sent while one receiver is at work wakes the one that sleeps" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .spmc,
        .slot_bytes = 8,
        .capacity = 4,
        .receivers_max = 2,
    }), just_below_wrap);
    defer segment.destroy();
    var sender = try Sender.open(segment, false);
    var receivers: [2]Receiver = undefined;
    for (&receivers) |*receiver| {
        receiver.* = try Receiver.open(segment, false);
        try testing.expect(receiver.arm(.bell));
    }
    // The first is woken and at work, with the message in its hands; the ring is empty.
    try testing.expectEqual(0, (try commitOne(&sender)).receiver_index);
    try testing.expectEqual(1, receivers[0].poll(1).window);
    const bells = try commitOne(&sender);
    try testing.expect(bells.receiver and bells.receiver_index == 1);
    // The second gives up instead of looking: nobody sleeps whom it could tell, so the first gets it.
    try testing.expectEqual(channel_module.Bells{}, receivers[1].giveUp());
    _ = receivers[0].release(1, 1);
    try testing.expectEqual(1, receivers[0].poll(1).window);
}

test "a wake-up that its receiver does not use goes to another that sleeps" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .mpmc,
        .slot_bytes = 8,
        .capacity = 4,
        .receivers_max = 3,
    }), 0);
    defer segment.destroy();
    var sender = try Sender.open(segment, false);
    var receivers: [3]Receiver = undefined;
    for (&receivers) |*receiver| {
        receiver.* = try Receiver.open(segment, false);
        try testing.expect(receiver.arm(.bell));
    }
    try testing.expectEqual(0, (try commitOne(&sender)).receiver_index);
    const passed_on = receivers[0].giveUp();
    try testing.expect(passed_on.receiver and passed_on.receiver_index == 1);
    const again = receivers[1].close(.can_ring);
    try testing.expect(again.receiver and again.receiver_index == 2);
    try testing.expectEqual(1, receivers[2].poll(1).window);
}

test "what a receiver offers is another's, or its own again, and keeps the sender back until it is released" {
    for ([_]Kind{ .spmc, .mpmc }) |kind| {
        const segment = try Segment.create(try segment_module.Geometry.init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = 4,
            .receivers_max = 2,
        }), just_below_wrap);
        defer segment.destroy();
        var sender = try Sender.open(segment, false);
        var first = try Receiver.open(segment, false);
        var second = try Receiver.open(segment, false);
        for (0..4) |value| try put(segment, &sender, value);
        // Its own again, less what it had released.
        try testing.expectEqual(3, first.poll(3).window);
        _ = first.release(1, 1);
        try testing.expectEqual(channel_module.Bells{}, first.offer());
        try testing.expectEqual(0, first.window().slots);
        try testing.expectEqual(2, first.poll(0).window);
        // Another's, which is woken for it.
        try testing.expectEqual(1, second.poll(1).window);
        _ = second.release(1, 1);
        try testing.expect(second.poll(0) == .empty and second.arm(.bell));
        const bells = first.offer();
        try testing.expect(bells.receiver and bells.receiver_index == 1);
        try testing.expect(!first.arm(.bell)); // it is there to be taken back
        try testing.expectEqual(2, second.poll(1).window);
        try testing.expectEqual(.empty, first.pollSurely(0));
        try testing.expect(first.arm(.bell));
        first.disarm();
        try testing.expectEqual(1, sender.producer.reserve(1).slots); // what was released first
        for (0..2) |_| _ = second.release(1, 1);
        try testing.expectEqual(.{ 0, 0 }, .{ segment.control().redelivered.raw, segment.control().orphaned_claims.raw });
        // Both go on as before.
        for (0..2) |value| try put(segment, &sender, value);
        try testing.expectEqual(1, first.poll(1).window);
        try testing.expectEqual(1, second.poll(1).window);
        // A look claims nothing, and empties the ready set.
        for ([_]*Receiver{ &first, &second }) |receiver| _ = receiver.release(1, 1);
        try put(segment, &sender, 9);
        try testing.expectEqual(1, first.look().window);
        try testing.expectEqual(1, second.poll(1).window);
        try testing.expectEqual(.empty, first.look());
        try testing.expect(first.arm(.bell));
        // What was offered by one that closes is taken as what any other leaves.
        _ = second.offer();
        _ = second.close(.can_ring);
        first.disarm();
        try testing.expectEqual(1, first.poll(0).window);
        _ = first.release(1, 1);
        var third = try Receiver.open(segment, false);
        try testing.expectEqual(.empty, third.pollSurely(0));
    }
}

test "as many receivers open as there are places, also while one has what another left" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .mpmc,
        .slot_bytes = 8,
        .capacity = 4,
        .receivers_max = 2,
    }), just_below_wrap);
    defer segment.destroy();
    var sender = try Sender.open(segment, false);
    var first = try Receiver.open(segment, false);
    var second = try Receiver.open(segment, false);
    for (0..4) |value| try put(segment, &sender, value);
    try testing.expectEqual(1, second.poll(1).window);
    _ = second.close(.can_ring);
    try testing.expectEqual(1, first.poll(1).window);
    var third = try Receiver.open(segment, false);
    try testing.expectError(error.TooManyReceivers, Receiver.open(segment, false));
    // What was taken over is still gated: neither a newcomer nor its release frees it.
    try testing.expectEqual(1, third.poll(1).window);
    _ = third.release(1, 1);
    try testing.expect(sender.producer.reserve(1) == .full);
    _ = first.release(1, 1);
    try testing.expectEqual(.{ 2, 0 }, .{ sender.producer.reserve(1).slots, segment.control().redelivered.raw });
    // Left over by both, taken over by both newcomers, whose own lines are the ones it stands in.
    for ([_]*Receiver{ &first, &third }) |receiver| try testing.expectEqual(1, receiver.poll(1).window);
    _ = segment.control().receiver_tickets.fetchAdd(1, .seq_cst);
    for ([_]*Receiver{ &first, &third }) |receiver| _ = receiver.close(.cannot_ring);
    for ([_]*Receiver{ &first, &third }) |receiver| receiver.* = try Receiver.open(segment, false);
    try testing.expectError(error.TooManyReceivers, Receiver.open(segment, false));
    for ([_]*Receiver{ &first, &third }) |receiver| try testing.expectEqual(1, receiver.poll(1).window);
    try testing.expectEqual(2, segment.control().redelivered.raw);
}

test "a receiver that is woken for a message and finds what another left has the next one woken" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .spmc,
        .slot_bytes = 8,
        .capacity = 4,
        .receivers_max = 4,
    }), 0);
    defer segment.destroy();
    var sender = try Sender.open(segment, false);
    var receivers: [4]Receiver = undefined;
    for (&receivers) |*receiver| receiver.* = try Receiver.open(segment, false);
    for ([_]usize{ 0, 1 }) |mortal| {
        try put(segment, &sender, mortal);
        try testing.expectEqual(1, receivers[mortal].poll(1).window);
    }
    for ([_]usize{ 2, 3 }) |sleeper| {
        try testing.expect(receivers[sleeper].poll(1) == .empty);
        try testing.expect(receivers[sleeper].arm(.bell));
    }
    const bells = try commitOne(&sender);
    // Whoever dies can ring nobody.
    for ([_]usize{ 0, 1 }) |mortal| _ = receivers[mortal].close(.cannot_ring);
    const woken: usize = bells.receiver_index;
    const other = 5 - woken;
    try testing.expectEqual(1, receivers[woken].poll(1).window);
    // The message is there, and another claim.
    const passed_on = receivers[woken].window().bells;
    try testing.expect(passed_on.receiver and passed_on.receiver_index == other);
    for (0..2) |_| {
        try testing.expectEqual(1, receivers[other].poll(1).window);
        _ = receivers[other].release(1, 1);
    }
    try testing.expect(receivers[other].poll(1) == .empty);
    try testing.expectEqual(2, segment.control().redelivered.raw);
}

test "a trickle of messages goes to the receivers that sleep in turn" {
    for ([_]Kind{ .spmc, .mpmc }) |kind| {
        const segment = try Segment.create(try segment_module.Geometry.init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = 4,
            .receivers_max = 64,
        }), 0);
        defer segment.destroy();
        var sender = try Sender.open(segment, false);
        var receivers: [3]Receiver = undefined;
        for (&receivers) |*receiver| {
            receiver.* = try Receiver.open(segment, false);
            try testing.expect(receiver.arm(.bell));
        }
        for (0..200) |message| {
            const woken = (try commitOne(&sender)).receiver_index;
            try testing.expectEqual(message % 3, woken);
            const receiver = &receivers[woken];
            try testing.expectEqual(1, receiver.poll(1).window);
            _ = receiver.release(1, 1);
            try testing.expect(receiver.poll(1) == .empty);
            try testing.expect(receiver.arm(.bell));
        }
    }
}

fn commitOne(sender: *Sender) !channel_module.Bells {
    try testing.expect(sender.producer.reserve(1) == .slots);
    return sender.commit(1, 1).bells;
}

test "a receiver that is faster than the second half of an announcement can sleep afterwards" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .mpmc,
        .slot_bytes = 8,
        .capacity = 4,
        .senders_max = 2,
        .receivers_max = 2,
    }), just_below_wrap);
    defer segment.destroy();
    _ = try Sender.open(segment, false);
    var sender = try Sender.open(segment, false);
    var receiver = try Receiver.open(segment, false);
    const ready = &segment.control().ready;
    try testing.expect(sender.producer.reserve(1) == .slots);
    try testing.expect(sender.producer.commit(1, 1));
    try testing.expect(sender.producer.wasIdle());
    _ = ready.words[0].fetchOr(1 << 1, .seq_cst);
    // Between the two halves of add() the message is received and the ring goes idle again.
    try testing.expectEqual(1, receiver.poll(0).window);
    _ = receiver.release(1, 1);
    try testing.expect(receiver.poll(0) == .empty);
    _ = ready.summary.fetchOr(1, .seq_cst);
    try testing.expect(receiver.poll(0) == .empty);
    try testing.expect(receiver.arm(.bell));
}

test "a newcomer has a line of its own, also if another has left a claim and a third offers one" {
    for ([_]Kind{ .spmc, .mpmc }) |kind| {
        const segment = try Segment.create(try segment_module.Geometry.init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = 4,
            .receivers_max = 2,
        }), just_below_wrap);
        defer segment.destroy();
        var sender = try Sender.open(segment, false);
        var offering = try Receiver.open(segment, false);
        var leaving = try Receiver.open(segment, false);
        for (0..4) |value| try put(segment, &sender, value);
        try testing.expectEqual(2, offering.poll(2).window);
        try testing.expectEqual(1, leaving.poll(1).window);
        _ = offering.offer();
        _ = leaving.close(.can_ring);
        var newcomer = try Receiver.open(segment, false);
        try testing.expect(newcomer.index() != offering.index());
        // It has what was left, and may have what is offered as any other.
        try testing.expectEqual(1, newcomer.poll(1).window);
        _ = newcomer.release(1, 1);
        try testing.expectEqual(2, newcomer.poll(1).window);
        try testing.expectEqual(1, offering.poll(1).window);
        for ([_]struct { *Receiver, u32 }{ .{ &newcomer, 2 }, .{ &offering, 1 } }) |each| _ = each[0].release(each[1], each[1]);
        try testing.expectEqual(.{ .empty, 4 }, .{ newcomer.pollSurely(1), segment.consumerLine(0).messages.raw });
    }
}

/// A shared channel of one sender, and two receivers of which the first has offered what it claimed.
const Offered = struct {
    segment: Segment,
    ledger: *Ledger,
    sender: Sender,
    owner: Receiver,
    taker: Receiver,

    fn open(kind: Kind) !Offered {
        const geometry = try segment_module.Geometry.init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = 4,
            .receivers_max = 2,
            .is_shared = true,
        });
        var segment = try Segment.create(geometry, just_below_wrap);
        const ledger = try testing.allocator.create(Ledger);
        ledger.* = .{ .keeper = try .create(geometry) };
        segment.ledger = ledger;
        var self: Offered = .{
            .segment = segment,
            .ledger = ledger,
            .sender = try Sender.open(segment, false),
            .owner = try Receiver.open(segment, false),
            .taker = try Receiver.open(segment, false),
        };
        for (0..3) |value| try put(segment, &self.sender, value);
        try testing.expectEqual(2, self.owner.poll(2).window);
        _ = self.owner.offer();
        return self;
    }

    fn setState(self: *Offered, state: u32) void {
        self.segment.receiverLine(self.owner.index()).state.store(state, .seq_cst);
    }

    fn close(self: *Offered) void {
        self.segment.destroy();
        if (self.ledger.keeper) |keeper| keeper.destroy();
        testing.allocator.destroy(self.ledger);
    }
};

test "while another is about to have what a receiver offered, that one claims nothing, and sleeps" {
    for ([_]Kind{ .spmc, .mpmc }) |kind| {
        var scene = try Offered.open(kind);
        defer scene.close();
        const line = scene.segment.receiverLine(scene.owner.index());
        const gate = line.gate.raw;
        scene.setState(LineState.takenBy(scene.taker.index()));
        // Its gate and the end of its claim are the taker's to read.
        try testing.expectEqual(.empty, scene.owner.pollSurely(1));
        try testing.expectEqual(gate, line.gate.raw);
        try testing.expectEqual(.empty, scene.owner.look());
        try testing.expect(scene.owner.arm(.bell));
        scene.owner.disarm();
        // The taker is killed before it has made the claim its own.
        Receiver.leaveBehind(scene.segment, scene.taker.index(), .{ .how = .died, .is_awaited = false, .has_tickets = false });
        try testing.expectEqual(2, scene.owner.poll(0).window);
        _ = scene.owner.release(2, 2);
        try testing.expectEqual(1, scene.owner.pollSurely(0).window);
        _ = scene.owner.release(1, 1);
        try testing.expectEqual(scene.segment.producerLine(0).tail.raw, scene.segment.consumerLine(0).head.raw);
    }
}

test "what a peer writes as the state of a line keeps its receiver from nothing, or ends the channel" {
    for ([_]u32{ 0, 2, 3, 5, 77, 255, LineState.takenBy(2), std.math.maxInt(u32) }) |state| {
        var scene = try Offered.open(.mpmc);
        defer scene.close();
        scene.setState(state);
        switch (scene.owner.pollSurely(1)) {
            .window => |slots| _ = scene.owner.release(slots, slots),
            .corrupt => {},
            else => return error.Stuck,
        }
        try testing.expect(scene.owner.pollSurely(1) != .empty or scene.owner.arm(.bell));
    }
}

test "a line whose receiver is gone can be another's, whatever a peer has written as its state" {
    for ([_]u32{ 0, 1, 2, 3, 4, 5, 77, LineState.takenBy(0), LineState.takenBy(2), std.math.maxInt(u32) }) |state| {
        var scene = try Offered.open(.mpmc);
        defer scene.close();
        scene.setState(state);
        const died: channel_module.LeftBehind = .{ .how = .died, .is_awaited = false, .has_tickets = false };
        Receiver.leaveBehind(scene.segment, scene.owner.index(), died);
        var newcomer = try Receiver.open(scene.segment, false);
        try testing.expectEqual(scene.owner.index(), newcomer.index());
        const left = newcomer.poll(0).window;
        _ = newcomer.release(left, left);
    }
}

test "a receiver that blocks finds a message whose wake-up another got that is busy" {
    for ([_]Kind{ .spmc, .mpmc }) |kind| {
        const segment = try Segment.create(try segment_module.Geometry.init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = 4,
            .receivers_max = 2,
        }), just_below_wrap);
        defer segment.destroy();
        var sender = try Sender.open(segment, false);
        var busy = try Receiver.open(segment, false);
        var idle = try Receiver.open(segment, false);
        const Idle = struct {
            fn run(receiver: *Receiver) void {
                while (receiver.poll(1) != .window) _ = receiver.wait(.block, 60 * std.time.ns_per_s);
            }
        };
        const thread = try std.Thread.spawn(.{}, Idle.run, .{&idle});
        while (segment.control().sleepers.load(.seq_cst) == 0) os.yieldThread();
        // The next wake-up is the busy one's.
        segment.control().wake_cursor.store(busy.index(), .seq_cst);
        try testing.expect(busy.arm(.bell));
        const start = os.now();
        try put(segment, &sender, 0);
        thread.join();
        try testing.expect(os.now() - start < 30 * std.time.ns_per_s);
    }
}
