//! What a channel has counted. Every counter lies in a line that whoever counts writes anyway; those of
//! a hot path have one writer, and need no read-modify-write, but where receivers share a ring. Here
//! they are read and summed, one after the other and not at one instant.

const std = @import("std");
const channel = @import("channel.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const Segment = segment_module.Segment;

pub const Channel = extern struct {
    messages_sent: u64 = 0,
    messages_received: u64 = 0,
    commits: u64 = 0,
    releases: u64 = 0,
    times_full: u64 = 0,
    /// Sleeps of senders, for want of room.
    times_slept: u64 = 0,
    /// Slots committed and not yet released, over all rings.
    slots_used: u64 = 0,
    senders: u64 = 0,
    close_state: u64 = 0,
    receiver_state: u64 = 0,
    drained: u64 = 0,
    sender_references: u64 = 0,
    receiver_tickets: u64 = 0,
    /// Bytes of the slots committed and released, without padding records.
    bytes_sent: u64 = 0,
    bytes_received: u64 = 0,
    /// The most messages of one commit.
    batch_most: u64 = 0,
    /// The most slots of one ring that either side has seen in use.
    slots_used_most: u64 = 0,
    receivers_slept: u64 = 0,
    senders_woken: u64 = 0,
    receivers_woken: u64 = 0,
    redelivered: u64 = 0,
    receivers: u64 = 0,
    /// Rings that ever had a sender: as many as ofRings() can tell of, or more.
    rings_used: u64 = 0,
    /// Of those received, as far as they are no longer in the rings: nobody got these.
    messages_dropped: u64 = 0,
};

pub const Ring = extern struct {
    ring: u64 = 0,
    messages_sent: u64 = 0,
    messages_received: u64 = 0,
    slots_used: u64 = 0,
    slots_used_most: u64 = 0,
    times_full: u64 = 0,
    times_slept: u64 = 0,
};

fn isClaimed(segment: Segment, ring: u32) bool {
    return segment.producerLine(ring).isClaimed();
}

fn ofRing(segment: Segment, ring: u32) Ring {
    const line = segment.producerLine(ring);
    const consumer_line = segment.consumerLine(ring);
    // What is received first: less than what was sent, then, unless the counter is behind.
    const received = consumer_line.messages.load(.monotonic);
    var told: Ring = .{
        .ring = ring,
        .messages_sent = line.messages.load(.monotonic),
        .messages_received = received,
        .times_full = line.times_full.load(.monotonic),
        .times_slept = segment.waitLine(ring).sender_wait.sleeps.load(.monotonic),
    };
    if (isClaimed(segment, ring)) {
        const tail = line.tail.load(.acquire) & ~ring_module.closed_bit;
        // The head may have moved past that tail; the difference is then not a size.
        const used = (tail -% consumer_line.head.load(.acquire)) >> 1;
        if (used <= segment.geometry.capacity) told.slots_used = used;
    }
    told.slots_used_most = @max(
        line.used_most.load(.monotonic),
        consumer_line.used_most.load(.monotonic),
        told.slots_used,
    );
    return told;
}

pub fn ofChannel(segment: Segment) Channel {
    const control = segment.control();
    const slot_bytes = segment.geometry.slot_bytes;
    const receiver_state = control.receiver_state.load(.acquire);
    const has_many = segment.geometry.kind.hasManyReceivers();
    var sum: Channel = .{
        .close_state = control.close_state.load(.acquire),
        .receiver_state = receiver_state,
        .drained = @intFromBool(channel.isDrained(segment)),
        .sender_references = control.sender_references.load(.acquire),
        .receiver_tickets = control.receiver_tickets.load(.acquire),
        .redelivered = control.redelivered.load(.monotonic),
        .receivers = if (has_many)
            control.receivers_open.load(.acquire)
        else
            @intFromBool(receiver_state == @intFromEnum(segment_module.ReceiverState.open)),
        .rings_used = channel.ringsUsed(segment),
    };
    const receivers_used = if (has_many) control.receivers_used.load(.acquire) else 1;
    for (0..@min(receivers_used, segment.geometry.receivers_max)) |receiver| {
        const word = channel.receiverWait(segment, @intCast(receiver));
        sum.receivers_slept +%= word.sleeps.load(.monotonic);
        sum.receivers_woken +%= word.wakes.load(.monotonic);
        if (!has_many) continue;
        const line = segment.receiverLine(@intCast(receiver));
        sum.releases +%= line.releases.load(.monotonic);
        sum.bytes_received +%= line.slots.load(.monotonic) *% slot_bytes;
    }
    for (0..sum.rings_used) |index| {
        const ring: u32 = @intCast(index);
        const line = segment.producerLine(ring);
        const consumer_line = segment.consumerLine(ring);
        const claimed = isClaimed(segment, ring);
        // A ring that has never had a tenant has counted nothing.
        if (!claimed and line.commits.load(.monotonic) == 0) continue;
        const told = ofRing(segment, ring);
        sum.messages_sent +%= told.messages_sent;
        sum.messages_received +%= told.messages_received;
        sum.messages_dropped +%= line.dropped.load(.monotonic);
        sum.times_full +%= told.times_full;
        sum.times_slept +%= told.times_slept;
        sum.slots_used +%= told.slots_used;
        sum.slots_used_most = @max(sum.slots_used_most, told.slots_used_most);
        sum.commits +%= line.commits.load(.monotonic);
        // Of receivers that share rings these two are counted by receiver, above, and 0 here.
        sum.releases +%= consumer_line.releases.load(.monotonic);
        sum.bytes_sent +%= line.slots.load(.monotonic) *% slot_bytes;
        sum.bytes_received +%= consumer_line.slots.load(.monotonic) *% slot_bytes;
        sum.batch_most = @max(sum.batch_most, line.batch_most.load(.monotonic));
        sum.senders_woken +%= segment.waitLine(ring).sender_wait.wakes.load(.monotonic);
        if (claimed and !ring_module.isSealed(line.tail.load(.acquire))) sum.senders +%= 1;
    }
    return sum;
}

/// Tells of the rings that have a sender, or what it left, as many as there is room for; returns of
/// how many.
pub fn ofRings(segment: Segment, rings: []Ring) usize {
    var count: usize = 0;
    for (0..channel.ringsUsed(segment)) |index| {
        if (count == rings.len) break;
        if (!isClaimed(segment, @intCast(index))) continue;
        rings[count] = ofRing(segment, @intCast(index));
        count += 1;
    }
    return count;
}
