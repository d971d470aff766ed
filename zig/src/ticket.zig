//! Tickets: one-shot rights to open an endpoint, as plain data that travels by postMessage.
//!
//! A ticket says which process issued it, for which channel and which role, and carries a SipHash
//! tag over that under a secret of the process. So a used ticket (right tag, no longer outstanding)
//! can be told from a forged one, with nothing kept about the used ones.
//!
//! The callers hold the cold-path mutex of endpoint.zig.

const std = @import("std");
const os = @import("os/linux.zig");

pub const Role = enum(u8) {
    sender = 0,
    receiver = 1,
    pool = 2,

    pub fn fromInt(value: u32) ?Role {
        return if (value <= @intFromEnum(Role.pool)) @enumFromInt(value) else null;
    }
};

pub const Ticket = extern struct {
    /// A random number of the process that issued it.
    process: u64,
    channel: u64,
    /// (serial << 8) | role.
    serial_and_role: u64,
    tag: u64,

    pub fn role(self: Ticket) Role {
        return @enumFromInt(@as(u8, @truncate(self.serial_and_role)));
    }
};

const SipHash = std.crypto.auth.siphash.SipHash64(2, 4);

var process_id: u64 = 0;
var secret: [SipHash.key_length]u8 = undefined;
var last_serial: u64 = 0;
var outstanding: std.AutoHashMapUnmanaged(u64, u64) = .empty;
const allocator = std.heap.c_allocator;

pub fn nextSerial() u64 {
    last_serial += 1;
    return last_serial;
}

fn start() void {
    if (process_id != 0) return;
    os.randomBytes(&secret);
    while (process_id == 0) os.randomBytes(std.mem.asBytes(&process_id));
}

fn tagOf(ticket: Ticket) u64 {
    return SipHash.toInt(std.mem.asBytes(&[3]u64{ ticket.process, ticket.channel, ticket.serial_and_role }), &secret);
}

pub fn issue(channel: u64, role: Role) error{OutOfMemory}!Ticket {
    start();
    var ticket: Ticket = .{
        .process = process_id,
        .channel = channel,
        .serial_and_role = nextSerial() << 8 | @intFromEnum(role),
        .tag = 0,
    };
    ticket.tag = tagOf(ticket);
    try outstanding.put(allocator, ticket.serial_and_role, channel);
    return ticket;
}

pub fn verify(ticket: Ticket) error{ TicketForeign, TicketForged }!void {
    start();
    if (ticket.process != process_id) return error.TicketForeign;
    if (Role.fromInt(@as(u8, @truncate(ticket.serial_and_role))) == null) return error.TicketForged;
    if (ticket.tag != tagOf(ticket)) return error.TicketForged;
}

pub fn isOutstanding(ticket: Ticket) bool {
    return outstanding.contains(ticket.serial_and_role);
}

/// Uses a ticket up. False: it was used, or revoked, before.
pub fn take(ticket: Ticket) bool {
    return outstanding.remove(ticket.serial_and_role);
}

/// Makes a ticket that was taken outstanding again.
pub fn restore(ticket: Ticket) error{OutOfMemory}!void {
    try outstanding.put(allocator, ticket.serial_and_role, ticket.channel);
}

pub const Revoked = struct { senders: u32 = 0, receivers: u32 = 0, pools: u32 = 0 };

/// Revokes every outstanding ticket of a channel.
pub fn forgetChannel(channel: u64) Revoked {
    var revoked: Revoked = .{};
    while (true) {
        // A removal ends the iteration, so start over: this is the coldest path there is.
        var entries = outstanding.iterator();
        const key = while (entries.next()) |entry| {
            if (entry.value_ptr.* == channel) break entry.key_ptr.*;
        } else return revoked;
        switch (@as(Role, @enumFromInt(@as(u8, @truncate(key))))) {
            .sender => revoked.senders += 1,
            .receiver => revoked.receivers += 1,
            .pool => revoked.pools += 1,
        }
        _ = outstanding.remove(key);
    }
}

test "a ticket is good once, and only as it was issued" {
    const ticket = try issue(7, .sender);
    try verify(ticket);
    var forged = ticket;
    forged.channel += 1;
    try std.testing.expectError(error.TicketForged, verify(forged));
    forged = ticket;
    forged.process +%= 1;
    try std.testing.expectError(error.TicketForeign, verify(forged));
    try std.testing.expect(isOutstanding(ticket));
    try std.testing.expect(take(ticket));
    try std.testing.expect(!isOutstanding(ticket));
    try std.testing.expect(!take(ticket));
    _ = try issue(8, .receiver);
    _ = try issue(8, .sender);
    try std.testing.expectEqual(Revoked{ .senders = 1, .receivers = 1 }, forgetChannel(8));
}
