//! The mpsc channel: many producers, one receiver, a ring per producer.
//!
//! Ring decomposition after ringmpsc: producers never meet on a word while the receiver is busy.
//! The policy here is only which ring the receiver looks at next, when a channel ends, and who
//! wakes whom; the rings, wait words and the ready set are files of their own.

const std = @import("std");
const bell = @import("bell.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const wait_module = @import("wait.zig");
const ActiveSet = @import("ready_set.zig").ActiveSet;
const words_max = @import("ready_set.zig").words_max;
const Segment = segment_module.Segment;
const CloseState = segment_module.CloseState;
const Producer = ring_module.Producer;
const Consumer = ring_module.Consumer;

/// What a caller has to ring after an operation, because only JavaScript can ring a bell.
pub const Bells = packed struct(u32) {
    receiver: bool = false,
    /// The bell of the sender whose ring was just released.
    sender: bool = false,
    drain: bool = false,
    /// Every bell of the channel: it was closed.
    all: bool = false,
    _: u28 = 0,

    fn of(outcome: bell.Wake, comptime which: []const u8) Bells {
        var bells: Bells = .{};
        @field(bells, which) = outcome == .ring_bell;
        return bells;
    }
};

/// Whether the caller can ring bells. A dying thread cannot: it leaves bell arms in place.
pub const Ringer = enum { can_ring, cannot_ring };

pub const OpenError = error{ ChannelClosed, TooManySenders, ReceiverTaken };

/// Closes the channel: nothing is accepted any more, everyone who waits is woken, what was
/// committed can still be drained. False: it was closed already.
pub fn close(segment: Segment, why: CloseState, ringer: Ringer) bool {
    const control = segment.control();
    // SC: partners are the looks at close_state in Sender.open(), claimRing(), hasEnded(), release()
    // and isDrained().
    const was = control.close_state.cmpxchgStrong(
        @intFromEnum(CloseState.open),
        @intFromEnum(why),
        .seq_cst,
        .seq_cst,
    );
    if (was != null and why != .receiver_gone) return false;
    for (0..ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        const line = segment.producerLine(ring);
        // A ring that is still being claimed is sealed by its sender, which looks at close_state.
        if (line.state.load(.seq_cst) != @intFromEnum(segment_module.RingState.claimed)) continue;
        ring_module.seal(line);
        control.ready.add(ring);
        wake(&segment.waitLine(ring).sender_wait, ringer);
    }
    wake(&control.receiver_wait, ringer);
    wake(&control.drain_wait, ringer);
    return was == null;
}

fn wake(word: *bell.WaitWord, ringer: Ringer) void {
    switch (ringer) {
        // The caller rings every bell after a close, so who was there does not matter.
        .can_ring => _ = word.take(),
        .cannot_ring => word.takeFutexOnly(),
    }
}

/// Rings that were ever claimed: the others are memory nobody has touched.
fn ringsUsed(segment: Segment) u32 {
    // SC: partner of the fetchMax in claimRing(), as close_state is.
    return @min(segment.control().rings_used.load(.seq_cst), segment.geometry.senders_max);
}

/// Whether nothing is left to receive, or nobody to receive it.
pub fn isDrained(segment: Segment) bool {
    const control = segment.control();
    if (control.receiver_state.load(.seq_cst) == @intFromEnum(segment_module.ReceiverState.gone)) return true;
    if (control.close_state.load(.seq_cst) == @intFromEnum(CloseState.open)) return false;
    for (0..ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        const line = segment.producerLine(ring);
        if (line.state.load(.seq_cst) != @intFromEnum(segment_module.RingState.claimed)) continue;
        // SC loads: the look of whoever armed drain_wait. Partners: the fetchOr in seal(), the store
        // of the head in Consumer.release().
        const tail = line.tail.load(.seq_cst);
        if (!ring_module.isSealed(tail)) return false;
        if (tail & ~ring_module.closed_bit != segment.consumerLine(ring).head.load(.seq_cst)) return false;
    }
    return true;
}

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
            return refuse(control, ring);
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
            return refuse(control, ring);
        }
        return .{ .segment = segment, .producer = .init(segment, ring, has_records) };
    }

    /// A sealed ring is left to the receiver, which recycles it. The caller rings every bell.
    fn refuse(control: *segment_module.Control, ring: u32) OpenError {
        control.ready.add(ring);
        _ = control.receiver_wait.take();
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
        if (!self.producer.wasIdle()) return .{ .bells = .{} };
        return .{ .bells = self.announce() };
    }

    fn announce(self: *Sender) Bells {
        const control = self.segment.control();
        control.ready.add(self.producer.ring);
        return .of(control.receiver_wait.take(), "receiver");
    }

    /// Waits for room for `slots_min` slots. Returns whether there is room or the ring is sealed.
    pub fn wait(self: *Sender, slots_min: u32, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        const condition: RoomCondition = .{ .producer = &self.producer, .slots_min = slots_min };
        var slept = false;
        const holds = wait_module.wait(strategy, timeout_ns, &self.producer.wait_line.sender_wait, condition, &slept);
        if (slept) self.countSleep();
        return holds;
    }

    pub fn countSleep(self: *Sender) void {
        const line = self.producer.line;
        line.times_slept.store(line.times_slept.raw +% 1, .monotonic);
    }

    pub fn countFull(self: *Sender) void {
        const line = self.producer.line;
        line.times_full.store(line.times_full.raw +% 1, .monotonic);
    }

    /// Arms the sender's bell. False: there is room, or the ring is sealed; do not sleep.
    pub fn arm(self: *Sender, slots_min: u32) bool {
        const word = &self.producer.wait_line.sender_wait;
        word.arm(.bell);
        const condition: RoomCondition = .{ .producer = &self.producer, .slots_min = slots_min };
        if (!condition.holds()) return true;
        _ = word.disarm();
        return false;
    }

    pub fn disarm(self: *Sender) void {
        _ = self.producer.wait_line.sender_wait.disarm();
    }

    /// Seals the ring: what was committed is delivered, what was not never was.
    pub fn close(self: *Sender, ringer: Ringer) Bells {
        ring_module.seal(self.producer.line);
        const control = self.segment.control();
        control.ready.add(self.producer.ring);
        switch (ringer) {
            .can_ring => return .of(control.receiver_wait.take(), "receiver"),
            .cannot_ring => {
                control.receiver_wait.takeFutexOnly();
                return .{};
            },
        }
    }
};

const RoomCondition = struct {
    producer: *const Producer,
    slots_min: u32,

    pub fn holds(self: RoomCondition) bool {
        return self.producer.hasRoom(self.slots_min) or self.producer.isClosed();
    }
};

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
        const control = segment.control();
        // SC: the one receiver of the channel's life; partner of the look in isDrained().
        if (control.receiver_state.cmpxchgStrong(
            @intFromEnum(segment_module.ReceiverState.none),
            @intFromEnum(segment_module.ReceiverState.open),
            .seq_cst,
            .seq_cst,
        ) != null) return error.ReceiverTaken;
        return .{ .segment = segment };
    }

    pub const Polled = union(enum) { window: u32, empty, ended, corrupt };

    /// Finds a window of messages: a contiguous run of one ring. Rings take turns, one window each.
    pub fn poll(self: *Receiver) Polled {
        if (self.window != 0) return .{ .window = self.window };
        const control = self.segment.control();
        self.active.takeFrom(&control.ready);
        // Every step below returns, drops a ring, or passes one for the first time, and the ready set
        // is taken only once: bounded by the number of rings.
        var first_passed: ?u32 = null;
        while (self.active.next()) |ring| {
            if (ring >= self.segment.geometry.senders_max) return .corrupt;
            if (first_passed == ring) break;
            const consumer: Consumer = .init(self.segment, ring);
            var found = consumer.readable();
            if (found == .empty) {
                if (consumer.line.empty_visits < empty_visits_max) {
                    consumer.line.empty_visits += 1;
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
                .ended => self.recycle(ring, consumer),
                .corrupt => return .corrupt,
            }
        }
        return if (self.hasEnded()) .ended else .empty;
    }

    /// Drops every active ring that is empty: to be called before a sleep, so that whoever commits
    /// to one next makes it ready and wakes this receiver.
    fn dropEmpty(self: *Receiver) void {
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

    /// Gives a sealed and drained ring back.
    fn recycle(self: *Receiver, ring: u32, consumer: Consumer) void {
        const line = self.segment.producerLine(ring);
        // The ready set may name a ring that has been recycled before, or is being claimed again.
        // Acquire: pairs with the store of `claimed` in Sender.open(), after which the tail is the
        // tenant's own.
        if (line.state.load(.acquire) != @intFromEnum(segment_module.RingState.claimed)) {
            return self.active.remove(ring);
        }
        // So look at the tail once more: the seal seen before may have been the last tenant's. Only
        // we take `claimed` away, so this time it is the present tenant's.
        if (consumer.readable() != .ended) return;
        self.active.remove(ring);
        // Release: pairs with the compare-and-swap in claimRing().
        line.state.store(@intFromEnum(segment_module.RingState.free), .seq_cst);
        _ = self.segment.control().rings_claimed.fetchSub(1, .seq_cst);
    }

    /// Closed, and no ring left that could hold a message.
    fn hasEnded(self: *const Receiver) bool {
        const control = self.segment.control();
        // SC, in this order: a sender that is being opened counts its ring before it looks at
        // close_state, so a zero here, after the close was seen, stays zero.
        return control.close_state.load(.seq_cst) != @intFromEnum(CloseState.open) and
            control.rings_claimed.load(.seq_cst) == 0;
    }

    /// Frees `slots` of the current window.
    pub fn release(self: *Receiver, slots: u32, messages: u32) Bells {
        std.debug.assert(slots <= self.window);
        const consumer: Consumer = .init(self.segment, self.ring);
        var bells: Bells = .of(consumer.release(slots, messages), "sender");
        self.window -= slots;
        self.position += slots;
        // Whoever waits in drained() is told by the release that empties a closed channel.
        const control = self.segment.control();
        if (control.close_state.load(.seq_cst) != @intFromEnum(CloseState.open)) {
            if (isDrained(self.segment)) bells.drain = control.drain_wait.take() == .ring_bell;
        }
        return bells;
    }

    /// Whether poll() would find something; what a receiver that waits looks at.
    pub fn holds(self: *const Receiver) bool {
        return !self.active.isEmpty() or self.window != 0 or
            // SC load: its partner is the SC fetchOr in ReadySet.add().
            !self.segment.control().ready.isEmpty() or self.hasEnded();
    }

    pub fn wait(self: *Receiver, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        self.dropEmpty();
        var slept = false;
        return wait_module.wait(strategy, timeout_ns, &self.segment.control().receiver_wait, self, &slept);
    }

    /// Arms the receiver's bell. False: there is something to poll; do not sleep.
    pub fn arm(self: *Receiver) bool {
        self.dropEmpty();
        const word = &self.segment.control().receiver_wait;
        word.arm(.bell);
        if (!self.holds()) return true;
        _ = word.disarm();
        return false;
    }

    pub fn disarm(self: *Receiver) void {
        _ = self.segment.control().receiver_wait.disarm();
    }

    /// Remembers how far every ring has been committed now.
    pub fn mark(self: *Receiver) void {
        self.rings_marked = ringsUsed(self.segment);
        for (0..self.rings_marked) |index| {
            const ring: u32 = @intCast(index);
            const line = self.segment.producerLine(ring);
            const consumer_line = self.segment.consumerLine(ring);
            const claimed = line.state.load(.seq_cst) == @intFromEnum(segment_module.RingState.claimed);
            consumer_line.mark = if (claimed)
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
            if (@as(i32, @bitCast(line.head.raw -% line.mark)) < 0) return false;
        }
        return true;
    }

    /// The receiver goes: the channel is closed and its senders are told.
    pub fn close(self: *Receiver, ringer: Ringer) Bells {
        const control = self.segment.control();
        // SC: before the wake-ups of the close below; partner of the look in isDrained().
        control.receiver_state.store(@intFromEnum(segment_module.ReceiverState.gone), .seq_cst);
        _ = closeChannel(self.segment, .receiver_gone, ringer);
        return .{ .all = ringer == .can_ring };
    }
};

const closeChannel = close;

pub const Statistics = extern struct {
    messages_sent: u64 = 0,
    messages_received: u64 = 0,
    commits: u64 = 0,
    releases: u64 = 0,
    times_full: u64 = 0,
    times_slept: u64 = 0,
    /// Slots committed and not yet released, over all rings.
    slots_used: u64 = 0,
    senders: u64 = 0,
    close_state: u64 = 0,
    receiver_state: u64 = 0,
    drained: u64 = 0,
    sender_references: u64 = 0,
    receiver_tickets: u64 = 0,
};

pub fn statistics(segment: Segment) Statistics {
    const control = segment.control();
    var sum: Statistics = .{
        .close_state = control.close_state.load(.acquire),
        .receiver_state = control.receiver_state.load(.acquire),
        .drained = @intFromBool(isDrained(segment)),
        .sender_references = control.sender_references.load(.acquire),
        .receiver_tickets = control.receiver_tickets.load(.acquire),
    };
    for (0..ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        const line = segment.producerLine(ring);
        const consumer_line = segment.consumerLine(ring);
        const claimed = line.state.load(.acquire) == @intFromEnum(segment_module.RingState.claimed);
        // A ring that has never had a tenant has counted nothing.
        if (!claimed and line.commits.load(.monotonic) == 0) continue;
        sum.messages_sent += line.messages.load(.monotonic);
        sum.commits += line.commits.load(.monotonic);
        sum.times_full += line.times_full.load(.monotonic);
        sum.times_slept += line.times_slept.load(.monotonic);
        sum.messages_received += consumer_line.messages.load(.monotonic);
        sum.releases += consumer_line.releases.load(.monotonic);
        if (!claimed) continue;
        const tail = line.tail.load(.acquire);
        if (!ring_module.isSealed(tail)) sum.senders += 1;
        // The head may have moved past a tail read earlier; the difference is then not a size.
        const used = ((tail & ~ring_module.closed_bit) -% consumer_line.head.load(.acquire)) >> 1;
        if (used <= segment.geometry.capacity) sum.slots_used += used;
    }
    return sum;
}
