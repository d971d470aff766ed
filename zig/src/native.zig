//! Whole operations for callers that are no JavaScript: a message is copied in or out, a wait blocks
//! the thread, and bells are rung by the operation itself.
//!
//! Written over reserve and commit, poll and release, so that every kind of channel has them.
//! `bells` is whoever has bells rung: it has `ring(Bells, ring_index)`. Timeouts are in nanoseconds.

const std = @import("std");
const channel = @import("channel.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const Receiver = @import("receiver.zig").Receiver;
const RecordHeader = segment_module.RecordHeader;
const Segment = segment_module.Segment;
const Sender = @import("sender.zig").Sender;

pub const forever: u64 = std.math.maxInt(u64);

pub const SendError = error{
    ChannelClosed,
    /// There was no room within the time.
    WouldBlock,
    /// Not the size of a slot; as a record, longer than half of the ring.
    InvalidSize,
    Corrupt,
};

pub const ReceiveError = error{
    /// Nothing came within the time.
    WouldBlock,
    /// Closed, and everything has been received.
    Ended,
    Corrupt,
    /// The message is longer than the buffer; it stays where it is.
    TooSmall,
};

/// For channels that no event loop waits at: there are no bells.
pub const NoBells = struct {
    pub fn ring(_: NoBells, _: channel.Bells, _: u32) void {}
};

/// Copies one message in: a slot, or, where `has_records`, a record.
pub fn send(sender: *Sender, message: []const u8, timeout_ns: u64, bells: anytype) SendError!void {
    if (!sender.producer.has_records) {
        if (message.len != sender.segment.geometry.slot_bytes) return error.InvalidSize;
        _ = try reserve(sender, 1, timeout_ns);
        const place = slotAt(sender.segment, sender.producer.ring, sender.producer.position());
        @memcpy(place[0..message.len], message);
        return commit(sender, 1, 1, bells);
    }
    // Half of the ring always fits an empty one, wherever its head is.
    const most = @as(u64, sender.producer.capacity / 2) * segment_module.record_slot_bytes;
    if (message.len + @sizeOf(RecordHeader) > most) return error.InvalidSize;
    const slots = slotsOfRecord(@intCast(message.len));
    _ = try reserve(sender, slots, timeout_ns);
    const place = slotAt(sender.segment, sender.producer.ring, sender.producer.position());
    const header: *RecordHeader = @ptrCast(@alignCast(place));
    header.* = .{ .payload_bytes = @intCast(message.len), .flags = 0 };
    @memcpy(place[@sizeOf(RecordHeader)..][0..message.len], message);
    return commit(sender, slots, 1, bells);
}

/// Copies messages of a fixed layout in, as many as there are; a chunk is published at a time. Waits
/// for room for each. Answers how many were sent before the time was up.
pub fn sendMany(sender: *Sender, messages: []const u8, timeout_ns: u64, bells: anytype) SendError!u32 {
    const slot_bytes = sender.segment.geometry.slot_bytes;
    if (sender.producer.has_records or messages.len % slot_bytes != 0) return error.InvalidSize;
    const count: u32 = @intCast(messages.len / slot_bytes);
    const deadline = os.now() +| timeout_ns;
    var sent: u32 = 0;
    while (sent < count) {
        const granted = reserve(sender, 1, if (sent == 0) timeout_ns else deadline -| os.now()) catch |err| {
            if (sent == 0) return err;
            break;
        };
        const chunk = @min(granted, count - sent);
        const place = slotAt(sender.segment, sender.producer.ring, sender.producer.position());
        const bytes = @as(u64, chunk) * slot_bytes;
        @memcpy(place[0..bytes], messages[@as(u64, sent) * slot_bytes ..][0..bytes]);
        commit(sender, chunk, chunk, bells) catch |err| {
            if (sent == 0) return err;
            break;
        };
        sent += chunk;
    }
    return sent;
}

/// Contiguous slots, at least so many.
pub fn reserve(sender: *Sender, slots_min: u32, timeout_ns: u64) SendError!u32 {
    const deadline = if (timeout_ns == 0) 0 else os.now() +| timeout_ns;
    while (true) switch (sender.reserve(slots_min)) {
        .slots => |slots| return slots,
        .closed => return closed(sender.segment),
        .corrupt => {
            _ = channel.poison(sender.segment);
            return error.Corrupt;
        },
        .full => {
            sender.countFull();
            const left = if (timeout_ns == 0) 0 else deadline -| os.now();
            if (left == 0 or !sender.wait(slots_min, .phased, left)) return error.WouldBlock;
        },
    };
}

/// Publishes slots of the last reserve().
pub fn commit(sender: *Sender, slots: u32, messages: u32, bells: anytype) SendError!void {
    switch (sender.commit(slots, messages)) {
        .bells => |wanted| bells.ring(wanted, 0),
        .closed => return closed(sender.segment),
    }
}

fn closed(segment: Segment) SendError {
    return if (channel.isPoisoned(segment)) error.Corrupt else error.ChannelClosed;
}

/// Copies one message out. Answers its bytes; also when there was no room for them in the buffer.
pub fn receive(
    receiver: *Receiver,
    segment: Segment,
    has_records: bool,
    buffer: []u8,
    message_bytes: *u32,
    timeout_ns: u64,
    bells: anytype,
) ReceiveError!void {
    const deadline = if (timeout_ns == 0) 0 else os.now() +| timeout_ns;
    while (true) {
        const slots = try poll(receiver, 1, timeout_ns, deadline, bells);
        const window = receiver.window();
        const place = slotAt(segment, window.ring, window.position);
        if (!has_records) {
            message_bytes.* = segment.geometry.slot_bytes;
            if (buffer.len < message_bytes.*) return error.TooSmall;
            @memcpy(buffer[0..message_bytes.*], place[0..message_bytes.*]);
            bells.ring(receiver.release(1, 1), window.ring);
            return;
        }
        const header = RecordHeader.read(place);
        const record_slots = slotsOfRecord(header.payload_bytes);
        if (record_slots > slots) {
            bells.ring(channel.poison(segment), 0);
            return error.Corrupt;
        }
        if (header.flags & RecordHeader.flag_padding != 0) {
            bells.ring(receiver.release(record_slots, 0), window.ring);
            continue;
        }
        message_bytes.* = header.payload_bytes;
        if (buffer.len < header.payload_bytes) return error.TooSmall;
        @memcpy(buffer[0..header.payload_bytes], place[@sizeOf(RecordHeader)..][0..header.payload_bytes]);
        bells.ring(receiver.release(record_slots, 1), window.ring);
        return;
    }
}

/// Copies messages of a fixed layout out: what one window has, as many as fit. Answers how many.
pub fn receiveMany(receiver: *Receiver, segment: Segment, buffer: []u8, timeout_ns: u64, bells: anytype) ReceiveError!u32 {
    const slot_bytes = segment.geometry.slot_bytes;
    const most: u32 = @intCast(@min(buffer.len / slot_bytes, segment.geometry.capacity));
    if (most == 0) return error.TooSmall;
    const deadline = if (timeout_ns == 0) 0 else os.now() +| timeout_ns;
    const slots = try poll(receiver, most, timeout_ns, deadline, bells);
    const window = receiver.window();
    const count = @min(slots, most);
    const bytes = @as(u64, count) * slot_bytes;
    @memcpy(buffer[0..bytes], slotAt(segment, window.ring, window.position)[0..bytes]);
    bells.ring(receiver.release(count, count), window.ring);
    return count;
}

/// Finds a window: how many slots. `deadline` is when `timeout_ns` is up.
pub fn poll(receiver: *Receiver, messages_max: u32, timeout_ns: u64, deadline: u64, bells: anytype) ReceiveError!u32 {
    var is_last = timeout_ns == 0;
    while (true) {
        // What says that nothing is there has to be sure of it.
        const polled = if (is_last) receiver.pollSurely(messages_max) else receiver.poll(messages_max);
        const window = receiver.window();
        bells.ring(window.bells, window.ring);
        switch (polled) {
            .window => |slots| return slots,
            .ended => return error.Ended,
            .corrupt => {
                bells.ring(.{ .all = true }, 0);
                return error.Corrupt;
            },
            .empty => {
                if (is_last) return error.WouldBlock;
                const left = deadline -| os.now();
                is_last = left == 0 or !receiver.wait(.phased, left);
            },
        }
    }
}

fn slotsOfRecord(payload_bytes: u32) u32 {
    const bytes = @as(u64, payload_bytes) + @sizeOf(RecordHeader);
    return @intCast(std.math.divCeil(u64, bytes, segment_module.record_slot_bytes) catch unreachable);
}

pub fn slotAt(segment: Segment, ring: u32, position: u32) [*]u8 {
    return segment.data(ring) + @as(u64, position) * segment.geometry.slot_bytes;
}
