//! What a keeper and a process that connects to it say to each other: a message each way, and a word of
//! parting.
//!
//!   process:  Hello      who speaks, and what it wants to be
//!   keeper:   Welcome    the answer; with it the memory's descriptor, and its pool's if it has one, and
//!                        behind it what the program that shares says about its values (the descriptor
//!                        of a layout, opaque here)
//!   process:  Bye        it has closed its endpoint; behind it the reason it closes the channel with, if
//!                        it has one. A connection that ends without it is a death. Where there is a pool
//!                        the connection stays: what was received may still be in use.
//!
//! Both sides are of one machine, so numbers are in its byte order. Either may be hostile: a message
//! has one size, or, a welcome and a farewell, a bounded one.

const std = @import("std");
const reason_bytes_max = @import("segment.zig").reason_bytes_max;

/// Of what the messages mean; the memory has a version of its own.
pub const version: u32 = 3;
const magic: u64 = 0x6572_6977_6c6c_696d; // "millwire", little endian

pub const descriptor_bytes_max = 64 << 10;

const Type = enum(u32) { hello = 1, welcome = 2, bye = 3, _ };

pub const Head = extern struct {
    magic: u64 = magic,
    version: u32 = version,
    type: Type,
};

pub const Hello = extern struct {
    head: Head = .{ .type = .hello },
    /// A ticket.Role.
    role: u32,
    _: u32 = 0,
};

/// Why a keeper says no. The numbers are part of the protocol.
pub const Refusal = enum(u32) {
    none = 0,
    not_permitted = 1,
    role_refused = 2,
    channel_closed = 3,
    too_many_senders = 4,
    too_many_receivers = 5,
    receiver_taken = 6,
    out_of_memory = 7,
    /// The hello was none, or of another version.
    not_understood = 8,
    /// The keeper has no descriptor left for the connection.
    too_many_descriptors = 9,
    _,
};

pub const Welcome = extern struct {
    head: Head = .{ .type = .welcome },
    /// A Refusal.
    refusal: u32 = 0,
    role: u32 = 0,
    /// A sender's ring; a receiver's place among the receivers.
    index: u32 = 0,
    /// 1: messages are records of variable length.
    has_records: u32 = 0,
    /// So many bytes follow.
    descriptor_bytes: u32 = 0,
    /// Under which number the keeper knows this endpoint as an owner of slabs; 0: there is no pool.
    owner: u32 = 0,
    /// Under which number slabs on their way in this channel say so.
    channel: u64 = 0,
};

pub const Bye = extern struct {
    head: Head = .{ .type = .bye },
    /// 1: it never opened the endpoint it was given.
    has_declined: u32 = 0,
    /// So many bytes follow: why the channel is closed.
    reason_bytes: u32 = 0,
};

/// How a connection ends.
pub const End = enum {
    /// The endpoint was closed.
    closed,
    /// It was never opened.
    declined,
    /// The process is gone, or what it says is nonsense.
    died,
};

pub const welcome_bytes_max = @sizeOf(Welcome) + descriptor_bytes_max;
pub const bye_bytes_max = @sizeOf(Bye) + reason_bytes_max;

pub const Error = error{
    /// It is none of these messages.
    NotUnderstood,
    OtherVersion,
};

/// The message of one type, if it is one.
pub fn read(comptime Message: type, bytes: []const u8) Error!Message {
    const expected = comptime (std.mem.zeroInit(Message, .{})).head;
    if (bytes.len < @sizeOf(Head)) return error.NotUnderstood;
    const head = std.mem.bytesToValue(Head, bytes[0..@sizeOf(Head)]);
    if (head.magic != magic or head.type != expected.type) return error.NotUnderstood;
    if (head.version != version) return error.OtherVersion;
    if (bytes.len < @sizeOf(Message)) return error.NotUnderstood;
    return std.mem.bytesToValue(Message, bytes[0..@sizeOf(Message)]);
}

/// The last words of a process.
pub const Farewell = struct {
    how: End,
    /// Why it closes the channel; empty: it does not say, or does not close it.
    reason: []const u8 = "",
};

/// What they mean.
pub fn farewellOf(bytes: []const u8) Farewell {
    const died: Farewell = .{ .how = .died };
    if (bytes.len < @sizeOf(Bye)) return died;
    const bye = std.mem.bytesToValue(Bye, bytes[0..@sizeOf(Bye)]);
    const reason = bytes[@sizeOf(Bye)..];
    if (!std.meta.eql(bye.head, (Bye{}).head) or reason.len != bye.reason_bytes) return died;
    if (reason.len > reason_bytes_max) return died;
    return switch (bye.has_declined) {
        0 => .{ .how = .closed, .reason = reason },
        1 => if (reason.len == 0) .{ .how = .declined } else died,
        else => died,
    };
}

test "a message is read as it was written, and nothing else is" {
    const hello: Hello = .{ .role = 1 };
    const bytes = std.mem.asBytes(&hello);
    try std.testing.expectEqual(hello, try read(Hello, bytes));
    try std.testing.expectError(error.NotUnderstood, read(Welcome, bytes));
    try std.testing.expectError(error.NotUnderstood, read(Hello, bytes[0 .. bytes.len - 1]));
    try std.testing.expectError(error.NotUnderstood, read(Hello, "GET / HTTP/1.1\r\n\r\n"));
    var other = hello;
    other.head.version += 1;
    try std.testing.expectError(error.OtherVersion, read(Hello, std.mem.asBytes(&other)));
    try std.testing.expectEqual(.closed, farewellOf(std.mem.asBytes(&Bye{})).how);
    try std.testing.expectEqual(.declined, farewellOf(std.mem.asBytes(&Bye{ .has_declined = 1 })).how);
    try std.testing.expectEqual(.died, farewellOf(std.mem.asBytes(&Bye{ .has_declined = 2 })).how);
    try std.testing.expectEqual(.died, farewellOf(bytes).how);
}

test "a farewell brings a reason as long as it says, and no longer than one may be" {
    const with = std.mem.toBytes(Bye{ .reason_bytes = 3 }) ++ "dry";
    const farewell = farewellOf(with);
    try std.testing.expectEqual(.closed, farewell.how);
    try std.testing.expectEqualStrings("dry", farewell.reason);
    try std.testing.expectEqual(.died, farewellOf(with[0 .. with.len - 1]).how);
    try std.testing.expectEqual(.died, farewellOf(with ++ "!").how);
    try std.testing.expectEqual(.died, farewellOf(std.mem.toBytes(Bye{ .has_declined = 1, .reason_bytes = 3 }) ++ "dry").how);
    try std.testing.expectEqual(.died, farewellOf(std.mem.toBytes(Bye{}) ++ "dry").how);
    for ([_]u32{ reason_bytes_max, reason_bytes_max + 1 }) |length| {
        const bye: Bye = .{ .reason_bytes = length };
        var long: [bye_bytes_max + 1]u8 = @splat('x');
        @memcpy(long[0..@sizeOf(Bye)], std.mem.asBytes(&bye));
        const end: End = if (length == reason_bytes_max) .closed else .died;
        try std.testing.expectEqual(end, farewellOf(long[0 .. @sizeOf(Bye) + length]).how);
    }
}
