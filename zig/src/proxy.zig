//! Proxies: what the keeper of a channel knows of an endpoint in another process.
//!
//! The keeper claims the ring, or the receiver's place, for the other process, and remembers it in memory of
//! its own, here and in ledger.zig: when the process dies nothing that it could have written decides what
//! is given back, and until then nobody else gets it. The callers hold the mutex of endpoint.zig.

const channel_module = @import("channel.zig");
const endpoint = @import("endpoint.zig");
const protocol = @import("protocol.zig");
const Receiver = @import("receiver.zig").Receiver;
const Role = @import("ticket.zig").Role;
const Sender = @import("sender.zig").Sender;
const Channel = endpoint.Channel;

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
        channel.references += 1;
        if (role == .sender) endpoint.addSenderReference(channel);
        return .{ .channel = channel, .role = role, .index = index };
    }

    /// The other process has nothing here any more.
    pub fn close(self: Proxy, how: protocol.End) void {
        const channel = self.channel;
        switch (self.role) {
            .sender => {
                Receiver.sweep(channel.segment);
                // Also of one that said it has: sealing twice is sealing once.
                Sender.sealLeft(channel.segment, self.index);
                _ = endpoint.dropSenderReference(channel, .cannot_ring);
            },
            .receiver => Receiver.leaveBehind(channel.segment, self.index, .{
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
