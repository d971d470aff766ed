//! The ring: single producer, single consumer, slots of one stride, counters that run free and wrap.
//!
//! After rigtorp's SPSCQueue (each side caches the other's counter) and the records of Aeron's ring
//! buffers (messages of variable length, with padding records so that each is contiguous).
//!
//! Counter words are (sequence << 1) with the closed bit of the tail below, so they wrap as u32 and
//! the difference of two is twice a count of slots.

const std = @import("std");
const segment_module = @import("segment.zig");
const Segment = segment_module.Segment;
const ProducerLine = segment_module.ProducerLine;
const ConsumerLine = segment_module.ConsumerLine;
const WaitLine = segment_module.WaitLine;
const RecordHeader = segment_module.RecordHeader;
const latency = @import("latency.zig");
const Wake = @import("bell.zig").Wake;

pub const closed_bit: u32 = 1;

/// Raises a maximum that only this thread writes.
inline fn raise(most: *std.atomic.Value(u32), value: u32) void {
    if (value > most.raw) most.store(value, .monotonic);
}

fn slotsBetween(later: u32, earlier: u32) u32 {
    return ((later & ~closed_bit) -% (earlier & ~closed_bit)) >> 1;
}

/// How many of the `slots` that end at `head` are no padding record, which stands at a ring's end. To
/// be called before they are released: the producer's next words about padding come after that.
pub fn withoutPadding(producer_line: *const ProducerLine, capacity: u32, head: u32, slots: u32) u32 {
    if ((head >> 1) & (capacity - 1) != 0 or producer_line.padding_end != head) return slots;
    return slots -| producer_line.padding_slots;
}

/// Seals a ring: no commit succeeds after it. What was committed before stays readable.
pub fn seal(producer_line: *ProducerLine) void {
    // SC: it is a publish for receiver_wait and sender_wait, which the caller takes next; and it
    // races with the compare-and-swap in commit(), one of which comes first.
    _ = producer_line.tail.fetchOr(closed_bit, .seq_cst);
}

pub fn isSealed(tail: u32) bool {
    return tail & closed_bit != 0;
}

/// What the producer's thread keeps for itself.
pub const Producer = struct {
    line: *ProducerLine,
    consumer_line: *ConsumerLine,
    wait_line: *WaitLine,
    data: [*]align(segment_module.line_bytes) u8,
    /// Where the time of a commit goes, if the channel tracks latency.
    stamps: ?[*]u64,
    capacity: u32,
    has_records: bool,
    ring: u32,
    /// The tail as this side left it, without the closed bit.
    tail: u32,
    /// The head as last seen: it only ever lags, so room seen through it is there.
    cached_head: u32,
    /// Slots of a padding record that the next commit publishes along.
    padding: u32 = 0,
    /// Contiguous slots granted by reserve() and not yet committed.
    granted: u32 = 0,

    pub fn init(segment: Segment, ring: u32, has_records: bool) Producer {
        const consumer_line = segment.consumerLine(ring);
        const head = consumer_line.head.load(.acquire) & ~closed_bit;
        return .{
            .line = segment.producerLine(ring),
            .consumer_line = consumer_line,
            .wait_line = segment.waitLine(ring),
            .data = segment.data(ring),
            .stamps = if (segment.geometry.has_latency) segment.stamps(ring) else null,
            .capacity = segment.geometry.capacity,
            .has_records = has_records,
            .ring = ring,
            .tail = head,
            .cached_head = head,
        };
    }

    /// The slot the next granted run begins at.
    pub fn position(self: *const Producer) u32 {
        return ((self.tail >> 1) +% self.padding) & (self.capacity - 1);
    }

    /// The sequence, of 31 bits, of a slot of the granted run.
    pub fn sequenceAt(self: *const Producer, slot: u32) u32 {
        const ahead = (slot -% self.position()) & (self.capacity - 1);
        return ((self.tail >> 1) +% self.padding +% ahead) & (std.math.maxInt(u32) >> 1);
    }

    pub const Reserved = union(enum) {
        slots: u32,
        full,
        closed,
        /// The head is where no receiver can have put it.
        corrupt,
    };

    /// Grants every contiguous free slot when there are at least `slots_min`. For records it starts
    /// the run at the ring's beginning, behind a padding record, when the end is too near.
    pub fn reserve(self: *Producer, slots_min: u32) Reserved {
        std.debug.assert(slots_min > 0 and slots_min <= self.capacity);
        if (self.grant(slots_min)) return .{ .slots = self.granted };
        // Acquire: pairs with the store in Consumer.release(); the receiver's reads of those slots
        // come before our writes to them.
        const head = self.consumer_line.head.load(.acquire);
        if (self.freeSlots(head) == null) return .corrupt;
        self.cached_head = head;
        raise(&self.line.used_most, slotsBetween(self.tail, head));
        if (self.grant(slots_min)) return .{ .slots = self.granted };
        if (isSealed(self.line.tail.load(.monotonic))) return .closed;
        return .full;
    }

    /// Null: more would be in use than there is.
    inline fn freeSlots(self: *const Producer, head: u32) ?u32 {
        const used = slotsBetween(self.tail, head) +% self.padding;
        return if (used <= self.capacity) self.capacity - used else null;
    }

    fn grant(self: *Producer, slots_min: u32) bool {
        const free = self.freeSlots(self.cached_head) orelse return false;
        const start = self.position();
        const to_end = self.capacity - start;
        if (slots_min <= to_end) {
            if (free < slots_min) return false;
            self.granted = @min(free, to_end);
            return true;
        }
        if (!self.has_records) {
            // Slots of a fixed layout never need more than one at a time to be contiguous.
            if (free < to_end) return false;
            self.granted = to_end;
            return true;
        }
        if (free < to_end + slots_min) return false;
        const header: *RecordHeader = @ptrCast(@alignCast(self.data + @as(u64, start) * segment_module.record_slot_bytes));
        header.* = .{
            .payload_bytes = to_end * segment_module.record_slot_bytes - @sizeOf(RecordHeader),
            .flags = RecordHeader.flag_padding,
        };
        self.padding += to_end;
        // Whoever released the last padding record, and looked, has freed the slots of this one.
        self.line.padding_end = self.tail +% (self.padding << 1);
        self.line.padding_slots = to_end;
        self.granted = @min(self.capacity, free - to_end);
        return true;
    }

    /// Whether `slots_min` could be granted now; what a sender that waits for room looks at.
    pub fn hasRoom(self: *const Producer, slots_min: u32) bool {
        // SC: the look half of the wake protocol (bell.zig); its partner is the SC store of the
        // head in release(). As acquire it pairs as in reserve().
        const head = self.consumer_line.head.load(.seq_cst);
        const free = self.freeSlots(head) orelse return true; // reserve() tells
        const to_end = self.capacity - self.position();
        if (slots_min <= to_end) return free >= slots_min;
        return free >= if (self.has_records) to_end + slots_min else to_end;
    }

    pub fn isClosed(self: *const Producer) bool {
        // SC: the look half of the wake protocol; its partner is the fetchOr in seal().
        return isSealed(self.line.tail.load(.seq_cst));
    }

    /// Publishes `slots` granted slots that hold `messages` messages. False: the ring was sealed
    /// first, nothing was published. When true the caller must look at the ready set's side of the
    /// protocol if `wasIdle()`.
    pub fn commit(self: *Producer, slots: u32, messages: u32) bool {
        std.debug.assert(slots <= self.granted);
        if (self.stamps) |stamps| latency.stamp(stamps, self.position(), slots);
        const next = self.tail +% ((slots + self.padding) << 1);
        // Release part: the message bytes, written before (also by JavaScript, through its own view
        // of the ring), are visible to whoever acquires the tail in Consumer.readable().
        // SC part: it is the publish half against the `idle` word; wasIdle() looks next.
        // A compare-and-swap, because seal() may be faster: then the message was never sent.
        if (self.line.tail.cmpxchgStrong(self.tail, next, .seq_cst, .monotonic) != null) return false;
        self.tail = next;
        self.padding = 0;
        self.granted -= slots;
        // Statistics have one writer: a load and a store, no read-modify-write.
        self.line.messages.store(self.line.messages.raw +% messages, .monotonic);
        self.line.commits.store(self.line.commits.raw +% 1, .monotonic);
        self.line.slots.store(self.line.slots.raw +% slots, .monotonic);
        raise(&self.line.batch_most, messages);
        return true;
    }

    /// After a commit: true if the receiver had dropped this ring from its active set, in which
    /// case the caller must add it to the ready set and then wake the receiver.
    pub inline fn wasIdle(self: *Producer) bool {
        // SC load: its partner is the SC store in Consumer.goIdle(). Either the receiver, looking
        // at the tail after that store, sees our commit, or we see its store.
        if (self.wait_line.idle.load(.seq_cst) == 0) return false;
        return self.wait_line.idle.swap(0, .seq_cst) != 0;
    }
};

/// The receiver's side of one ring. It keeps nothing of its own: the head is its own word.
pub const Consumer = struct {
    line: *ConsumerLine,
    producer_line: *ProducerLine,
    wait_line: *WaitLine,
    capacity: u32,

    pub fn init(segment: Segment, ring: u32) Consumer {
        return .{
            .line = segment.consumerLine(ring),
            .producer_line = segment.producerLine(ring),
            .wait_line = segment.waitLine(ring),
            .capacity = segment.geometry.capacity,
        };
    }

    pub const Readable = union(enum) {
        /// A contiguous run.
        run: struct { position: u32, slots: u32 },
        empty,
        /// Empty, and sealed: it stays empty.
        ended,
        /// The counters cannot be: more slots than the ring has.
        corrupt,
    };

    pub fn readable(self: Consumer) Readable {
        // Acquire: pairs with the compare-and-swap in Producer.commit().
        return self.classify(self.producer_line.tail.load(.acquire));
    }

    fn classify(self: Consumer, tail: u32) Readable {
        // Our own word. Monotonic, which makes it one load: another process can write there, and what is
        // checked must be what is used.
        const head = self.line.head.load(.monotonic);
        const available = slotsBetween(tail, head);
        if (available == 0) return if (isSealed(tail)) .ended else .empty;
        if (available > self.capacity) return .corrupt;
        raise(&self.line.used_most, available);
        const position = (head >> 1) & (self.capacity - 1);
        return .{ .run = .{ .position = position, .slots = @min(available, self.capacity - position) } };
    }

    /// Says that the ring was seen empty, then looks once more. Anything but `.empty` means that
    /// the ring stays active.
    pub fn goIdle(self: Consumer) Readable {
        // SC store, then SC load: the sleeper's half of the protocol. The partners are the
        // compare-and-swap in commit() (or the fetchOr in seal()) and the load in wasIdle().
        self.wait_line.idle.store(1, .seq_cst);
        const again = self.classify(self.producer_line.tail.load(.seq_cst));
        // If the producer took the 1 it also adds the ring to the ready set: one spurious visit.
        if (again != .empty) _ = self.wait_line.idle.swap(0, .seq_cst);
        return again;
    }

    /// Frees `slots` slots at the head. The caller must wake the sender as take() says.
    pub fn release(self: Consumer, slots: u32, messages: u32) Wake {
        const head = self.line.head.raw +% (slots << 1);
        self.line.messages.store(self.line.messages.raw +% messages, .monotonic);
        self.line.releases.store(self.line.releases.raw +% 1, .monotonic);
        const counted = withoutPadding(self.producer_line, self.capacity, head, slots);
        self.line.slots.store(self.line.slots.raw +% counted, .monotonic);
        // Release part: our reads of the slots come before the producer's next writes to them.
        // SC part: the publish half against sender_wait, which take() looks at next.
        self.line.head.store(head, .seq_cst);
        return self.wait_line.sender_wait.take();
    }
};
