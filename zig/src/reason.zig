//! Why a channel was closed: bytes in its control block that mean nothing to this library. JavaScript
//! writes JSON there, native code what it likes.
//!
//! They are stored before the channel is closed, so that no receiver sees the end without them; after an
//! end for want of senders they can still be added. Only the process that made the channel stores them,
//! under the mutex of endpoint.zig; a process that connected sends them to it with its farewell.

const std = @import("std");
const ledger = @import("ledger.zig");
const segment_module = @import("segment.zig");
const Segment = segment_module.Segment;

pub const bytes_max = segment_module.reason_bytes_max;

/// Stores a reason; one that is too long is cut. False: none was given, or the channel is closed. The
/// caller closes the channel afterwards.
pub fn put(segment: Segment, bytes: []const u8) bool {
    if (bytes.len == 0 or !ledger.isOpen(segment)) return false;
    store(segment, bytes);
    return true;
}

/// The same, and after the last sender has gone: it may have failed, and nobody has said so yet.
pub fn putOrAdd(segment: Segment, bytes: []const u8) bool {
    if (put(segment, bytes)) return true;
    if (bytes.len == 0 or ledger.closeState(segment) != .senders_gone) return false;
    if (segment.control().reason_bytes.load(.monotonic) != 0) return false; // only we write it
    store(segment, bytes);
    return true;
}

fn store(segment: Segment, bytes: []const u8) void {
    const control = segment.control();
    const length: u32 = @intCast(@min(bytes.len, bytes_max));
    @memcpy(control.reason[0..length], bytes[0..length]);
    // Release: pairs with the acquire in read(). What is stored before a close is seen by all who see
    // the close: the SC compare-and-swap of leaveOpen() comes after it.
    control.reason_bytes.store(length, .release);
}

/// Takes back what put() has stored, if the channel stayed open after all.
pub fn takeBackIfOpen(segment: Segment) void {
    if (ledger.isOpen(segment)) segment.control().reason_bytes.store(0, .monotonic); // nobody looks yet
}

/// Copies the reason out, and answers its bytes; 0: there is none. The caller looks at the copy only:
/// in shared memory another process may be writing.
pub fn read(segment: Segment, buffer: []u8) u32 {
    const control = segment.control();
    // Acquire: pairs with the release in store().
    const length = @min(control.reason_bytes.load(.acquire), bytes_max, buffer.len);
    @memcpy(buffer[0..length], control.reason[0..length]);
    return @intCast(length);
}

const testing = std.testing;
const channel = @import("channel.zig");

test "a reason is there before the close, is kept whole up to its limit, and is the first that was given" {
    for ([_]bool{ false, true }) |is_shared| {
        const segment = try Segment.create(try .init(.{ .slot_bytes = 4, .capacity = 2, .is_shared = is_shared }), 0);
        defer segment.destroy();
        var buffer: [bytes_max + 1]u8 = undefined;
        try testing.expect(!put(segment, ""));
        try testing.expectEqual(0, read(segment, &buffer));
        const long: [bytes_max + 1]u8 = @splat('x');
        try testing.expect(put(segment, &long));
        takeBackIfOpen(segment);
        try testing.expectEqual(0, read(segment, &buffer));
        try testing.expect(put(segment, "dry"));
        _ = channel.close(segment, .closed, .can_ring);
        takeBackIfOpen(segment);
        try testing.expect(!put(segment, &long));
        try testing.expectEqualStrings("dry", buffer[0..read(segment, &buffer)]);
        try testing.expectEqual(2, read(segment, buffer[0..2]));
        // Whatever another process says of its length.
        segment.control().reason_bytes.store(std.math.maxInt(u32), .seq_cst);
        try testing.expectEqual(bytes_max, read(segment, &buffer));
    }
}

test "a reason can be added after the last sender has gone, once, and after no other end" {
    for ([_]segment_module.CloseState{ .senders_gone, .closed, .receiver_gone, .peer_died, .corrupt }) |why| {
        const segment = try Segment.create(try .init(.{ .slot_bytes = 4, .capacity = 2 }), 0);
        defer segment.destroy();
        var buffer: [8]u8 = undefined;
        _ = channel.close(segment, why, .can_ring);
        try testing.expect(!put(segment, "late"));
        try testing.expectEqual(why == .senders_gone, putOrAdd(segment, "late"));
        try testing.expect(!putOrAdd(segment, "later"));
        const expected: []const u8 = if (why == .senders_gone) "late" else "";
        try testing.expectEqualStrings(expected, buffer[0..read(segment, &buffer)]);
    }
}
