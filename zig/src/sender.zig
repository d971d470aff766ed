//! The sending side of every kind of channel: a ring of its own, and whom to wake after a commit.

const std = @import("std");
const channel = @import("channel.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const wait_module = @import("wait.zig");
const Bells = channel.Bells;
const CloseState = segment_module.CloseState;
const OpenError = channel.OpenError;
const Producer = ring_module.Producer;
const Ringer = channel.Ringer;
const Segment = segment_module.Segment;

pub const Sender = struct {
    segment: Segment,
    producer: Producer,

    /// Claims a free ring. The caller holds the cold-path mutex of its process.
    pub fn open(segment: Segment, has_records: bool) OpenError!Sender {
        const control = segment.control();
        const ring = try claimRing(segment);
        const line = segment.producerLine(ring);
        // A look at close_state before the seal is cleared: a sender that held this ring when the
        // channel closed may still be about to commit, and only the seal stops it.
        if (control.close_state.load(.seq_cst) != @intFromEnum(CloseState.open)) {
            line.state.store(@intFromEnum(segment_module.RingState.claimed), .seq_cst);
            return refuse(segment, ring);
        }
        // The receiver has not got this ring in its active set: the first commit must add it.
        segment.waitLine(ring).idle.store(1, .monotonic);
        segment.waitLine(ring).sender_wait.word.store(0, .monotonic);
        // Clears the closed bit, and only then calls the ring claimed: a receiver that still has a
        // stale bit of the ready set for this ring must not take the last tenant's seal for ours.
        line.tail.store(segment.consumerLine(ring).head.load(.acquire), .monotonic);
        line.state.store(@intFromEnum(segment_module.RingState.claimed), .seq_cst);
        // SC load; its partner is the compare-and-swap in close(): either close() finds this ring
        // claimed and seals it, or we see the close here.
        if (control.close_state.load(.seq_cst) != @intFromEnum(CloseState.open)) {
            ring_module.seal(line);
            return refuse(segment, ring);
        }
        return .{ .segment = segment, .producer = .init(segment, ring, has_records) };
    }

    /// A sealed ring is left to the receiver, which recycles it. The caller rings every bell.
    fn refuse(segment: Segment, ring: u32) OpenError {
        segment.control().ready.add(ring);
        channel.wakeReceivers(segment, .can_ring);
        return error.ChannelClosed;
    }

    fn claimRing(segment: Segment) OpenError!u32 {
        const control = segment.control();
        if (control.close_state.load(.seq_cst) != @intFromEnum(CloseState.open)) return error.ChannelClosed;
        for (0..segment.geometry.senders_max) |index| {
            const line = segment.producerLine(@intCast(index));
            // A plain look first keeps the untouched rings untouched.
            if (line.state.load(.monotonic) != @intFromEnum(segment_module.RingState.free)) continue;
            // Counted before it is claimed, so that the count never falls short of the rings.
            _ = control.rings_claimed.fetchAdd(1, .seq_cst);
            // Acquire: pairs with the release in Receiver.recycle(); the old tenant's last words
            // come before ours.
            if (line.state.cmpxchgStrong(
                @intFromEnum(segment_module.RingState.free),
                @intFromEnum(segment_module.RingState.claiming),
                .seq_cst,
                .monotonic,
            ) == null) {
                // SC: before the look at close_state in open(); its partner is in close().
                _ = control.rings_used.fetchMax(@as(u32, @intCast(index)) + 1, .seq_cst);
                return @intCast(index);
            }
            _ = control.rings_claimed.fetchSub(1, .seq_cst);
        }
        return error.TooManySenders;
    }

    pub const Committed = union(enum) { bells: Bells, closed };

    pub fn commit(self: *Sender, slots: u32, messages: u32) Committed {
        if (!self.producer.commit(slots, messages)) return .closed;
        // Where there is one ring, its receiver needs no ready set to find it: the commit is the
        // publish half of the wake protocol itself.
        if (self.segment.geometry.kind == .spsc) return .{ .bells = channel.wakeReceiver(self.segment, 0) };
        if (!self.producer.wasIdle()) return .{ .bells = .{} };
        return .{ .bells = self.announce() };
    }

    fn announce(self: *Sender) Bells {
        self.segment.control().ready.add(self.producer.ring);
        return channel.wakeReceiver(self.segment, self.producer.ring);
    }

    /// Waits for room for `slots_min` slots. Returns whether there is room or the ring is sealed.
    pub fn wait(self: *Sender, slots_min: u32, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        const condition: RoomCondition = .{ .producer = &self.producer, .slots_min = slots_min };
        const blocker: channel.Blocker = .{ .segment = self.segment, .word = &self.producer.wait_line.sender_wait };
        return wait_module.wait(strategy, timeout_ns, blocker, condition);
    }

    pub fn countFull(self: *Sender) void {
        const line = self.producer.line;
        line.times_full.store(line.times_full.raw +% 1, .monotonic);
    }

    /// Arms the sender's bell. False: there is room, or the ring is sealed; do not sleep.
    pub fn arm(self: *Sender, slots_min: u32) bool {
        const word = &self.producer.wait_line.sender_wait;
        word.arm(self.segment.waiting(.bell));
        const condition: RoomCondition = .{ .producer = &self.producer, .slots_min = slots_min };
        if (!condition.holds()) {
            word.countSleep();
            return true;
        }
        _ = word.disarm();
        return false;
    }

    pub fn disarm(self: *Sender) void {
        _ = self.producer.wait_line.sender_wait.disarm();
    }

    /// Seals the ring: what was committed is delivered, what was not never was.
    pub fn close(self: *Sender, ringer: Ringer) Bells {
        ring_module.seal(self.producer.line);
        self.segment.control().ready.add(self.producer.ring);
        if (ringer == .can_ring) return channel.wakeReceiver(self.segment, self.producer.ring);
        channel.wakeReceivers(self.segment, .cannot_ring);
        return .{};
    }
};

const RoomCondition = struct {
    producer: *const Producer,
    slots_min: u32,

    pub fn holds(self: RoomCondition) bool {
        return self.producer.hasRoom(self.slots_min) or self.producer.isClosed();
    }
};
