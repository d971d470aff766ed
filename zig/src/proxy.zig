//! Proxies: what the keeper of a channel knows of an endpoint in another process.
//!
//! The keeper claims the ring, or the receiver's place, for the other process, and remembers it here, in
//! memory of its own: when the process dies nothing that it could have written decides what is given
//! back. The callers hold the mutex of endpoint.zig.

const std = @import("std");
const channel_module = @import("channel.zig");
const endpoint = @import("endpoint.zig");
const placement = @import("placement.zig");
const protocol = @import("protocol.zig");
const segment_module = @import("segment.zig");
const Receiver = @import("receiver.zig").Receiver;
const Role = @import("ticket.zig").Role;
const Sender = @import("sender.zig").Sender;
const Channel = endpoint.Channel;

/// Who had each ring and each receiver's place last, by a number of its own: what has become
/// another's since must be left alone. Kept for shared channels.
pub const Tenants = struct {
    senders: []u64,
    receivers: []u64,
    last: u64 = 0,

    const allocator = std.heap.c_allocator;

    pub fn create(geometry: segment_module.Geometry) error{OutOfMemory}!Tenants {
        const senders = try allocator.alloc(u64, geometry.senders_max);
        errdefer allocator.free(senders);
        const receivers = try allocator.alloc(u64, geometry.receivers_max);
        @memset(senders, 0);
        @memset(receivers, 0);
        return .{ .senders = senders, .receivers = receivers };
    }

    pub fn destroy(self: Tenants) void {
        allocator.free(self.senders);
        allocator.free(self.receivers);
    }

    /// Notes that a place has a new tenant; answers its number.
    pub fn note(self: *Tenants, role: Role, index: u32) u64 {
        self.last += 1;
        self.of(role)[index] = self.last;
        return self.last;
    }

    fn of(self: *Tenants, role: Role) []u64 {
        return if (role == .sender) self.senders else self.receivers;
    }

    fn has(self: *Tenants, role: Role, index: u32, number: u64) bool {
        return self.of(role)[index] == number;
    }
};

pub const Proxy = struct {
    channel: *Channel,
    role: Role,
    /// A sender's ring; a receiver's place.
    index: u32,
    /// Among the tenants.
    number: u64,

    /// Claims what another process is to have. The channel gets a reference.
    pub fn open(channel: *Channel, role: Role) channel_module.OpenError!Proxy {
        const index = switch (role) {
            .sender => (try Sender.open(channel.segment, channel.has_records)).producer.ring,
            .receiver => index: {
                var receiver = try Receiver.open(channel.segment, channel.has_records);
                break :index receiver.index();
            },
            .pool => unreachable,
        };
        if (role == .sender) placement.leaveRing(channel.segment, index);
        channel.references += 1;
        if (role == .sender) endpoint.addSenderReference(channel);
        return .{
            .channel = channel,
            .role = role,
            .index = index,
            .number = channel.tenants.?.note(role, index),
        };
    }

    /// The other process has nothing here any more.
    pub fn close(self: Proxy, how: protocol.End) void {
        const channel = self.channel;
        const is_its = channel.tenants.?.has(self.role, self.index, self.number);
        switch (self.role) {
            .sender => {
                // Also of one that said it has: sealing twice is sealing once.
                if (is_its) Sender.sealLeft(channel.segment, self.index);
                _ = endpoint.dropSenderReference(channel, .cannot_ring);
            },
            .receiver => if (is_its) Receiver.leaveBehind(channel.segment, self.index, .{
                .how = how,
                .is_awaited = channel.waits_for_receiver,
                .has_tickets = endpoint.hasReceiverTickets(channel, how != .died),
            }),
            .pool => unreachable,
        }
        // It may have died between taking an arm and waking who had armed.
        if (how == .died) channel_module.wakeEveryone(channel.segment);
        endpoint.tellSleepers(channel);
        endpoint.dereference(channel);
    }
};
