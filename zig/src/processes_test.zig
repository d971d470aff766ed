//! Tests of what connects processes, with both sides in one: each kind of nonsense a peer can talk, in
//! either direction, and what is left behind.

const std = @import("std");
const endpoint = @import("endpoint.zig");
const os = @import("os/linux.zig");
const protocol = @import("protocol.zig");
const segment_module = @import("segment.zig");
const share_module = @import("share.zig");
const sockets = @import("os/sockets.zig");
const testing = std.testing;

const both: share_module.Options = .{ .roles = .{ .senders = true, .receivers = true } };

fn createChannel(kind: segment_module.Kind) !u32 {
    return endpoint.createChannel(.{
        .shape = .{
            .kind = kind,
            .slot_bytes = 4,
            .capacity = 8,
            .senders_max = if (kind.hasManySenders()) 2 else 1,
            .receivers_max = if (kind.hasManyReceivers()) 2 else 1,
            .is_shared = true,
        },
        .has_records = false,
        .initial_sequence = 0,
    });
}

/// Waits until `condition(context)`; the attendant is another thread.
fn until(context: anytype, condition: fn (@TypeOf(context)) anyerror!bool) !void {
    const deadline = os.now() + 30 * std.time.ns_per_s;
    while (!try condition(context)) {
        if (os.now() > deadline) return error.TookTooLong;
        os.sleep(std.time.ns_per_ms);
    }
}

fn isShareOver(share: u32) anyerror!bool {
    return !try endpoint.isShareOpen(share);
}

fn hasNoConnections(share: u32) anyerror!bool {
    return try endpoint.shareConnections(share) == 0;
}

fn hasOneConnection(share: u32) anyerror!bool {
    return try endpoint.shareConnections(share) == 1;
}

/// The next message, or error.PeerDied.
fn hear(socket: i32, buffer: []u8) !sockets.Received {
    const deadline = os.now() + 30 * std.time.ns_per_s;
    while (os.now() < deadline) {
        if (try sockets.receive(socket, buffer)) |received| return received;
        os.sleep(std.time.ns_per_ms);
    }
    return error.TookTooLong;
}

const hello: protocol.Hello = .{ .role = 0 };

test "a keeper sends away who says anything but hello, and nothing is left of him" {
    const channel = try createChannel(.mpsc);
    defer _ = endpoint.disposeChannel(channel) catch unreachable;
    const sender = try endpoint.openDirectly(channel, .sender);
    defer _ = endpoint.closeEndpoint(sender.handle.raw) catch unreachable;
    var other_version = hello;
    other_version.head.version += 1;
    var other_role = hello;
    other_role.role = 7;
    const long: [4096]u8 = @splat(0x6d);
    const nonsense = [_][]const u8{
        "\x00",
        "GET / HTTP/1.1\r\n\r\n",
        &long,
        std.mem.asBytes(&hello)[0..12],
        std.mem.asBytes(&other_version),
        std.mem.asBytes(&other_role),
        std.mem.asBytes(&protocol.Bye{}),
        std.mem.asBytes(&protocol.Welcome{}),
    };
    for (nonsense) |words| {
        const pair = try sockets.createPair();
        defer os.closeDescriptor(pair[1]);
        const share = (try endpoint.shareOver(channel, pair[0], both)).handle.raw;
        // Descriptors that nobody asked for are not taken.
        try sockets.send(pair[1], words, &.{ pair[1], pair[1] });
        var buffer: [256]u8 = undefined;
        const answer = try hearWelcome(pair[1], &buffer);
        try testing.expectEqual(@intFromEnum(protocol.Refusal.not_understood), answer.refusal);
        try testing.expectError(error.PeerDied, hear(pair[1], &buffer));
        try until(share, isShareOver);
        _ = try endpoint.closeEndpoint(share);
    }
    try testing.expectEqual(1, sender.channel.segment.control().sender_references.load(.seq_cst));
    try testing.expectEqual(0, sender.channel.segment.control().receiver_tickets.load(.seq_cst));
}

fn hearWelcome(socket: i32, buffer: []u8) !protocol.Welcome {
    var received = try hear(socket, buffer);
    received.drop();
    return protocol.read(protocol.Welcome, buffer[0..received.bytes]);
}

test "a peer that talks nonsense after its welcome has died, and what it had is another's" {
    const channel = try createChannel(.mpsc);
    defer _ = endpoint.disposeChannel(channel) catch unreachable;
    const receiver = try endpoint.openDirectly(channel, .receiver);
    defer _ = endpoint.closeEndpoint(receiver.handle.raw) catch unreachable;
    const sender = try endpoint.openDirectly(channel, .sender);
    defer _ = endpoint.closeEndpoint(sender.handle.raw) catch unreachable;
    const declined: protocol.Bye = .{ .has_declined = 1 };
    const last_words = [_][]const u8{
        "\x00",
        std.mem.asBytes(&hello),
        std.mem.asBytes(&protocol.Bye{}),
        std.mem.asBytes(&protocol.Bye{ .has_declined = 2 }),
        std.mem.asBytes(&declined),
        "",
    };
    for (last_words) |words| {
        const pair = try sockets.createPair();
        const share = (try endpoint.shareOver(channel, pair[0], both)).handle.raw;
        try sockets.send(pair[1], std.mem.asBytes(&hello), &.{});
        var buffer: [256]u8 = undefined;
        const welcome = try hearWelcome(pair[1], &buffer);
        try testing.expectEqual(0, welcome.refusal);
        // Of two rings one is the sender's of this process: it is the same every time.
        try testing.expectEqual(1, welcome.index);
        if (words.len != 0) try sockets.send(pair[1], words, &.{}) else os.closeDescriptor(pair[1]);
        try until(share, hasNoConnections);
        if (words.len != 0) os.closeDescriptor(pair[1]);
        try testing.expect(receiver.body.receiver.poll(0) == .empty); // gives the ring back
        _ = try endpoint.closeEndpoint(share);
    }
    try testing.expectEqual(1, receiver.channel.segment.control().rings_claimed.load(.seq_cst));
}

test "a keeper that talks nonsense, or sends memory that is none, is refused by who connects" {
    const made = try createChannel(.mpsc);
    defer _ = endpoint.disposeChannel(made) catch unreachable;
    const memory = (try endpoint.find(made)).channel.segment.fd.?;
    const event = os.createEvent().?;
    defer os.closeDescriptor(event);
    const good: protocol.Welcome = .{};
    var other_version = good;
    other_version.head.version += 1;
    var other_role = good;
    other_role.role = 1;
    var more = good;
    more.descriptor_bytes = 1;
    var records = good;
    records.has_records = 2;
    var refused = good;
    refused.refusal = 99;
    var taken = good;
    taken.refusal = @intFromEnum(protocol.Refusal.receiver_taken);
    const Case = struct { words: []const u8, descriptors: []const i32, says: anyerror };
    const cases = [_]Case{
        .{ .words = "\x00", .descriptors = &.{}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&hello), .descriptors = &.{memory}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&good), .descriptors = &.{}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&good)[0..20], .descriptors = &.{memory}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&more), .descriptors = &.{memory}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&other_role), .descriptors = &.{memory}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&records), .descriptors = &.{memory}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&refused), .descriptors = &.{memory}, .says = error.NotUnderstood },
        .{ .words = std.mem.asBytes(&other_version), .descriptors = &.{memory}, .says = error.OtherVersion },
        .{ .words = std.mem.asBytes(&taken), .descriptors = &.{}, .says = error.ReceiverTaken },
        .{ .words = std.mem.asBytes(&good), .descriptors = &.{event}, .says = error.NotASegment },
    };
    for (cases) |case| {
        const pair = try sockets.createPair();
        defer os.closeDescriptor(pair[1]);
        const link = (try endpoint.beginLink(.sender, .{ .socket = pair[0] }, &.{})).handle.raw;
        try sockets.send(pair[1], case.words, case.descriptors);
        try testing.expectError(case.says, connect(link));
        _ = try endpoint.closeEndpoint(link);
    }
}

/// Waits for the keeper's answer and opens the endpoint.
fn connect(link: u32) !*endpoint.Slot {
    if (!try endpoint.awaitLink(link, 30 * std.time.ns_per_s)) return error.TookTooLong;
    return endpoint.finishLink(link);
}

test "a place that the memory does not have is refused" {
    const made = try createChannel(.mpmc);
    defer _ = endpoint.disposeChannel(made) catch unreachable;
    const memory = (try endpoint.find(made)).channel.segment.fd.?;
    for ([_]u32{ 2, 4096, std.math.maxInt(u32) }) |place| {
        for ([_]@import("ticket.zig").Role{ .sender, .receiver }) |role| {
            const pair = try sockets.createPair();
            defer os.closeDescriptor(pair[1]);
            const link = (try endpoint.beginLink(role, .{ .socket = pair[0] }, &.{})).handle.raw;
            const welcome: protocol.Welcome = .{ .role = @intFromEnum(role), .index = place };
            try sockets.send(pair[1], std.mem.asBytes(&welcome), &.{memory});
            try testing.expectError(error.WrongLayout, connect(link));
            _ = try endpoint.closeEndpoint(link);
        }
    }
}

test "an endpoint that is connected sends and receives, and its end is told" {
    const channel = try createChannel(.mpmc);
    defer _ = endpoint.disposeChannel(channel) catch unreachable;
    var address: [64]u8 = undefined;
    const name = try std.fmt.bufPrint(&address, "@millrace-zig-test-{d}", .{os.now()});
    const share = (try endpoint.shareAt(channel, name, both)).handle.raw;
    const place = try sockets.Address.init(name);
    const sender = try connect((try endpoint.beginLink(.sender, .{ .address = place }, &.{})).handle.raw);
    const receiver = try connect((try endpoint.beginLink(.receiver, .{ .address = place }, &.{})).handle.raw);
    const native = @import("native.zig");
    try native.send(&sender.body.sender, "four", 0, native.NoBells{});
    var buffer: [4]u8 = undefined;
    var bytes: u32 = 0;
    try native.receive(&receiver.body.receiver, receiver.channel.segment, false, &buffer, &bytes, 0, native.NoBells{});
    try testing.expectEqualStrings("four", &buffer);
    _ = try endpoint.closeEndpoint(receiver.handle.raw);
    try until(share, hasOneConnection);
    _ = try endpoint.closeEndpoint(sender.handle.raw);
    try until(share, hasNoConnections);
}

test "a pidfd tells of a process's end, and is refused of a connection that has ended" {
    const pair = try sockets.createPair();
    const own = (try sockets.openPidfd(pair[0], std.os.linux.getpid())).?;
    os.closeDescriptor(own);
    try testing.expectEqual(null, try sockets.openPidfd(pair[0], 0));
    os.closeDescriptor(pair[1]);
    try testing.expectError(error.PeerDied, sockets.openPidfd(pair[0], std.os.linux.getpid()));
    os.closeDescriptor(pair[0]);
}
