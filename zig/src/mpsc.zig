//! The mpsc channel: many producers, one receiver, a ring per producer.
//!
//! Ring decomposition after ringmpsc: producers never meet on a word while the receiver is busy.
//! The policy here is which ring the receiver looks at next.

const std = @import("std");
const bell = @import("bell.zig");
const channel = @import("channel.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const wait_module = @import("wait.zig");
const ActiveSet = @import("ready_set.zig").ActiveSet;
const ReadySet = @import("ready_set.zig").ReadySet;
const words_max = @import("ready_set.zig").words_max;
const Bells = channel.Bells;
const Consumer = ring_module.Consumer;
const OpenError = channel.OpenError;
const Polled = channel.Polled;
const Ringer = channel.Ringer;
const Segment = segment_module.Segment;

pub const Sender = @import("sender.zig").Sender;

/// Visits in a row that find a ring empty before the receiver drops it. A sender that is nearly as
/// fast as the receiver would otherwise have to make its ring ready again with every message.
const empty_visits_max = 64;

pub const Receiver = struct {
    segment: Segment,
    active: ActiveSet = .{},
    /// The ring of the current window, and what is left of it.
    ring: u32 = 0,
    position: u32 = 0,
    window: u32 = 0,
    /// Rings that had been used at the last mark().
    rings_marked: u32 = 0,

    pub fn open(segment: Segment) OpenError!Receiver {
        try channel.takeReceiver(segment);
        return .{ .segment = segment };
    }

    /// Finds a window of messages: a contiguous run of one ring. Rings take turns, one window each.
    pub fn poll(self: *Receiver) Polled {
        if (self.window != 0) return .{ .window = self.window };
        const control = self.segment.control();
        self.active.takeFrom(&control.ready);
        // Every step below returns, drops a ring, or passes one for the first time, and the ready set
        // is taken only once: bounded by the number of rings, unless somebody unseals what is sealed.
        var first_passed: ?u32 = null;
        for (0..2 * ReadySet.rings_max) |_| {
            const ring = self.active.next() orelse break;
            if (ring >= self.segment.geometry.senders_max) return .corrupt;
            if (first_passed == ring) break;
            const consumer: Consumer = .init(self.segment, ring);
            var found = consumer.readable();
            if (found == .empty) {
                if (consumer.line.empty_visits < empty_visits_max) {
                    consumer.line.empty_visits +%= 1;
                    if (first_passed == null) first_passed = ring;
                    continue;
                }
                found = consumer.goIdle();
            }
            switch (found) {
                .run => |run| {
                    consumer.line.empty_visits = 0;
                    self.ring = ring;
                    self.position = run.position;
                    self.window = run.slots;
                    return .{ .window = run.slots };
                },
                .empty => self.active.remove(ring),
                .ended => if (channel.recycle(self.segment, consumer, ring)) self.active.remove(ring),
                .corrupt => return .corrupt,
            }
        }
        return if (channel.hasEnded(self.segment)) .ended else .empty;
    }

    /// Drops every active ring that is empty: to be called before a sleep, so that whoever commits
    /// to one next makes it ready and wakes this receiver.
    pub fn dropEmpty(self: *Receiver) void {
        for (0..words_max) |index| {
            var bits = self.active.words[index];
            while (bits != 0) : (bits &= bits - 1) {
                const ring: u32 = @intCast(index * 64 + @ctz(bits));
                if (ring >= self.segment.geometry.senders_max) return; // poll() tells
                const consumer: Consumer = .init(self.segment, ring);
                if (consumer.readable() == .empty and consumer.goIdle() == .empty) self.active.remove(ring);
            }
        }
    }

    /// Frees `slots` of the current window.
    pub fn release(self: *Receiver, slots: u32, messages: u32) Bells {
        std.debug.assert(slots <= self.window);
        const consumer: Consumer = .init(self.segment, self.ring);
        var bells: Bells = .of(consumer.release(slots, messages), "sender");
        self.window -= slots;
        self.position += slots;
        channel.tellDrained(self.segment, &bells);
        return bells;
    }

    /// Whether poll() would find something; what a receiver that waits looks at.
    pub fn holds(self: *const Receiver) bool {
        return !self.active.isEmpty() or self.window != 0 or
            // SC load: its partner is the SC fetchOr in ReadySet.add().
            !self.segment.control().ready.isEmpty() or channel.hasEnded(self.segment);
    }

    pub fn wait(self: *Receiver, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        self.dropEmpty();
        const blocker: channel.Blocker = .{ .segment = self.segment, .word = &self.segment.control().receiver_wait };
        return wait_module.wait(strategy, timeout_ns, blocker, self);
    }

    /// Arms the receiver's wait word. False: there is something to poll; do not sleep.
    pub fn arm(self: *Receiver, how: bell.Waiting) bool {
        self.dropEmpty();
        const word = &self.segment.control().receiver_wait;
        word.arm(self.segment.waiting(how));
        if (!self.holds()) return true;
        _ = word.disarm();
        return false;
    }

    pub fn disarm(self: *Receiver) void {
        _ = self.segment.control().receiver_wait.disarm();
    }

    /// Remembers how far every ring has been committed now.
    pub fn mark(self: *Receiver) void {
        self.rings_marked = channel.ringsUsed(self.segment);
        for (0..self.rings_marked) |index| {
            const ring: u32 = @intCast(index);
            const line = self.segment.producerLine(ring);
            const consumer_line = self.segment.consumerLine(ring);
            consumer_line.mark = if (line.isClaimed())
                line.tail.load(.seq_cst) & ~ring_module.closed_bit
            else
                consumer_line.head.raw;
        }
    }

    /// Whether everything mark() saw has been released.
    pub fn hasReachedMarks(self: *const Receiver) bool {
        for (0..self.rings_marked) |index| {
            const line = self.segment.consumerLine(@intCast(index));
            // Distance on the wrapping counter: negative means the head is still behind the mark.
            // Further behind than the ring is long: a mark nobody has made.
            const behind = line.mark -% line.head.raw;
            if (behind != 0 and behind <= self.segment.geometry.capacity << 1) return false;
        }
        return true;
    }

    pub fn close(self: *Receiver, ringer: Ringer) Bells {
        return channel.closeReceiver(self.segment, ringer);
    }
};
