//! The spsc channel: one producer, one receiver, one ring, and nothing to find.
//!
//! A commit is seen by a look at the tail, and the tail is what a sleeper looks at after it has armed:
//! there is no ready set and no idle word between them.

const bell = @import("bell.zig");
const channel = @import("channel.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const wait_module = @import("wait.zig");
const Bells = channel.Bells;
const Consumer = ring_module.Consumer;
const OpenError = channel.OpenError;
const Polled = channel.Polled;
const Ringer = channel.Ringer;
const Segment = segment_module.Segment;

pub const Receiver = struct {
    segment: Segment,
    consumer: Consumer,
    ring: u32 = 0,
    position: u32 = 0,
    window: u32 = 0,
    has_mark: bool = false,

    pub fn open(segment: Segment) OpenError!Receiver {
        try channel.takeReceiver(segment);
        return .{ .segment = segment, .consumer = .init(segment, 0) };
    }

    pub fn poll(self: *Receiver) Polled {
        if (self.window != 0) return .{ .window = self.window };
        switch (self.consumer.readable()) {
            .run => |run| {
                self.position = run.position;
                self.window = run.slots;
                return .{ .window = run.slots };
            },
            // Where others write, a seal may have been taken off.
            .empty => return if (self.segment.geometry.is_shared and channel.hasEnded(self.segment)) .ended else .empty,
            // Sealed: by the end of its sender, or not claimed by any yet.
            .ended => {
                _ = channel.recycle(self.segment, self.consumer, 0);
                return if (channel.hasEnded(self.segment)) .ended else .empty;
            },
            .corrupt => return .corrupt,
        }
    }

    pub fn release(self: *Receiver, slots: u32, messages: u32) Bells {
        var bells: Bells = .of(self.consumer.release(slots, messages), "sender");
        self.window -= slots;
        self.position += slots;
        channel.tellDrained(self.segment, &bells);
        return bells;
    }

    /// Whether poll() would find something; what a receiver that waits looks at.
    pub fn holds(self: *const Receiver) bool {
        if (self.window != 0 or channel.hasEnded(self.segment)) return true;
        // SC load: its partner is the compare-and-swap in commit(), or the fetchOr in seal().
        const tail = self.consumer.producer_line.tail.load(.seq_cst);
        if ((tail ^ self.consumer.line.head.raw) & ~ring_module.closed_bit != 0) return true;
        // Sealed and empty: a poll gives it back, if it has a tenant.
        return ring_module.isSealed(tail) and
            self.consumer.producer_line.isClaimed();
    }

    pub fn wait(self: *Receiver, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        const blocker: channel.Blocker = .{ .segment = self.segment, .word = &self.segment.control().receiver_wait };
        return wait_module.wait(strategy, timeout_ns, blocker, self);
    }

    /// Arms the receiver's wait word. False: there is something to poll; do not sleep.
    pub fn arm(self: *Receiver, how: bell.Waiting) bool {
        const word = &self.segment.control().receiver_wait;
        word.arm(self.segment.waiting(how));
        if (!self.holds()) return true;
        _ = word.disarm();
        return false;
    }

    pub fn disarm(self: *Receiver) void {
        _ = self.segment.control().receiver_wait.disarm();
    }

    /// Remembers how far the ring has been committed now.
    pub fn mark(self: *Receiver) void {
        self.consumer.line.mark = self.consumer.producer_line.tail.load(.seq_cst) & ~ring_module.closed_bit;
        self.has_mark = true;
    }

    /// Whether everything mark() saw has been released.
    pub fn hasReachedMarks(self: *const Receiver) bool {
        if (!self.has_mark) return true;
        // Distance on the wrapping counter; further behind than the ring is long is no mark of ours.
        const behind = self.consumer.line.mark -% self.consumer.line.head.raw;
        return behind == 0 or behind > self.consumer.capacity << 1;
    }

    pub fn close(self: *Receiver, ringer: Ringer) Bells {
        return channel.closeReceiver(self.segment, ringer);
    }
};

const testing = @import("std").testing;

test "a receiver in shared memory sees the end of a ring whose seal was taken off" {
    for ([_]segment_module.CloseState{ .closed, .corrupt }) |why| {
        const segment = try Segment.create(try segment_module.Geometry.init(.{
            .kind = .spsc,
            .slot_bytes = 8,
            .capacity = 2,
            .is_shared = true,
        }), 0);
        defer segment.destroy();
        var receiver = try Receiver.open(segment);
        _ = try @import("sender.zig").Sender.open(segment, false);
        _ = channel.close(segment, why, .can_ring);
        segment.producerLine(0).tail.store(0, .seq_cst);
        try testing.expect(receiver.holds());
        // The first look seals it again, if that is still worth while.
        if (receiver.poll() == .empty) try testing.expect(receiver.poll() == .ended);
    }
}
