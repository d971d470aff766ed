//! Who sleeps, where there are several receivers: a bit for each, so that a waker takes one and the
//! others sleep on.
//!
//!   waker:   publish (SC)                                     then  load the bits (SC)
//!   sleeper: arm its wait word (SC), set its bit (SC)         then  look at what is published (SC)
//!
//! As in bell.zig one of the two loads comes last and sees the other's store. A waker clears a bit
//! before it takes the arm, so of many wakers one gets it. A sleeper that gives up after a waker has
//! taken its arm must pass the wake-up on (see Sleeper.disarm).

const std = @import("std");
const bell = @import("bell.zig");
const channel = @import("channel.zig");
const Segment = @import("segment.zig").Segment;
const Bells = channel.Bells;

fn bitOf(receiver: u32) u64 {
    return @as(u64, 1) << @intCast(receiver);
}

/// Wakes one receiver that sleeps, in rotation: a trickle of messages goes round. The one that slept
/// last would have the warmer caches, but then it would get every message and the others none.
pub fn wakeOne(segment: Segment) Bells {
    const control = segment.control();
    for (0..attempts_max) |_| {
        // SC: the waker's look; its partner is the fetchOr in Sleeper.arm().
        const asleep = control.sleepers.load(.seq_cst);
        if (asleep == 0) return .{};
        const start: u6 = @truncate(control.wake_cursor.load(.monotonic));
        const rotated = std.math.rotr(u64, asleep, start);
        const receiver: u32 = (@as(u32, @ctz(rotated)) + start) % 64;
        if (control.sleepers.fetchAnd(~bitOf(receiver), .seq_cst) & bitOf(receiver) == 0) continue;
        // Of wakers that meet here any may be the last: where the next search begins is no promise.
        control.wake_cursor.store(receiver +% 1, .monotonic);
        if (receiver >= segment.geometry.receivers_max) continue;
        switch (channel.deliver(segment, receiver, segment.receiverLine(receiver).wait.take())) {
            .nobody => {}, // it gave up: the next one
            .woken, .write_event => return .{},
            .ring_bell => return .{ .receiver = true, .receiver_index = @intCast(receiver) },
        }
    }
    // Somebody sets bits faster than they can be cleared, and sleeps behind none of them.
    wakeAll(segment, .can_ring);
    return .{ .all = true };
}

const attempts_max = 1 << 12;

/// Wakes all. If `ringer` can, it rings every bell afterwards.
pub fn wakeAll(segment: Segment, ringer: channel.Ringer) void {
    const control = segment.control();
    var asleep = control.sleepers.load(.seq_cst);
    while (asleep != 0) : (asleep &= asleep - 1) {
        const receiver: u32 = @ctz(asleep);
        if (receiver >= segment.geometry.receivers_max) return;
        // A dying thread cannot ring: it leaves a bell's arm, and so its bit, in place.
        if (ringer == .can_ring) _ = control.sleepers.fetchAnd(~bitOf(receiver), .seq_cst);
        channel.wakeReceiverAt(segment, receiver, &segment.receiverLine(receiver).wait, ringer);
    }
}

/// One receiver's place among the sleepers: a wait word as wait.zig wants it.
pub const Sleeper = struct {
    segment: Segment,
    receiver: u32,

    fn word(self: Sleeper) *bell.WaitWord {
        return &self.segment.receiverLine(self.receiver).wait;
    }

    pub fn arm(self: Sleeper, how: bell.Waiting) void {
        self.word().arm(self.segment.waiting(how));
        // SC: the sleeper's store; its partner is the load in wakeOne().
        _ = self.segment.control().sleepers.fetchOr(bitOf(self.receiver), .seq_cst);
    }

    /// Takes the arm away. False: a waker was faster. Who then does not look for messages must have
    /// somebody else do it: the wake-up was meant for one, and is spent.
    pub fn disarm(self: Sleeper) bool {
        const was_armed = self.word().disarm();
        _ = self.segment.control().sleepers.fetchAnd(~bitOf(self.receiver), .seq_cst);
        return was_armed;
    }

    pub fn sleep(self: Sleeper, timeout_ns: u64) void {
        // One is woken for a message, and its thread may be busy with something else.
        self.word().sleep(self.segment.waiting(.futex), @min(timeout_ns, bell.shared_sleep_ns_max));
        if (self.segment.geometry.is_shared) channel.lookAround(self.segment);
    }
};
