//! Latency: how long messages lie in a ring, from their commit until a receiver gives them back.
//!
//! Only a channel that was created with it has the memory: a **stamp** for every slot, which is the
//! time of the slot's commit, and one histogram. Stamps are written before the commit that publishes
//! their slots, and read before the release that frees them: the ring's own orderings order them, too,
//! in every kind of channel, and there are never too few of them.

const std = @import("std");
const os = @import("os/linux.zig");
const Records = @import("claims.zig").Records;
const segment_module = @import("segment.zig");
const Segment = segment_module.Segment;
const Histogram = @import("histogram.zig").Histogram;

/// To be called before the commit of `slots` contiguous slots.
pub fn stamp(stamps: [*]u64, position: u32, slots: u32) void {
    @memset(stamps[position..][0..slots], os.now());
}

/// To be called before the release of `slots` contiguous slots, that hold `messages` messages.
pub noinline fn collect(segment: *const Segment, ring: u32, position: u32, slots: u32, messages: u32) void {
    const stamps = segment.stamps(ring);
    var run: Run = .{ .histogram = segment.histogram(), .now_ns = os.now() };
    if (messages == slots) {
        for (stamps[position..][0..slots]) |time_ns| run.add(time_ns);
    } else if (segment.geometry.slot_bytes == segment_module.record_slot_bytes) {
        // The stamp of a message is that of its first slot.
        var records: Records = .{ .data = segment.data(ring), .position = position, .slots = slots };
        while (records.slots != 0) {
            const first = records.position;
            const is_padding = records.step() orelse break;
            if (!is_padding) run.add(stamps[first]);
        }
    }
    run.end();
}

/// Messages of one commit, which are counted together.
const Run = struct {
    histogram: *Histogram,
    now_ns: u64,
    time_ns: u64 = 0,
    messages: u64 = 0,

    inline fn add(self: *Run, time_ns: u64) void {
        if (time_ns != self.time_ns) {
            self.end();
            self.time_ns = time_ns;
        }
        self.messages += 1;
    }

    fn end(self: *Run) void {
        if (self.messages != 0) self.histogram.record(self.now_ns -| self.time_ns, self.messages);
        self.messages = 0;
    }
};

test "collect() counts every message with the age of its own commit" {
    const Producer = @import("ring.zig").Producer;
    const geometry: segment_module.Geometry = try .init(.{ .slot_bytes = 4, .capacity = 16, .has_latency = true });
    const segment: Segment = try .create(geometry, 0);
    defer segment.destroy();
    var producer: Producer = .init(segment, 0, false);
    const begin = os.now();
    for ([_]u32{ 3, 5 }) |slots| {
        _ = producer.reserve(slots);
        try std.testing.expect(producer.commit(slots, slots));
        os.sleep(2 * std.time.ns_per_ms);
    }
    collect(&segment, 0, 1, 4, 4); // two of each
    const elapsed = os.now() - begin;
    const summary = segment.histogram().summary();
    try std.testing.expectEqual(4, summary.count);
    try std.testing.expect(summary.p50_ns >= 2 * std.time.ns_per_ms);
    try std.testing.expect(summary.max_ns >= 4 * std.time.ns_per_ms);
    try std.testing.expect(summary.max_ns >= summary.p50_ns + 2 * std.time.ns_per_ms - summary.p50_ns / 128);
    try std.testing.expect(summary.max_ns <= elapsed);
}

test "collect() counts records, and no padding" {
    const Producer = @import("ring.zig").Producer;
    const RecordHeader = segment_module.RecordHeader;
    const geometry: segment_module.Geometry = try .init(.{ .slot_bytes = 8, .capacity = 16, .has_latency = true });
    const segment: Segment = try .create(geometry, 0);
    defer segment.destroy();
    var producer: Producer = .init(segment, 0, true);
    _ = producer.reserve(12);
    for ([_]u32{ 0, 1, 5 }, [_]u32{ 0, 24, 49 }) |position, payload_bytes| {
        const header: *RecordHeader = @ptrCast(@alignCast(segment.data(0) + position * 8));
        header.* = .{ .payload_bytes = payload_bytes, .flags = 0 };
    }
    const padding: *RecordHeader = @ptrCast(@alignCast(segment.data(0) + 13 * 8));
    padding.* = .{ .payload_bytes = 16, .flags = RecordHeader.flag_padding };
    // A record is as old as the stamp of its first slot says, whatever the others hold.
    const stamps = segment.stamps(0);
    @memset(stamps[0..16], std.math.maxInt(u64));
    const begin = os.now();
    stamps[0] = begin;
    stamps[1] = 0;
    stamps[5] = 0;
    collect(&segment, 0, 0, 16, 3);
    const summary = segment.histogram().summary();
    try std.testing.expectEqual(3, summary.count);
    try std.testing.expect(summary.max_ns >= begin and summary.sum_ns >= 2 * begin);
}

test "a channel that does not track latency has no memory for it" {
    const shape: segment_module.Shape = .{ .slot_bytes = 4, .capacity = 1 << 16, .senders_max = 4 };
    const without: segment_module.Geometry = try .init(shape);
    try std.testing.expectEqual(without.rings_offset + 4 * without.ring_stride, without.total_bytes);
    var timed = shape;
    timed.has_latency = true;
    const with: segment_module.Geometry = try .init(timed);
    try std.testing.expectEqual(without.rings_offset, with.rings_offset);
    try std.testing.expect(with.total_bytes >= without.total_bytes + @sizeOf(Histogram) + 4 * (8 << 16));
}
