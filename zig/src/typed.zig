//! Channels of one process for Zig programs, typed: what is sent is a `T`, checked at compile time.
//!
//! They are the channels of every other file without handles, tickets and bells: a sender or receiver
//! is a value, opened by whoever has the channel and moved to the thread that uses it. A channel must
//! not move while it has any, and must outlive them.

const std = @import("std");
const channel_module = @import("channel.zig");
const native = @import("native.zig");
const os = @import("os/linux.zig");
const placement = @import("placement.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const statistics_module = @import("statistics.zig");
const AnyReceiver = @import("receiver.zig").Receiver;
const AnySender = @import("sender.zig").Sender;
const Kind = segment_module.Kind;
const Segment = segment_module.Segment;

/// Many senders, one receiver.
pub fn Mpsc(comptime T: type) type {
    return Channel(.mpsc, T);
}

/// One sender, one receiver.
pub fn Spsc(comptime T: type) type {
    return Channel(.spsc, T);
}

/// One sender, many receivers; each message goes to one of them.
pub fn Spmc(comptime T: type) type {
    return Channel(.spmc, T);
}

/// Many senders, many receivers; each message goes to one of them.
pub fn Mpmc(comptime T: type) type {
    return Channel(.mpmc, T);
}

pub const Options = struct {
    /// Messages the ring of one sender holds: a power of two, at most 2^30.
    capacity: u32 = 1024,
    /// The most senders open at a time; 1 where the kind has one.
    senders_max: u32 = 64,
    /// The most receivers open at a time; 1 where the kind has one.
    receivers_max: u32 = 16,
    /// Over a memfd, which a child that inherits it can map. To let other processes in: shared.zig.
    is_shared: bool = false,
};

pub const Statistics = statistics_module.Channel;

fn Channel(comptime kind: Kind, comptime T: type) type {
    comptime assertPlain(T, T);
    return struct {
        segment: Segment,
        /// Opening and closing take it; sending and receiving do not.
        mutex: os.Mutex = .{},
        endpoints: u32 = 0,

        const Self = @This();
        pub const Message = T;

        pub const InitError = Segment.CreateError || error{InvalidGeometry};

        pub fn init(options: Options) InitError!Self {
            const geometry = try segment_module.Geometry.init(.{
                .kind = kind,
                .slot_bytes = @sizeOf(T),
                .capacity = options.capacity,
                .senders_max = if (kind.hasManySenders()) options.senders_max else 1,
                .receivers_max = if (kind.hasManyReceivers()) options.receivers_max else 1,
                .is_shared = options.is_shared,
            });
            return .{ .segment = try .create(geometry, 0) };
        }

        /// Frees the memory. Every sender and receiver has been closed.
        pub fn deinit(self: *Self) void {
            std.debug.assert(self.endpoints == 0);
            self.segment.destroy();
            self.* = undefined;
        }

        /// Opens a sender. The channel ends when it has been closed, or when the last sender has: so
        /// open those of all threads before the first of them can be done.
        pub fn sender(self: *Self) channel_module.OpenError!Sender {
            return self.senderAt(.{}) catch |err| switch (err) {
                error.ChannelClosed, error.TooManySenders, error.ReceiverTaken, error.TooManyReceivers => |known| known,
                else => unreachable, // nothing was asked for
            };
        }

        /// The same, and says on which NUMA node its ring shall lie; by default the one this thread
        /// runs on, which need not be the one that will send.
        pub fn senderAt(self: *Self, place: placement.Request) (channel_module.OpenError || placement.Error)!Sender {
            self.mutex.lock();
            defer self.mutex.unlock();
            const ring = try AnySender.claimRing(self.segment);
            placement.placeRing(self.segment, ring, place) catch |err| {
                try AnySender.unclaimRing(self.segment, ring);
                return err;
            };
            const opened = try AnySender.settle(self.segment, false, ring);
            self.endpoints += 1;
            _ = self.segment.control().sender_references.fetchAdd(1, .seq_cst);
            return .{ .channel = self, .any = opened };
        }

        /// Opens the receiver, or one more of a kind that has many.
        pub fn receiver(self: *Self) channel_module.OpenError!Receiver {
            return self.receiverAt(.{}) catch |err| switch (err) {
                error.ChannelClosed, error.TooManySenders, error.ReceiverTaken, error.TooManyReceivers => |known| known,
                else => unreachable, // nothing was asked for
            };
        }

        /// The same, and says on which NUMA node what receivers write shall lie.
        pub fn receiverAt(self: *Self, place: placement.Request) (channel_module.OpenError || placement.Error)!Receiver {
            self.mutex.lock();
            defer self.mutex.unlock();
            if (channel_module.isReceiverTaken(self.segment)) return error.ReceiverTaken;
            try placement.placeShared(self.segment, place);
            const opened: AnyReceiver = try .open(self.segment, false);
            self.endpoints += 1;
            return .{ .channel = self, .any = opened };
        }

        /// Nothing more is accepted; what was sent can still be received. Any thread may close.
        pub fn close(self: *Self) void {
            self.mutex.lock();
            defer self.mutex.unlock();
            _ = channel_module.close(self.segment, .closed, .can_ring);
        }

        pub fn statistics(self: *const Self) Statistics {
            return statistics_module.ofChannel(self.segment);
        }

        /// One thread's right to send. It may be moved to another thread, not shared.
        pub const Sender = struct {
            channel: *Self,
            any: AnySender,

            const verbs = Sending(Sender, T);
            pub const send = verbs.send;
            pub const sendTimeout = verbs.sendTimeout;
            pub const trySend = verbs.trySend;
            pub const sendAll = verbs.sendAll;
            pub const reserve = verbs.reserve;
            pub const commit = verbs.commit;

            pub fn anySender(self: *Sender) *AnySender {
                return &self.any;
            }

            pub fn bells(_: *const Sender) native.NoBells {
                return .{};
            }

            pub fn close(self: *Sender) void {
                const channel = self.channel;
                channel.mutex.lock();
                defer channel.mutex.unlock();
                _ = self.any.close(.can_ring);
                channel.endpoints -= 1;
                if (channel.segment.control().sender_references.fetchSub(1, .seq_cst) == 1) {
                    _ = channel_module.close(channel.segment, .senders_gone, .can_ring);
                }
                self.* = undefined;
            }
        };

        /// One thread's right to receive. It may be moved to another thread, not shared.
        pub const Receiver = struct {
            channel: *Self,
            any: AnyReceiver,

            const verbs = Receiving(Receiver, T);
            pub const Result = verbs.Result;
            pub const receive = verbs.receive;
            pub const tryReceive = verbs.tryReceive;
            pub const receiveTimeout = verbs.receiveTimeout;
            pub const readable = verbs.readable;
            pub const release = verbs.release;

            pub fn anyReceiver(self: *Receiver) *AnyReceiver {
                return &self.any;
            }

            pub fn memory(self: *const Receiver) Segment {
                return self.channel.segment;
            }

            pub fn bells(_: *const Receiver) native.NoBells {
                return .{};
            }

            /// The last receiver to close closes the channel.
            pub fn close(self: *Receiver) void {
                const channel = self.channel;
                channel.mutex.lock();
                defer channel.mutex.unlock();
                _ = self.any.close(.can_ring);
                channel.endpoints -= 1;
                self.* = undefined;
            }
        };
    };
}

/// What a sender of any typed channel does. It has anySender() and bells().
pub fn Sending(comptime Self: type, comptime T: type) type {
    return struct {
        /// Waits for room.
        pub fn send(self: *Self, message: T) error{ChannelClosed}!void {
            self.sendTimeout(message, native.forever) catch |err| switch (err) {
                error.TimedOut => unreachable,
                error.ChannelClosed => return error.ChannelClosed,
            };
        }

        /// Waits for room, so many nanoseconds at most.
        pub fn sendTimeout(self: *Self, message: T, timeout_ns: u64) error{ ChannelClosed, TimedOut }!void {
            const granted = grant(self, 1, timeout_ns) catch |err| return switch (err) {
                error.ChannelClosed, error.Corrupt => error.ChannelClosed,
                else => error.TimedOut,
            };
            granted[0] = message;
            return self.commit(1);
        }

        /// False: there is no room now.
        pub fn trySend(self: *Self, message: T) error{ChannelClosed}!bool {
            const granted = try self.reserve(1);
            if (granted.len == 0) return false;
            granted[0] = message;
            try self.commit(1);
            return true;
        }

        /// Sends all of them, published chunk by chunk, and waits for room. When the channel closes
        /// meanwhile, what fitted before is sent.
        pub fn sendAll(self: *Self, messages: []const T) error{ChannelClosed}!void {
            var rest = messages;
            while (rest.len != 0) {
                const granted = grant(self, 1, native.forever) catch return error.ChannelClosed;
                const chunk = @min(granted.len, rest.len);
                @memcpy(granted[0..chunk], rest[0..chunk]);
                try self.commit(@intCast(chunk));
                rest = rest[chunk..];
            }
        }

        /// Room in the ring to be written in place and then committed: at least `least` slots, or
        /// none when it is full. At the end of the ring one at a time is granted at least.
        pub fn reserve(self: *Self, least: u32) error{ChannelClosed}![]T {
            return grant(self, least, 0) catch |err| switch (err) {
                error.ChannelClosed, error.Corrupt => error.ChannelClosed,
                else => &.{},
            };
        }

        /// Publishes the first `count` slots of the last reserve().
        pub fn commit(self: *Self, count: u32) error{ChannelClosed}!void {
            native.commit(self.anySender(), count, count, self.bells()) catch return error.ChannelClosed;
        }

        fn grant(self: *Self, least: u32, timeout_ns: u64) native.SendError![]T {
            const granted = try native.reserve(self.anySender(), least, timeout_ns);
            const producer = &self.anySender().producer;
            const slots: [*]T = @ptrCast(@alignCast(producer.data));
            return slots[producer.position()..][0..granted];
        }
    };
}

/// What a receiver of any typed channel does. It has anyReceiver(), memory() and bells().
pub fn Receiving(comptime Self: type, comptime T: type) type {
    return struct {
        /// What a try or a wait with a limit has found.
        pub const Result = union(enum) {
            message: T,
            /// Nothing within the time.
            empty,
            /// Closed, and everything has been received.
            ended,
        };

        /// Waits for a message. Null: the channel has ended.
        pub fn receive(self: *Self) ?T {
            return switch (self.receiveTimeout(native.forever)) {
                .message => |message| message,
                .empty => unreachable,
                .ended => null,
            };
        }

        pub fn tryReceive(self: *Self) Result {
            return self.receiveTimeout(0);
        }

        /// Waits for a message, so many nanoseconds at most.
        pub fn receiveTimeout(self: *Self, timeout_ns: u64) Result {
            const window = self.readable(1, timeout_ns) orelse return .ended;
            if (window.len == 0) return .empty;
            const message = window[0];
            self.release(1);
            return .{ .message = message };
        }

        /// Messages in the ring to be read in place and then released: a run of one ring. Waits for
        /// the first, so many nanoseconds at most; none when there is nothing. Null: the channel
        /// has ended. Where receivers share the rings at most `most` are claimed; 0 is no bound.
        pub fn readable(self: *Self, most: u32, timeout_ns: u64) ?[]const T {
            const deadline = if (timeout_ns == 0) 0 else os.now() +| timeout_ns;
            const count = native.poll(self.anyReceiver(), most, timeout_ns, deadline, self.bells()) catch |err| switch (err) {
                error.WouldBlock => return &.{},
                error.Ended => return null,
                // Where others can write, closeState() tells.
                error.Corrupt, error.TooSmall => return null,
            };
            const window = self.anyReceiver().window();
            const slots: [*]const T = @ptrCast(@alignCast(self.memory().data(window.ring)));
            return slots[window.position..][0..count];
        }

        /// Gives the first `count` messages of the last readable() back.
        pub fn release(self: *Self, count: u32) void {
            const window = self.anyReceiver().window();
            std.debug.assert(count <= window.slots);
            self.bells().ring(self.anyReceiver().release(count, count), window.ring);
        }
    };
}

/// The bare ring: one thread pushes, one pops, and nobody ever waits. Every other channel is rings
/// like it, and a policy over them.
pub fn Ring(comptime T: type) type {
    comptime assertPlain(T, T);
    return struct {
        segment: Segment,
        producer: ring_module.Producer align(segment_module.line_bytes),
        consumer: ring_module.Consumer align(segment_module.line_bytes),

        const Self = @This();

        /// `capacity` is a power of two, at most 2^30.
        pub fn init(capacity: u32) (Segment.CreateError || error{InvalidGeometry})!Self {
            const geometry = try segment_module.Geometry.init(.{ .slot_bytes = @sizeOf(T), .capacity = capacity });
            const segment: Segment = try .create(geometry, 0);
            return .{ .segment = segment, .producer = .init(segment, 0, false), .consumer = .init(segment, 0) };
        }

        pub fn deinit(self: *Self) void {
            self.segment.destroy();
            self.* = undefined;
        }

        /// The producer's. False: there is no room.
        pub fn push(self: *Self, value: T) bool {
            const room = self.writable(1);
            if (room.len == 0) return false;
            room[0] = value;
            self.publish(1);
            return true;
        }

        /// The consumer's. Null: there is nothing.
        pub fn pop(self: *Self) ?T {
            const values = self.readable();
            if (values.len == 0) return null;
            const value = values[0];
            self.release(1);
            return value;
        }

        /// The producer's: contiguous room, at least `least` but at the end of the ring; none when full.
        pub fn writable(self: *Self, least: u32) []T {
            return switch (self.producer.reserve(least)) {
                .slots => |granted| self.slots()[self.producer.position()..][0..granted],
                .full, .closed => &.{},
                .corrupt => @panic("the memory of a ring was overwritten"),
            };
        }

        /// The producer's: publishes the first `count` of the room last granted.
        pub fn publish(self: *Self, count: u32) void {
            const is_open = self.producer.commit(count, count);
            std.debug.assert(is_open);
        }

        /// The consumer's: a contiguous run of what is there.
        pub fn readable(self: *Self) []const T {
            return switch (self.consumer.readable()) {
                .run => |run| self.slots()[run.position..][0..run.slots],
                .empty, .ended => &.{},
                .corrupt => @panic("the memory of a ring was overwritten"),
            };
        }

        /// The consumer's: gives the first `count` of what was readable back.
        pub fn release(self: *Self, count: u32) void {
            _ = self.consumer.release(count, count);
        }

        fn slots(self: *const Self) [*]T {
            return @ptrCast(@alignCast(self.segment.data(0)));
        }
    };
}

/// What can lie in a ring: data with a defined layout and without pointers, the same bytes for whoever
/// reads them, C and JavaScript too.
pub fn assertPlain(comptime T: type, comptime Whole: type) void {
    const name = @typeName(T) ++ if (T == Whole) "" else " in " ++ @typeName(Whole);
    switch (@typeInfo(T)) {
        .int => |int| if (int.bits == 0 or int.bits != 8 * @sizeOf(T)) {
            @compileError("Cannot send " ++ name ++ ": an integer of whole bytes is needed, as u8, i16, u32 or i64");
        },
        .float, .bool => {},
        .@"enum" => |info| assertPlain(info.tag_type, Whole),
        .array => |array| assertPlain(array.child, Whole),
        .@"struct" => |info| switch (info.layout) {
            .auto => @compileError("Cannot send " ++ name ++ ": its layout is not defined; make it an extern or packed struct"),
            .@"packed" => assertPlain(info.backing_integer.?, Whole),
            .@"extern" => inline for (info.fields) |field| assertPlain(field.type, Whole),
        },
        .pointer => @compileError("Cannot send " ++ name ++ ": a pointer means nothing to whoever reads it"),
        else => @compileError("Cannot send " ++ name ++ ": numbers, enums, arrays, and extern or packed structs of them can be sent"),
    }
    if (@sizeOf(T) == 0) @compileError("Cannot send " ++ name ++ ": it has no bytes");
}

// ---- tests ----

const Sample = extern struct { producer: u32, sequence: u32, value: f64 };
const Flags = packed struct(u16) { kind: enum(u3) { a, b }, level: u13 };

test "Ring passes what one thread pushes to another, in order, and never holds more than it can" {
    var ring: Ring(u64) = try .init(8);
    defer ring.deinit();
    const Consumer = struct {
        fn work(of: *Ring(u64), sum: *u64) void {
            var expected: u64 = 0;
            while (expected < 20_000) {
                const values = of.readable();
                for (values) |value| {
                    std.debug.assert(value == expected);
                    expected += 1;
                    sum.* += value;
                }
                if (values.len == 0) os.yieldThread() else of.release(@intCast(values.len));
            }
        }
    };
    var sum: u64 = 0;
    const thread = try std.Thread.spawn(.{}, Consumer.work, .{ &ring, &sum });
    for (0..20_000) |value| while (!ring.push(value)) os.yieldThread();
    thread.join();
    try std.testing.expectEqual(20_000 * 19_999 / 2, sum);
    for (0..8) |value| try std.testing.expect(ring.push(value));
    try std.testing.expect(!ring.push(8));
    try std.testing.expectEqual(0, ring.pop().?);
}

test "typed channels of every kind: threads send and receive, everything once, each sender's in order" {
    inline for (.{ Mpsc(Sample), Spsc(Sample), Spmc(Sample), Mpmc(Sample) }, 0..) |Typed, kind| {
        const senders = if (kind == 0 or kind == 3) 3 else 1;
        const receivers = if (kind >= 2) 3 else 1;
        const each = 3000;
        const Threads = struct {
            fn send(sender: Typed.Sender, producer: u32) void {
                var own = sender;
                defer own.close();
                for (0..each) |sequence| own.send(.{
                    .producer = producer,
                    .sequence = @intCast(sequence),
                    .value = @floatFromInt(sequence),
                }) catch unreachable;
            }

            fn receive(receiver: Typed.Receiver, count: *u32) void {
                var own = receiver;
                defer own.close();
                var next: [senders]u32 = @splat(0);
                while (own.receive()) |sample| {
                    std.debug.assert(sample.sequence >= next[sample.producer]);
                    next[sample.producer] = sample.sequence + 1;
                    count.* += 1;
                }
            }
        };
        var channel: Typed = try .init(.{ .capacity = 16, .senders_max = senders, .receivers_max = receivers });
        defer channel.deinit();
        var sending: [senders]std.Thread = undefined;
        var receiving: [receivers]std.Thread = undefined;
        var opened: [senders]Typed.Sender = undefined;
        var counts: [receivers]u32 = @splat(0);
        for (&opened) |*sender| sender.* = try channel.sender();
        for (&receiving, &counts) |*thread, *count| {
            thread.* = try std.Thread.spawn(.{}, Threads.receive, .{ try channel.receiver(), count });
        }
        for (&sending, opened, 0..) |*thread, sender, index| {
            thread.* = try std.Thread.spawn(.{}, Threads.send, .{ sender, @as(u32, @intCast(index)) });
        }
        for (sending) |thread| thread.join();
        for (receiving) |thread| thread.join();
        var sum: u32 = 0;
        for (counts) |count| sum += count;
        try std.testing.expectEqual(senders * each, sum);
        try std.testing.expectEqual(senders * each, channel.statistics().messages_received);
        try std.testing.expectError(error.ChannelClosed, channel.sender());
    }
}

test "a typed channel tries, waits with a limit, writes and reads in place, and closes" {
    var channel: Mpsc(Flags) = try .init(.{ .capacity = 4 });
    defer channel.deinit();
    var sender = try channel.sender();
    var receiver = try channel.receiver();
    try std.testing.expectError(error.ReceiverTaken, channel.receiver());
    try std.testing.expect(receiver.tryReceive() == .empty);
    try std.testing.expect(receiver.receiveTimeout(1000) == .empty);
    const room = try sender.reserve(4);
    try std.testing.expectEqual(4, room.len);
    for (room, 0..) |*flags, level| flags.* = .{ .kind = .b, .level = @intCast(level) };
    try sender.commit(4);
    try std.testing.expect(!try sender.trySend(.{ .kind = .a, .level = 4 }));
    try std.testing.expectError(error.TimedOut, sender.sendTimeout(.{ .kind = .a, .level = 4 }, 1000));
    const window = receiver.readable(0, 0).?;
    try std.testing.expectEqual(4, window.len);
    try std.testing.expectEqual(3, window[3].level);
    receiver.release(2);
    try sender.sendAll(&.{ .{ .kind = .a, .level = 4 }, .{ .kind = .a, .level = 5 } });
    channel.close();
    try std.testing.expectError(error.ChannelClosed, sender.send(.{ .kind = .a, .level = 6 }));
    for (2..6) |level| try std.testing.expectEqual(level, receiver.receive().?.level);
    try std.testing.expectEqual(null, receiver.receive());
    try std.testing.expect(receiver.tryReceive() == .ended);
    sender.close();
    receiver.close();
}

test "the last receiver's end is an error of the senders" {
    var channel: Spsc([3]u8) = try .init(.{ .capacity = 2 });
    defer channel.deinit();
    var sender = try channel.sender();
    defer sender.close();
    var receiver = try channel.receiver();
    try sender.send(.{ 1, 2, 3 });
    receiver.close();
    try std.testing.expectError(error.ChannelClosed, sender.send(.{ 1, 2, 3 }));
}

test "numa: the senders and receivers of a typed channel say where their memory shall lie" {
    for ([_]bool{ false, true }) |is_shared| {
        var channel: Mpsc(u64) = try .init(.{ .capacity = 512, .senders_max = 2, .is_shared = is_shared });
        defer channel.deinit();
        try std.testing.expectError(error.NoSuchNode, channel.senderAt(.{ .mode = .require, .node = 1000 }));
        try std.testing.expectError(error.NoSuchNode, channel.receiverAt(.{ .mode = .require, .node = 1000 }));
        var receiver = try channel.receiverAt(.{ .mode = .prefer });
        defer receiver.close();
        var first = try channel.senderAt(.{ .mode = .prefer, .node = 1000 });
        var second = try channel.senderAt(.{ .mode = .require });
        try first.send(1);
        try second.send(2);
        first.close();
        second.close();
        var sum: u64 = 0;
        while (receiver.receive()) |message| sum += message;
        try std.testing.expectEqual(3, sum);
    }
}
