//! Typed channels that other processes can join, for Zig programs: what is sent is a `T`, and whoever
//! connects is refused before it has anything if the memory holds messages of another size.
//!
//! They are the endpoints of endpoint.zig, so a channel, sender or receiver belongs to the thread that
//! opened it, and is closed if that ends. Another thread of the process opens its own with a ticket.

const std = @import("std");
const channel_module = @import("channel.zig");
const endpoint = @import("endpoint.zig");
const link_module = @import("link.zig");
const os = @import("os/linux.zig");
const placement = @import("placement.zig");
const segment_module = @import("segment.zig");
const share_module = @import("share.zig");
const sockets = @import("os/sockets.zig");
const statistics_module = @import("statistics.zig");
const typed = @import("typed.zig");
const AnyReceiver = @import("receiver.zig").Receiver;
const AnySender = @import("sender.zig").Sender;
const CloseState = segment_module.CloseState;
const Kind = segment_module.Kind;
const Role = @import("ticket.zig").Role;
const Ticket = @import("ticket.zig").Ticket;

pub const Options = struct {
    /// Messages the ring of one sender holds: a power of two, at most 2^30.
    capacity: u32 = 1024,
    /// The most senders open at a time; 1 where the kind has one.
    senders_max: u32 = 64,
    /// The most receivers open at a time; 1 where the kind has one.
    receivers_max: u32 = 16,
    /// Where what receivers write shall lie.
    place: placement.Request = .{},
    /// When the last receiver dies, what it has not received is for the next one.
    waits_for_receiver: bool = false,
};

/// Where processes meet: a path or `@` and a name; or a connected socket, which is then the library's.
pub const Place = union(enum) { address: []const u8, socket: i32 };

pub const ShareOptions = struct {
    senders: bool = true,
    receivers: bool = true,
    /// Connections until it closes by itself; 0: as many as come.
    limit: u32 = 0,
    /// Users that may connect beside this process's own.
    users: []const u32 = &.{},
};

pub const ConnectOptions = struct {
    timeout_ns: u64 = 5 * std.time.ns_per_s,
    /// Users that may be the keeper, beside this process's own and the superuser.
    users: []const u32 = &.{},
    /// Where the memory that the endpoint writes shall lie.
    place: placement.Request = .{},
};

pub const ConnectError = endpoint.Error || error{TimedOut};

/// A channel that this process makes and keeps: it must outlive the traffic.
pub fn Shared(comptime kind: Kind, comptime T: type) type {
    comptime assertAnyBytes(T, T);
    return struct {
        handle: u32,

        const Self = @This();
        pub const Message = T;

        pub fn init(options: Options) endpoint.Error!Self {
            const self: Self = .{ .handle = try endpoint.createChannel(.{
                .shape = .{
                    .kind = kind,
                    .slot_bytes = @sizeOf(T),
                    .capacity = options.capacity,
                    .senders_max = if (kind.hasManySenders()) options.senders_max else 1,
                    .receivers_max = if (kind.hasManyReceivers()) options.receivers_max else 1,
                    .is_shared = true,
                },
                .has_records = false,
                .initial_sequence = 0,
                .place = options.place,
            }) };
            if (options.waits_for_receiver) try endpoint.awaitReceivers(self.handle);
            return self;
        }

        /// Closes the channel for everyone, and lets nobody in any more. Its memory stays until the last
        /// endpoint is closed.
        pub fn deinit(self: *Self) void {
            closeHandle(self.handle);
            self.* = undefined;
        }

        /// Lets other processes in, until the share is closed or the channel is.
        pub fn share(self: Self, place: Place, options: ShareOptions) endpoint.Error!Share {
            const described: share_module.Options = .{
                .roles = .{ .senders = options.senders, .receivers = options.receivers },
                .limit = options.limit,
                .users = options.users,
            };
            const slot = switch (place) {
                .address => |address| try endpoint.shareAt(self.handle, address, described),
                .socket => |socket| try endpoint.shareOver(self.handle, socket, described),
            };
            return .{ .handle = slot.handle.raw };
        }

        /// Opens a sender. The channel ends with the last sender, ticket for one, and share that lets
        /// senders in.
        pub fn sender(self: Self) endpoint.Error!Sender(T) {
            return self.senderAt(.{});
        }

        /// The same, and says on which NUMA node its ring shall lie.
        pub fn senderAt(self: Self, place: placement.Request) endpoint.Error!Sender(T) {
            return .{ .handle = (try endpoint.openDirectlyAt(self.handle, .sender, place)).handle.raw };
        }

        /// Opens the receiver, or one more of a kind that has many.
        pub fn receiver(self: Self) endpoint.Error!Receiver(T) {
            return self.receiverAt(.{});
        }

        /// The same, and says on which NUMA node what receivers write shall lie.
        pub fn receiverAt(self: Self, place: placement.Request) endpoint.Error!Receiver(T) {
            return .{ .handle = (try endpoint.openDirectlyAt(self.handle, .receiver, place)).handle.raw };
        }

        /// A one-shot right to a sender, for another thread: Sender(T).open().
        pub fn senderTicket(self: Self) endpoint.Error!Ticket {
            return endpoint.issueTicket(self.handle, .sender);
        }

        /// A one-shot right to a receiver, for another thread: Receiver(T).open().
        pub fn receiverTicket(self: Self) endpoint.Error!Ticket {
            return endpoint.issueTicket(self.handle, .receiver);
        }

        /// Nothing more is accepted; what was sent can still be received.
        pub fn close(self: Self) void {
            self.closeWithReason("");
        }

        /// The same as a failure: everyone is told why. 2048 bytes at most, UTF-8 for JavaScript to read.
        pub fn closeWithReason(self: Self, reason: []const u8) void {
            const bells = endpoint.closeChannel(self.handle, reason) catch |err| fail(err);
            find(self.handle).channel.ring(bells, 0);
        }

        pub fn closeState(self: Self) CloseState {
            return closeStateOf(self.handle);
        }

        /// Whether it is closed and everything has been received: the keeper may go.
        pub fn isDrained(self: Self) bool {
            return channel_module.isDrained(find(self.handle).channel.segment);
        }

        pub fn statistics(self: Self) statistics_module.Channel {
            return statistics_module.ofChannel(find(self.handle).channel.segment);
        }
    };
}

/// A channel's door for other processes.
pub const Share = struct {
    handle: u32,

    /// Endpoints that came through it and are open.
    pub fn connections(self: Share) u32 {
        return endpoint.shareConnections(self.handle) catch |err| fail(err);
    }

    /// False: it has come to its limit, or its channel is gone.
    pub fn isOpen(self: Share) bool {
        return endpoint.isShareOpen(self.handle) catch false; // the channel takes it along
    }

    /// Lets nobody in any more. Who is connected stays.
    pub fn close(self: *Share) void {
        endpoint.closeAndRing(self.handle) catch {}; // as above
        self.* = undefined;
    }
};

/// Opens a sender of a channel in another process.
pub fn connectSender(comptime T: type, place: Place, options: ConnectOptions) ConnectError!Sender(T) {
    return .{ .handle = try connect(@sizeOf(T), .sender, place, options) };
}

/// Opens a receiver of a channel in another process.
pub fn connectReceiver(comptime T: type, place: Place, options: ConnectOptions) ConnectError!Receiver(T) {
    return .{ .handle = try connect(@sizeOf(T), .receiver, place, options) };
}

fn connect(slot_bytes: u32, role: Role, place: Place, options: ConnectOptions) ConnectError!u32 {
    const to: link_module.Place = switch (place) {
        .address => |address| .{ .address = try .init(address) },
        .socket => |socket| .{ .socket = socket },
    };
    const slot = try endpoint.beginLink(role, to, options.users);
    const handle = slot.handle.raw;
    errdefer closeHandle(handle);
    slot.body.link.slot_bytes = slot_bytes; // only this thread looks
    if (!try endpoint.awaitLink(handle, options.timeout_ns)) return error.TimedOut;
    _ = try endpoint.finishLinkAt(handle, options.place);
    return handle;
}

/// A thread's right to send, on a channel of this process or another.
pub fn Sender(comptime T: type) type {
    comptime assertAnyBytes(T, T);
    return struct {
        handle: u32,

        const Self = @This();
        const verbs = typed.Sending(Self, T);
        pub const send = verbs.send;
        pub const sendTimeout = verbs.sendTimeout;
        pub const trySend = verbs.trySend;
        pub const sendAll = verbs.sendAll;
        pub const reserve = verbs.reserve;
        pub const commit = verbs.commit;

        /// By a ticket, on this thread.
        pub fn open(ticket: Ticket, place: placement.Request) endpoint.Error!Self {
            return .{ .handle = try openTicket(@sizeOf(T), ticket, .sender, place) };
        }

        /// Why nothing can be sent any more: `peer_died` if the keeper, or the last receiver, has.
        pub fn closeState(self: Self) CloseState {
            return closeStateOf(self.handle);
        }

        /// What was sent is delivered.
        pub fn close(self: *Self) void {
            closeHandle(self.handle);
            self.* = undefined;
        }

        /// The same of a sender that has failed: it closes the channel, and everyone is told why.
        pub fn closeWithReason(self: *Self, reason: []const u8) void {
            endpoint.closeWithReasonAndRing(self.handle, reason) catch |err| fail(err);
            self.* = undefined;
        }

        pub fn anySender(self: *Self) *AnySender {
            const slot = endpoint.findSender(self.handle) catch |err| fail(err);
            return &slot.body.sender;
        }

        pub fn bells(self: *const Self) Bells {
            return .{ .channel = find(self.handle).channel };
        }
    };
}

/// A thread's right to receive, from a channel of this process or another.
pub fn Receiver(comptime T: type) type {
    comptime assertAnyBytes(T, T);
    return struct {
        handle: u32,

        const Self = @This();
        const verbs = typed.Receiving(Self, T);
        pub const Result = verbs.Result;
        pub const receive = verbs.receive;
        pub const tryReceive = verbs.tryReceive;
        pub const receiveTimeout = verbs.receiveTimeout;
        pub const readable = verbs.readable;
        pub const release = verbs.release;

        /// By a ticket, on this thread.
        pub fn open(ticket: Ticket, place: placement.Request) endpoint.Error!Self {
            return .{ .handle = try openTicket(@sizeOf(T), ticket, .receiver, place) };
        }

        /// Why the channel has ended: `peer_died` if the keeper has, `corrupt` if somebody wrote nonsense.
        pub fn closeState(self: Self) CloseState {
            return closeStateOf(self.handle);
        }

        /// The last receiver to close closes the channel.
        pub fn close(self: *Self) void {
            closeHandle(self.handle);
            self.* = undefined;
        }

        /// Why the channel was closed, if that was said; a copy, of which another process may have written
        /// anything.
        pub fn reasonIn(self: Self, buffer: []u8) []u8 {
            return buffer[0..endpoint.readReason(find(self.handle), buffer)];
        }

        pub fn anyReceiver(self: *Self) *AnyReceiver {
            const slot = endpoint.findReceiver(self.handle) catch |err| fail(err);
            return &slot.body.receiver;
        }

        pub fn memory(self: *const Self) segment_module.Segment {
            return find(self.handle).channel.segment;
        }

        pub fn bells(self: *const Self) Bells {
            return .{ .channel = find(self.handle).channel };
        }
    };
}

/// Of event loops of this process, if it has any.
pub const Bells = struct {
    channel: *endpoint.Channel,

    pub fn ring(self: Bells, bells: channel_module.Bells, ring_index: u32) void {
        self.channel.ring(bells, ring_index);
    }
};

fn openTicket(slot_bytes: u32, ticket: Ticket, role: Role, place: placement.Request) endpoint.Error!u32 {
    const slot = try endpoint.openEndpointAt(ticket, role, place);
    const channel = slot.channel;
    if (!channel.has_records and channel.segment.geometry.slot_bytes == slot_bytes) return slot.handle.raw;
    closeHandle(slot.handle.raw);
    return error.WrongLayout;
}

fn find(handle: u32) *endpoint.Slot {
    return endpoint.find(handle) catch |err| fail(err);
}

fn closeStateOf(handle: u32) CloseState {
    return @enumFromInt(endpoint.closeState(find(handle)));
}

fn closeHandle(handle: u32) void {
    endpoint.closeAndRing(handle) catch |err| fail(err);
}

/// A handle that was closed, or is another thread's: the program is wrong.
fn fail(err: endpoint.Error) noreturn {
    std.debug.panic("cannot use an endpoint: {t}", .{err});
}

/// Whatever bytes another process writes are some `T`.
fn assertAnyBytes(comptime T: type, comptime Whole: type) void {
    typed.assertPlain(T, Whole);
    const because = "Cannot share " ++ @typeName(T) ++ " of " ++ @typeName(Whole) ++ " with other processes: ";
    switch (@typeInfo(T)) {
        .bool => @compileError(because ++ "they can write a byte that is neither true nor false; use u8"),
        .@"enum" => |info| if (info.is_exhaustive) {
            @compileError(because ++ "they can write a value it does not have; make it non-exhaustive");
        },
        .array => |array| assertAnyBytes(array.child, Whole),
        .@"struct" => |info| inline for (info.fields) |field| {
            // In a packed struct a bool is a bit, and integers have any width.
            if (info.layout != .@"packed") {
                assertAnyBytes(field.type, Whole);
            } else if (@typeInfo(field.type) == .@"enum" or @typeInfo(field.type) == .@"struct") {
                assertAnyBits(field.type, because);
            }
        },
        else => {},
    }
}

fn assertAnyBits(comptime T: type, comptime because: []const u8) void {
    switch (@typeInfo(T)) {
        .@"enum" => |info| if (info.is_exhaustive) {
            @compileError(because ++ "they can write a value that " ++ @typeName(T) ++ " does not have; make it non-exhaustive");
        },
        .@"struct" => |info| inline for (info.fields) |field| assertAnyBits(field.type, because),
        else => {},
    }
}

// ---- tests ----

const testing = std.testing;
const Sample = extern struct { producer: u32, sequence: u32, value: f64 };
const Level = packed struct(u16) { kind: enum(u3) { a, b, _ }, is_loud: bool, level: u12 };

var last_name: u32 = 0;

fn freshName(buffer: []u8) []const u8 {
    last_name += 1;
    return std.fmt.bufPrint(buffer, "@millrace-typed-{d}-{d}", .{ std.os.linux.getpid(), last_name }) catch unreachable;
}

fn until(context: anytype, condition: fn (@TypeOf(context)) bool) !void {
    const deadline = os.now() + 30 * std.time.ns_per_s;
    while (!condition(context)) {
        if (os.now() > deadline) return error.TookTooLong;
        os.sleep(std.time.ns_per_ms);
    }
}

fn hasNoConnections(share: Share) bool {
    return share.connections() == 0;
}

test "typed channels are joined over a socket: of every kind, everything once, each sender's in order" {
    inline for ([_]Kind{ .mpsc, .spsc, .spmc, .mpmc }) |kind| {
        const senders = comptime if (kind.hasManySenders()) 3 else 1;
        const each = 3000;
        const Side = struct {
            fn send(name: []const u8, producer: u32, outcome: *anyerror!void) void {
                outcome.* = trySending(name, producer);
            }

            fn trySending(name: []const u8, producer: u32) !void {
                var sender = try connectSender(Sample, .{ .address = name }, .{ .timeout_ns = 30 * std.time.ns_per_s });
                defer sender.close();
                for (0..each) |sequence| try sender.send(.{
                    .producer = producer,
                    .sequence = @intCast(sequence),
                    .value = @floatFromInt(sequence),
                });
            }
        };
        var channel: Shared(kind, Sample) = try .init(.{ .capacity = 16, .senders_max = senders });
        defer channel.deinit();
        var buffer: [64]u8 = undefined;
        const name = freshName(&buffer);
        var doors = [_]Share{
            try channel.share(.{ .address = name }, .{ .receivers = false, .limit = senders }),
            undefined,
        };
        var other: [64]u8 = undefined;
        const back = freshName(&other);
        doors[1] = try channel.share(.{ .address = back }, .{ .senders = false });
        var receiver = try connectReceiver(Sample, .{ .address = back }, .{});
        var threads: [senders]std.Thread = undefined;
        var outcomes: [senders]anyerror!void = @splat(error.Unset);
        for (&threads, &outcomes, 0..) |*thread, *outcome, producer| {
            thread.* = try std.Thread.spawn(.{}, Side.send, .{ name, @as(u32, @intCast(producer)), outcome });
        }
        var next: [senders]u32 = @splat(0);
        var count: u32 = 0;
        while (receiver.receive()) |sample| : (count += 1) {
            try testing.expectEqual(next[sample.producer], sample.sequence);
            next[sample.producer] += 1;
        }
        for (threads) |thread| thread.join();
        for (outcomes) |outcome| try outcome;
        try testing.expectEqual(senders * each, count);
        try testing.expectEqual(.senders_gone, receiver.closeState());
        try testing.expect(channel.isDrained());
        try testing.expect(!doors[0].isOpen());
        receiver.close();
        try until(doors[1], hasNoConnections);
        for (&doors) |*door| door.close();
    }
}

test "a connected sender that fails ends the channel with its reason, after what it sent" {
    inline for ([_]Kind{ .mpsc, .spsc, .spmc, .mpmc }) |kind| {
        var channel: Shared(kind, Sample) = try .init(.{ .capacity = 16 });
        defer channel.deinit();
        var name: [64]u8 = undefined;
        const address = freshName(&name);
        var door = try channel.share(.{ .address = address }, .{ .receivers = false, .limit = 1 });
        defer door.close();
        var receiver = try channel.receiver();
        defer receiver.close();
        var sender = try connectSender(Sample, .{ .address = address }, .{});
        try sender.send(.{ .producer = 0, .sequence = 7, .value = 0 });
        sender.closeWithReason("dry");
        try testing.expectEqual(7, receiver.receive().?.sequence);
        try testing.expectEqual(null, receiver.receive());
        var reason: [8]u8 = undefined;
        try testing.expectEqualStrings("dry", receiver.reasonIn(&reason));
        try testing.expectEqual(.closed, receiver.closeState());
        channel.closeWithReason("too late");
        try testing.expectEqualStrings("dry", receiver.reasonIn(&reason));
    }
}

test "who connects for messages of another size is refused, and the place is another's" {
    var channel: Shared(.spsc, Sample) = try .init(.{});
    defer channel.deinit();
    var buffer: [64]u8 = undefined;
    const name = freshName(&buffer);
    var share = try channel.share(.{ .address = name }, .{});
    defer share.close();
    try testing.expectError(error.WrongLayout, connectReceiver(u64, .{ .address = name }, .{}));
    try until(share, hasNoConnections);
    try testing.expectEqual(.open, channel.closeState());
    var receiver = try connectReceiver(Sample, .{ .address = name }, .{});
    defer receiver.close();
    const ticket = try channel.senderTicket();
    try testing.expectError(error.WrongLayout, Sender(u32).open(ticket, .{}));
    try testing.expectError(error.NoSuchPath, connectSender(Sample, .{ .address = "/nowhere/at/all" }, .{}));
    var nobody: [64]u8 = undefined;
    try testing.expectError(error.ConnectionRefused, connectSender(Sample, .{ .address = freshName(&nobody) }, .{}));
}

test "an inherited socket, in place, with limits of time, and the end of the receiver" {
    var channel: Shared(.mpsc, Level) = try .init(.{ .capacity = 4, .senders_max = 2 });
    defer channel.deinit();
    const pair = try sockets.createPair();
    var share = try channel.share(.{ .socket = pair[0] }, .{ .receivers = false });
    defer share.close();
    var receiver = try channel.receiver();
    try testing.expectError(error.ReceiverTaken, channel.receiver());
    var sender = try connectSender(Level, .{ .socket = pair[1] }, .{ .place = .{ .mode = .prefer } });
    defer sender.close();
    const room = try sender.reserve(4);
    try testing.expectEqual(4, room.len);
    for (room, 0..) |*level, index| level.* = .{ .kind = .b, .is_loud = true, .level = @intCast(index) };
    try sender.commit(4);
    try testing.expect(!try sender.trySend(room[0]));
    try testing.expectError(error.TimedOut, sender.sendTimeout(room[0], 1000));
    const window = receiver.readable(0, 0).?;
    try testing.expectEqual(3, window[3].level);
    receiver.release(4);
    try testing.expect(receiver.receiveTimeout(1000) == .empty);
    receiver.close();
    try testing.expectError(error.ChannelClosed, sender.send(.{ .kind = .a, .is_loud = false, .level = 0 }));
    try testing.expectEqual(.receiver_gone, sender.closeState());
}

test "a ticket opens on another thread, and the keeper closes for all" {
    var channel: Shared(.mpmc, u64) = try .init(.{ .receivers_max = 2 });
    defer channel.deinit();
    const Other = struct {
        fn receive(ticket: Ticket, sum: *u64) void {
            var receiver = Receiver(u64).open(ticket, .{}) catch unreachable;
            defer receiver.close();
            while (receiver.receive()) |value| sum.* += value;
        }
    };
    var sum: u64 = 0;
    const thread = try std.Thread.spawn(.{}, Other.receive, .{ try channel.receiverTicket(), &sum });
    var sender = try channel.sender();
    try sender.sendAll(&.{ 1, 2, 3 });
    channel.close();
    try testing.expectEqual(.closed, sender.closeState());
    try testing.expectError(error.ChannelClosed, sender.send(4));
    thread.join();
    try testing.expectEqual(6, sum);
    try testing.expect(channel.isDrained());
    try testing.expectEqual(3, channel.statistics().messages_received);
    sender.close();
}

/// A keeper whose end can be brought about in this process: it says hello, hands the memory out, dies.
const Mortal = struct {
    socket: i32,
    memory: i32,

    fn welcome(self: Mortal, outcome: *anyerror!void) void {
        outcome.* = self.tryToWelcome();
    }

    fn tryToWelcome(self: Mortal) !void {
        const protocol = @import("protocol.zig");
        var hello: [64]u8 = undefined;
        const deadline = os.now() + 30 * std.time.ns_per_s;
        while (true) {
            if (try sockets.receive(self.socket, &hello)) |received| {
                var heard = received;
                heard.drop();
                break;
            }
            if (os.now() > deadline) return error.TookTooLong;
            os.sleep(std.time.ns_per_ms);
        }
        const answer: protocol.Welcome = .{ .role = @intFromEnum(Role.receiver), .index = 0 };
        try sockets.send(self.socket, std.mem.asBytes(&answer), &.{self.memory});
    }
};

test "when the keeper dies what was sent is received, and then the end says why" {
    var channel: Shared(.mpsc, u32) = try .init(.{});
    defer channel.deinit();
    var sender = try channel.sender();
    defer sender.close();
    try sender.sendAll(&.{ 7, 8 });
    const pair = try sockets.createPair();
    const keeper: Mortal = .{ .socket = pair[0], .memory = find(channel.handle).channel.segment.fd.? };
    sockets.askForCredentials(pair[0]);
    var outcome: anyerror!void = error.Unset;
    const thread = try std.Thread.spawn(.{}, Mortal.welcome, .{ keeper, &outcome });
    var receiver = try connectReceiver(u32, .{ .socket = pair[1] }, .{ .timeout_ns = 30 * std.time.ns_per_s });
    defer receiver.close();
    thread.join();
    try outcome;
    try testing.expectEqual(7, receiver.receive().?);
    os.closeDescriptor(pair[0]);
    try testing.expectEqual(8, receiver.receive().?);
    try testing.expectEqual(null, receiver.receive());
    try testing.expectEqual(.peer_died, receiver.closeState());
    try testing.expectError(error.ChannelClosed, sender.send(9));
}
