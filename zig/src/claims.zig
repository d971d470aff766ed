//! Claims: how several receivers share the rings, each message going to one of them.
//!
//! A ring that is shared has a third counter between head and tail, the claim cursor: what lies below
//! it has been handed to some receiver. A receiver claims a run with a compare-and-swap on it and
//! reads the run in place; its line says from where on it still needs the ring (the gate). The head,
//! which is what a producer looks at, is the least of the claim cursor and all gates: whoever
//! releases works it out and moves it forward. So a claimed run is never overwritten and never seen
//! twice, in whatever order receivers release. After the gating sequences of the LMAX Disruptor's
//! worker pools, with the minimum worked out by receivers instead of the producer.
//!
//! Gate before claim, and cursor before gates: a receiver sets its gate to the cursor it has read (SC)
//! and then swaps the cursor (SC). Whoever works out the minimum reads the cursor (SC) and then the
//! gates (SC). If it sees the cursor swapped it sees the gate; if not, the cursor itself is the bound.
//!
//! A gate that was set and did not become a claim may have held the head back for a moment: whoever
//! withdraws one moves the head, too.
//!
//! A receiver that dies leaves its line, and with it its gate. Another takes the claim over: it sets
//! its own gate to the same place, counts `gates_moved` up, and only then takes the dead one's gate
//! away. Whoever works out the minimum starts again when the count has changed meanwhile: it may have
//! looked at the one gate before it was set, and at the other after it was gone.
//!
//! A receiver that lives can offer a claim that it does not look at now: its line says `offered`, and
//! another receiver takes the claim over in the same way. The swap of the line's state decides: either the
//! other receiver finds `offered` there and has the claim, or its owner does and has it back.

const std = @import("std");
const bell = @import("bell.zig");
const channel = @import("channel.zig");
const ledger = @import("ledger.zig");
const os = @import("os/linux.zig");
const placement = @import("placement.zig");
const ring_module = @import("ring.zig");
const segment_module = @import("segment.zig");
const sleepers = @import("sleepers.zig");
const wait_module = @import("wait.zig");
const Bells = channel.Bells;
const LineState = segment_module.LineState;
const OpenError = channel.OpenError;
const Polled = channel.Polled;
const ReadySet = @import("ready_set.zig").ReadySet;
const RecordHeader = segment_module.RecordHeader;
const Ringer = channel.Ringer;
const Segment = segment_module.Segment;

fn gateOf(ring: u32, sequence: u32) u64 {
    return @as(u64, ring + 1) << 32 | sequence;
}

fn receiversUsed(segment: Segment) u32 {
    return @min(segment.control().receivers_used.load(.seq_cst), segment.geometry.receivers_max);
}

/// Does for a receiver in another process what it cannot do itself. It may have died between any two
/// instructions; the caller knows which line it had from memory of its own, and holds the mutex that
/// nobody opens a receiver without.
pub fn leaveBehind(segment: Segment, place: u32, left: channel.LeftBehind) void {
    const control = segment.control();
    const line = segment.receiverLine(place);
    _ = line.wait.disarm();
    _ = control.sleepers.fetchAnd(~bitOf(place), .seq_cst);
    for (0..segment.geometry.receivers_max) |index| giveUpTakeOver(segment, place, @intCast(index));
    const end: LineState = if (left.how == .died) .orphaned else .returned;
    if (line.state.cmpxchgStrong(@intFromEnum(LineState.offered), @intFromEnum(end), .seq_cst, .seq_cst)) |was| {
        if (isBeingTaken(segment, place, was)) {
            // Another receiver is taking what this one has offered: it says when it is done. See open().
        } else if (Claim.of(segment, place) != null) {
            orphan(segment, place, end);
        } else {
            line.gate.store(0, .seq_cst);
            // Release: pairs with the compare-and-swap in open().
            line.state.store(@intFromEnum(LineState.free), .release);
        }
    }
    ledger.leavePlace(segment, place);
    for (0..channel.ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        // It may have taken a ring out of the ready set and said so to nobody,
        control.ready.add(ring);
        // or been killed while it gave one back.
        const word = segment.producerLine(ring).tenancy.load(.seq_cst);
        const tenancy: segment_module.Tenancy = @bitCast(word);
        if (tenancy.state != .emptying or tenancy.emptier != place) continue;
        if (channel.giveBack(segment, ring, word)) placement.emptyRing(segment, ring);
    }
    sweep(segment);
    const is_last = ledger.uncountReceiver(segment);
    if (is_last and !left.has_tickets) {
        if (!left.isAwaited()) {
            _ = channel.loseReceiver(segment, left.reason(), .cannot_ring);
            return;
        }
        if (ledger.keeperOf(segment)) |keeper| keeper.awaits_receiver = true;
    }
    channel.wakeReceivers(segment, .cannot_ring);
}

/// Whether a state says that another receiver, which is there, is taking the claim over. Only for the keeper.
fn isBeingTaken(segment: Segment, place: u32, state: u32) bool {
    const taker = state -% @intFromEnum(LineState.taken);
    return taker < segment.geometry.receivers_max and taker != place and ledger.hasPlace(segment, taker);
}

/// To be called when a process has gone, whatever it was: nobody else would do what it may have left undone.
pub fn sweep(segment: Segment) void {
    dropStrayGates(segment);
    for (0..channel.ringsUsed(segment)) |index| {
        const ring: u32 = @intCast(index);
        // It may have withdrawn a gate or released and moved no head, emptied a ring and given nothing back.
        if (moveHead(segment, ring) == .impossible) _ = channel.poisonAs(segment, .cannot_ring);
        if (tenancyThatIsOver(segment, ring)) |tenancy| {
            // Nobody claims a ring meanwhile: the keeper alone does.
            const is_left = segment.producerLine(ring).is_left.load(.seq_cst) != 0;
            if (channel.giveBack(segment, ring, tenancy) and is_left) placement.emptyRing(segment, ring);
        }
        _ = segment.waitLine(ring).sender_wait.takeUnlessBell();
    }
}

/// Takes away what holds heads back and is nobody's: a gate that was written into the line of a receiver
/// that is not there would stop every sender for ever. The keeper knows who is there.
fn dropStrayGates(segment: Segment) void {
    if (ledger.keeperOf(segment) == null) return;
    for (0..segment.geometry.receivers_max) |index| {
        const place: u32 = @intCast(index);
        if (ledger.hasPlace(segment, place)) continue;
        const line = segment.receiverLine(place);
        switch (@as(LineState, @enumFromInt(line.state.load(.seq_cst)))) {
            // To be taken over.
            .orphaned, .returned, .offered => if (Claim.of(segment, place) != null) continue,
            .free, .open => {},
            .taken, _ => |state| if (isBeingTaken(segment, place, @intFromEnum(state))) continue,
        }
        line.gate.store(0, .seq_cst);
    }
}

/// Leaves a line to whoever takes its claim over.
fn orphan(segment: Segment, place: u32, state: LineState) void {
    // The bit first: whoever takes it over takes the bit away, after he has seen the state. SC: the
    // publish half of the wake protocol; who sleeps is looked at by the caller.
    _ = segment.control().orphaned_claims.fetchOr(bitOf(place), .seq_cst);
    // As release it pairs with the compare-and-swap in takeOver(). SC: a receiver that falls asleep either
    // sees it in isLeft(), or is seen by the look at the sleepers that follows.
    segment.receiverLine(place).state.store(@intFromEnum(state), .seq_cst);
}

/// Ends, or takes back, what the receiver of `place` has begun: the claim of another line, which it may
/// have made its own.
fn giveUpTakeOver(segment: Segment, place: u32, other: u32) void {
    const line = segment.receiverLine(other);
    if (other == place or line.state.load(.seq_cst) != LineState.takenBy(place)) return;
    const claim = Claim.of(segment, other);
    const own = segment.receiverLine(place);
    const is_moved = claim == null or (own.gate.load(.seq_cst) == line.gate.load(.seq_cst) and
        own.claim_end.load(.seq_cst) == line.claim_end.load(.seq_cst));
    // The claim of one that lives was offered by it.
    const lives = ledger.hasPlace(segment, other);
    if (!is_moved) return orphan(segment, other, if (lives) .offered else .orphaned);
    _ = segment.control().gates_moved.fetchAdd(1, .seq_cst);
    line.gate.store(0, .seq_cst);
    line.state.store(@intFromEnum(if (lives) LineState.open else LineState.free), .release);
}

fn bitOf(place: u32) u64 {
    return @as(u64, 1) << @intCast(place);
}

/// What a line says its receiver has claimed.
const Claim = struct {
    ring: u32,
    /// The counter word and the slot it begins at, and its slots.
    sequence: u32,
    position: u32,
    slots: u32,
    end: u32,

    /// Null: nothing, or nothing that can be. A gate that lies behind the head, or an end before the
    /// claim cursor, is of a claim that was not made. One that lost against another receiver's cannot be
    /// told from one that won: then messages may be handed out again that another has.
    fn of(segment: Segment, place: u32) ?Claim {
        const line = segment.receiverLine(place);
        const gate = line.gate.load(.seq_cst);
        const end = line.claim_end.load(.seq_cst);
        const capacity = segment.geometry.capacity;
        const ring: u32 = @truncate((gate >> 32) -% 1);
        if (ring >= segment.geometry.senders_max) return null;
        const sequence: u32 = @truncate(gate);
        if (ring_module.isSealed(sequence) or ring_module.isSealed(end)) return null; // no counters
        const position = (sequence >> 1) & (capacity - 1);
        const slots = (end -% sequence) >> 1;
        if (slots == 0 or slots > capacity - position) return null;
        const consumer_line = segment.consumerLine(ring);
        const head = consumer_line.head.load(.seq_cst);
        if ((sequence -% head) >> 1 > capacity) return null;
        const handed_out = (consumer_line.claimed.load(.seq_cst) -% sequence) >> 1;
        if (handed_out < slots or handed_out > capacity) return null;
        return .{ .ring = ring, .sequence = sequence, .position = position, .slots = slots, .end = end };
    }
};

/// A ring that is sealed and of which everything is released: under which tenancy.
fn tenancyThatIsOver(segment: Segment, ring: u32) ?u32 {
    const line = segment.producerLine(ring);
    if (!ring_module.isSealed(line.tail.load(.acquire))) return null;
    const tenancy = line.tenancy.load(.seq_cst);
    if (segment_module.stateOf(tenancy) != .claimed) return null;
    // After the tenancy: if that is still the same when the ring is given back, this tail was its
    // own. One read before it may be the last tenant's, sealed, while the next one opens.
    const tail = line.tail.load(.seq_cst);
    if (!ring_module.isSealed(tail)) return null;
    const head = segment.consumerLine(ring).head.load(.seq_cst);
    return if (tail & ~ring_module.closed_bit == head) tenancy else null;
}

/// Moves the head of a ring on behalf of those who have released and are gone, or have been fooled. Whether a
/// receiver has to look at the ring now.
pub fn isLeftBehind(segment: Segment, ring: u32) bool {
    return moveHead(segment, ring) != .there;
}

/// A ring that is sealed and of which everything is claimed, but not yet released.
fn isSpent(segment: Segment, ring: u32) bool {
    const tail = segment.producerLine(ring).tail.load(.seq_cst);
    if (!ring_module.isSealed(tail)) return false;
    const line = segment.consumerLine(ring);
    const claimed = line.claimed.load(.seq_cst);
    return tail & ~ring_module.closed_bit == claimed and claimed != line.head.load(.seq_cst);
}

/// Who fails was overtaken by another who did not. So often in a row, it was nobody's success.
const attempts_max = 1 << 16;

const Moved = enum {
    moved,
    /// Somebody needs what is behind it, or nothing is.
    there,
    /// It, or the claim cursor, is where no receiver can have put it.
    impossible,
};

/// Moves the head of a ring to where nobody needs it any more.
fn moveHead(segment: Segment, ring: u32) Moved {
    const consumer_line = segment.consumerLine(ring);
    const most = segment.geometry.capacity << 1;
    const gates_moved = &segment.control().gates_moved;
    for (0..attempts_max) |_| {
        const moved_before = gates_moved.load(.seq_cst);
        const head = consumer_line.head.load(.seq_cst);
        // SC, the cursor before the gates: see the top of the file. Distances from the head order
        // words that wrap; a gate below the head is of a claim that is about to fail, and holds
        // nothing back.
        const claimed = consumer_line.claimed.load(.seq_cst);
        if (ring_module.isSealed(head) or ring_module.isSealed(claimed)) return .impossible; // no counters
        var least = claimed -% head;
        // More than a ring: others have moved the head past what was read, and have claimed since. They come
        // here when they release, after us. If nobody has moved it, nobody will.
        if (least > most) return if (consumer_line.head.load(.seq_cst) == head) .impossible else .there;
        for (0..receiversUsed(segment)) |index| {
            const gate = segment.receiverLine(@intCast(index)).gate.load(.seq_cst);
            // An odd one is no counter.
            if (gate >> 32 != ring + 1 or ring_module.isSealed(@truncate(gate))) continue;
            const distance = @as(u32, @truncate(gate)) -% head;
            if (distance < least) least = distance;
        }
        // SC, after the gates: a claim may have moved from one we had yet to look at to one we had
        // looked at. What the bounds were when it had not stays true: gates move forward only.
        if (gates_moved.load(.seq_cst) != moved_before) continue;
        if (least == 0) return .there;
        // SC: the publish half against sender_wait, which is looked at next. If another was faster
        // everything is read anew: a bound is worth nothing without the head it was measured from.
        if (consumer_line.head.cmpxchgStrong(head, head +% least, .seq_cst, .seq_cst) == null) return .moved;
    }
    return .there; // what is read here changes faster than anybody can release
}

/// What one receiver of several is, but for which ring it looks at next.
pub const Shared = struct {
    segment: Segment,
    has_records: bool,
    /// Its place among the receivers; the line there gates the window.
    line: u32,
    ring: u32 = 0,
    /// The counter word and the slot the window begins at, and its slots.
    sequence: u32 = 0,
    position: u32 = 0,
    window: u32 = 0,
    /// Another receiver may have the window by now: see offer().
    is_offered: bool = false,
    /// The program has seen some of the window and will not go on with it: see markSeen().
    is_seen: bool = false,
    /// To be rung by whoever polled: another receiver that is wanted as well.
    bells: Bells = .{},

    /// The caller holds the cold-path mutex of its process.
    pub fn open(segment: Segment, has_records: bool) OpenError!Shared {
        if (ledger.receiverState(segment) == .gone) return error.ChannelClosed;
        if (!ledger.countReceiver(segment)) return error.TooManyReceivers;
        // Who is counted has a line of his own, and a claim without a receiver has one. So there is a
        // line for us, if need be one with a claim: the newcomer gets both, though it has not asked for
        // messages yet. While another is taking a claim over it holds two, for a few instructions.
        for (0..looks_for_line_max) |attempt| {
            const takes_claims = attempt % 2 == 1;
            for (0..segment.geometry.receivers_max) |index| {
                if (ledger.hasPlace(segment, @intCast(index))) continue; // whatever its line says
                var self: Shared = .{ .segment = segment, .has_records = has_records, .line = @intCast(index) };
                const line = segment.receiverLine(self.line);
                // Acquire: pairs with the releases of `free`; the last holder's words come before ours.
                const was_free = becomesOpen(line, .free) or
                    // Of a receiver that died while another took over what it had offered. Only a keeper
                    // knows that no receiver has it.
                    (ledger.keeperOf(segment) != null and becomesOpen(line, .open));
                if (!was_free and !(takes_claims and self.takeOver(self.line, .left))) continue;
                // A line that is free has none, unless somebody else wrote one.
                if (was_free) line.gate.store(0, .seq_cst);
                ledger.takePlace(segment, self.line);
                line.wait.word.store(@intFromEnum(bell.Waiting.awake), .seq_cst);
                // SC: whoever works out a minimum after this looks at our line.
                _ = segment.control().receivers_used.fetchMax(self.line + 1, .seq_cst);
                ledger.setReceiverState(segment, .open);
                return self;
            }
            if (takes_claims) os.yieldThread();
        }
        // Only if the memory was written by somebody else.
        _ = ledger.uncountReceiver(segment);
        return error.TooManyReceivers;
    }

    const looks_for_line_max = 1000;

    fn becomesOpen(line: *segment_module.ReceiverLine, was: LineState) bool {
        return line.state.cmpxchgStrong(
            @intFromEnum(was),
            @intFromEnum(LineState.open),
            .acquire,
            .monotonic,
        ) == null;
    }

    /// At a place that the keeper of the channel has claimed for this process.
    pub fn attach(segment: Segment, has_records: bool, line: u32) Shared {
        var self: Shared = .{ .segment = segment, .has_records = has_records, .line = line };
        // With the place comes the claim of who had it last.
        if (Claim.of(segment, line)) |claimed| self.have(claimed);
        return self;
    }

    fn have(self: *Shared, claimed: Claim) void {
        self.ring = claimed.ring;
        self.sequence = claimed.sequence;
        self.position = claimed.position;
        self.window = claimed.slots;
    }

    pub const Outcome = enum { claimed, empty, corrupt };

    /// Claims a run of a ring, of `messages_max` messages at most; 0 is no bound.
    pub fn claim(self: *Shared, ring: u32, messages_max: u32) Outcome {
        const segment = self.segment;
        if (ring >= segment.geometry.senders_max) return .corrupt;
        const consumer_line = segment.consumerLine(ring);
        const producer_line = segment.producerLine(ring);
        const capacity = segment.geometry.capacity;
        const gate = &segment.receiverLine(self.line).gate;
        // A plain look first: a ring that is empty costs no store.
        var cursor = consumer_line.claimed.load(.acquire);
        for (0..attempts_max) |_| {
            if (producer_line.tail.load(.acquire) & ~ring_module.closed_bit != cursor) break;
            if (self.leaveEmpty(ring)) return .empty;
            cursor = consumer_line.claimed.load(.acquire);
        }
        var has_withdrawn = false;
        defer if (has_withdrawn) self.helpHead(ring);
        for (0..attempts_max) |_| {
            if (ring_module.isSealed(cursor)) break; // no cursor
            // A gate without an end is no claim, if we die before there is one.
            segment.receiverLine(self.line).claim_end.store(cursor, .monotonic);
            // SC: see the top of the file. It keeps the run from the cursor on while we look at it.
            gate.store(gateOf(ring, cursor), .seq_cst);
            const now = consumer_line.claimed.load(.seq_cst);
            if (now != cursor) {
                cursor = now;
                has_withdrawn = true;
                continue;
            }
            // Acquire: pairs with the compare-and-swap in Producer.commit().
            const tail = producer_line.tail.load(.acquire) & ~ring_module.closed_bit;
            const available = (tail -% cursor) >> 1;
            if (available == 0 or available > capacity) {
                gate.store(0, .seq_cst);
                has_withdrawn = true;
                if (available != 0) return .corrupt;
                if (self.leaveEmpty(ring)) return .empty;
                cursor = consumer_line.claimed.load(.acquire);
                continue;
            }
            const position = (cursor >> 1) & (capacity - 1);
            const run = @min(available, capacity - position);
            const slots = self.slotsOf(ring, position, run, messages_max) orelse {
                gate.store(0, .seq_cst);
                has_withdrawn = true;
                return .corrupt;
            };
            // Before the cursor: who sees that this was handed out sees its end (Released in pool.zig), as
            // does, after an acquire of its state, whoever takes the line over.
            segment.receiverLine(self.line).claim_end.store(cursor +% (slots << 1), .monotonic);
            // SC: after the gate; of several receivers one gets the run.
            if (consumer_line.claimed.cmpxchgStrong(cursor, cursor +% (slots << 1), .seq_cst, .seq_cst)) |other| {
                cursor = other;
                has_withdrawn = true;
                continue;
            }
            self.ring = ring;
            self.sequence = cursor;
            self.position = position;
            self.window = slots;
            // The gate holds the head back behind the tail that was seen.
            const used = (tail -% consumer_line.head.load(.monotonic)) >> 1;
            if (used > consumer_line.used_most.load(.monotonic)) _ = consumer_line.used_most.fetchMax(used, .monotonic);
            self.callOthers(ring, available > slots);
            return .claimed;
        }
        gate.store(0, .seq_cst);
        has_withdrawn = true;
        return .corrupt;
    }

    /// How many slots the first messages of a run take. Null: the records cannot be.
    fn slotsOf(self: *const Shared, ring: u32, position: u32, run: u32, messages_max: u32) ?u32 {
        if (messages_max == 0) return run;
        if (!self.has_records) return @min(run, messages_max);
        var records: Records = .{ .data = self.segment.data(ring), .position = position, .slots = run };
        var messages: u32 = 0;
        while (records.slots != 0) {
            const before = records;
            const is_padding = records.step() orelse return null;
            if (is_padding) continue; // goes along with what stands before it
            if (messages == messages_max) return run - before.slots;
            messages += 1;
        }
        return run;
    }

    /// After a claim: another receiver is wanted for what is left. If nothing is, and somebody sleeps,
    /// the ring goes idle, so that the next commit wakes: we may be at work for long.
    fn callOthers(self: *Shared, ring: u32, has_more: bool) void {
        const control = self.segment.control();
        // SC: after the claim. A receiver that falls asleep after this look finds the ring's bit, which
        // is still set, and makes the ring idle itself.
        if (control.sleepers.load(.seq_cst) == 0) return;
        if (has_more or !self.goIdle(ring) or control.ready.hasOther(ring, channel.ringsUsed(self.segment))) {
            self.addBells(sleepers.wakeOne(self.segment));
        }
    }

    fn addBells(self: *Shared, bells: Bells) void {
        // There is room for the index of one: for two, everyone is rung.
        if (bells.receiver and self.bells.receiver and bells.receiver_index != self.bells.receiver_index) {
            self.bells.all = true;
        }
        self.bells = @bitCast(@as(u32, @bitCast(self.bells)) | @as(u32, @bitCast(bells)));
    }

    /// After a gate was withdrawn that was no claim.
    fn helpHead(self: *Shared, ring: u32) void {
        switch (moveHead(self.segment, ring)) {
            .moved => {},
            .there => return,
            .impossible => return self.addBells(channel.poison(self.segment)),
        }
        // The ring need not be that of the window, so all bells instead of the one; this is rare.
        if (self.segment.waitLine(ring).sender_wait.take() == .ring_bell) self.bells.all = true;
        self.recycle(ring);
        channel.tellDrained(self.segment, &self.bells);
    }

    /// False: there is something after all. The caller must look again: while the ring was out of the
    /// ready set, a receiver that had been woken for it may have looked and gone back to sleep.
    fn leaveEmpty(self: *Shared, ring: u32) bool {
        if (!self.goIdle(ring)) return false;
        self.recycle(ring);
        return true;
    }

    /// The rings that are ready, from `start` on and around.
    pub fn readyFrom(self: *const Shared, start: u32) ReadySet.Iterator {
        return self.segment.control().ready.iterateFrom(start, channel.ringsUsed(self.segment));
    }

    /// Takes a ring that is empty out of the ready set and says so, then looks once more. False: there
    /// is something after all, and the ring is ready.
    fn goIdle(self: *Shared, ring: u32) bool {
        const segment = self.segment;
        const ready = &segment.control().ready;
        const idle = &segment.waitLine(ring).idle;
        ready.remove(ring);
        // SC store, then SC loads: the sleeper's half of the protocol. The partners are the
        // compare-and-swap in commit() and the load in wasIdle().
        idle.store(1, .seq_cst);
        const tail = segment.producerLine(ring).tail.load(.seq_cst) & ~ring_module.closed_bit;
        if (tail == segment.consumerLine(ring).claimed.load(.seq_cst)) return true;
        // Whoever takes the 1 makes the ring ready: the producer, another receiver, or we.
        if (idle.swap(0, .seq_cst) != 0) ready.add(ring);
        return false;
    }

    /// Gives a ring back that is sealed, and of which everything is released. When that ends the
    /// channel, everyone is woken.
    fn recycle(self: *Shared, ring: u32) void {
        const segment = self.segment;
        // Where others write, the head may stand where nobody who releases will come by any more.
        if (segment.geometry.is_shared and isSpent(segment, ring) and moveHead(segment, ring) == .impossible) {
            return self.addBells(channel.poison(segment));
        }
        const tenancy = tenancyThatIsOver(segment, ring) orelse return;
        if (!channel.emptyAndGiveBack(segment, ring, tenancy, self.line)) return;
        if (!channel.hasEnded(segment)) return;
        channel.wakeReceivers(segment, .can_ring);
        self.bells.all = true;
    }

    /// Takes over a claim whose receiver is gone. False: there is none.
    pub fn adopt(self: *Shared) bool {
        const segment = self.segment;
        const control = segment.control();
        if (control.orphaned_claims.load(.acquire) == 0) return false;
        for (0..receiversUsed(segment)) |index| {
            if (!self.takeOver(@intCast(index), .left_or_offered) or self.window == 0) continue;
            // We may be at work for long, and a wake-up for something else may be spent on us.
            // SC: after the claim was counted off. Who falls asleep after this look sees what there is.
            if (control.sleepers.load(.seq_cst) != 0 and
                (control.orphaned_claims.load(.seq_cst) != 0 or control.ready.hasAny(channel.ringsUsed(segment))))
            {
                self.addBells(sleepers.wakeOne(segment));
            }
            return true;
        }
        return false;
    }

    /// Which claims are taken over: also those whose receiver is there, and keeps its line?
    const Which = enum { left, left_or_offered };

    /// Makes the claim of a line the window, and our line its gate. False: the line has none of this kind.
    fn takeOver(self: *Shared, index: u32, which: Which) bool {
        const segment = self.segment;
        const control = segment.control();
        const line = segment.receiverLine(index);
        const was = line.state.load(.monotonic);
        switch (@as(LineState, @enumFromInt(was))) {
            .orphaned, .returned => {},
            .offered => if (which == .left) return false,
            else => return false,
        }
        // It says by whom: if we die meanwhile, others have to know. Acquire: pairs with the release in
        // orphan(); gate and end are then the claim's.
        if (line.state.cmpxchgStrong(was, LineState.takenBy(self.line), .acquire, .monotonic) != null) return false;
        _ = control.orphaned_claims.fetchAnd(~bitOf(index), .seq_cst);
        self.window = 0;
        // If it cannot be the memory was written by somebody else.
        const claimed = Claim.of(segment, index);
        if (claimed) |found| self.have(found);
        if (index != self.line) {
            if (claimed) |found| {
                const own = segment.receiverLine(self.line);
                own.claim_end.store(found.end, .monotonic);
                // SC, in this order: see the top of the file.
                own.gate.store(gateOf(found.ring, found.sequence), .seq_cst);
                _ = control.gates_moved.fetchAdd(1, .seq_cst);
            }
            line.gate.store(0, .seq_cst);
            // Release: pairs with the compare-and-swap in open(), or the one in takeBack(): its receiver
            // sets no gate before it has seen this.
            const is_free = was != @intFromEnum(LineState.offered);
            line.state.store(@intFromEnum(if (is_free) LineState.free else LineState.open), .release);
        } else {
            if (claimed == null) line.gate.store(0, .seq_cst);
            line.state.store(@intFromEnum(LineState.open), .release);
        }
        if (was == @intFromEnum(LineState.orphaned)) {
            _ = control.redelivered.fetchAdd(self.messagesInWindow(), .monotonic);
        }
        return true;
    }

    fn messagesInWindow(self: *const Shared) u32 {
        if (!self.has_records) return self.window;
        var records: Records = .{ .data = self.segment.data(self.ring), .position = self.position, .slots = self.window };
        var messages: u32 = 0;
        while (records.slots != 0) {
            const is_padding = records.step() orelse return messages;
            if (!is_padding) messages += 1;
        }
        return messages;
    }

    /// Frees `slots` of the window, that held `messages`.
    pub fn release(self: *Shared, slots: u32, messages: u32) Bells {
        std.debug.assert(slots <= self.window);
        const consumer_line = self.segment.consumerLine(self.ring);
        _ = consumer_line.messages.fetchAdd(messages, .monotonic);
        self.sequence +%= slots << 1;
        const producer_line = self.segment.producerLine(self.ring);
        const counted = ring_module.withoutPadding(producer_line, self.segment.geometry.capacity, self.sequence, slots);
        // What is not asked of a single ring is counted where nobody else counts.
        const own = self.segment.receiverLine(self.line);
        own.releases.store(own.releases.raw +% 1, .monotonic);
        own.slots.store(own.slots.raw +% counted, .monotonic);
        self.position += slots;
        self.window -= slots;
        self.bells = .{};
        // SC, and release: our reads of the slots come before the producer's next writes to them, by
        // way of whoever sees this gate and moves the head.
        own.gate.store(if (self.window != 0) gateOf(self.ring, self.sequence) else 0, .seq_cst);
        switch (moveHead(self.segment, self.ring)) {
            .moved => {
                self.bells.sender = self.segment.waitLine(self.ring).sender_wait.take() == .ring_bell;
                self.recycle(self.ring);
            },
            .there => {},
            .impossible => self.addBells(channel.poison(self.segment)),
        }
        channel.tellDrained(self.segment, &self.bells);
        return self.bells;
    }

    /// Lets another receiver have what this one has claimed and does not look at now. Until one has it, the
    /// next poll takes it back. The bells to ring: a receiver that sleeps is woken for it.
    pub fn offer(self: *Shared) Bells {
        self.bells = .{};
        if (self.window == 0 or self.is_offered) return .{};
        self.is_offered = true;
        orphan(self.segment, self.line, .offered);
        // SC, after the store of the state: the waker's look.
        return sleepers.wakeOne(self.segment);
    }

    const TakenBack = enum {
        /// Nothing is offered any more: it is the window again, or another receiver has it.
        decided,
        /// Another receiver is about to have it. Until it says that it has, this one must not claim anything:
        /// the other reads its line.
        being_taken,
        corrupt,
    };

    /// Takes back what was offered.
    fn takeBack(self: *Shared) TakenBack {
        if (!self.is_offered) return .decided;
        const state = &self.segment.receiverLine(self.line).state;
        const looks_max: u32 = if (self.segment.geometry.is_shared) 1 << 10 else 1 << 20;
        for (0..looks_max) |_| {
            // Acquire: pairs with the release in takeOver(); after it the gate of our line is ours again.
            const was = state.cmpxchgStrong(
                @intFromEnum(LineState.offered),
                @intFromEnum(LineState.open),
                .acquire,
                .acquire,
            ) orelse {
                _ = self.segment.control().orphaned_claims.fetchAnd(~bitOf(self.line), .seq_cst);
                self.is_offered = false;
                return .decided;
            };
            if (was <= @intFromEnum(LineState.offered)) {
                // Open: another has it. Else the keeper takes this receiver for dead, and its claim is others'.
                self.window = 0;
                self.is_offered = false;
                return .decided;
            }
            if (!self.isTaker(was)) return .corrupt;
            os.yieldThread();
        }
        // The other one was stopped in the middle, or killed: then its keeper says so.
        return .being_taken;
    }

    fn isTaker(self: *const Shared, state: u32) bool {
        const taker = state -% @intFromEnum(LineState.taken);
        return taker < self.segment.geometry.receivers_max and taker != self.line;
    }

    /// Whether another receiver is about to have what this one has offered: then a poll finds nothing.
    fn isBeingTakenFrom(self: *const Shared) bool {
        // SC: the look of a sleeper.
        return self.is_offered and self.isTaker(self.segment.receiverLine(self.line).state.load(.seq_cst));
    }

    /// Whether it holds messages that no other receiver can have.
    pub fn hasWindow(self: *const Shared) bool {
        return self.window != 0 and !self.is_offered;
    }

    /// Whether nothing is offered: see TakenBack.
    pub fn mayClaim(self: *const Shared) bool {
        return !self.is_offered;
    }

    /// What is there before a new claim: what was claimed before, or another has left. Null: nothing.
    pub fn held(self: *Shared) ?Polled {
        self.bells = .{};
        switch (self.takeBack()) {
            .decided => {},
            .being_taken => return if (channel.hasEnded(self.segment)) .ended else .empty,
            .corrupt => return .corrupt,
        }
        if (self.window != 0 or self.adopt()) return .{ .window = self.window };
        return null;
    }

    /// Whether there is something to take now. Nothing is claimed: another may be faster.
    pub fn look(self: *Shared) Polled {
        self.bells = .{};
        const segment = self.segment;
        if (self.hasWindow()) return .{ .window = self.window };
        if (self.isBeingTakenFrom()) return if (channel.hasEnded(segment)) .ended else .empty;
        const control = segment.control();
        if (control.orphaned_claims.load(.seq_cst) != 0 and hasLeftClaim(segment)) return .{ .window = 1 };
        var rings = self.readyFrom(0);
        while (rings.next()) |ring| {
            if (ring >= segment.geometry.senders_max) return .corrupt;
            // A ring that is empty leaves the set, as by a claim: who waits would find it there for ever.
            for (0..attempts_max) |_| {
                if (hasUnclaimed(segment, ring)) return .{ .window = 1 };
                if (self.leaveEmpty(ring)) break;
            }
        }
        return if (channel.hasEnded(segment)) .ended else .empty;
    }

    pub const Certainty = union(enum) {
        /// There was an instant at which every ring was empty.
        empty,
        /// There is something in this ring, whatever the ready set says.
        ring: u32,
        /// Something was sent meanwhile.
        changed,
    };

    /// A poll looks at one ring after the other, and a ring is out of the ready set for a moment while a
    /// receiver looks whether it is empty. So a poll may find nothing while at every instant there was
    /// something. Two passes tell: if no tail has moved between them, every ring was empty when the second
    /// began. (A double collect, as in the atomic snapshots of Afek et al.)
    pub fn verifyEmpty(self: *const Shared) Certainty {
        const segment = self.segment;
        const used = channel.ringsUsed(segment);
        var before_sum: u32 = 0;
        for (0..used) |index| {
            const ring: u32 = @intCast(index);
            const counters: Counters = .of(segment, ring);
            if (counters.claimed != counters.tail) return .{ .ring = ring };
            // That very tail: with a later one a message that came in between would not be missed.
            before_sum +%= counters.tail;
        }
        if (segment.control().orphaned_claims.load(.seq_cst) != 0 and hasLeftClaim(segment)) return .changed;
        // Tails only grow: if their sum is the same, each of them is.
        var after_sum: u32 = 0;
        for (0..used) |ring| {
            after_sum +%= segment.producerLine(@intCast(ring)).tail.load(.seq_cst) & ~ring_module.closed_bit;
        }
        return if (before_sum == after_sum and channel.ringsUsed(segment) == used) .empty else .changed;
    }

    /// Whether poll() might find something; what a receiver that waits looks at.
    pub fn holds(self: *const Shared) bool {
        self.dropForeignGate();
        const control = self.segment.control();
        if (self.isBeingTakenFrom()) return channel.hasEnded(self.segment);
        // SC loads: partners are the fetchOr in ReadySet.add() and the fetchAdd in close().
        return self.hasWindow() or (control.orphaned_claims.load(.seq_cst) != 0 and hasLeftClaim(self.segment)) or
            control.ready.hasAny(channel.ringsUsed(self.segment)) or channel.hasEnded(self.segment);
    }

    /// Where others write, there may be a gate in our line that we have not set: while we wait for messages it
    /// would hold a sender back, and nobody else may take it away.
    fn dropForeignGate(self: *const Shared) void {
        if (!self.segment.geometry.is_shared or self.window != 0) return;
        const gate = &self.segment.receiverLine(self.line).gate;
        const found = gate.load(.monotonic); // our own word
        if (found == 0) return;
        gate.store(0, .seq_cst);
        const ring: u32 = @truncate((found >> 32) -% 1);
        if (ring >= self.segment.geometry.senders_max or moveHead(self.segment, ring) != .moved) return;
        // Who sleeps on a bell of this process finds the room when it looks.
        _ = self.segment.waitLine(ring).sender_wait.takeUnlessBell();
    }

    /// The count alone may be wrong: who died in between left it so.
    fn hasLeftClaim(segment: Segment) bool {
        for (0..receiversUsed(segment)) |index| if (segment.receiverLine(@intCast(index)).isLeft()) return true;
        return false;
    }

    pub fn sleeper(self: *const Shared) sleepers.Sleeper {
        return .{ .segment = self.segment, .receiver = self.line };
    }

    pub fn wait(self: *Shared, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        return wait_module.wait(strategy, timeout_ns, self.sleeper(), self);
    }

    /// Arms the wait word. False: there is something to poll; do not sleep.
    pub fn arm(self: *Shared, how: bell.Waiting) bool {
        self.sleeper().arm(how);
        if (!self.holds()) return true;
        _ = self.sleeper().disarm();
        return false;
    }

    pub fn disarm(self: *Shared) void {
        _ = self.sleeper().disarm();
    }

    /// Takes the arm away for one that will not look. If a waker was faster, its wake-up goes on to
    /// another receiver.
    pub fn giveUp(self: *Shared) Bells {
        if (self.sleeper().disarm()) return .{};
        return sleepers.wakeOne(self.segment);
    }

    /// To be called before close() by a receiver whose program is gone with something in hand: what the others
    /// then get counts as seen perhaps.
    pub fn markSeen(self: *Shared) void {
        self.is_seen = true;
    }

    /// The receiver goes. What it has claimed and not released is offered to the others: as new if it
    /// closes (`can_ring`: its program has given back what it took), as seen perhaps if it died.
    pub fn close(self: *Shared, ringer: Ringer) Bells {
        _ = self.sleeper().disarm();
        const own = self.segment.receiverLine(self.line);
        switch (self.takeBack()) {
            // The receiver that is taking over what this one offered says when it is done. See open().
            .being_taken => {},
            .decided, .corrupt => |back| if (back == .decided and self.window != 0) {
                const is_new = ringer == .can_ring and !self.is_seen;
                orphan(self.segment, self.line, if (is_new) .returned else .orphaned);
            } else {
                self.window = 0;
                self.dropForeignGate();
                // Release: pairs with the compare-and-swap in open().
                own.state.store(@intFromEnum(LineState.free), .release);
            },
        }
        self.window = 0;
        ledger.leavePlace(self.segment, self.line);
        if (ledger.uncountReceiver(self.segment) and ledger.receiverTickets(self.segment) == 0) {
            return channel.closeReceiver(self.segment, ringer);
        }
        // A wake-up may have been meant for this one, or there is a claim to take over.
        if (ringer == .can_ring) return sleepers.wakeOne(self.segment);
        channel.wakeReceivers(self.segment, .cannot_ring);
        return .{};
    }
};

/// What a sender does to drop messages of its own ring that no receiver has claimed.
///
/// It claims the oldest as a receiver would, by a swap of the cursor, but without a gate: it does not read
/// the run afterwards, and nobody else writes there. (What it reads of the run before, the length of a
/// record, it has written itself; where others write, it is checked.) Of the receivers that are about to
/// claim the same run each finds the cursor moved, and withdraws its gate.
///
/// Room begins at the head. So there is nothing to be gained while the head is held back by an older claim,
/// and nothing is dropped then.
pub const Dropping = struct {
    segment: Segment,
    ring: u32,
    has_records: bool,
    has_dropped: bool = false,
    bells: Bells = .{},

    pub fn init(segment: Segment, ring: u32, has_records: bool) Dropping {
        return .{ .segment = segment, .ring = ring, .has_records = has_records };
    }

    /// For a receiver that withdraws its gate; one that was stopped in the middle is not waited for.
    const looks_max = 1 << 10;

    /// False: what is in the way is claimed, and nothing was dropped.
    pub fn dropOldest(self: *Dropping) bool {
        const segment = self.segment;
        const consumer_line = segment.consumerLine(self.ring);
        const producer_line = segment.producerLine(self.ring);
        const capacity = segment.geometry.capacity;
        var looks: u32 = 0;
        for (0..attempts_max) |_| {
            // SC: partner of the swaps of the cursor, and of that of the head in moveHead().
            const cursor = consumer_line.claimed.load(.seq_cst);
            if (consumer_line.head.load(.seq_cst) != cursor) {
                if (self.moveHeadTo(cursor)) return true;
                // After a drop the gate that holds the head is one that is about to be withdrawn.
                if (!self.has_dropped or looks == looks_max) return false;
                looks += 1;
                os.yieldThread();
                if (segment.geometry.is_shared and !ledger.isOpen(segment)) return true;
                continue;
            }
            // Our own word; one load, for what is checked must be what is used.
            const available = ((producer_line.tail.load(.monotonic) & ~ring_module.closed_bit) -% cursor) >> 1;
            if (available == 0) return true; // the ring is empty: there is room, or it is sealed
            if (available > capacity) return self.fail();
            const position = (cursor >> 1) & (capacity - 1);
            const run = @min(available, capacity - position);
            const slots = self.slotsOfOldest(position, run) orelse return self.fail();
            // SC: of this and the swaps of receivers one is first. Who is too late looks again.
            if (consumer_line.claimed.cmpxchgStrong(cursor, cursor +% (slots.all << 1), .seq_cst, .seq_cst) != null) continue;
            self.has_dropped = true;
            _ = consumer_line.messages.fetchAdd(slots.messages, .monotonic);
            // One writer: a load and a store.
            producer_line.dropped.store(producer_line.dropped.raw +% slots.messages, .monotonic);
            _ = self.moveHeadTo(cursor +% (slots.all << 1));
            return true;
        }
        return false;
    }

    /// Moves the head, with all that belongs to it: a ring that has been sealed meanwhile may be empty now.
    /// Whether it is where it was to go.
    fn moveHeadTo(self: *Dropping, cursor: u32) bool {
        var helper: Shared = .{ .segment = self.segment, .has_records = self.has_records, .line = 0 };
        helper.helpHead(self.ring);
        self.bells = @bitCast(@as(u32, @bitCast(self.bells)) | @as(u32, @bitCast(helper.bells)));
        // Or beyond, when receivers have claimed and released meanwhile.
        return @as(i32, @bitCast(self.segment.consumerLine(self.ring).head.load(.seq_cst) -% cursor)) >= 0;
    }

    const Slots = struct { all: u32, messages: u32 };

    /// The first message of a run, and the padding in front of it. Null: the records cannot be.
    fn slotsOfOldest(self: *const Dropping, position: u32, run: u32) ?Slots {
        if (!self.has_records) return .{ .all = 1, .messages = 1 };
        var records: Records = .{ .data = self.segment.data(self.ring), .position = position, .slots = run };
        while (records.slots != 0) {
            const is_padding = records.step() orelse return null;
            if (!is_padding) return .{ .all = run - records.slots, .messages = 1 };
        }
        return .{ .all = run, .messages = 0 };
    }

    fn fail(self: *Dropping) bool {
        self.bells = channel.poison(self.segment);
        return true;
    }
};

/// For a waker whose wake-up may have come to a thread that is busy: wakes one more receiver if there is
/// something that nobody has claimed. Null: nothing is, or nobody sleeps.
pub fn wakeAnother(segment: Segment) ?Bells {
    const control = segment.control();
    if (control.sleepers.load(.seq_cst) == 0) return null;
    const used = channel.ringsUsed(segment);
    const is_left = for (0..used) |index| {
        const ring: u32 = @intCast(index);
        if (hasUnclaimed(segment, ring)) break true;
    } else control.orphaned_claims.load(.seq_cst) != 0 and Shared.hasLeftClaim(segment);
    return if (is_left) sleepers.wakeOne(segment) else null;
}

const Counters = struct {
    claimed: u32,
    tail: u32,

    fn of(segment: Segment, ring: u32) Counters {
        // SC, the cursor first: neither ever goes back, so if they are equal the ring was empty in between.
        const claimed = segment.consumerLine(ring).claimed.load(.seq_cst);
        return .{ .claimed = claimed, .tail = segment.producerLine(ring).tail.load(.seq_cst) & ~ring_module.closed_bit };
    }
};

fn hasUnclaimed(segment: Segment, ring: u32) bool {
    const counters: Counters = .of(segment, ring);
    return counters.claimed != counters.tail;
}

/// Steps through the records of a run.
pub const Records = struct {
    data: [*]align(segment_module.line_bytes) u8,
    position: u32,
    slots: u32,

    /// Whether the record stepped over was padding. Null: it cannot be.
    pub fn step(self: *Records) ?bool {
        const header = RecordHeader.read(self.data + @as(u64, self.position) * segment_module.record_slot_bytes);
        const is_padding = header.flags & RecordHeader.flag_padding != 0;
        const payload: u64 = header.payload_bytes;
        const slots = 1 + (payload + segment_module.record_slot_bytes - 1) / segment_module.record_slot_bytes;
        if (slots > self.slots) return null;
        self.slots -= @intCast(slots);
        self.position += @intCast(slots);
        return is_padding;
    }
};

const Receiver = @import("receiver.zig").Receiver;
const Sender = @import("sender.zig").Sender;

const Scene = struct {
    segment: Segment,
    sender: Sender,

    fn open(kind: segment_module.Kind) !Scene {
        return openIn(kind, false);
    }

    fn openIn(kind: segment_module.Kind, is_shared: bool) !Scene {
        const segment = try Segment.create(try segment_module.Geometry.init(.{
            .kind = kind,
            .slot_bytes = 8,
            .capacity = 2,
            .receivers_max = 3,
            .is_shared = is_shared,
        }), 0);
        return .{ .segment = segment, .sender = try Sender.open(segment, false) };
    }

    fn commit(self: *Scene) !Bells {
        try std.testing.expect(self.sender.producer.reserve(1) == .slots);
        return self.sender.commit(1, 1).bells;
    }
};

test "a ring that fills up on its way out of the ready set is not left behind" {
    var scene = try Scene.open(.spmc);
    defer scene.segment.destroy();
    var slow = try Shared.open(scene.segment, false);
    var asleep = try Shared.open(scene.segment, false);
    try std.testing.expect(asleep.arm(.bell));
    try std.testing.expectEqual(1, (try scene.commit()).receiver_index);
    // `slow` has seen the ring empty before the commit, and removes it now.
    scene.segment.control().ready.remove(0);
    // The one that was woken looks, and goes back to sleep.
    asleep.disarm();
    try std.testing.expect(asleep.arm(.bell));
    // So `slow` must take it itself.
    try std.testing.expect(!slow.leaveEmpty(0));
    try std.testing.expectEqual(.claimed, slow.claim(0, 0));
}

test "a sender drops the oldest that nobody has claimed, and nothing where the head is held back" {
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .mpmc,
        .slot_bytes = 8,
        .capacity = 4,
        .receivers_max = 2,
    }), (1 << 31) - 4);
    defer segment.destroy();
    var sender = try Sender.open(segment, false);
    var shared = try Shared.open(segment, false);
    var scene: Scene = .{ .segment = segment, .sender = sender };
    for (0..4) |_| _ = try scene.commit();
    sender = scene.sender;
    // Nobody has claimed anything: the first goes.
    try std.testing.expect(sender.force(1).has_room);
    try std.testing.expect(sender.hasRoomFor(1) and !sender.hasRoomFor(2));
    // The next is in the hands of a receiver: nothing behind it is dropped.
    try std.testing.expectEqual(.claimed, shared.claim(0, 1));
    try std.testing.expect(!sender.force(2).has_room);
    try std.testing.expectEqual(1, segment.producerLine(0).dropped.raw);
    _ = shared.release(1, 1);
    try std.testing.expect(sender.force(4).has_room);
    try std.testing.expectEqual(3, segment.producerLine(0).dropped.raw);
    try std.testing.expectEqual(.empty, shared.claim(0, 0));
    // A gate that is not yet withdrawn, of a claim that will fail, is waited for, and not for ever.
    scene.sender = sender;
    for (0..4) |_| _ = try scene.commit();
    const cursor = segment.consumerLine(0).claimed.raw;
    segment.receiverLine(shared.line).gate.store(gateOf(0, cursor), .seq_cst);
    try std.testing.expect(!scene.sender.force(1).has_room);
    try std.testing.expectEqual(4, segment.producerLine(0).dropped.raw);
    segment.receiverLine(shared.line).gate.store(0, .seq_cst);
    try std.testing.expect(scene.sender.force(1).has_room);
    try std.testing.expectEqual(4, segment.producerLine(0).dropped.raw);
}

test "a sender that drops what is left of a channel that closes meanwhile ends it" {
    var scene = try Scene.open(.spmc);
    defer scene.segment.destroy();
    var receiver = try Shared.open(scene.segment, false);
    for (0..2) |_| _ = try scene.commit();
    _ = channel.close(scene.segment, .closed, .can_ring);
    var dropping: Dropping = .init(scene.segment, 0, false);
    while (scene.segment.consumerLine(0).head.raw >> 1 != 2) try std.testing.expect(dropping.dropOldest());
    _ = scene.sender.close(.can_ring);
    try std.testing.expectEqual(.empty, receiver.claim(0, 0));
    try std.testing.expect(channel.hasEnded(scene.segment));
}

test "what senders drop and receivers claim is each message once, whoever is faster" {
    const senders_max = 2;
    const per_sender = 50_000;
    const segment = try Segment.create(try segment_module.Geometry.init(.{
        .kind = .mpmc,
        .slot_bytes = 8,
        .capacity = 8,
        .senders_max = senders_max,
        .receivers_max = 2,
    }), (1 << 31) - 100);
    defer segment.destroy();
    const Worker = struct {
        fn send(on: Segment, refused: *u64) void {
            var sender = Sender.open(on, false) catch unreachable;
            for (0..per_sender) |value| {
                if (!sender.force(1).has_room) {
                    refused.* += 1;
                    continue;
                }
                std.debug.assert(sender.producer.reserve(1) == .slots);
                const at = sender.producer.data + @as(u64, sender.producer.position()) * 8;
                @as(*u64, @ptrCast(@alignCast(at))).* = value + 1;
                _ = sender.commit(1, 1);
            }
            _ = sender.close(.can_ring);
        }

        fn receive(on: Segment, counts: *[2]u64) void {
            var receiver = Receiver.open(on, false) catch unreachable;
            var last: [senders_max]u64 = @splat(0);
            while (true) switch (receiver.poll(1)) {
                .window => {
                    const window = receiver.window();
                    const at = on.data(window.ring) + @as(u64, window.position) * 8;
                    const value = @as(*const u64, @ptrCast(@alignCast(at))).*;
                    // In order, none twice, and never what was written over it.
                    if (value <= last[window.ring] or value > per_sender) counts[1] += 1;
                    last[window.ring] = value;
                    counts[0] += 1;
                    _ = receiver.release(1, 1);
                },
                .empty => os.yieldThread(),
                else => return,
            };
        }
    };
    const keeps_open = try Sender.open(segment, false);
    _ = keeps_open;
    var counts: [2][2]u64 = @splat(@splat(0));
    var refused: [1]u64 = @splat(0);
    var receivers: [2]std.Thread = undefined;
    for (&receivers, &counts) |*thread, *count| thread.* = try std.Thread.spawn(.{}, Worker.receive, .{ segment, count });
    const sender = try std.Thread.spawn(.{}, Worker.send, .{ segment, &refused[0] });
    sender.join();
    _ = channel.close(segment, .closed, .can_ring);
    for (&receivers) |*thread| thread.join();
    const dropped = segment.producerLine(1).dropped.raw;
    try std.testing.expectEqual(0, counts[0][1] + counts[1][1]);
    try std.testing.expectEqual(per_sender - refused[0], counts[0][0] + counts[1][0] + dropped);
}

test "the bells of two receivers are not taken for those of a third" {
    var scene = try Scene.open(.spmc);
    defer scene.segment.destroy();
    var self = try Shared.open(scene.segment, false);
    self.addBells(.{ .receiver = true, .receiver_index = 1 });
    self.addBells(.{ .receiver = true, .receiver_index = 1 });
    try std.testing.expect(!self.bells.all);
    self.addBells(.{ .receiver = true, .receiver_index = 2 });
    try std.testing.expect(self.bells.all);
}

test "a ring that has its next tenant is not given back by one that looked at the last" {
    var scene = try Scene.open(.mpmc);
    defer scene.segment.destroy();
    var slow = try Shared.open(scene.segment, false);
    var fast = try Shared.open(scene.segment, false);
    const line = scene.segment.producerLine(0);
    _ = scene.sender.close(.can_ring);
    const seen = tenancyThatIsOver(scene.segment, 0).?;
    try std.testing.expectEqual(.empty, fast.claim(0, 0));
    try std.testing.expect(!line.isClaimed());
    scene.sender = try Sender.open(scene.segment, false);
    try std.testing.expect(!channel.giveBack(scene.segment, 0, seen));
    slow.recycle(0);
    try std.testing.expect(line.isClaimed());
    try std.testing.expectEqual(1, scene.segment.control().rings_claimed.raw);
    // It is given back once, by whoever sees its end first.
    _ = scene.sender.close(.can_ring);
    for ([_]*Shared{ &slow, &fast }) |receiver| receiver.recycle(0);
    try std.testing.expect(!line.isClaimed());
    try std.testing.expectEqual(0, scene.segment.control().rings_claimed.raw);
}

const AnyReceiver = @import("receiver.zig").Receiver;
const many_receivers = [_]segment_module.Kind{ .spmc, .mpmc };

test "a sealed ring that another receiver works on keeps nobody awake, and one to be given back does" {
    for (many_receivers) |kind| {
        var scene = try Scene.openIn(kind, true);
        const segment = scene.segment;
        defer segment.destroy();
        var busy = try AnyReceiver.open(segment, false);
        var idle = try AnyReceiver.open(segment, false);
        _ = try scene.commit();
        try std.testing.expectEqual(Polled{ .window = 1 }, busy.poll(0));
        _ = scene.sender.close(.can_ring);
        for ([_]bool{ false, true }) |is_closed| {
            if (is_closed) _ = channel.close(segment, .closed, .can_ring);
            try std.testing.expectEqual(.empty, idle.poll(0));
            channel.lookAround(segment);
            try std.testing.expect(idle.arm(.bell));
            idle.disarm();
        }
        _ = busy.release(1, 1);
        try std.testing.expectEqual(.ended, idle.poll(0));
    }
    var scene = try Scene.openIn(.mpmc, true);
    defer scene.segment.destroy();
    var receiver = try AnyReceiver.open(scene.segment, false);
    _ = scene.sender.close(.can_ring);
    // Whoever was to give it back has died.
    scene.segment.control().ready.remove(0);
    channel.lookAround(scene.segment);
    try std.testing.expect(!receiver.arm(.bell));
    try std.testing.expectEqual(.empty, receiver.poll(0));
    try std.testing.expect(!scene.segment.producerLine(0).isClaimed());
}

test "claims that were left and not counted are found, in whatever order they are taken over" {
    for ([_]u32{ 0, 1 }) |first| {
        var scene = try Scene.openIn(.spmc, true);
        const segment = scene.segment;
        defer segment.destroy();
        var receivers: [3]Shared = undefined;
        for (&receivers) |*receiver| receiver.* = try Shared.open(segment, false);
        for (receivers[0..2]) |*receiver| {
            _ = try scene.commit();
            try std.testing.expectEqual(.claimed, receiver.claim(0, 0));
        }
        for (receivers[0..2]) |*receiver| _ = receiver.close(.cannot_ring);
        const control = segment.control();
        control.orphaned_claims.store(0, .seq_cst);
        channel.lookAround(segment);
        try std.testing.expectEqual(0b11, control.orphaned_claims.load(.seq_cst));
        // The third takes over one, and the other is still known of.
        try std.testing.expect(receivers[2].takeOver(first, .left));
        _ = receivers[2].release(1, 1);
        try std.testing.expect(!receivers[2].arm(.bell));
        try std.testing.expect(receivers[2].adopt());
        _ = receivers[2].release(1, 1);
        try std.testing.expectEqual(0, control.orphaned_claims.load(.seq_cst));
    }
}

test "a head that nobody will move ends the channel, as corrupt if it cannot be" {
    const Case = struct { head: u32, is_possible: bool };
    for (many_receivers) |kind| for ([_]Case{
        .{ .head = 0, .is_possible = true },
        .{ .head = 3, .is_possible = false },
        .{ .head = 6, .is_possible = false },
        .{ .head = 1 << 31, .is_possible = false },
        .{ .head = 0 -% @as(u32, 2), .is_possible = false },
    }) |case| {
        var scene = try Scene.openIn(kind, true);
        const segment = scene.segment;
        defer segment.destroy();
        var receiver = try AnyReceiver.open(segment, false);
        for (0..2) |_| {
            _ = try scene.commit();
            try std.testing.expectEqual(Polled{ .window = 1 }, receiver.poll(0));
            _ = receiver.release(1, 1);
        }
        _ = scene.sender.close(.can_ring);
        segment.consumerLine(0).head.store(case.head, .seq_cst);
        _ = channel.close(segment, .closed, .can_ring);
        // Who sleeps finds it by looking around.
        segment.control().ready.remove(0);
        channel.lookAround(segment);
        try std.testing.expect(!receiver.arm(.bell));
        const expected: Polled = if (case.is_possible) .ended else .corrupt;
        try std.testing.expectEqual(expected, receiver.poll(0));
    };
}

test "a head that cannot be is found by who releases, too" {
    for (many_receivers) |kind| {
        var scene = try Scene.openIn(kind, true);
        const segment = scene.segment;
        defer segment.destroy();
        var receiver = try AnyReceiver.open(segment, false);
        _ = try scene.commit();
        try std.testing.expectEqual(Polled{ .window = 1 }, receiver.poll(0));
        segment.consumerLine(0).head.store(1000, .seq_cst);
        try std.testing.expect(receiver.release(1, 1).all);
        try std.testing.expect(channel.isPoisoned(segment));
    }
}
