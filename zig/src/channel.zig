//! What every kind of channel shares: who is to be woken, when it is closed and when it is drained.
//! The kinds (spsc, mpsc, spmc, mpmc) are policies over this, the rings and
//! the wait words.

const std = @import("std");
const bell = @import("bell.zig");
const ledger = @import("ledger.zig");
const placement = @import("placement.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const sleepers = @import("sleepers.zig");
const Consumer = ring_module.Consumer;
const Segment = segment_module.Segment;
const CloseState = segment_module.CloseState;

/// What a caller has to ring after an operation, because only JavaScript can ring a bell.
pub const Bells = packed struct(u32) {
    receiver: bool = false,
    /// The bell of the sender whose ring was just released.
    sender: bool = false,
    drain: bool = false,
    /// Every bell of the channel: it was closed.
    all: bool = false,
    _: u4 = 0,
    /// Which receiver, where there are several.
    receiver_index: u8 = 0,
    _reserved: u16 = 0,

    pub fn of(outcome: bell.Wake, comptime which: []const u8) Bells {
        var bells: Bells = .{};
        @field(bells, which) = outcome == .ring_bell;
        return bells;
    }
};

/// What arming a bell comes to.
pub const Armed = enum(u32) {
    /// There is something to do: do not sleep.
    no = 0,
    yes = 1,
    /// Nothing was armed: in a shared segment a ringer must watch the word first.
    unwatched = 2,
};

/// Whether the caller can ring bells. A dying thread cannot: it leaves bell arms in place.
pub const Ringer = enum { can_ring, cannot_ring };

pub const OpenError = error{ ChannelClosed, TooManySenders, ReceiverTaken, TooManyReceivers };

/// What a receiver's look found.
pub const Polled = union(enum) {
    /// So many contiguous slots, from the receiver's `ring` and `position` on.
    window: u32,
    empty,
    ended,
    corrupt,
};

/// Wakes who receives, one of several, after something was published (SC).
pub inline fn wakeReceiver(segment: Segment) Bells {
    if (segment.geometry.kind.hasManyReceivers()) return sleepers.wakeOne(segment);
    return .of(deliver(segment, 0, segment.control().receiver_wait.take()), "receiver");
}

/// A wait word as wait.zig wants it, for a thread that blocks.
pub const Blocker = struct {
    segment: Segment,
    word: *bell.WaitWord,

    pub fn arm(self: Blocker, how: bell.Waiting) void {
        self.word.arm(self.segment.waiting(how));
    }

    pub fn disarm(self: Blocker) bool {
        return self.word.disarm();
    }

    pub fn sleep(self: Blocker, timeout_ns: u64) void {
        self.word.sleep(self.segment.waiting(.futex), timeout_ns);
        if (self.segment.geometry.is_shared) lookAround(self.segment);
    }
};

/// What a receiver sleeps on, by its place among the receivers.
pub fn receiverWait(segment: Segment, receiver: u32) *bell.WaitWord {
    if (segment.geometry.kind.hasManyReceivers()) return &segment.receiverLine(receiver).wait;
    return &segment.control().receiver_wait;
}

/// Closes the channel: nothing is accepted any more, everyone who waits is woken, what was
/// committed can still be drained. False: it was closed already.
pub fn close(segment: Segment, why: CloseState, ringer: Ringer) bool {
    const control = segment.control();
    const is_first = ledger.leaveOpen(segment, why);
    // Even when it was closed: now nobody will release what is in the rings.
    if (!is_first and why != .receiver_gone and why != .peer_died and why != .corrupt) return false;
    for (0..ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        const line = segment.producerLine(ring);
        // A ring that is still being claimed is sealed by its sender, which looks at close_state. Where
        // others write, one that has a sender may look free.
        const is_claimed = line.isClaimed();
        if (!is_claimed and !segment.geometry.is_shared) continue;
        ring_module.seal(line);
        if (is_claimed) control.ready.add(ring);
        wake(&segment.waitLine(ring).sender_wait, ringer);
    }
    wakeReceivers(segment, ringer);
    wake(&control.drain_wait, ringer);
    return is_first;
}

/// To be called by whoever finds in a segment what cannot be there: nobody is to wait for it any more.
/// The bells to ring.
pub fn poison(segment: Segment) Bells {
    return poisonAs(segment, .can_ring);
}

pub fn poisonAs(segment: Segment, ringer: Ringer) Bells {
    @branchHint(.cold);
    _ = close(segment, .corrupt, ringer);
    ledger.becomeCorrupt(segment);
    return .{ .all = ringer == .can_ring };
}

pub fn isPoisoned(segment: Segment) bool {
    return ledger.closeState(segment) == .corrupt;
}

/// Where other processes write, one may have taken a word away without doing what belongs to it, or
/// died before it did. So whoever sleeps looks from time to time for what is there and was not
/// announced.
pub fn lookAround(segment: Segment) void {
    const control = segment.control();
    const kind = segment.geometry.kind;
    const is_open = ledger.isOpen(segment);
    for (0..ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        const line = segment.producerLine(ring);
        if (!is_open and !ring_module.isSealed(line.tail.load(.seq_cst))) ring_module.seal(line);
        if (line.isClaimed() and wantsLook(segment, ring)) control.ready.add(ring);
    }
    if (!kind.hasManyReceivers()) return;
    // One too many costs a look; one too few, a claim that nobody takes over.
    const counted = control.orphaned_claims.load(.seq_cst);
    for (0..segment.geometry.receivers_max) |index| {
        const bit = @as(u64, 1) << @intCast(index);
        if (counted & bit != 0 or !segment.receiverLine(@intCast(index)).isLeft()) continue;
        _ = control.orphaned_claims.fetchOr(bit, .seq_cst);
    }
}

/// Whether a receiver has something to do in a ring: to receive, or to give it back.
fn wantsLook(segment: Segment, ring: u32) bool {
    const tail = segment.producerLine(ring).tail.load(.seq_cst);
    const line = segment.consumerLine(ring);
    const is_released = tail & ~ring_module.closed_bit == line.head.load(.seq_cst);
    if (ring_module.isSealed(tail) and is_released) return true;
    if (!segment.geometry.kind.hasManyReceivers()) return !is_released;
    if (tail & ~ring_module.closed_bit != line.claimed.load(.seq_cst)) return true;
    // What has been claimed is in somebody's hands: another who looked for it would look for ever. If it is
    // in nobody's, there is a head to be moved.
    return ring_module.isSealed(tail) and @import("claims.zig").isLeftBehind(segment, ring);
}

/// Wakes every receiver. If `ringer` can, it rings every bell afterwards.
pub fn wakeReceivers(segment: Segment, ringer: Ringer) void {
    if (segment.geometry.kind.hasManyReceivers()) return sleepers.wakeAll(segment, ringer);
    wakeReceiverAt(segment, 0, &segment.control().receiver_wait, ringer);
}

fn wake(word: *bell.WaitWord, ringer: Ringer) void {
    // The caller rings every bell after a close, so who was there does not matter.
    _ = takeFor(word, ringer);
}

/// The same for a receiver, who may wait for its eventfd.
pub fn wakeReceiverAt(segment: Segment, receiver: u32, word: *bell.WaitWord, ringer: Ringer) void {
    _ = deliver(segment, receiver, takeFor(word, ringer));
}

fn takeFor(word: *bell.WaitWord, ringer: Ringer) bell.Wake {
    return switch (ringer) {
        .can_ring => word.take(),
        .cannot_ring => word.takeUnlessBell(),
    };
}

/// Writes to a receiver's eventfd if that is what it waits for.
pub inline fn deliver(segment: Segment, receiver: u32, outcome: bell.Wake) bell.Wake {
    if (outcome == .write_event) {
        @branchHint(.cold);
        if (segment.notifier) |notifier| notifier.write(receiver);
        return .woken;
    }
    return outcome;
}

/// Rings that were ever claimed: the others are memory nobody has touched.
pub const ringsUsed = ledger.ringsUsed;

/// Opens the one receiver of a channel's life.
pub fn takeReceiver(segment: Segment) OpenError!void {
    if (!ledger.changeReceiverState(segment, .none, .open)) return error.ReceiverTaken;
}

/// Whether the one receiver of a channel's life has come.
pub fn isReceiverTaken(segment: Segment) bool {
    return !segment.geometry.kind.hasManyReceivers() and ledger.receiverState(segment) != .none;
}

/// The last receiver goes: the channel is closed and its senders are told.
pub fn closeReceiver(segment: Segment, ringer: Ringer) Bells {
    return loseReceiver(segment, .receiver_gone, ringer);
}

pub fn loseReceiver(segment: Segment, why: CloseState, ringer: Ringer) Bells {
    // SC: before the wake-ups of the close below; partner of the look in isDrained().
    ledger.setReceiverState(segment, .gone);
    _ = close(segment, why, ringer);
    return .{ .all = ringer == .can_ring };
}

/// How a receiver in another process came to its end, and what is to follow.
pub const LeftBehind = struct {
    how: @import("protocol.zig").End,
    /// What one that dies has not received is for the next receiver.
    is_awaited: bool,
    /// Somebody may open another.
    has_tickets: bool,

    /// Whether another is awaited. Not where the receiver has said that it wants no more.
    pub fn isAwaited(self: LeftBehind) bool {
        return self.is_awaited and self.how != .closed;
    }

    /// What the end of the last receiver means for the channel.
    pub fn reason(self: LeftBehind) CloseState {
        return if (self.how == .died) .peer_died else .receiver_gone;
    }
};

/// Does for the one receiver, in another process, what it cannot do itself.
pub fn leaveReceiver(segment: Segment, left: LeftBehind) void {
    const control = segment.control();
    if (ledger.receiverState(segment) != .open) return;
    if (left.how != .declined and !left.isAwaited()) {
        _ = loseReceiver(segment, left.reason(), .cannot_ring);
        return;
    }
    _ = control.receiver_wait.disarm();
    // What it had in sight is in no ready set.
    for (0..ringsUsed(segment)) |ring| control.ready.add(@intCast(ring));
    // SC: partner of the compare-and-swap in takeReceiver(), by whoever comes next.
    ledger.setReceiverState(segment, .none);
}

/// Wakes everybody, also those whose arm is taken: who took it may have died before he woke them. Not
/// who sleeps on a bell of this process.
pub fn wakeEveryone(segment: Segment) void {
    const control = segment.control();
    for (0..segment.geometry.receivers_max) |index| {
        const receiver: u32 = @intCast(index);
        const word = receiverWait(segment, receiver);
        _ = deliver(segment, receiver, word.takeUnlessBell());
        word.wakeAnyway();
    }
    for (0..ringsUsed(segment)) |ring| {
        const word = &segment.waitLine(@intCast(ring)).sender_wait;
        _ = word.takeUnlessBell();
        word.wakeAnyway();
    }
    _ = control.drain_wait.takeUnlessBell();
    control.drain_wait.wakeAnyway();
}

/// Gives a sealed and drained ring back. Only one thread at a time may be here. False: there is
/// something to receive in it.
pub fn recycle(segment: Segment, consumer: Consumer, ring: u32) bool {
    const line = segment.producerLine(ring);
    // The ready set may name a ring that has been recycled before, or is being claimed again.
    // Acquire: pairs with the store of `claimed` in Sender.open(), after which the tail is the
    // tenant's own.
    const tenancy = line.tenancy.load(.acquire);
    if (segment_module.stateOf(tenancy) != .claimed) return true;
    // So look at the tail once more: the seal seen before may have been the last tenant's. Only
    // we take `claimed` away, so this time it is the present tenant's.
    if (consumer.readable() != .ended) return false;
    // Before it is free: nobody else gives it back, so nobody else can have it yet.
    if (isLeft(segment, ring)) placement.emptyRing(segment, ring);
    return giveBack(segment, ring, tenancy);
}

/// Whether the sender that the ring was sealed for has gone: a close seals rings whose senders stay.
fn isLeft(segment: Segment, ring: u32) bool {
    return segment.producerLine(ring).is_left.load(.seq_cst) != 0;
}

/// The same for one of several receivers, at `place`, of which another may have seen the same and be about
/// to do it, or to have done it: the ring may have its next tenant. So it is taken first. False: another
/// was faster.
pub fn emptyAndGiveBack(segment: Segment, ring: u32, tenancy: u32, place: u32) bool {
    if (!isLeft(segment, ring)) return giveBack(segment, ring, tenancy);
    const seen: segment_module.Tenancy = @bitCast(tenancy);
    const word = &segment.producerLine(ring).tenancy;
    // SC, a compare-and-swap: its partner is that of the other receivers. Who wins it is alone with the
    // ring until it is free.
    if (word.cmpxchgStrong(tenancy, seen.emptiedBy(place), .seq_cst, .monotonic) != null) return false;
    placement.emptyRing(segment, ring);
    return giveBack(segment, ring, seen.emptiedBy(place));
}

/// Makes a ring free that was seen sealed and drained under this tenancy. False: another was faster.
pub fn giveBack(segment: Segment, ring: u32, tenancy: u32) bool {
    const seen: segment_module.Tenancy = @bitCast(tenancy);
    // Release: pairs with the compare-and-swap in claimRing(). A compare-and-swap, because where
    // there are several receivers two may have seen the same, and the ring may have its next tenant.
    if (segment.producerLine(ring).tenancy.cmpxchgStrong(
        tenancy,
        seen.with(.free),
        .seq_cst,
        .monotonic,
    ) != null) return false;
    _ = segment.control().rings_claimed.fetchSub(1, .seq_cst);
    // After it, SC: partner of the store in Sender.leave(). In a closed channel nobody gets the ring.
    if (seen.state == .claimed and !ledger.isOpen(segment) and isLeft(segment, ring)) placement.emptyRing(segment, ring);
    return true;
}

/// Closed, and no ring left that could hold a message.
pub fn hasEnded(segment: Segment) bool {
    // SC, in this order: a sender that is being opened counts its ring before it looks at
    // close_state, so a zero here, after the close was seen, stays zero.
    switch (ledger.closeState(segment)) {
        .open => return false,
        .corrupt => return true,
        else => {},
    }
    if (!segment.geometry.is_shared) return segment.control().rings_claimed.load(.seq_cst) == 0;
    lookAround(segment);
    return !hasClaimedRing(segment);
}

/// Where a process may have died between giving a ring back and counting it off, the rings are asked and
/// not the count. One that is claimed after the close was seen is refused to who claims it, since he
/// looks at close_state once more.
fn hasClaimedRing(segment: Segment) bool {
    for (0..ringsUsed(segment)) |ring| if (segment.producerLine(@intCast(ring)).isClaimed()) return true;
    return false;
}

/// To be called after a release: whoever waits in drained() is told by the one that empties a closed
/// channel.
pub fn tellDrained(segment: Segment, bells: *Bells) void {
    const control = segment.control();
    if (control.close_state.load(.seq_cst) == @intFromEnum(CloseState.open)) return;
    if (isDrained(segment)) bells.drain = control.drain_wait.take() == .ring_bell;
}

/// Arms the bell of whoever waits in drained(). False: it is drained.
pub fn armDrain(segment: Segment) bool {
    const word = &segment.control().drain_wait;
    word.arm(segment.waiting(.bell));
    if (!isDrained(segment)) return true;
    _ = word.disarm();
    return false;
}

/// Whether nothing is left to receive, or nobody to receive it.
pub fn isDrained(segment: Segment) bool {
    if (ledger.receiverState(segment) == .gone) return true;
    switch (ledger.closeState(segment)) {
        .open => return false,
        .corrupt => return true, // whoever waits is told
        else => {},
    }
    for (0..ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        const line = segment.producerLine(ring);
        if (!line.isClaimed()) continue;
        // SC loads: the look of whoever armed drain_wait. Partners: the fetchOr in seal(), the store
        // of the head in Consumer.release().
        const tail = line.tail.load(.seq_cst);
        if (!ring_module.isSealed(tail)) return false;
        if (tail & ~ring_module.closed_bit != segment.consumerLine(ring).head.load(.seq_cst)) return false;
    }
    return true;
}
