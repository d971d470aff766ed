//! Proxies: what the keeper of a channel knows of an endpoint in another process.
//!
//! The keeper claims the ring, or the receiver's place, for the other process, and remembers it in memory of
//! its own, here and in ledger.zig: when the process dies nothing that it could have written decides what
//! is given back, and until then nobody else gets it. The same of a pool: the keeper says under which
//! number the other process owns slabs. The callers hold the mutex of endpoint.zig.

const std = @import("std");
const channel_module = @import("channel.zig");
const endpoint = @import("endpoint.zig");
const placement = @import("placement.zig");
const pool_module = @import("pool.zig");
const protocol = @import("protocol.zig");
const reason = @import("reason.zig");
const Receiver = @import("receiver.zig").Receiver;
const Role = @import("ticket.zig").Role;
const Sender = @import("sender.zig").Sender;
const Channel = endpoint.Channel;

/// The numbers by which endpoints in other processes own slabs of a pool.
pub const Owners = struct {
    live: std.AutoHashMapUnmanaged(u32, void) = .empty,
    last: u32 = pool_module.owner_remote_last,

    fn take(self: *Owners) error{OutOfMemory}!u32 {
        while (true) {
            self.last = if (self.last == pool_module.owner_remote_last) pool_module.owner_remote_first else self.last + 1;
            const entry = try self.live.getOrPut(std.heap.c_allocator, self.last);
            if (!entry.found_existing) return self.last;
        }
    }

    pub fn destroy(self: *Owners) void {
        self.live.deinit(std.heap.c_allocator);
    }
};

/// What the keeper of a pool knows of an endpoint in another process that can own slabs.
pub const Owner = struct {
    pool: *Channel,
    number: u32,

    /// The pool gets a reference.
    pub fn open(pool: *Channel) error{OutOfMemory}!Owner {
        const number = try pool.owners.?.take();
        pool.references += 1;
        return .{ .pool = pool, .number = number };
    }

    /// The other process has nothing here any more. Whether it was killed in the middle of something
    /// nobody knows.
    pub fn close(self: Owner) void {
        endpoint.returnOwned(self.pool, self.number);
        _ = self.pool.owners.?.live.remove(self.number);
        self.pool.slabs.?.mend();
        endpoint.tellSlabSleepers(self.pool);
        endpoint.dereference(self.pool);
    }
};

pub const Proxy = struct {
    channel: *Channel,
    role: Role,
    /// A sender's ring; a receiver's place.
    index: u32,

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
        return .{ .channel = channel, .role = role, .index = index };
    }

    /// The other process has nothing here any more.
    pub fn close(self: Proxy, farewell: protocol.Farewell) void {
        const channel = self.channel;
        const how = farewell.how;
        // Before the end that this may be.
        const has_reason = reason.put(channel.segment, farewell.reason);
        switch (self.role) {
            .sender => {
                // Before the seal: then the ring can be another's.
                endpoint.returnInFlight(channel, pool_module.Uncommitted{
                    .segment = channel.segment,
                    .ring = self.index,
                });
                Receiver.sweep(channel.segment);
                // Also of one that said it has: sealing twice is sealing once.
                Sender.sealLeft(channel.segment, self.index);
                if (has_reason) _ = channel_module.close(channel.segment, .closed, .cannot_ring);
                _ = endpoint.dropSenderReference(channel, .cannot_ring);
            },
            .receiver => Receiver.leaveBehind(channel.segment, self.index, .{
                .how = how,
                .is_awaited = channel.waits_for_receiver,
                .has_tickets = endpoint.hasReceiverTickets(channel, how != .died),
            }),
            .pool => unreachable,
        }
        // It was not the last receiver: the others go on.
        if (has_reason) reason.takeBackIfOpen(channel.segment);
        endpoint.returnUnreceivable(channel);
        endpoint.interruptSlabSleepers(channel);
        // It may have died between taking an arm and waking who had armed.
        if (how == .died) channel_module.wakeEveryone(channel.segment);
        endpoint.tellSleepers(channel);
        endpoint.dereference(channel);
    }
};
