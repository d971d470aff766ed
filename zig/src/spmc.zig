//! The spmc channel: one producer, many receivers, one ring that they claim runs of.

const channel = @import("channel.zig");
const claims = @import("claims.zig");
const Segment = @import("segment.zig").Segment;

pub const Receiver = struct {
    shared: claims.Shared,

    pub fn open(segment: Segment, has_records: bool) channel.OpenError!Receiver {
        return .{ .shared = try .open(segment, has_records) };
    }

    pub fn poll(self: *Receiver, messages_max: u32) channel.Polled {
        const shared = &self.shared;
        if (shared.held()) |polled| return polled;
        if (shared.segment.control().ready.hasAny(1)) {
            switch (shared.claim(0, messages_max)) {
                .claimed => return .{ .window = shared.window },
                .empty => {},
                .corrupt => return .corrupt,
            }
        }
        return if (channel.hasEnded(shared.segment)) .ended else .empty;
    }
};
