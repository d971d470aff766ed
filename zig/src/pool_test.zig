//! The pool through the endpoint table: what closing, dying and freeing a channel return.

const std = @import("std");
const endpoint = @import("endpoint.zig");
const pool_module = @import("pool.zig");
const testing = std.testing;

const Slab = pool_module.Slab;

fn statistics(slot: *endpoint.Slot) pool_module.Statistics {
    return slot.channel.slabs.?.statistics();
}

fn createChannel() !u32 {
    return endpoint.createChannel(.{
        .shape = .{ .slot_bytes = 16, .capacity = 8, .senders_max = 2 },
        .has_records = false,
        .initial_sequence = (1 << 31) - 2,
    });
}

/// Stages a slab for the next slot of the sender, and commits it if told.
fn send(pool: *endpoint.Slot, sender: *endpoint.Slot, commits: bool) !Slab {
    const slabs = &pool.channel.slabs.?;
    const slab = slabs.alloc(pool.handle.raw).?;
    const producer = &sender.body.sender.producer;
    try testing.expect(producer.reserve(1) == .slots);
    try slabs.stage(slab, pool.handle.raw, .{
        .channel = sender.channel.id,
        .ring = producer.ring,
        .sequence = producer.sequenceAt(producer.position()),
    });
    if (commits) try testing.expect(sender.body.sender.commit(1, 1) == .bells);
    return .{ .index = slab.index, .generation = slab.generation +% 1 };
}

test "a thread that dies returns what it owned and what it had not committed, and no more" {
    const pool = try endpoint.createPool(64, 8, false);
    const handle = try createChannel();
    try endpoint.attachPool(handle, pool.handle.raw);
    const receiver = try endpoint.openDirectly(handle, .receiver);
    const Dying = struct {
        fn run(pool_ticket: anytype, sender_ticket: @TypeOf(pool_ticket), sent: *Slab) void {
            const own = endpoint.openEndpoint(pool_ticket, .pool) catch unreachable;
            const sender = endpoint.openEndpoint(sender_ticket, .sender) catch unreachable;
            _ = own.channel.slabs.?.alloc(own.handle.raw).?;
            _ = own.channel.slabs.?.alloc(own.handle.raw).?;
            sent.* = send(own, sender, true) catch unreachable;
            _ = send(own, sender, false) catch unreachable;
        }
    };
    var sent: Slab = undefined;
    const thread = try std.Thread.spawn(.{}, Dying.run, .{
        try endpoint.issueTicket(pool.handle.raw, .pool),
        try endpoint.issueTicket(handle, .sender),
        &sent,
    });
    thread.join();
    try testing.expectEqual(pool_module.Statistics{ .free = 7, .in_flight = 1 }, statistics(pool));
    try pool.channel.slabs.?.claim(sent, pool.handle.raw);
    try testing.expectEqual(1, statistics(pool).owned);
    _ = try endpoint.closeEndpoint(receiver.handle.raw);
    _ = try endpoint.disposeChannel(handle);
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}

test "what is in flight returns with the receiver, or with the channel" {
    const pool = try endpoint.createPool(64, 8, false);
    const handle = try createChannel();
    try endpoint.attachPool(handle, pool.handle.raw);
    try testing.expectError(error.InvalidArgument, endpoint.attachPool(handle, pool.handle.raw));
    const sender = try endpoint.openDirectly(handle, .sender);
    const receiver = try endpoint.openDirectly(handle, .receiver);
    const attached = try endpoint.openAttached(receiver.handle.raw);
    try testing.expectEqual(pool.channel, attached.channel);
    for (0..3) |_| _ = try send(pool, sender, true);
    const staged = try send(pool, sender, false);
    _ = try endpoint.closeEndpoint(receiver.handle.raw);
    // The staged one is the sender's to take back.
    try testing.expectEqual(pool_module.Statistics{ .free = 7, .in_flight = 1 }, statistics(pool));
    try pool.channel.slabs.?.claim(staged, pool.handle.raw);
    _ = try endpoint.closeEndpoint(sender.handle.raw);
    _ = try endpoint.disposeChannel(handle);
    _ = try endpoint.closeEndpoint(attached.handle.raw);

    const second = try createChannel();
    try endpoint.attachPool(second, pool.handle.raw);
    const other = try endpoint.openDirectly(second, .sender);
    _ = try send(pool, other, true);
    _ = try send(pool, other, false);
    _ = try endpoint.disposeChannel(second);
    // There will never be a receiver; what was not committed is the sender's to take back.
    try testing.expectEqual(pool_module.Statistics{ .free = 6, .owned = 1, .in_flight = 1 }, statistics(pool));
    _ = try endpoint.closeEndpoint(other.handle.raw);
    try testing.expectEqual(pool_module.Statistics{ .free = 7, .owned = 1 }, statistics(pool));
    // The same where receivers share: one was open, and tickets for more go with the channel.
    const third = try createShared(3);
    try endpoint.attachPool(third, pool.handle.raw);
    const last = try endpoint.openDirectly(third, .sender);
    _ = try endpoint.issueTicket(third, .receiver);
    _ = try endpoint.closeEndpoint((try endpoint.openDirectly(third, .receiver)).handle.raw);
    _ = try send(pool, last, true);
    try testing.expectEqual(1, statistics(pool).in_flight);
    _ = try endpoint.disposeChannel(third);
    try testing.expectEqual(pool_module.Statistics{ .free = 7, .owned = 1 }, statistics(pool));
    _ = try endpoint.closeEndpoint(last.handle.raw);
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}

test "who sleeps for want of a slab is told when an endpoint, or a receiver, leaves some behind" {
    const pool = try endpoint.createPool(64, 2, false);
    const slabs = &pool.channel.slabs.?;
    const second = try endpoint.openEndpoint(try endpoint.issueTicket(pool.handle.raw, .pool), .pool);
    _ = slabs.alloc(second.handle.raw).?;
    slabs.control.sleepers.futex.store(1, .seq_cst);
    const before = endpoint.orphans(pool);
    _ = try endpoint.closeEndpoint(second.handle.raw);
    try testing.expectEqual(0, slabs.control.sleepers.futex.load(.seq_cst));
    try testing.expect(endpoint.orphans(pool) != before);

    const handle = try createChannel();
    try endpoint.attachPool(handle, pool.handle.raw);
    const sender = try endpoint.openDirectly(handle, .sender);
    const receiver = try endpoint.openDirectly(handle, .receiver);
    _ = try send(pool, sender, true);
    slabs.control.sleepers.futex.store(1, .seq_cst);
    const between = endpoint.orphans(pool);
    _ = try endpoint.closeEndpoint(receiver.handle.raw);
    try testing.expectEqual(0, slabs.control.sleepers.futex.load(.seq_cst));
    try testing.expect(endpoint.orphans(pool) != between);
    _ = try endpoint.closeEndpoint(sender.handle.raw);
    _ = try endpoint.disposeChannel(handle);
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}

test "a pool is no channel, and a channel no pool" {
    const pool = try endpoint.createPool(64, 1, false);
    const handle = try createChannel();
    try testing.expectError(error.InvalidArgument, endpoint.issueTicket(pool.handle.raw, .sender));
    try testing.expectError(error.InvalidArgument, endpoint.issueTicket(handle, .pool));
    try testing.expectError(error.InvalidArgument, endpoint.openDirectly(pool.handle.raw, .receiver));
    try testing.expectError(error.InvalidArgument, endpoint.openDirectly(handle, .pool));
    try testing.expectError(error.InvalidHandle, endpoint.attachPool(handle, handle));
    try testing.expectError(error.InvalidHandle, endpoint.disposeChannel(pool.handle.raw));
    try testing.expectError(error.InvalidArgument, endpoint.openAttached(handle));
    _ = try endpoint.closeEndpoint(pool.handle.raw);
    _ = try endpoint.disposeChannel(handle);
}

test "unused tickets are taken back when nobody has the pool any more, whoever issued them" {
    const alive = endpoint.channelCount();
    const pool = try endpoint.createPool(64, 1, false);
    const early = try endpoint.issueTicket(pool.handle.raw, .pool);
    const second = try endpoint.openEndpoint(try endpoint.issueTicket(pool.handle.raw, .pool), .pool);
    _ = try endpoint.closeEndpoint(pool.handle.raw);
    const third = try endpoint.openEndpoint(early, .pool);
    const late = try endpoint.issueTicket(second.handle.raw, .pool);
    _ = try endpoint.closeEndpoint(third.handle.raw);
    try testing.expectEqual(alive + 1, endpoint.channelCount());
    _ = try endpoint.closeEndpoint(second.handle.raw);
    try testing.expectEqual(alive, endpoint.channelCount());
    try testing.expectError(error.TicketFreed, endpoint.openEndpoint(late, .pool));
}

test "what is in flight returns when its channel's memory goes, though nobody disposed of it" {
    const pool = try endpoint.createPool(64, 2, false);
    const Creator = struct {
        fn run(attached: *std.atomic.Value(bool), pool_ticket: anytype, tickets: *[2]@TypeOf(pool_ticket)) void {
            const own = endpoint.openEndpoint(pool_ticket, .pool) catch unreachable;
            const handle = createChannel() catch unreachable;
            endpoint.attachPool(handle, own.handle.raw) catch unreachable;
            tickets.* = .{
                endpoint.issueTicket(handle, .sender) catch unreachable,
                endpoint.issueTicket(handle, .receiver) catch unreachable,
            };
            attached.store(true, .release);
        }
    };
    const ticket = try endpoint.issueTicket(pool.handle.raw, .pool);
    var attached: std.atomic.Value(bool) = .init(false);
    var tickets: [2]@TypeOf(ticket) = undefined;
    const thread = try std.Thread.spawn(.{}, Creator.run, .{ &attached, ticket, &tickets });
    thread.join();
    try testing.expect(attached.load(.acquire));
    const sender = try endpoint.openEndpoint(tickets[0], .sender);
    _ = try send(pool, sender, true);
    _ = try endpoint.revokeTicket(sender.handle.raw, tickets[1]);
    try testing.expectEqual(1, statistics(pool).in_flight);
    _ = try endpoint.closeEndpoint(sender.handle.raw);
    try testing.expectEqual(2, statistics(pool).free);
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}

fn createShared(receivers_max: u32) !u32 {
    return endpoint.createChannel(.{
        .shape = .{ .kind = .mpmc, .slot_bytes = 16, .capacity = 8, .senders_max = 2, .receivers_max = receivers_max },
        .has_records = false,
        .initial_sequence = (1 << 31) - 2,
    });
}

fn claimOne(receiver: *endpoint.Slot) !void {
    try testing.expectEqual(1, receiver.body.receiver.poll(1).window);
}

test "a slab given back behind an older claim returns with its receiver, once" {
    const pool = try endpoint.createPool(64, 4, false);
    const slabs = &pool.channel.slabs.?;
    const handle = try createShared(3);
    try endpoint.attachPool(handle, pool.handle.raw);
    const sender = try endpoint.openDirectly(handle, .sender);
    var sent: [4]Slab = undefined;
    for (&sent) |*slab| slab.* = try send(pool, sender, true);
    const older = try endpoint.openDirectly(handle, .receiver);
    const younger = try endpoint.openDirectly(handle, .receiver);
    const third = try endpoint.openDirectly(handle, .receiver);
    try claimOne(older);
    try claimOne(younger);
    // It gives the record back and goes before it frees the slab; the head stands at the older claim.
    _ = younger.body.receiver.release(1, 1);
    try claimOne(third);
    _ = try endpoint.closeEndpoint(younger.handle.raw);
    try testing.expectEqual(pool_module.Statistics{ .free = 1, .in_flight = 3 }, statistics(pool));
    try testing.expectError(error.SlabStale, slabs.drop(sent[1]));
    // The older one goes with its claim in hand: another takes it over, and its slab with it.
    _ = try endpoint.closeEndpoint(older.handle.raw);
    try testing.expectEqual(3, statistics(pool).in_flight);
    _ = third.body.receiver.release(1, 1);
    _ = try slabs.drop(sent[2]);
    for ([_]usize{ 0, 3 }) |index| {
        try claimOne(third);
        _ = third.body.receiver.release(1, 1);
        _ = try slabs.drop(sent[index]);
    }
    try testing.expectEqual(.empty, third.body.receiver.poll(1));
    _ = try endpoint.closeEndpoint(third.handle.raw);
    _ = try endpoint.closeEndpoint(sender.handle.raw);
    _ = try endpoint.disposeChannel(handle);
    try testing.expectEqual(4, statistics(pool).free);
    // Each is free once.
    for (0..4) |_| try testing.expect(slabs.alloc(pool.handle.raw) != null);
    try testing.expect(slabs.alloc(pool.handle.raw) == null);
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}

test "who waits for a slab is told when its channel closes" {
    const pool = try endpoint.createPool(64, 1, false);
    const slabs = &pool.channel.slabs.?;
    _ = slabs.alloc(pool.handle.raw).?;
    for (0..3) |way| {
        const handle = try createChannel();
        try endpoint.attachPool(handle, pool.handle.raw);
        const receiver = try endpoint.openDirectly(handle, .receiver);
        const Waiter = struct {
            fn run(waiting: *const pool_module.Pool, told: *bool) void {
                told.* = waiting.wait(.block, 60 * std.time.ns_per_s);
            }
        };
        var told = false;
        const thread = try std.Thread.spawn(.{}, Waiter.run, .{ slabs, &told });
        while (slabs.control.sleepers.futex.load(.seq_cst) == 0) std.Thread.yield() catch {};
        if (way == 0) _ = try endpoint.closeChannel(handle, "");
        if (way == 1) _ = try endpoint.disposeChannel(handle);
        _ = try endpoint.closeEndpoint(receiver.handle.raw);
        if (way != 1) _ = try endpoint.disposeChannel(handle);
        thread.join();
        try testing.expect(told);
        slabs.control.sleepers.futex.store(0, .seq_cst);
    }
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}

test "garbage in the memory of a pool is a refusal, or a slab too few, and never a crash" {
    const pool = try endpoint.createPool(64, 130, true);
    const slabs = &pool.channel.slabs.?;
    const geometry = pool.channel.segment.geometry.slabs;
    const first: [*]std.atomic.Value(u32) = @ptrCast(@alignCast(pool.channel.segment.base + geometry.control_offset));
    const words = (geometry.offset - geometry.control_offset) / @sizeOf(u32);
    var random_state: std.Random.DefaultPrng = .init(1);
    const random = random_state.random();
    var held: std.ArrayList(Slab) = .empty;
    defer held.deinit(testing.allocator);
    for (0..100_000) |_| {
        const word = &first[random.uintLessThan(usize, words)];
        switch (random.uintLessThan(u8, 4)) {
            0 => word.store(random.int(u32), .seq_cst),
            1 => word.store(word.raw ^ @as(u32, 1) << random.int(u5), .seq_cst),
            2 => word.store(0, .seq_cst),
            else => word.store(std.math.maxInt(u32), .seq_cst),
        }
        switch (random.uintLessThan(u8, 8)) {
            0, 1 => if (slabs.alloc(7)) |slab| {
                try testing.expect(slab.index < 130);
                try held.append(testing.allocator, slab);
            },
            2 => if (held.pop()) |slab| {
                _ = slabs.free(slab, 7) catch {};
            },
            3 => if (held.pop()) |slab| {
                slabs.stage(slab, 7, .{ .channel = 1, .ring = 0, .sequence = 0 }) catch {};
                slabs.claim(.{ .index = slab.index, .generation = slab.generation +% 1 }, 8) catch {};
            },
            4 => _ = slabs.arm(),
            5 => _ = slabs.wait(.yield, 1000),
            6 => {
                _ = slabs.returnOwned(random.int(u32));
                _ = slabs.returnInFlight(1, pool_module.Committed{ .segment = pool.channel.segment });
            },
            else => {
                _ = slabs.statistics();
                if (random.uintLessThan(u8, 16) == 0) slabs.mend();
            },
        }
    }
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}
