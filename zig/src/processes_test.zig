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
    const event = try os.createEvent();
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

/// A process that connects to a channel: both of its sides are this one.
const Peer = struct {
    share: u32,
    slot: *endpoint.Slot,

    fn connectTo(channel: u32, role: @import("ticket.zig").Role) !Peer {
        const pair = try sockets.createPair();
        const share = (try endpoint.shareOver(channel, pair[0], .{ .roles = .{
            .senders = role == .sender,
            .receivers = role == .receiver,
        } })).handle.raw;
        const link = (try endpoint.beginLink(role, .{ .socket = pair[1] }, &.{})).handle.raw;
        return .{ .share = share, .slot = try connect(link) };
    }

    fn close(self: Peer) !void {
        _ = try endpoint.closeEndpoint(self.slot.handle.raw);
        try until(self.share, hasNoConnections);
        _ = try endpoint.closeEndpoint(self.share);
    }
};

/// Connects, and dies.
fn connectAndDie(channel: u32, role: @import("ticket.zig").Role) !void {
    const pair = try sockets.createPair();
    const share = (try endpoint.shareOver(channel, pair[0], both)).handle.raw;
    const words: protocol.Hello = .{ .role = @intFromEnum(role) };
    try sockets.send(pair[1], std.mem.asBytes(&words), &.{});
    var buffer: [256]u8 = undefined;
    try testing.expectEqual(0, (try hearWelcome(pair[1], &buffer)).refusal);
    os.closeDescriptor(pair[1]);
    try until(share, hasNoConnections);
    _ = try endpoint.closeEndpoint(share);
}

const kinds = [_]segment_module.Kind{ .mpsc, .spsc, .spmc, .mpmc };
const channel_module = @import("channel.zig");
const ledger = @import("ledger.zig");

/// A channel, and its control block as a peer has it.
const Keeping = struct {
    handle: u32,
    channel: *endpoint.Channel,
    control: *segment_module.Control,

    fn open(kind: segment_module.Kind) !Keeping {
        const handle = try createChannel(kind);
        const channel = (try endpoint.find(handle)).channel;
        return .{ .handle = handle, .channel = channel, .control = channel.segment.control() };
    }

    fn close(self: Keeping) void {
        _ = endpoint.disposeChannel(self.handle) catch unreachable;
    }

    fn closeState(self: Keeping) !segment_module.CloseState {
        return @enumFromInt(endpoint.closeState(try endpoint.find(self.handle)));
    }
};

test "a channel ends with its last receiver, whatever its memory says of receivers" {
    for (kinds) |kind| {
        const keeping = try Keeping.open(kind);
        defer keeping.close();
        const receiver = try Peer.connectTo(keeping.handle, .receiver);
        const other: ?Peer = if (kind.hasManyReceivers()) try Peer.connectTo(keeping.handle, .receiver) else null;
        for ([_]*std.atomic.Value(u32){
            &keeping.control.receivers_open,
            &keeping.control.receiver_tickets,
        }) |word| word.store(1000, .seq_cst);
        if (other) |last| {
            keeping.control.receivers_open.store(1, .seq_cst);
            keeping.control.receiver_tickets.store(0, .seq_cst);
            try last.close();
            try testing.expectEqual(.open, try keeping.closeState());
            keeping.control.receivers_open.store(1000, .seq_cst);
            keeping.control.receiver_tickets.store(1000, .seq_cst);
        }
        keeping.control.receiver_state.store(@intFromEnum(segment_module.ReceiverState.none), .seq_cst);
        try receiver.close();
        try testing.expectEqual(.receiver_gone, try keeping.closeState());
        try testing.expect(channel_module.isDrained(keeping.channel.segment));
    }
}

test "a channel does not end for what its memory says of receivers" {
    for (kinds) |kind| {
        const keeping = try Keeping.open(kind);
        defer keeping.close();
        const ticket = try endpoint.issueTicket(keeping.handle, .receiver);
        keeping.control.receiver_state.store(@intFromEnum(segment_module.ReceiverState.gone), .seq_cst);
        keeping.control.receiver_tickets.store(0, .seq_cst);
        keeping.control.receivers_open.store(1000, .seq_cst);
        try testing.expect(!channel_module.isDrained(keeping.channel.segment));
        if (kind.hasManyReceivers()) {
            const passing = try Peer.connectTo(keeping.handle, .receiver);
            keeping.control.receiver_tickets.store(0, .seq_cst);
            try passing.close();
            try testing.expectEqual(.open, try keeping.closeState());
            keeping.control.receivers_open.store(1000, .seq_cst);
        }
        const receiver = try endpoint.openEndpoint(ticket, .receiver);
        try testing.expectEqual(.open, try keeping.closeState());
        _ = try endpoint.closeEndpoint(receiver.handle.raw);
        try testing.expectEqual(.receiver_gone, try keeping.closeState());
    }
}

test "a receiver that closes politely is not awaited; one that dies is, for as long as somebody could come" {
    for (kinds) |kind| for ([_]bool{ false, true }) |has_died| {
        const keeping = try Keeping.open(kind);
        const sender = try endpoint.openDirectly(keeping.handle, .sender);
        defer _ = endpoint.closeEndpoint(sender.handle.raw) catch unreachable;
        try endpoint.awaitReceivers(keeping.handle);
        if (!has_died) {
            const receiver = try Peer.connectTo(keeping.handle, .receiver);
            try receiver.close();
            try testing.expectEqual(.receiver_gone, try keeping.closeState());
            keeping.close();
            continue;
        }
        for (0..2) |_| {
            try connectAndDie(keeping.handle, .receiver);
            try testing.expectEqual(.open, try keeping.closeState());
        }
        keeping.close();
        try testing.expectEqual(.gone, ledger.receiverState(sender.channel.segment));
    };
}

test "what somebody has is not handed out again, whatever its memory says" {
    const keeping = try Keeping.open(.mpmc);
    defer keeping.close();
    const segment = keeping.channel.segment;
    const sender = try Peer.connectTo(keeping.handle, .sender);
    const receiver = try Peer.connectTo(keeping.handle, .receiver);
    segment.producerLine(sender.slot.index()).tenancy.store(0, .seq_cst);
    segment.receiverLine(receiver.slot.index()).state.store(0, .seq_cst);
    keeping.control.receivers_open.store(0, .seq_cst);
    const other_sender = try Peer.connectTo(keeping.handle, .sender);
    const other_receiver = try Peer.connectTo(keeping.handle, .receiver);
    try testing.expect(sender.slot.index() != other_sender.slot.index());
    try testing.expect(receiver.slot.index() != other_receiver.slot.index());
    for ([_]u32{ 0, 1 }) |index| {
        segment.producerLine(index).tenancy.store(0, .seq_cst);
        segment.receiverLine(index).state.store(0, .seq_cst);
    }
    keeping.control.receivers_open.store(0, .seq_cst);
    try testing.expectError(error.TooManySenders, Peer.connectTo(keeping.handle, .sender));
    try testing.expectError(error.TooManyReceivers, Peer.connectTo(keeping.handle, .receiver));
    // Who leaves makes room.
    try other_receiver.close();
    const third = try Peer.connectTo(keeping.handle, .receiver);
    for ([_]Peer{ third, receiver, sender, other_sender }) |peer| try peer.close();
}

test "close() reaches a sender whose ring its memory says is none, or is free" {
    for (kinds) |kind| for ([_]bool{ false, true }) |has_garbled_tenancy| {
        const keeping = try Keeping.open(kind);
        defer keeping.close();
        const sender = try Peer.connectTo(keeping.handle, .sender);
        const producer = &sender.slot.body.sender.producer;
        if (has_garbled_tenancy) producer.line.tenancy.store(0, .seq_cst) else keeping.control.rings_used.store(0, .seq_cst);
        try testing.expect(!producer.isClosed());
        _ = try endpoint.closeChannel(keeping.handle, "");
        try testing.expect(producer.isClosed());
        try sender.close();
    };
}

test "a gate in the line of a receiver that is not there holds senders back no longer than its writer is there" {
    const keeping = try Keeping.open(.mpmc);
    defer keeping.close();
    const native = @import("native.zig");
    const segment = keeping.channel.segment;
    const sender = try endpoint.openDirectly(keeping.handle, .sender);
    const receiver = try endpoint.openDirectly(keeping.handle, .receiver);
    const ring: u64 = sender.index();
    segment.receiverLine(1).gate.store((ring + 1) << 32, .seq_cst);
    keeping.control.receivers_used.store(2, .seq_cst);
    for (0..8) |_| try native.send(&sender.body.sender, "full", 0, native.NoBells{});
    var buffer: [4]u8 = undefined;
    var bytes: u32 = 0;
    for (0..8) |_| try native.receive(&receiver.body.receiver, segment, false, &buffer, &bytes, 0, native.NoBells{});
    try testing.expectError(error.WouldBlock, native.send(&sender.body.sender, "more", 0, native.NoBells{}));
    try connectAndDie(keeping.handle, .sender);
    try native.send(&sender.body.sender, "more", 0, native.NoBells{});
    for ([_]*endpoint.Slot{ sender, receiver }) |slot| _ = try endpoint.closeEndpoint(slot.handle.raw);
}

test "who has seen a channel closed does not take it for open again" {
    for (kinds) |kind| {
        const keeping = try Keeping.open(kind);
        defer keeping.close();
        const sender = try Peer.connectTo(keeping.handle, .sender);
        const receiver = try Peer.connectTo(keeping.handle, .receiver);
        _ = try endpoint.closeChannel(keeping.handle, "");
        try testing.expectEqual(1, endpoint.closeState(sender.slot));
        const word = &keeping.control.close_state;
        // Both what the keeper looks at and what a peer does: it is closed, and says so again.
        word.store(0, .seq_cst);
        try testing.expectEqual(.closed, try keeping.closeState());
        try testing.expectEqual(1, word.load(.seq_cst));
        word.store(0, .seq_cst);
        try testing.expectEqual(1, endpoint.closeState(sender.slot));
        try testing.expectEqual(1, word.load(.seq_cst));
        word.store(0, .seq_cst);
        try testing.expectError(error.ChannelClosed, endpoint.issueTicket(keeping.handle, .sender));
        // Neither does a seal that is taken off again keep anybody.
        word.store(0, .seq_cst);
        const line = sender.slot.body.sender.producer.line;
        line.tail.store(0, .seq_cst);
        channel_module.lookAround(keeping.channel.segment);
        try testing.expectEqual(1, line.tail.load(.seq_cst));
        try sender.close();
        var polls: u32 = 0;
        while (receiver.slot.body.receiver.poll(0) != .ended) : (polls += 1) try testing.expect(polls < 10);
        try receiver.close();
    }
}
