//! Ledgers: what a process knows of a shared channel in memory of its own. Whoever maps the channel can
//! write anything into the control block, so nothing there decides when the channel ends or who has what.
//!
//! The keeper counts here; what the control block says of the same is told by the keeper, for statistics
//! and for the other processes to be quick. Those remember one thing: that they have seen the channel
//! closed. A channel that one process alone has, and that of typed.zig, has no ledger: there the control
//! block is what is counted in.
//!
//! What is counted and claimed is so under the mutex of endpoint.zig; the atomic words are looked at
//! without it.

const std = @import("std");
const segment_module = @import("segment.zig");
const CloseState = segment_module.CloseState;
const ReceiverState = segment_module.ReceiverState;
const Segment = segment_module.Segment;

pub const Ledger = struct {
    /// The CloseState that was seen first, or `corrupt`. It stays when somebody opens the channel's again.
    close_state: std.atomic.Value(u32) = .init(@intFromEnum(CloseState.open)),
    /// Of the process that made the channel.
    keeper: ?Keeper = null,
};

pub const Keeper = struct {
    /// Rings below it have been claimed at some time.
    rings_used: std.atomic.Value(u32) = .init(0),
    /// A ReceiverState.
    receiver_state: std.atomic.Value(u32) = .init(@intFromEnum(ReceiverState.none)),
    receivers_open: u32 = 0,
    receiver_tickets: u32 = 0,
    /// The last of several receivers has died, and its messages are kept for the next.
    awaits_receiver: bool = false,
    /// Which rings, and which receivers' places, somebody has.
    senders: []bool,
    receivers: []bool,

    const allocator = std.heap.c_allocator;

    pub fn create(geometry: segment_module.Geometry) error{OutOfMemory}!Keeper {
        const senders = try allocator.alloc(bool, geometry.senders_max);
        errdefer allocator.free(senders);
        const receivers = try allocator.alloc(bool, geometry.receivers_max);
        @memset(senders, false);
        @memset(receivers, false);
        return .{ .senders = senders, .receivers = receivers };
    }

    pub fn destroy(self: Keeper) void {
        allocator.free(self.senders);
        allocator.free(self.receivers);
    }
};

/// What the keeper knows, if this process is it.
pub fn keeperOf(segment: Segment) ?*Keeper {
    const ledger = segment.ledger orelse return null;
    return if (ledger.keeper) |*keeper| keeper else null;
}

// ---- closing ----

/// Whether the channel is closed, and why. Once this process has seen that it is, it stays so, and is
/// written again where somebody has written over it.
pub fn closeState(segment: Segment) CloseState {
    const word = &segment.control().close_state;
    // SC: the look of every protocol that close() is part of. What is remembered can only add to it.
    const seen = word.load(.seq_cst);
    const ledger = segment.ledger orelse return @enumFromInt(seen);
    return remember(ledger, word, seen);
}

pub inline fn isOpen(segment: Segment) bool {
    return closeState(segment) == .open;
}

/// Closes it. False: it was closed already.
pub fn leaveOpen(segment: Segment, why: CloseState) bool {
    if (!isOpen(segment)) return false;
    const word = &segment.control().close_state;
    // SC: partners are the looks at close_state in Sender.settle(), claimRing(), hasEnded(), release()
    // and isDrained().
    const was = word.cmpxchgStrong(@intFromEnum(CloseState.open), @intFromEnum(why), .seq_cst, .seq_cst);
    if (segment.ledger) |ledger| _ = remember(ledger, word, was orelse @intFromEnum(why));
    return was == null;
}

/// Corruption is told over whatever the channel was closed for.
pub fn becomeCorrupt(segment: Segment) void {
    const corrupt = @intFromEnum(CloseState.corrupt);
    segment.control().close_state.store(corrupt, .seq_cst);
    if (segment.ledger) |ledger| ledger.close_state.store(corrupt, .seq_cst);
}

fn remember(ledger: *Ledger, word: *std.atomic.Value(u32), seen: u32) CloseState {
    const open = @intFromEnum(CloseState.open);
    if (seen == open) {
        // SC, as the rest: what this process has closed it never again takes for open.
        const kept = ledger.close_state.load(.seq_cst);
        if (kept != open) _ = word.cmpxchgStrong(open, kept, .seq_cst, .seq_cst);
        return @enumFromInt(kept);
    }
    if (seen == @intFromEnum(CloseState.corrupt)) ledger.close_state.store(seen, .seq_cst);
    return @enumFromInt(ledger.close_state.cmpxchgStrong(open, seen, .seq_cst, .seq_cst) orelse seen);
}

// ---- rings ----

/// Rings that were ever claimed: the others are memory nobody has touched.
pub fn ringsUsed(segment: Segment) u32 {
    const used = if (keeperOf(segment)) |keeper| &keeper.rings_used else &segment.control().rings_used;
    // SC: partner of the fetchMax in takeRing(), as close_state is.
    return @min(used.load(.seq_cst), segment.geometry.senders_max);
}

/// Whether somebody has the ring, whatever its tenancy says.
pub fn hasRing(segment: Segment, ring: u32) bool {
    return if (keeperOf(segment)) |keeper| keeper.senders[ring] else false;
}

/// Says that somebody has it now.
pub fn takeRing(segment: Segment, ring: u32) void {
    // SC: before the look at close_state in Sender.settle(); its partner is in close().
    if (keeperOf(segment)) |keeper| {
        keeper.senders[ring] = true;
        _ = keeper.rings_used.fetchMax(ring + 1, .seq_cst);
    }
    _ = segment.control().rings_used.fetchMax(ring + 1, .seq_cst);
}

pub fn leaveRing(segment: Segment, ring: u32) void {
    if (keeperOf(segment)) |keeper| keeper.senders[ring] = false;
}

// ---- receivers ----

fn receiverWord(segment: Segment) *std.atomic.Value(u32) {
    return if (keeperOf(segment)) |keeper| &keeper.receiver_state else &segment.control().receiver_state;
}

pub fn receiverState(segment: Segment) ReceiverState {
    // SC: partner of the changes below; isDrained() looks after it has armed.
    return @enumFromInt(receiverWord(segment).load(.seq_cst));
}

pub fn setReceiverState(segment: Segment, state: ReceiverState) void {
    receiverWord(segment).store(@intFromEnum(state), .seq_cst);
    segment.control().receiver_state.store(@intFromEnum(state), .seq_cst);
}

/// Changes it if it is `from`. False: it is not.
pub fn changeReceiverState(segment: Segment, from: ReceiverState, to: ReceiverState) bool {
    if (receiverWord(segment).cmpxchgStrong(
        @intFromEnum(from),
        @intFromEnum(to),
        .seq_cst,
        .seq_cst,
    ) != null) return false;
    segment.control().receiver_state.store(@intFromEnum(to), .seq_cst);
    return true;
}

pub fn receiversOpen(segment: Segment) u32 {
    const keeper = keeperOf(segment) orelse return segment.control().receivers_open.load(.seq_cst);
    return keeper.receivers_open;
}

/// One of several receivers opens. False: there are as many as may be.
pub fn countReceiver(segment: Segment) bool {
    const most = segment.geometry.receivers_max;
    const told = &segment.control().receivers_open;
    if (keeperOf(segment)) |keeper| {
        if (keeper.receivers_open >= most) return false;
        keeper.receivers_open += 1;
        told.store(keeper.receivers_open, .seq_cst);
        return true;
    }
    var before = told.load(.seq_cst);
    while (before < most) before = told.cmpxchgWeak(before, before + 1, .seq_cst, .seq_cst) orelse return true;
    return false;
}

/// It is gone. Whether it was the last.
pub fn uncountReceiver(segment: Segment) bool {
    const told = &segment.control().receivers_open;
    const keeper = keeperOf(segment) orelse return told.fetchSub(1, .seq_cst) == 1;
    keeper.receivers_open -= 1;
    told.store(keeper.receivers_open, .seq_cst);
    return keeper.receivers_open == 0;
}

/// Whether somebody has the place, whatever its line says.
pub fn hasPlace(segment: Segment, place: u32) bool {
    return if (keeperOf(segment)) |keeper| keeper.receivers[place] else false;
}

pub fn takePlace(segment: Segment, place: u32) void {
    const keeper = keeperOf(segment) orelse return;
    keeper.receivers[place] = true;
    keeper.awaits_receiver = false;
}

pub fn leavePlace(segment: Segment, place: u32) void {
    if (keeperOf(segment)) |keeper| keeper.receivers[place] = false;
}

/// Outstanding tickets for receivers.
pub fn receiverTickets(segment: Segment) u32 {
    const keeper = keeperOf(segment) orelse return segment.control().receiver_tickets.load(.seq_cst);
    return keeper.receiver_tickets;
}

pub fn addReceiverTickets(segment: Segment, count: u32) void {
    const told = &segment.control().receiver_tickets;
    const keeper = keeperOf(segment) orelse {
        _ = told.fetchAdd(count, .seq_cst);
        return;
    };
    keeper.receiver_tickets += count;
    told.store(keeper.receiver_tickets, .seq_cst);
}

pub fn dropReceiverTickets(segment: Segment, count: u32) void {
    const told = &segment.control().receiver_tickets;
    const keeper = keeperOf(segment) orelse {
        _ = told.fetchSub(count, .seq_cst);
        return;
    };
    keeper.receiver_tickets -= count;
    told.store(keeper.receiver_tickets, .seq_cst);
}
