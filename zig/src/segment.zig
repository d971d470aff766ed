//! The segment: one mapping that holds a whole channel, positions as offsets and never pointers.
//!
//!   0            header          what the segment is; written once, before anyone else sees it
//!   256          control block   close, counts, wait words, the ready set
//!   waits_offset     a wait line for every ring       (written when somebody goes idle or sleeps)
//!   consumers_offset a consumer line for every ring   (written by whoever receives from it)
//!   receivers_offset a receiver line for every receiver of a kind that has several
//!   rings_offset     a ring for every producer: its producer line, then its data; page aligned,
//!                    so that a ring's pages can live beside their producer
//!   histogram_offset the histogram of latencies, and then a stamp for every slot of every ring: only
//!                    in a channel that tracks latency
//!   slabs            of a pool: its control lines, the free set, a header for every slab, the slabs
//!
//! Lines are 128 bytes apart: x86 prefetches cache lines in pairs, and several arm64 cores have
//! 128-byte lines.

const std = @import("std");
const os = @import("os/linux.zig");
const bell = @import("bell.zig");
const FreeSet = @import("free_set.zig").FreeSet;
const Histogram = @import("histogram.zig").Histogram;
const Ledger = @import("ledger.zig").Ledger;
const Notifier = @import("event_fd.zig").Notifier;
const ReadySet = @import("ready_set.zig").ReadySet;

pub const line_bytes = 128;
pub const slots_max = 1 << 30;
pub const senders_max = ReadySet.rings_max;
/// Both runtimes map a ring as one ArrayBuffer; Bun's largest is 4 GiB.
pub const ring_bytes_max = 1 << 32;
pub const reason_bytes_max = 2048;
pub const magic: u64 = 0x6563_6172_6c6c_696d; // "millrace", little endian
pub const layout_version: u32 = 7;

/// More would not fit the word that says who sleeps.
pub const receivers_max = 64;

/// How many may send and receive. The receivers of spmc and mpmc share the rings: each message goes
/// to one of them.
pub const Kind = enum(u32) {
    mpsc = 0,
    spsc = 1,
    spmc = 2,
    mpmc = 3,

    pub fn fromInt(value: u32) ?Kind {
        return if (value <= @intFromEnum(Kind.mpmc)) @enumFromInt(value) else null;
    }

    pub fn hasManySenders(self: Kind) bool {
        return self == .mpsc or self == .mpmc;
    }

    pub fn hasManyReceivers(self: Kind) bool {
        return self == .spmc or self == .mpmc;
    }
};

pub const Header = extern struct {
    magic: u64,
    layout_version: u32,
    /// A Kind.
    kind: u32,
    slot_bytes: u32,
    capacity: u32,
    senders_max: u32,
    receivers_max: u32,
    total_bytes: u64,
    waits_offset: u64,
    consumers_offset: u64,
    receivers_offset: u64,
    rings_offset: u64,
    ring_stride: u64,
    /// 1: the channel tracks latency.
    has_latency: u32,
    /// CRC-32 of the header with a zero here: what fits together by chance is told from what was made.
    checksum: u32 = 0,
    histogram_offset: u64,
    stamps_offset: u64,
    stamps_stride: u64,
    /// A HugePages: where the rings begin follows from it.
    huge_pages: u32,
    /// Of a pool: how many slabs of how many bytes; else 0.
    slab_count: u32,
    slab_bytes: u32,
    reserved: u32 = 0,
    slabs_offset: u64,

    /// Of the segment that this shape makes.
    fn of(geometry: Geometry) Header {
        var header: Header = .{
            .magic = magic,
            .layout_version = layout_version,
            .kind = @intFromEnum(geometry.kind),
            .slot_bytes = geometry.slot_bytes,
            .capacity = geometry.capacity,
            .senders_max = geometry.senders_max,
            .receivers_max = geometry.receivers_max,
            .total_bytes = geometry.total_bytes,
            .waits_offset = geometry.waits_offset,
            .consumers_offset = geometry.consumers_offset,
            .receivers_offset = geometry.receivers_offset,
            .rings_offset = geometry.rings_offset,
            .ring_stride = geometry.ring_stride,
            .has_latency = @intFromBool(geometry.has_latency),
            .histogram_offset = geometry.histogram_offset,
            .stamps_offset = geometry.stamps_offset,
            .stamps_stride = geometry.stamps_stride,
            .huge_pages = @intFromEnum(geometry.huge_pages),
            .slab_count = geometry.slabs.count,
            .slab_bytes = geometry.slabs.bytes,
            .slabs_offset = geometry.slabs.offset,
        };
        header.checksum = std.hash.Crc32.hash(std.mem.asBytes(&header));
        return header;
    }
};

pub const CloseState = enum(u32) {
    open = 0,
    /// close() was called.
    closed = 1,
    /// The last sender, and the last ticket for one, is gone.
    senders_gone = 2,
    receiver_gone = 3,
    /// Somebody found in this memory what cannot be there.
    corrupt = 4,
    /// The process that made the channel is gone, or that of its last receiver.
    peer_died = 5,
    _,
};

pub const ReceiverState = enum(u32) { none = 0, open = 1, gone = 2, _ };

pub const Control = extern struct {
    /// A CloseState. Leaves `open` once, by compare-and-swap.
    close_state: std.atomic.Value(u32),
    /// A ReceiverState.
    receiver_state: std.atomic.Value(u32),
    /// Rings that are not free: a channel has ended when it is closed and this is zero.
    rings_claimed: std.atomic.Value(u32),
    /// Open senders and outstanding sender tickets.
    sender_references: std.atomic.Value(u32),
    /// Counts endpoints whose thread died. Whoever sleeps on a bell watches this word, because a
    /// dying thread cannot ring one.
    orphans: std.atomic.Value(u32),
    reason_bytes: std.atomic.Value(u32),
    /// Rings below it have been claimed at some time; those above were never touched.
    rings_used: std.atomic.Value(u32),
    /// Outstanding tickets for receivers.
    receiver_tickets: std.atomic.Value(u32),
    /// Where all of this shall lie: a placement.Wish.
    placement: std.atomic.Value(u32),

    /// Of the one receiver, in the kinds that have one.
    receiver_wait: bell.WaitWord align(line_bytes),
    drain_wait: bell.WaitWord,

    /// Of the kinds that have several receivers: a bit for each that is armed.
    sleepers: std.atomic.Value(u64) align(line_bytes),
    /// Messages a receiver that died had claimed, and that were handed out again.
    redelivered: std.atomic.Value(u64),
    /// Claims whose receiver is gone, to be taken over: a bit for each line that has one.
    orphaned_claims: std.atomic.Value(u64),
    receivers_open: std.atomic.Value(u32),
    /// Receiver lines below it have been used at some time.
    receivers_used: std.atomic.Value(u32),
    /// Counts claims that moved from one receiver line to another; see Shared.moveHead().
    gates_moved: std.atomic.Value(u32),
    /// The receiver that the next search for one that sleeps begins at.
    wake_cursor: std.atomic.Value(u32),

    ready: ReadySet align(line_bytes),
    reason: [reason_bytes_max]u8 align(line_bytes),
};

/// Written by the producer.
pub const ProducerLine = extern struct {
    /// (sequence << 1) | closed. The sequence counts slots and wraps; the closed bit lives in the
    /// same word so that a commit and a close are one race with one winner.
    tail: std.atomic.Value(u32),
    /// A Tenancy.
    tenancy: std.atomic.Value(u32),
    messages: std.atomic.Value(u64),
    commits: std.atomic.Value(u64),
    /// Slots committed, without padding records.
    slots: std.atomic.Value(u64),
    /// The most messages of one commit.
    batch_most: std.atomic.Value(u32),
    /// The most slots that were in use when the producer looked at the head.
    used_most: std.atomic.Value(u32),
    times_full: std.atomic.Value(u64),
    /// The tail behind the last padding record, and the slots it takes: written before the commit
    /// that publishes it, for the statistics of whoever releases it.
    padding_end: u32,
    padding_slots: u32,
    /// Where the ring shall lie: a placement.Wish. Written when it is claimed.
    placement: std.atomic.Value(u32),
    /// 1: its sender has closed, or died. Until then it may look at what it wrote and could not send, also
    /// when the channel is closed and the ring given back.
    is_left: std.atomic.Value(u32),
    /// Messages that the producer took out itself, to make room.
    dropped: std.atomic.Value(u64),
    /// 1: its last tenant was the last. See Sender.bar().
    barred: std.atomic.Value(u32),
    _: [line_bytes - 76]u8,

    /// Whether somebody has the ring, or has left something in it.
    pub inline fn isClaimed(self: *const ProducerLine) bool {
        // SC: partner of the stores in Sender.open(), and in close() after the look at close_state.
        return stateOf(self.tenancy.load(.seq_cst)) == .claimed;
    }
};

/// Written by the receiver.
pub const ConsumerLine = extern struct {
    /// sequence << 1, the same scale as the tail.
    head: std.atomic.Value(u32),
    /// The tail a stop() has to reach. Only the receiver reads it.
    mark: u32,
    /// Visits in a row that found the ring empty. Only the receiver reads it.
    empty_visits: u32,
    messages: std.atomic.Value(u64),
    releases: std.atomic.Value(u64),
    /// The claim cursor, on the scale of the head: what lies between the head and it has been handed
    /// to some receiver. Only the kinds that have several receivers use it.
    claimed: std.atomic.Value(u32),
    /// The most slots that were in use when a receiver looked at the tail.
    used_most: std.atomic.Value(u32),
    /// Slots released, without padding records.
    slots: std.atomic.Value(u64),
    _: [line_bytes - 48]u8,
};

/// One receiver of a kind that has several. Written by that receiver, and by whoever takes over
/// what it left.
pub const ReceiverLine = extern struct {
    /// What gates a producer: (ring + 1) << 32 | the counter word its claim begins at; 0: no claim.
    gate: std.atomic.Value(u64),
    /// The counter word its claim ends at.
    claim_end: std.atomic.Value(u32),
    /// A LineState.
    state: std.atomic.Value(u32),
    wait: bell.WaitWord,
    releases: std.atomic.Value(u64),
    /// Slots released, without padding records.
    slots: std.atomic.Value(u64),
    _: [line_bytes - 56]u8,

    /// Whether it has a claim that nobody has taken over.
    pub fn isLeft(self: *const ReceiverLine) bool {
        // SC: the look of a sleeper; its partner is the store in orphan(), or in Shared.offer().
        return switch (@as(LineState, @enumFromInt(self.state.load(.seq_cst)))) {
            .orphaned, .returned, .offered => true,
            else => false,
        };
    }
};

pub const LineState = enum(u32) {
    free = 0,
    open = 1,
    /// Its receiver died with a claim, which may have been seen.
    orphaned = 2,
    /// Its receiver closed with a claim that it has not looked at.
    returned = 3,
    /// Its receiver is there, and offers a claim that it does not look at now: another may take it over.
    offered = 4,
    /// From here on: the receiver of that line, counted from 0, is taking its claim over.
    taken = 256,
    _,

    pub fn takenBy(line: u32) u32 {
        return @intFromEnum(LineState.taken) + line;
    }
};

/// Written only when a side goes idle or to sleep: both sides read it on every operation, so it
/// must stay shared in both caches while they are busy.
pub const WaitLine = extern struct {
    /// 1: the receiver saw this ring empty and dropped it from its active set; whoever commits
    /// next takes the 1 away and puts the ring into the ready set.
    idle: std.atomic.Value(u32),
    sender_wait: bell.WaitWord,
    _: [line_bytes - 32]u8,
};

pub const RingState = enum(u2) {
    free = 0,
    claimed = 1,
    /// Taken, but the tail is still the last tenant's, sealed.
    claiming = 2,
    /// One of several receivers gives its memory back; then it is free.
    emptying = 3,
};

/// Who has a ring: its state, and in the same word a count of its tenants, so that a ring is never
/// given back on behalf of the next tenant by one that looked at the last.
pub const Tenancy = packed struct(u32) {
    state: RingState,
    /// Of `emptying`: the place of the receiver that does it. If it is killed its keeper goes on.
    emptier: u6 = 0,
    number: u24,

    pub fn with(self: Tenancy, state: RingState) u32 {
        return @bitCast(Tenancy{ .state = state, .number = self.number });
    }

    pub fn emptiedBy(self: Tenancy, receiver: u32) u32 {
        return @bitCast(Tenancy{ .state = .emptying, .emptier = @intCast(receiver), .number = self.number });
    }

    pub fn next(self: Tenancy) Tenancy {
        return .{ .state = .claiming, .number = self.number +% 1 };
    }
};

pub fn stateOf(tenancy: u32) RingState {
    return @as(Tenancy, @bitCast(tenancy)).state;
}

comptime {
    std.debug.assert(receivers_max <= 1 << 6); // an emptier
}

/// What precedes the payload of a message of variable length.
pub const RecordHeader = extern struct {
    /// Bytes of the payload, without this header and without the fill up to the next slot.
    payload_bytes: u32,
    flags: u32,

    /// A padding record: fills the end of the ring so that the next record is contiguous.
    pub const flag_padding: u32 = 1;

    /// A copy, made once: what decides where a thread reads must not change under its hands.
    pub inline fn read(place: [*]const u8) RecordHeader {
        const header: *const volatile RecordHeader = @ptrCast(@alignCast(place));
        return header.*;
    }
};
pub const record_slot_bytes = 8;

comptime {
    std.debug.assert(@sizeOf(Header) <= 256);
    std.debug.assert(@offsetOf(Control, "receiver_wait") == 128);
    std.debug.assert(@offsetOf(Control, "sleepers") == 256);
    std.debug.assert(@offsetOf(Control, "ready") == 384);
    std.debug.assert(@offsetOf(Control, "reason") == 384 + 640);
    std.debug.assert(@sizeOf(Control) == 384 + 640 + reason_bytes_max);
    std.debug.assert(@sizeOf(ProducerLine) == line_bytes);
    std.debug.assert(@sizeOf(ConsumerLine) == line_bytes);
    std.debug.assert(@sizeOf(WaitLine) == line_bytes);
    std.debug.assert(@sizeOf(ReceiverLine) == line_bytes);
    std.debug.assert(@sizeOf(RecordHeader) == record_slot_bytes);
    std.debug.assert(@offsetOf(ProducerLine, "tail") == 0);
    // What every commit and every release writes is one cache line.
    std.debug.assert(@offsetOf(ProducerLine, "is_left") < 64);
    std.debug.assert(@offsetOf(ConsumerLine, "slots") < 64);
    std.debug.assert(@offsetOf(ReceiverLine, "slots") < 64);
    std.debug.assert(@offsetOf(ConsumerLine, "head") == 0);
}

const control_offset = 256;

/// Of every architecture that has 4 KiB pages.
pub const huge_page_bytes = 2 << 20;

/// The pages of this machine: rings must not share one.
pub fn pageBytes() usize {
    return @max(os.page_bytes, std.heap.pageSize());
}

/// Whether rings lie in huge pages.
pub const HugePages = enum(u32) {
    /// As the system does with any memory.
    system = 0,
    off = 1,
    @"try" = 2,
    require = 3,

    pub fn fromInt(value: u32) ?HugePages {
        return if (value <= @intFromEnum(HugePages.require)) @enumFromInt(value) else null;
    }
};

/// What a segment is to hold.
pub const Shape = struct {
    kind: Kind = .mpsc,
    slot_bytes: u32,
    /// Slots of one ring: a power of two.
    capacity: u32,
    senders_max: u32 = 1,
    receivers_max: u32 = 1,
    has_latency: bool = false,
    /// Over a memfd, which another process can map.
    is_shared: bool = false,
    huge_pages: HugePages = .system,
    /// A pool of so many slabs, of so many bytes each; it has the segment of a channel that is not used.
    slab_count: u32 = 0,
    slab_bytes: u32 = 0,
};

pub const slabs_max = 1 << 20;
pub const slab_bytes_max = 1 << 30;

/// Where everything of a pool lies, behind the rings.
pub const Slabs = struct {
    count: u32 = 0,
    bytes: u32 = 0,
    /// From one slab to the next.
    stride: u64 = 0,
    control_offset: u64 = 0,
    free_offset: u64 = 0,
    headers_offset: u64 = 0,
    /// The first slab.
    offset: u64 = 0,

    /// What lies at `control_offset`, in lines.
    pub const control_bytes = 3 * line_bytes;
    /// What each slab has at `headers_offset`.
    pub const header_bytes = 64;

    fn init(count: u32, bytes: u32, start: u64) Geometry.Error!Slabs {
        if (count > slabs_max or bytes == 0 or bytes > slab_bytes_max) return error.InvalidGeometry;
        const begin = std.mem.alignForward(u64, start, os.page_bytes);
        const free_offset = begin + control_bytes;
        const free_end = free_offset + @as(u64, FreeSet.lengthOf(count)) * @sizeOf(u64);
        const headers_offset = std.mem.alignForward(u64, free_end, line_bytes);
        return .{
            .count = count,
            .bytes = bytes,
            .stride = std.mem.alignForward(u64, bytes, if (bytes >= os.page_bytes) os.page_bytes else line_bytes),
            .control_offset = begin,
            .free_offset = free_offset,
            .headers_offset = headers_offset,
            .offset = std.mem.alignForward(u64, headers_offset + @as(u64, count) * header_bytes, pageBytes()),
        };
    }

    fn end(self: Slabs) u64 {
        return self.offset + self.stride * self.count;
    }
};

pub const Geometry = struct {
    kind: Kind,
    slot_bytes: u32,
    capacity: u32,
    senders_max: u32,
    receivers_max: u32,
    waits_offset: u64,
    consumers_offset: u64,
    receivers_offset: u64,
    rings_offset: u64,
    ring_stride: u64,
    has_latency: bool,
    is_shared: bool,
    huge_pages: HugePages,
    /// What every ring begins at a multiple of.
    alignment: u64,
    histogram_offset: u64,
    stamps_offset: u64,
    stamps_stride: u64,
    slabs: Slabs,
    total_bytes: u64,

    pub const Error = error{InvalidGeometry};

    pub fn init(shape: Shape) Error!Geometry {
        const capacity = shape.capacity;
        const senders = shape.senders_max;
        const receivers = shape.receivers_max;
        if (shape.slot_bytes == 0 or shape.slot_bytes > 1 << 20) return error.InvalidGeometry;
        if (capacity == 0 or capacity > slots_max) return error.InvalidGeometry;
        if (!std.math.isPowerOfTwo(capacity)) return error.InvalidGeometry;
        if (senders == 0 or senders > senders_max) return error.InvalidGeometry;
        if (senders > 1 and !shape.kind.hasManySenders()) return error.InvalidGeometry;
        if (receivers == 0 or receivers > receivers_max) return error.InvalidGeometry;
        if (receivers > 1 and !shape.kind.hasManyReceivers()) return error.InvalidGeometry;
        const data_bytes = @as(u64, shape.slot_bytes) * capacity;
        if (data_bytes > ring_bytes_max) return error.InvalidGeometry;

        const page: u64 = pageBytes();
        const is_huge = shape.huge_pages == .@"try" or shape.huge_pages == .require;
        const has_room_for_huge = data_bytes >= huge_page_bytes;
        if (shape.huge_pages == .require and !has_room_for_huge) return error.InvalidGeometry;
        const alignment = if (is_huge and has_room_for_huge) @max(page, huge_page_bytes) else page;

        const waits_offset = std.mem.alignForward(u64, control_offset + @sizeOf(Control), os.page_bytes);
        const consumers_offset = waits_offset + @as(u64, senders) * @sizeOf(WaitLine);
        const receivers_offset = consumers_offset + @as(u64, senders) * @sizeOf(ConsumerLine);
        const receivers_end = receivers_offset + @as(u64, receivers) * @sizeOf(ReceiverLine);
        const rings_offset = std.mem.alignForward(u64, receivers_end, alignment);
        const ring_stride = std.mem.alignForward(u64, @sizeOf(ProducerLine) + data_bytes, alignment);
        const rings_end = rings_offset + ring_stride * senders;
        const stamps_offset = std.mem.alignForward(u64, rings_end + @sizeOf(Histogram), page);
        const stamps_stride = std.mem.alignForward(u64, @as(u64, capacity) * @sizeOf(u64), page);
        const channel_end = if (shape.has_latency) stamps_offset + stamps_stride * senders else rings_end;
        if (shape.slab_count == 0 and shape.slab_bytes != 0) return error.InvalidGeometry;
        const slabs: Slabs = if (shape.slab_count == 0) .{} else try .init(shape.slab_count, shape.slab_bytes, channel_end);
        return .{
            .kind = shape.kind,
            .slot_bytes = shape.slot_bytes,
            .capacity = capacity,
            .senders_max = senders,
            .receivers_max = receivers,
            .waits_offset = waits_offset,
            .consumers_offset = consumers_offset,
            .receivers_offset = receivers_offset,
            .rings_offset = rings_offset,
            .ring_stride = ring_stride,
            .has_latency = shape.has_latency,
            .is_shared = shape.is_shared,
            .huge_pages = shape.huge_pages,
            .alignment = alignment,
            .histogram_offset = rings_end,
            .stamps_offset = stamps_offset,
            .stamps_stride = stamps_stride,
            .slabs = slabs,
            .total_bytes = if (slabs.count == 0) channel_end else slabs.end(),
        };
    }

    pub fn dataBytes(self: Geometry) u64 {
        return @as(u64, self.slot_bytes) * self.capacity;
    }

    /// The pages of one ring: its producer line and its data.
    pub fn ringBytes(self: Geometry) u64 {
        return std.mem.alignForward(u64, @sizeOf(ProducerLine) + self.dataBytes(), pageBytes());
    }

    /// The pages before the rings, from the header on.
    pub fn sharedBytes(self: Geometry) u64 {
        const end = self.receivers_offset + @as(u64, self.receivers_max) * @sizeOf(ReceiverLine);
        return std.mem.alignForward(u64, end, pageBytes());
    }
};

/// A mapped segment. The geometry is a private copy: nothing read from the mapping later decides
/// where this process reads or writes.
pub const Segment = struct {
    base: [*]align(os.page_bytes) u8,
    geometry: Geometry,
    /// The eventfds of this process's receivers.
    notifier: ?*Notifier = null,
    /// What this process knows of it for itself, if it is shared.
    ledger: ?*Ledger = null,
    /// The memfd it lies over, if it is shared. Its creator closes it, with the mapping.
    fd: ?i32 = null,
    /// Which file that is, the same in every process; 0: none.
    inode: u64 = 0,

    /// Those but error.OutOfMemory are of one that is shared.
    pub const CreateError = os.SharedMemoryError;

    /// Reserves and initialises a segment. `initial_sequence` starts every ring's counters there;
    /// tests use it to begin just below the wrap.
    pub fn create(geometry: Geometry, initial_sequence: u32) CreateError!Segment {
        const fd: ?i32 = if (geometry.is_shared) try os.createSharedMemory(geometry.total_bytes) else null;
        // Each endpoint of a pool has the slabs at addresses of its own.
        const is_mirrored = geometry.slabs.count != 0 and fd == null;
        const base = (if (is_mirrored)
            os.reserveMirroredPages(geometry.total_bytes)
        else
            os.reservePages(geometry.total_bytes, geometry.alignment, fd)) orelse {
            if (fd) |opened| os.closeDescriptor(opened);
            return error.OutOfMemory;
        };
        const inode = if (fd) |opened| (os.factsOf(opened) orelse os.FileFacts.unknown).inode else 0;
        const self: Segment = .{ .base = base, .geometry = geometry, .fd = fd, .inode = inode };
        const header: *Header = @ptrCast(base);
        header.* = .of(geometry);
        // Fresh pages are zero: every wait word awake, every ring free, nothing ready. A head that
        // starts elsewhere is the only word to set; a ring's tail is set when it is claimed.
        if (initial_sequence != 0) {
            for (0..geometry.senders_max) |index| {
                const line = self.consumerLine(@intCast(index));
                line.head.store(initial_sequence << 1, .monotonic);
                line.claimed.store(initial_sequence << 1, .monotonic);
            }
        }
        // The one ring of spsc is looked at before its first tenant comes: sealed and empty.
        if (geometry.kind == .spsc) self.producerLine(0).tail.store(initial_sequence << 1 | 1, .monotonic);
        return self;
    }

    pub const AttachError = error{
        /// Not a file, or it does not begin as a segment does.
        NotASegment,
        /// Of a layout that another version of the library makes.
        WrongVersion,
        /// It could become shorter, and reading it a crash.
        Unsealed,
        /// Shorter than it says.
        Truncated,
        /// What it says of itself does not fit together.
        WrongLayout,
        OutOfMemory,
    };

    /// Maps a segment that another process made, and trusts nothing of it: the header is copied once,
    /// and what follows from the little in it that can vary is worked out anew. Takes the descriptor,
    /// unless it fails.
    pub fn attach(fd: i32) AttachError!Segment {
        const facts = os.factsOf(fd) orelse return error.NotASegment;
        // Read, and not looked at through a mapping: before the seals are known that may be a SIGBUS.
        var header: Header = undefined;
        if (os.readBeginning(fd, std.mem.asBytes(&header)) != @sizeOf(Header)) return error.NotASegment;
        if (header.magic != magic) return error.NotASegment;
        if (header.layout_version != layout_version) return error.WrongVersion;
        if (!facts.is_sealed) return error.Unsealed;
        if (header.has_latency > 1) return error.WrongLayout;
        const geometry = Geometry.init(.{
            .kind = Kind.fromInt(header.kind) orelse return error.WrongLayout,
            .slot_bytes = header.slot_bytes,
            .capacity = header.capacity,
            .senders_max = header.senders_max,
            .receivers_max = header.receivers_max,
            .has_latency = header.has_latency != 0,
            .is_shared = true,
            .huge_pages = HugePages.fromInt(header.huge_pages) orelse return error.WrongLayout,
            .slab_count = header.slab_count,
            .slab_bytes = header.slab_bytes,
        }) catch return error.WrongLayout;
        if (!std.meta.eql(header, Header.of(geometry))) return error.WrongLayout;
        if (geometry.total_bytes > facts.bytes) return error.Truncated;
        const base = os.reservePages(geometry.total_bytes, geometry.alignment, fd) orelse return error.OutOfMemory;
        return .{ .base = base, .geometry = geometry, .fd = fd, .inode = facts.inode };
    }

    pub fn destroy(self: Segment) void {
        os.releasePages(self.base, self.geometry.total_bytes);
        if (self.fd) |fd| os.closeDescriptor(fd);
    }

    /// Gives the memory back and keeps the address range: it reads as zeros ever after, and is never
    /// given to anyone else.
    pub fn abandon(self: Segment) void {
        os.leaveSharedPages(self.base, self.geometry.total_bytes);
        if (self.fd) |fd| os.closeDescriptor(fd);
    }

    /// How a side says that it waits here, if this is how it would in memory of its process alone.
    pub inline fn waiting(self: Segment, how: bell.Waiting) bell.Waiting {
        return how.in(self.geometry.is_shared);
    }

    /// Gives back the memory of a range that holds nothing any more, for every process that maps it.
    pub fn discard(self: Segment, base: [*]align(os.page_bytes) u8, length: usize) void {
        if (length == 0) return;
        if (self.fd == null) os.discardPages(base, length) else os.removePages(base, length);
    }

    pub fn control(self: Segment) *Control {
        return @ptrCast(@alignCast(self.base + control_offset));
    }

    pub fn waitLine(self: Segment, ring: u32) *WaitLine {
        std.debug.assert(ring < self.geometry.senders_max);
        const offset = self.geometry.waits_offset + @as(u64, ring) * @sizeOf(WaitLine);
        return @ptrCast(@alignCast(self.base + offset));
    }

    pub fn consumerLine(self: Segment, ring: u32) *ConsumerLine {
        std.debug.assert(ring < self.geometry.senders_max);
        const offset = self.geometry.consumers_offset + @as(u64, ring) * @sizeOf(ConsumerLine);
        return @ptrCast(@alignCast(self.base + offset));
    }

    pub fn receiverLine(self: Segment, receiver: u32) *ReceiverLine {
        std.debug.assert(receiver < self.geometry.receivers_max);
        const offset = self.geometry.receivers_offset + @as(u64, receiver) * @sizeOf(ReceiverLine);
        return @ptrCast(@alignCast(self.base + offset));
    }

    pub fn producerLine(self: Segment, ring: u32) *ProducerLine {
        std.debug.assert(ring < self.geometry.senders_max);
        const offset = self.geometry.rings_offset + @as(u64, ring) * self.geometry.ring_stride;
        return @ptrCast(@alignCast(self.base + offset));
    }

    /// Of a channel that tracks latency.
    pub fn histogram(self: Segment) *Histogram {
        std.debug.assert(self.geometry.has_latency);
        return @ptrCast(@alignCast(self.base + self.geometry.histogram_offset));
    }

    /// A time for every slot of a ring; of a channel that tracks latency.
    pub fn stamps(self: Segment, ring: u32) [*]u64 {
        std.debug.assert(self.geometry.has_latency and ring < self.geometry.senders_max);
        const offset = self.geometry.stamps_offset + @as(u64, ring) * self.geometry.stamps_stride;
        return @ptrCast(@alignCast(self.base + offset));
    }

    pub fn data(self: Segment, ring: u32) [*]align(line_bytes) u8 {
        const line: [*]u8 = @ptrCast(self.producerLine(ring));
        return @alignCast(line + @sizeOf(ProducerLine));
    }
};

test "Geometry places every region apart and aligned" {
    const geometry = try Geometry.init(.{ .slot_bytes = 4, .capacity = 1 << 16, .senders_max = 256 });
    try std.testing.expectEqual(0, geometry.rings_offset % os.page_bytes);
    try std.testing.expectEqual(0, geometry.ring_stride % os.page_bytes);
    try std.testing.expect(geometry.consumers_offset >= geometry.waits_offset + 256 * line_bytes);
    try std.testing.expect(geometry.ring_stride >= geometry.dataBytes() + line_bytes);
}

test "Geometry refuses what cannot be" {
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .slot_bytes = 0, .capacity = 2, .senders_max = 1 }));
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .slot_bytes = 4, .capacity = 3, .senders_max = 1 }));
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .slot_bytes = 4, .capacity = 0, .senders_max = 1 }));
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .slot_bytes = 4, .capacity = 2, .senders_max = 0 }));
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .slot_bytes = 4, .capacity = 2, .senders_max = senders_max + 1 }));
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .kind = .spsc, .slot_bytes = 4, .capacity = 2, .senders_max = 2 }));
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .slot_bytes = 4, .capacity = 2, .receivers_max = 2 }));
    try std.testing.expectError(error.InvalidGeometry, Geometry.init(.{ .slot_bytes = 16, .capacity = slots_max, .senders_max = 1 }));
}

test "Segment.create reports what cannot be mapped" {
    const geometry = try Geometry.init(.{ .slot_bytes = 4, .capacity = slots_max, .senders_max = senders_max });
    // 16 TiB may or may not fit the address space; both are answers, a crash is not.
    if (Segment.create(geometry, 0)) |created| created.destroy() else |err| try std.testing.expectEqual(error.OutOfMemory, err);
}

fn testPool() !Segment {
    return .create(try Geometry.init(.{
        .slot_bytes = 8,
        .capacity = 1,
        .slab_count = 130,
        .slab_bytes = 100,
        .is_shared = true,
    }), 0);
}

fn testShared(kind: Kind) !Segment {
    return .create(try Geometry.init(.{
        .kind = kind,
        .slot_bytes = 8,
        .capacity = 64,
        .senders_max = if (kind.hasManySenders()) 3 else 1,
        .receivers_max = if (kind.hasManyReceivers()) 2 else 1,
        .has_latency = kind == .mpsc,
        .is_shared = true,
    }), 0);
}

test "Segment.attach maps the very memory that create() made" {
    for (0..4) |kind| {
        const made = try testShared(Kind.fromInt(@intCast(kind)).?);
        defer made.destroy();
        const attached = try Segment.attach(try os.duplicateDescriptor(made.fd.?));
        defer attached.destroy();
        try std.testing.expectEqualDeep(made.geometry, attached.geometry);
        try std.testing.expect(made.base != attached.base);
        made.consumerLine(0).head.store(77, .seq_cst);
        try std.testing.expectEqual(77, attached.consumerLine(0).head.load(.seq_cst));
    }
}

test "Segment.attach refuses what is not a file, not a segment, of another version or truncated" {
    try std.testing.expectError(error.NotASegment, Segment.attach(-1));
    const event = try os.createEvent();
    defer os.closeDescriptor(event);
    try std.testing.expectError(error.NotASegment, Segment.attach(event));
    const empty = try os.createSharedMemory(0);
    defer os.closeDescriptor(empty);
    try std.testing.expectError(error.NotASegment, Segment.attach(empty));
    const zeros = try os.createSharedMemory(1 << 16);
    defer os.closeDescriptor(zeros);
    try std.testing.expectError(error.NotASegment, Segment.attach(zeros));

    const made = try testShared(.mpmc);
    defer made.destroy();
    const header: *Header = @ptrCast(made.base);
    header.layout_version += 1;
    try std.testing.expectError(error.WrongVersion, Segment.attach(made.fd.?));
    header.layout_version -= 1;

    // The whole header, and less of the rest than it says.
    const short = try os.createSharedMemory(made.geometry.total_bytes - 1);
    defer os.closeDescriptor(short);
    const page = os.reservePages(os.page_bytes, os.page_bytes, short).?;
    defer os.releasePages(page, os.page_bytes);
    const copy: *Header = @ptrCast(page);
    copy.* = header.*;
    try std.testing.expectError(error.Truncated, Segment.attach(short));
}

test "Segment.attach refuses a file that is not sealed, or not such that it can be written" {
    const made = try testShared(.mpsc);
    defer made.destroy();
    for ([_]u32{ 0, 1, 2, 3, 4, 5, 6 }) |seals| {
        const fd = try testFile(made, seals);
        defer os.closeDescriptor(fd);
        try std.testing.expectError(error.Unsealed, Segment.attach(fd));
    }
    const linux = std.os.linux;
    for ([_]u32{ linux.F.SEAL_WRITE, linux.F.SEAL_FUTURE_WRITE }) |seal| {
        const fd = try testFile(made, 7 | seal);
        defer os.closeDescriptor(fd);
        try std.testing.expectError(error.Unsealed, Segment.attach(fd));
    }
    const whole = try Segment.attach(try testFile(made, 7));
    whole.destroy();
}

/// A file like the segment's, with other seals.
fn testFile(like: Segment, seals: u32) !i32 {
    const linux = std.os.linux;
    const fd: i32 = @intCast(linux.memfd_create("test", linux.MFD.CLOEXEC | linux.MFD.ALLOW_SEALING));
    try std.testing.expectEqual(.SUCCESS, linux.errno(linux.ftruncate(fd, @intCast(like.geometry.total_bytes))));
    try std.testing.expectEqual(@sizeOf(Header), linux.pwrite(fd, like.base, @sizeOf(Header), 0));
    try std.testing.expectEqual(.SUCCESS, linux.errno(linux.fcntl(fd, linux.F.ADD_SEALS, seals)));
    return fd;
}

test "Segment.attach refuses every altered word of the header" {
    try expectAlteredRefused(try testShared(.mpmc));
    try expectAlteredRefused(try testPool());
}

fn expectAlteredRefused(made: Segment) !void {
    defer made.destroy();
    const words: *[@sizeOf(Header) / 4]u32 = @ptrCast(made.base);
    for (words, 0..) |*word, index| {
        const was = word.*;
        defer word.* = was;
        for ([_]u32{ was +% 1, was -% 1, was ^ 1 << 31, was << 1 | 1, 0, std.math.maxInt(u32) }) |altered| {
            if (altered == was) continue;
            word.* = altered;
            if (Segment.attach(made.fd.?)) |_| {
                std.debug.print("word {d} may be {d} in place of {d}\n", .{ index, altered, was });
                return error.TestUnexpectedResult;
            } else |err| try std.testing.expectEqual(@as(Segment.AttachError, switch (index) {
                0, 1 => error.NotASegment,
                2 => error.WrongVersion,
                else => error.WrongLayout,
            }), err);
        }
    }
}
