//! The mpmc channel: many producers with a ring each, many receivers that steal work.
//!
//! A receiver looks at its own shard first (the rings whose number is its own, modulo the receivers),
//! so that receivers that keep up do not meet; then at the fullest ring of the others; and in every
//! eighth poll at the next ring in rotation before all else, so that no ring starves.

const std = @import("std");
const channel = @import("channel.zig");
const claims = @import("claims.zig");
const ring_module = @import("ring.zig");
const Segment = @import("segment.zig").Segment;

/// A ring that stays ready is looked at by every receiver that polls so many times the number of rings.
pub const polls_between_scans = 8;

pub const Receiver = struct {
    shared: claims.Shared,
    polls: u32 = 0,
    /// The ring looked at last in rotation, over all rings and over its own shard.
    cursor: u32 = 0,
    shard_cursor: u32 = 0,

    pub fn open(segment: Segment, has_records: bool) channel.OpenError!Receiver {
        return .{ .shared = try .open(segment, has_records) };
    }

    pub fn poll(self: *Receiver, messages_max: u32) channel.Polled {
        const shared = &self.shared;
        if (shared.held()) |polled| return polled;
        self.polls +%= 1;
        const found = if (self.polls % polls_between_scans == 0)
            self.rotate(messages_max)
        else switch (self.fromShard(messages_max)) {
            .empty => switch (self.fromFullest(messages_max)) {
                .empty => self.rotate(messages_max),
                else => |found| found,
            },
            else => |found| found,
        };
        return switch (found) {
            .claimed => .{ .window = shared.window },
            .corrupt => .corrupt,
            .empty => if (channel.hasEnded(shared.segment)) .ended else .empty,
        };
    }

    const Outcome = claims.Shared.Outcome;

    fn receivers(self: *const Receiver) u32 {
        const segment = self.shared.segment;
        return std.math.clamp(segment.control().receivers_used.load(.monotonic), 1, segment.geometry.receivers_max);
    }

    fn fromShard(self: *Receiver, messages_max: u32) Outcome {
        const count = self.receivers();
        var rings = self.shared.readyFrom(self.shard_cursor +% 1);
        while (rings.next()) |ring| {
            if (ring % count != self.shared.line % count) continue;
            self.shard_cursor = ring;
            const found = self.shared.claim(ring, messages_max);
            if (found != .empty) return found;
        }
        return .empty;
    }

    fn fromFullest(self: *Receiver, messages_max: u32) Outcome {
        const segment = self.shared.segment;
        var fullest: ?u32 = null;
        var most: u32 = 0;
        var rings = self.shared.readyFrom(0);
        while (rings.next()) |ring| {
            if (ring >= segment.geometry.senders_max) return .corrupt;
            // A guess: the claim looks again.
            const tail = segment.producerLine(ring).tail.load(.monotonic) & ~ring_module.closed_bit;
            const used = (tail -% segment.consumerLine(ring).claimed.load(.monotonic)) >> 1;
            if (used > most and used <= segment.geometry.capacity) {
                most = used;
                fullest = ring;
            }
        }
        return if (fullest) |ring| self.shared.claim(ring, messages_max) else .empty;
    }

    fn rotate(self: *Receiver, messages_max: u32) Outcome {
        var rings = self.shared.readyFrom(self.cursor +% 1);
        while (rings.next()) |ring| {
            self.cursor = ring;
            const found = self.shared.claim(ring, messages_max);
            if (found != .empty) return found;
        }
        return .empty;
    }
};
