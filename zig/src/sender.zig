//! The sending side of every kind of channel: a ring of its own, and whom to wake after a commit.

const std = @import("std");
const channel = @import("channel.zig");
const claims = @import("claims.zig");
const ledger = @import("ledger.zig");
const placement = @import("placement.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const wait_module = @import("wait.zig");
const Bells = channel.Bells;
const OpenError = channel.OpenError;
const Producer = ring_module.Producer;
const Ringer = channel.Ringer;
const Segment = segment_module.Segment;

pub const Sender = struct {
    segment: Segment,
    producer: Producer,

    /// Claims a free ring and opens a sender on it.
    pub fn open(segment: Segment, has_records: bool) OpenError!Sender {
        return settle(segment, has_records, try claimRing(segment));
    }

    /// Opens a sender on a ring that claimRing() gave. Until then nobody else looks at the ring.
    pub fn settle(segment: Segment, has_records: bool, ring: u32) OpenError!Sender {
        const line = segment.producerLine(ring);
        const head = segment.consumerLine(ring).head.load(.acquire);
        const tenancy: segment_module.Tenancy = @bitCast(line.tenancy.load(.monotonic)); // nobody else writes it now
        // A look at close_state before the seal is cleared: a sender that held this ring when the
        // channel closed may still be about to commit, and only the seal stops it.
        if (!ledger.isOpen(segment)) {
            // What the last tenant left, and a ring that never had one has not yet.
            line.tail.store(head | ring_module.closed_bit, .monotonic);
            line.tenancy.store(tenancy.with(.claimed), .seq_cst);
            return refuse(segment, ring);
        }
        // The receiver has not got this ring in its active set: the first commit must add it.
        segment.waitLine(ring).idle.store(1, .monotonic);
        segment.waitLine(ring).sender_wait.word.store(0, .monotonic);
        line.is_left.store(0, .monotonic); // before `claimed`: whoever gives it back sees ours
        // Clears the closed bit, and only then calls the ring claimed: a receiver that still has a
        // stale bit of the ready set for this ring must not take the last tenant's seal for ours.
        line.tail.store(head, .monotonic);
        line.tenancy.store(tenancy.with(.claimed), .seq_cst);
        // SC load; its partner is the compare-and-swap in close(): either close() finds this ring
        // claimed and seals it, or we see the close here.
        if (!ledger.isOpen(segment)) {
            ring_module.seal(line);
            return refuse(segment, ring);
        }
        return .{ .segment = segment, .producer = .init(segment, ring, has_records) };
    }

    /// A sealed ring is left to the receiver, which recycles it. The caller rings every bell.
    fn refuse(segment: Segment, ring: u32) OpenError {
        leave(segment, ring);
        segment.control().ready.add(ring);
        channel.wakeReceivers(segment, .can_ring);
        return error.ChannelClosed;
    }

    /// Gives a claimed ring back that no sender has settled on. If the channel is closed, the caller
    /// rings every bell.
    pub fn unclaimRing(segment: Segment, ring: u32) OpenError!void {
        const line = segment.producerLine(ring);
        const tenancy: segment_module.Tenancy = @bitCast(line.tenancy.load(.monotonic)); // nobody else writes it now
        // Release: pairs with the compare-and-swap in claimRing().
        line.tenancy.store(tenancy.with(.free), .seq_cst);
        ledger.leaveRing(segment, ring);
        return uncount(segment);
    }

    /// Takes a free ring: no other sender gets it, and no receiver looks at it yet.
    pub fn claimRing(segment: Segment) OpenError!u32 {
        const control = segment.control();
        if (!ledger.isOpen(segment)) return error.ChannelClosed;
        for (0..segment.geometry.senders_max) |index| {
            // Whatever its tenancy says.
            if (ledger.hasRing(segment, @intCast(index))) continue;
            const line = segment.producerLine(@intCast(index));
            // A look first keeps the untouched rings untouched.
            // Acquire: pairs with the release in giveBack(), and so with what bar() stored before the seal.
            const tenancy: segment_module.Tenancy = @bitCast(line.tenancy.load(.acquire));
            if (tenancy.state != .free or line.barred.load(.monotonic) != 0) continue;
            // Counted before it is claimed, so that the count never falls short of the rings.
            _ = control.rings_claimed.fetchAdd(1, .seq_cst);
            // Acquire: pairs with the release in giveBack(); the old tenant's last words come before
            // ours.
            if (line.tenancy.cmpxchgStrong(
                @bitCast(tenancy),
                @bitCast(tenancy.next()),
                .seq_cst,
                .monotonic,
            ) == null) {
                ledger.takeRing(segment, @intCast(index));
                return @intCast(index);
            }
            try uncount(segment);
        }
        return error.TooManySenders;
    }

    /// Takes back the count of a ring that became another's, or nobody's.
    fn uncount(segment: Segment) OpenError!void {
        const control = segment.control();
        _ = control.rings_claimed.fetchSub(1, .seq_cst);
        // SC, after it: a receiver that saw the close and our count fell asleep before the end.
        if (ledger.isOpen(segment)) return;
        channel.wakeReceivers(segment, .can_ring);
        return error.ChannelClosed;
    }

    /// On a ring that the keeper of the channel has claimed for this process.
    pub fn attach(segment: Segment, has_records: bool, ring: u32) Sender {
        return .{ .segment = segment, .producer = .init(segment, ring, has_records) };
    }

    /// Does for a sender in another process what it cannot do itself: close().
    pub fn sealLeft(segment: Segment, ring: u32) void {
        leave(segment, ring);
        segment.control().ready.add(ring);
        channel.wakeReceivers(segment, .cannot_ring);
    }

    /// Seals the ring, at which nobody looks any more but receivers.
    fn leave(segment: Segment, ring: u32) void {
        const line = segment.producerLine(ring);
        // Before the seal: a receiver that sees ours gives the memory back with the ring. SC, and then the
        // look below: its partners are the compare-and-swap and the look in giveBack(), of a ring that a
        // close has sealed. One of the two comes last, and gives the memory back.
        line.is_left.store(1, .seq_cst);
        ring_module.seal(line);
        ledger.leaveRing(segment, ring);
        if (ledger.isOpen(segment)) return; // a receiver will, and afterwards it may be another's
        if (segment_module.stateOf(line.tenancy.load(.seq_cst)) == .free) placement.emptyRing(segment, ring);
    }

    /// See Producer.reserve().
    pub inline fn reserve(self: *Sender, slots_min: u32) Producer.Reserved {
        const reserved = self.producer.reserve(slots_min);
        return if (reserved == .full and self.isOver()) .closed else reserved;
    }

    /// Whether nothing can be sent any more. Where others write, a ring may have been left unsealed.
    fn isOver(self: *const Sender) bool {
        return self.producer.isClosed() or (self.segment.geometry.is_shared and !ledger.isOpen(self.segment));
    }

    pub const Committed = union(enum) { bells: Bells, closed };

    pub fn commit(self: *Sender, slots: u32, messages: u32) Committed {
        if (!self.producer.commit(slots, messages)) return .closed;
        // Where there is one ring, its receiver needs no ready set to find it: the commit is the
        // publish half of the wake protocol itself.
        if (self.segment.geometry.kind == .spsc) return .{ .bells = channel.wakeReceiver(self.segment) };
        if (!self.producer.wasIdle()) return .{ .bells = .{} };
        return .{ .bells = self.announce() };
    }

    fn announce(self: *Sender) Bells {
        self.segment.control().ready.add(self.producer.ring);
        return channel.wakeReceiver(self.segment);
    }

    pub const Forced = struct { has_room: bool, bells: Bells };

    /// Makes room by dropping the oldest messages; see claims.zig.
    pub fn force(self: *Sender, slots_min: u32) Forced {
        var dropping: claims.Dropping = .init(self.segment, self.producer.ring, self.producer.has_records);
        const has_room = while (!self.hasRoomFor(slots_min)) {
            if (!dropping.dropOldest()) break false;
        } else true;
        return .{ .has_room = has_room, .bells = dropping.bells };
    }

    /// Waits for room for `slots_min` slots. Returns whether there is room or the ring is sealed.
    pub fn wait(self: *Sender, slots_min: u32, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        const condition: RoomCondition = .{ .sender = self, .slots_min = slots_min };
        const blocker: channel.Blocker = .{ .segment = self.segment, .word = &self.producer.wait_line.sender_wait };
        return wait_module.wait(strategy, timeout_ns, blocker, condition);
    }

    /// Whether there is room, or never will be.
    pub fn hasRoomFor(self: *const Sender, slots_min: u32) bool {
        return (RoomCondition{ .sender = self, .slots_min = slots_min }).holds();
    }

    pub fn countFull(self: *Sender) void {
        const line = self.producer.line;
        line.times_full.store(line.times_full.raw +% 1, .monotonic);
    }

    /// Arms the sender's bell. False: there is room, or the ring is sealed; do not sleep.
    pub fn arm(self: *Sender, slots_min: u32) bool {
        const word = &self.producer.wait_line.sender_wait;
        word.arm(self.segment.waiting(.bell));
        const condition: RoomCondition = .{ .sender = self, .slots_min = slots_min };
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
    /// Before close(), of a thread that has ended: nobody else gets the ring. I/O that the thread began can
    /// still write to it, and no one can tell for how long.
    pub fn bar(self: *Sender) void {
        self.producer.line.barred.store(1, .monotonic); // published by the seal
    }

    pub fn close(self: *Sender, ringer: Ringer) Bells {
        leave(self.segment, self.producer.ring);
        self.segment.control().ready.add(self.producer.ring);
        if (ringer == .can_ring) return channel.wakeReceiver(self.segment);
        channel.wakeReceivers(self.segment, .cannot_ring);
        return .{};
    }
};

const RoomCondition = struct {
    sender: *const Sender,
    slots_min: u32,

    pub fn holds(self: RoomCondition) bool {
        return self.sender.producer.hasRoom(self.slots_min) or self.sender.isOver();
    }
};

const testing = std.testing;
const Receiver = @import("receiver.zig").Receiver;

fn sceneOf(kind: segment_module.Kind) !Segment {
    return Segment.create(try segment_module.Geometry.init(.{
        .kind = kind,
        .slot_bytes = 8,
        .capacity = 2,
        .senders_max = if (kind.hasManySenders()) 2 else 1,
    }), (1 << 31) - 1);
}

test "a channel that closes between the claim of its first ring and the seal of it ends all the same" {
    for ([_]segment_module.Kind{ .mpsc, .spsc, .spmc, .mpmc }) |kind| {
        const segment = try sceneOf(kind);
        defer segment.destroy();
        var receiver = try Receiver.open(segment, false);
        const ring = try Sender.claimRing(segment);
        _ = channel.close(segment, .closed, .can_ring);
        try testing.expect(receiver.poll(0) == .empty);
        try testing.expectError(error.ChannelClosed, Sender.settle(segment, false, ring));
        try testing.expect(receiver.poll(0) == .ended);
    }
}

test "who counted a ring that became another's wakes a receiver that waits for the end" {
    for ([_]segment_module.Kind{ .mpsc, .mpmc }) |kind| {
        const segment = try sceneOf(kind);
        defer segment.destroy();
        var receiver = try Receiver.open(segment, false);
        const control = segment.control();
        for ([_]bool{ false, true }) |is_closed| {
            _ = control.rings_claimed.fetchAdd(1, .seq_cst);
            if (!is_closed) {
                try testing.expect(receiver.arm(.bell));
                try Sender.uncount(segment);
                try testing.expectEqual(2, channel.receiverWait(segment, 0).word.raw);
                receiver.disarm();
                continue;
            }
            _ = channel.close(segment, .closed, .can_ring);
            try testing.expect(receiver.arm(.bell));
            try testing.expectError(error.ChannelClosed, Sender.uncount(segment));
            try testing.expectEqual(0, channel.receiverWait(segment, 0).word.raw);
            try testing.expect(receiver.poll(0) == .ended);
        }
    }
}

test "a sender in shared memory does not wait in a ring that the close has not sealed" {
    for ([_]segment_module.Kind{ .mpsc, .spsc, .spmc, .mpmc }) |kind| {
        const segment = try Segment.create(try segment_module.Geometry.init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = 2,
            .is_shared = true,
        }), 0);
        defer segment.destroy();
        var sender = try Sender.open(segment, false);
        try testing.expect(sender.reserve(2) == .slots);
        _ = sender.commit(2, 2);
        try testing.expect(sender.reserve(1) == .full);
        // Somebody has written that there are no rings.
        segment.control().rings_used.store(0, .seq_cst);
        _ = channel.close(segment, .closed, .can_ring);
        try testing.expect(sender.hasRoomFor(1));
        try testing.expect(!sender.arm(1));
        try testing.expect(sender.wait(1, .block, std.time.ns_per_s));
        try testing.expect(sender.reserve(1) == .closed);
    }
}
