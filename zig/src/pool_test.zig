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
    const pool = try endpoint.createPool(64, 8);
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
    const pool = try endpoint.createPool(64, 8);
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
    _ = try endpoint.disposeChannel(second);
    try testing.expectEqual(1, statistics(pool).in_flight);
    _ = try endpoint.closeEndpoint(other.handle.raw);
    try testing.expectEqual(pool_module.Statistics{ .free = 7, .owned = 1 }, statistics(pool));
    _ = try endpoint.closeEndpoint(pool.handle.raw);
}

test "a pool is no channel, and a channel no pool" {
    const pool = try endpoint.createPool(64, 1);
    const handle = try createChannel();
    try testing.expectError(error.InvalidArgument, endpoint.issueTicket(pool.handle.raw, .sender));
    try testing.expectError(error.InvalidArgument, endpoint.issueTicket(handle, .pool));
    try testing.expectError(error.InvalidArgument, endpoint.openDirectly(pool.handle.raw, .receiver));
    try testing.expectError(error.InvalidArgument, endpoint.openDirectly(handle, .pool));
    try testing.expectError(error.InvalidHandle, endpoint.attachPool(handle, handle));
    try testing.expectError(error.InvalidHandle, endpoint.disposeChannel(pool.handle.raw));
    try testing.expectError(error.InvalidArgument, endpoint.openAttached(handle));
    // The creator's close takes unused tickets back.
    const ticket = try endpoint.issueTicket(pool.handle.raw, .pool);
    _ = try endpoint.closeEndpoint(pool.handle.raw);
    try testing.expectError(error.TicketFreed, endpoint.openEndpoint(ticket, .pool));
    _ = try endpoint.disposeChannel(handle);
}
