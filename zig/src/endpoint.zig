//! Endpoints: what this process has open, by handle, and what happens when a thread dies.
//!
//! A handle is a number, checked on every call, so that nothing a caller does with a stale or
//! foreign one can reach memory. The table is a fixed array: looking a handle up takes no lock and
//! an endpoint never moves. Opening, closing and tickets take the mutex.

const std = @import("std");
const attendant = @import("attendant.zig");
const os = @import("os/linux.zig");
const bell = @import("bell.zig");
const ledger_module = @import("ledger.zig");
const channel_module = @import("channel.zig");
const pool_module = @import("pool.zig");
const Pool = pool_module.Pool;
const segment_module = @import("segment.zig");
const Notifier = @import("event_fd.zig").Notifier;
const placement = @import("placement.zig");
const reason_module = @import("reason.zig");
const Receiver = @import("receiver.zig").Receiver;
const ringer_module = @import("ringer.zig");
const Segment = segment_module.Segment;
const Sender = @import("sender.zig").Sender;
const link_module = @import("link.zig");
const Link = link_module.Link;
const proxy = @import("proxy.zig");
const share_module = @import("share.zig");
const Share = share_module.Share;
const sockets = @import("os/sockets.zig");
const ticket_module = @import("ticket.zig");
const Ticket = ticket_module.Ticket;
const Role = ticket_module.Role;

pub const Error = error{
    /// Never was, or is closed already.
    InvalidHandle,
    WrongThread,
    TooManyEndpoints,
    OutOfMemory,
    InvalidGeometry,
    ChannelClosed,
    TooManySenders,
    ReceiverTaken,
    TooManyReceivers,
    TicketForeign,
    TicketForged,
    TicketUsed,
    TicketFreed,
    TicketRole,
    InvalidArgument,
} || pool_module.Error || placement.Error || link_module.Error || Segment.CreateError || Segment.AttachError;

/// One channel as this process knows it. Freed when nothing refers to it any more: no handle, no
/// endpoint, no outstanding ticket.
pub const Channel = struct {
    id: u64,
    segment: Segment,
    has_records: bool,
    references: u32,
    /// Open senders and outstanding sender tickets. What the control block says of them is for the
    /// statistics: another process may have written there, and the channel must end all the same.
    sender_references: u32 = 0,
    /// A view of the mapping got out of our hands (its buffer was transferred): keep the range.
    is_quarantined: bool = false,
    /// With the ringer that rings for native threads. Written under this file's mutex and ringer.zig's.
    ringing: ?*ringer_module.Registration = null,
    /// The eventfds of its receivers. The segment points here.
    notifier: Notifier = .{},
    /// It is no channel but a pool, with the segment and the tickets of one.
    slabs: ?Pool = null,
    /// A pool's open endpoints: with the last one, unused tickets are taken back.
    pool_endpoints: u32 = 0,
    /// The pool its large messages go through; it holds a reference to it.
    pool: ?*Channel = null,
    /// By which number slabs in flight in its rings say so: in all processes the keeper's.
    place_id: u64 = 0,

    // Of a pool in shared memory:
    /// The numbers by which endpoints in other processes own slabs; the keeper gives them out.
    owners: ?proxy.Owners = null,
    /// By which number this process's endpoint owns slabs, if another process is the keeper.
    owner: u32 = 0,
    /// That endpoint is open, or was.
    is_owner_used: bool = false,
    /// The keeper is gone: nobody returns what the dead owned. Written by the attendant.
    is_abandoned: std.atomic.Value(bool) = .init(false),

    /// What this process knows of a channel in shared memory. The segment points here.
    ledger: ledger_module.Ledger = .{},

    // Of a channel in shared memory that this process made, its keeper:
    /// Shares that let other processes in.
    shares: std.DoublyLinkedList = .{},
    /// Of those, how many let receivers in: each counts as a ticket.
    receiver_shares: u32 = 0,
    /// When the last receiver dies its messages are kept for the next.
    waits_for_receiver: bool = false,

    /// Of a channel that another process made: the connection to it. There is one endpoint.
    link: ?*Link = null,
    /// The memory is mapped. Not before the keeper has answered.
    is_mapped: bool = true,

    /// Has bells rung on behalf of a thread that cannot.
    pub fn ring(self: *Channel, bells: channel_module.Bells, ring_index: u32) void {
        ringer_module.ring(self.segment, &self.ringing, bells, ring_index);
    }
};

pub const Body = union(enum) {
    channel: void,
    pool: void,
    sender: Sender,
    receiver: Receiver,
    /// Keeps the channel's memory, not the channel: senders can be opened on it while that is open.
    weak: void,
    share: *Share,
    /// A link that no endpoint stands on yet.
    link: *Link,
};

/// What JavaScript reads of an endpoint through a view, plain loads on its own thread.
pub const Mailbox = extern struct {
    /// The ring the last poll or reserve was about.
    ring: u32 = 0,
    /// The first slot of the granted or readable run.
    position: u32 = 0,
    /// The bells to ring after the last poll.
    bells: u32 = 0,
    /// Written by JavaScript: the views that the program has, of a sender's room that is not committed, of a
    /// pool's slabs.
    views: u32 = 0,
    _: [12]u32 = @splat(0),
};

pub const Slot = struct {
    mailbox: Mailbox align(segment_module.line_bytes) = .{},
    /// Zero when free.
    handle: std.atomic.Value(u32) = .init(0),
    generation: u16 = 0,
    /// The identity of the thread that opened it.
    owner: std.atomic.Value(usize) = .init(0),
    channel: *Channel = undefined,
    /// JavaScript has handed a view of the mapping to the program, which may have passed it on.
    is_exposed: bool = false,
    body: Body = .channel,
    /// In a shared segment: with the ringer of its thread.
    watch: ?*ringer_module.Watch = null,
    /// Its thread has no ringer, and sleeps all the same.
    sleeps_unwatched: bool = false,
    /// Counts what a look from time to time has found that nobody woke this endpoint for.
    finds: u32 = 0,
    empty_polls: u32 = 0,
    /// A pool's: the number by which it owns slabs.
    slab_owner: u32 = 0,
    /// A pool's: where it sees them, once it has looked.
    mirror: ?pool_module.Mirror = null,
    /// That the program has transferred a part of it away.
    is_mirror_lost: bool = false,
    /// A pool's, if another process's channel brought it: that channel's connection stands for what it
    /// owns.
    keeps: ?*Channel = null,
    /// The next endpoint of the same thread, or of the free list: an index + 1.
    next: u32 = 0,
    previous: u32 = 0,

    /// A sender's ring; a receiver's place among the receivers.
    pub fn index(self: *const Slot) u32 {
        return switch (self.body) {
            .channel, .pool, .weak, .share, .link => 0,
            .sender => |*sender| sender.producer.ring,
            .receiver => |*receiver| receiver.index(),
        };
    }
};

pub const endpoints_max = 16384;
const index_bits = 16;

var slots: [endpoints_max]Slot = undefined;
/// Slots that have ever been used: below it they are initialised. Release and acquire pair up.
var slots_used: std.atomic.Value(u32) = .init(0);
var first_free: u32 = 0;
/// Opening, closing, tickets, shares and links. The attendant takes it for every event, and nobody waits
/// for anything while he has it. There is no other lock of the library inside it but that of ringer.zig.
pub var mutex: os.Mutex = .{};
var channels: std.AutoHashMapUnmanaged(u64, *Channel) = .empty;
var exit_hook: ?os.ThreadExitHook = null;
/// Counts the threads that have ended after they used this library.
var ended_threads: std.atomic.Value(u32) = .init(0);
/// A thread's list of endpoints is an index + 1, under this bit: the hook is called for a thread
/// that holds nothing any more, too.
const used_bit: usize = 1 << 32;
const allocator = std.heap.c_allocator;

/// Channels that are mapped now; tests hold it against zero.
pub fn channelCount() u32 {
    mutex.lock();
    defer mutex.unlock();
    return channels.count();
}

// ---- handles ----

/// What a handle stands for, of what has a channel's memory.
pub fn find(handle: u32) Error!*Slot {
    const slot = try findAny(handle);
    return switch (slot.body) {
        .share, .link => error.InvalidHandle,
        else => slot,
    };
}

pub fn findLink(handle: u32) Error!*Slot {
    const slot = try findAny(handle);
    return if (slot.body == .link) slot else error.InvalidHandle;
}

pub fn findShare(handle: u32) Error!*Slot {
    const slot = try findAny(handle);
    return if (slot.body == .share) slot else error.InvalidHandle;
}

inline fn findAny(handle: u32) Error!*Slot {
    const index = handle & ((1 << index_bits) - 1);
    // Beyond slots_used the table is untouched memory.
    if (handle == 0 or index >= slots_used.load(.acquire)) return error.InvalidHandle;
    const slot = &slots[index];
    // Acquire: pairs with the release in allocate(); the rest of the slot is then visible.
    if (slot.handle.load(.acquire) != handle) return error.InvalidHandle;
    if (slot.owner.load(.monotonic) != os.threadIdentity()) return error.WrongThread;
    return slot;
}

pub inline fn findSender(handle: u32) Error!*Slot {
    const slot = try findAny(handle);
    return if (slot.body == .sender) slot else error.InvalidHandle;
}

pub inline fn findReceiver(handle: u32) Error!*Slot {
    const slot = try findAny(handle);
    return if (slot.body == .receiver) slot else error.InvalidHandle;
}

pub inline fn findPool(handle: u32) Error!*Slot {
    const slot = try findAny(handle);
    return if (slot.body == .pool) slot else error.InvalidHandle;
}

fn allocate(channel: *Channel, body: Body) Error!*Slot {
    if (exit_hook == null) {
        os.pinLibrary(@ptrCast(&slots));
        exit_hook = os.ThreadExitHook.create(&onThreadExit) orelse return error.OutOfMemory;
    }
    const index = index: {
        if (first_free != 0) {
            const index = first_free - 1;
            first_free = slots[index].next;
            break :index index;
        }
        const index = slots_used.raw;
        if (index == endpoints_max) return error.TooManyEndpoints;
        slots[index] = .{};
        slots_used.store(index + 1, .release);
        break :index index;
    };
    const slot = &slots[index];
    const first = firstOfThread();
    if (!setFirstOfThread(index + 1)) {
        slot.next = first_free;
        first_free = index + 1;
        return error.OutOfMemory;
    }
    slot.generation = slot.generation % 0x7fff + 1; // never 0, and the handle stays positive as i32
    slot.mailbox = .{};
    slot.owner.store(os.threadIdentity(), .monotonic);
    slot.channel = channel;
    slot.is_exposed = false;
    slot.mirror = null;
    slot.is_mirror_lost = false;
    slot.watch = null;
    slot.sleeps_unwatched = false;
    slot.finds = 0;
    slot.keeps = null;
    slot.body = body;
    slot.previous = 0;
    slot.next = first;
    if (first != 0) slots[first - 1].previous = index + 1;
    channel.references += 1;
    if (body == .pool) channel.pool_endpoints += 1;
    // Release: pairs with the acquire in find().
    const handle = @as(u32, slot.generation) << index_bits | index;
    slot.slab_owner = handle;
    slot.handle.store(handle, .release);
    return slot;
}

/// Takes a slot out of its thread's list and back to the free list. Does not touch the channel.
fn free(slot: *Slot) void {
    const index: u32 = @intCast((@intFromPtr(slot) - @intFromPtr(&slots)) / @sizeOf(Slot));
    slot.handle.store(0, .release);
    ringer_module.unwatch(&slot.watch);
    if (slot.next != 0) slots[slot.next - 1].previous = slot.previous;
    if (slot.previous != 0) {
        slots[slot.previous - 1].next = slot.next;
    } else {
        _ = setFirstOfThread(slot.next);
    }
    slot.next = first_free;
    first_free = index + 1;
}

fn firstOfThread() u32 {
    return @truncate(@intFromPtr(exit_hook.?.get()));
}

fn setFirstOfThread(first: u32) bool {
    return exit_hook.?.set(@ptrFromInt(used_bit | first));
}

/// The operating system calls this on the dying thread itself, however it dies: it closes what the
/// thread held. It runs native code only and can ring no bell; `orphans` tells whoever sleeps.
fn onThreadExit(first: *anyopaque) callconv(.c) void {
    mutex.lock();
    defer mutex.unlock();
    // The hook's value is already cleared; put it back so that free() can unlink as always.
    _ = exit_hook.?.set(first);
    while (firstOfThread() != 0) {
        const slot = &slots[firstOfThread() - 1];
        const channel = slot.channel;
        // Its views could not be detached: one that was transferred to another thread is still good.
        // A pool's were counted: without one there is nothing to keep.
        if (slot.is_exposed and (slot.body != .pool or slot.mailbox.views != 0)) quarantineLocked(slot);
        // In another process's channel these addresses lead to its memory no more.
        if (slot.body == .sender and slot.mailbox.views != 0 and channel.link == null) slot.body.sender.bar();
        _ = closeSlot(slot, .cannot_ring, "");
        if (slot.body == .channel) {
            endWithoutOwner(channel, .cannot_ring);
            returnUnreceivable(channel);
            interruptSlabSleepers(channel);
        }
        const keeps = slot.keeps;
        free(slot);
        // After everything above: whoever sees it polls again and sees all of it.
        if (channel.is_mapped) tellSleepers(channel);
        dereference(channel);
        if (keeps) |kept| dereference(kept);
    }
    // A thread may end after its last native call took a bell's arm and before it rang the bell,
    // and hold nothing by then.
    _ = ended_threads.fetchAdd(1, .seq_cst);
    _ = exit_hook.?.set(null); // or the destructor would be called again
}

/// The thread that created a channel disposed of it, or died: nobody can issue tickets any more. A side
/// that nobody has and nobody can open will never come; the other must not wait for it.
fn endWithoutOwner(channel: *Channel, ringer: channel_module.Ringer) void {
    const segment = channel.segment;
    if (channel.sender_references == 0) _ = channel_module.close(segment, .senders_gone, ringer);
    // Nobody is awaited any more who would have to be let in.
    if (channel.ledger.keeper) |*keeper| keeper.awaits_receiver = false;
    if (endWithoutReceivers(channel, ringer) or ledger_module.receiverTickets(segment) != 0) return;
    if (ledger_module.changeReceiverState(segment, .none, .gone)) {
        _ = channel_module.close(segment, .receiver_gone, ringer);
    }
}

/// Has every event loop that sleeps look again, on behalf of a thread that can ring no bell.
pub fn tellSleepers(channel: *Channel) void {
    _ = channel.segment.control().orphans.fetchAdd(1, .seq_cst);
    // Where there is a ringer nobody has to wait for that.
    if (channel.ringing != null) channel.ring(.{ .all = true }, 0);
}

/// A number that changes when a thread has died that may have owed this channel a bell; in a shared
/// segment also when there is something to do for one that sleeps, whoever failed to wake it.
pub fn orphans(slot: *Slot) u32 {
    const segment = slot.channel.segment;
    if (segment.geometry.is_shared and !isAsleepForGood(slot)) slot.finds +%= 1;
    return segment.control().orphans.load(.seq_cst) +% ended_threads.load(.seq_cst) +% slot.finds;
}

/// Whether the endpoint's arm is where it was set, and nothing has happened.
fn isAsleepForGood(slot: *Slot) bool {
    const watched = slot.watch orelse return false;
    const armed = watched.armed.load(.monotonic);
    if (armed == @intFromEnum(bell.Waiting.awake) or watched.word.load(.acquire) != armed) return false;
    const segment = slot.channel.segment;
    return switch (slot.body) {
        .receiver => |*receiver| {
            channel_module.lookAround(segment);
            return !receiver.holds();
        },
        .sender => |*sender| !sender.hasRoomFor(1),
        .channel => {
            channel_module.lookAround(segment);
            return !channel_module.isDrained(segment);
        },
        .pool => !slot.channel.slabs.?.holds() and !slot.channel.is_abandoned.load(.seq_cst),
        .weak, .share, .link => true,
    };
}

/// An event loop is about to sleep: a sender until there is room for `slots_min`, a receiver until there
/// is something to receive, a channel's holder until it is drained.
pub fn armBell(slot: *Slot, slots_min: u32) channel_module.Armed {
    const segment = slot.channel.segment;
    if (!isWatched(slot)) return .unwatched;
    if (slot.body == .pool) return armPool(slot);
    const armed = switch (slot.body) {
        .sender => |*sender| sender.arm(slots_min),
        .receiver => |*receiver| receiver.arm(.bell),
        .channel => channel_module.armDrain(segment),
        .pool, .weak, .share, .link => false,
    };
    if (!armed) return .no;
    if (segment.geometry.is_shared) ringer_module.kick(&slot.watch, @intFromEnum(segment.waiting(.bell)));
    return .yes;
}

/// The same for one that waits for a slab.
fn armPool(slot: *Slot) channel_module.Armed {
    const channel = slot.channel;
    const armed = channel.slabs.?.arm() orelse return .no;
    // After the arm: partner of the store in abandonPool(), before the wake-up there.
    if (channel.is_abandoned.load(.seq_cst)) return .no;
    if (channel.segment.geometry.is_shared) ringer_module.kick(&slot.watch, armed);
    return .yes;
}

/// The same for one that waits for its eventfd. Null: there is no descriptor yet.
pub fn armEventFd(slot: *Slot) ?channel_module.Armed {
    const segment = slot.channel.segment;
    if (!isWatched(slot)) return .unwatched;
    const armed = slot.body.receiver.armEventFd() orelse return null;
    if (!armed) return .no;
    if (segment.geometry.is_shared) ringer_module.kick(&slot.watch, @intFromEnum(segment.waiting(.event_fd)));
    return .yes;
}

fn isWatched(slot: *const Slot) bool {
    return !slot.channel.segment.geometry.is_shared or slot.sleeps_unwatched or ringer_module.isWatched(&slot.watch);
}

/// Takes the arm away, to look.
pub fn disarm(slot: *Slot) void {
    ringer_module.rest(&slot.watch);
    switch (slot.body) {
        .sender => |*sender| sender.disarm(),
        .receiver => |*receiver| receiver.disarm(),
        .channel, .pool, .weak, .share, .link => {},
    }
}

/// Has a ringer watch the word that this endpoint sleeps on; 0: it is to sleep unwatched.
pub fn watch(handle: u32, ringer: u32) (Error || ringer_module.Error)!u32 {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const segment = slot.channel.segment;
    if (!segment.geometry.is_shared) return error.InvalidArgument;
    if (ringer == 0) {
        slot.sleeps_unwatched = true;
        return 0;
    }
    const index = slot.index();
    const what: ringer_module.Watched = switch (slot.body) {
        .sender => .{ .word = &segment.waitLine(index).sender_wait.word, .bells = .{ .sender = true }, .ring_index = index },
        .receiver => .{
            .word = &channel_module.receiverWait(segment, index).word,
            .bells = .{ .receiver = true, .receiver_index = @intCast(index) },
        },
        .pool => .{ .word = slot.channel.slabs.?.wakeWord(), .is_count = true, .bells = .{ .receiver = true } },
        .channel, .weak, .share, .link => .{ .word = &segment.control().drain_wait.word, .bells = .{ .drain = true } },
    };
    return ringer_module.watch(ringer, segment, what, &slot.watch);
}

// ---- channels ----

pub const ChannelOptions = struct {
    shape: segment_module.Shape,
    has_records: bool,
    initial_sequence: u32,
    /// Where what receivers write shall lie.
    place: placement.Request = .{},
};

pub fn createChannel(options: ChannelOptions) Error!u32 {
    const geometry = try segment_module.Geometry.init(options.shape);
    const segment = try Segment.create(geometry, options.initial_sequence);
    errdefer segment.destroy();
    try placement.placeShared(segment, options.place);
    const keeper: ?ledger_module.Keeper = if (geometry.is_shared) try .create(geometry) else null;
    errdefer if (keeper) |kept| kept.destroy();
    const slot = try register(.{
        .id = 0,
        .segment = segment,
        .has_records = options.has_records,
        .references = 0,
        .ledger = .{ .keeper = keeper },
    }, .channel);
    return slot.handle.raw;
}

/// Makes a new channel, or pool, known, and opens a first handle of it.
fn register(described: Channel, body: Body) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const channel = try allocator.create(Channel);
    errdefer allocator.destroy(channel);
    channel.* = described;
    channel.id = ticket_module.nextSerial();
    channel.place_id = channel.id;
    channel.segment.notifier = &channel.notifier;
    if (channel.segment.geometry.is_shared) channel.segment.ledger = &channel.ledger;
    try channels.put(allocator, channel.id, channel);
    errdefer _ = channels.remove(channel.id);
    return allocate(channel, body);
}

pub fn dereference(channel: *Channel) void {
    channel.references -= 1;
    if (channel.references != 0) return;
    _ = channels.remove(channel.id);
    if (channel.link) |link| link.destroy();
    if (!channel.is_mapped) return allocator.destroy(channel);
    _ = ticket_module.forgetChannel(channel.id);
    ringer_module.forget(&channel.ringing);
    // Nobody can receive what is still in flight: that is for the keeper to say.
    if (channel.link == null) returnInFlight(channel, pool_module.Everywhere{});
    if (channel.pool) |pool| dereference(pool);
    channel.notifier.close();
    if (channel.owners) |*owners| owners.destroy();
    if (channel.ledger.keeper) |keeper| keeper.destroy();
    if (channel.is_quarantined) channel.segment.abandon() else channel.segment.destroy();
    allocator.destroy(channel);
}

pub fn addSenderReference(channel: *Channel) void {
    channel.sender_references += 1;
    tellSenderReferences(channel);
}

fn tellSenderReferences(channel: *Channel) void {
    channel.segment.control().sender_references.store(channel.sender_references, .seq_cst);
}

/// The last sender reference to go closes the channel. Returns whether it did.
pub fn dropSenderReference(channel: *Channel, ringer: channel_module.Ringer) bool {
    channel.sender_references -= 1;
    tellSenderReferences(channel);
    if (channel.sender_references != 0) return false;
    return channel_module.close(channel.segment, .senders_gone, ringer);
}

/// A kind with many receivers ends with the last of them and the last ticket for one.
fn endWithoutReceivers(channel: *Channel, ringer: channel_module.Ringer) bool {
    const segment = channel.segment;
    if (!segment.geometry.kind.hasManyReceivers()) return false;
    if (ledger_module.receiverState(segment) != .open) return false;
    if (ledger_module.receiversOpen(segment) != 0 or ledger_module.receiverTickets(segment) != 0) return false;
    if (channel.ledger.keeper) |keeper| if (keeper.awaits_receiver) return false;
    _ = channel_module.closeReceiver(segment, ringer);
    return true;
}

pub fn closeChannel(handle: u32, reason: []const u8) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    _ = reason_module.putOrAdd(slot.channel.segment, reason);
    const is_first = channel_module.close(slot.channel.segment, .closed, .can_ring);
    interruptSlabSleepers(slot.channel);
    return .{ .all = is_first };
}

/// Who may still receive what was sent.
pub const Receivers = struct {
    /// Open in other threads and processes, and those that may still be opened by a ticket or a share.
    elsewhere: u32 = 0,
    /// Open in this thread: how many handles were told.
    here: u32 = 0,
};

/// Tells who may still receive from the channel of an endpoint. Of a channel that another process keeps
/// nobody here knows: there may be somebody.
pub fn receivers(handle: u32, here: []u32) Error!Receivers {
    mutex.lock();
    defer mutex.unlock();
    return receiversOf((try find(handle)).channel, here);
}

fn receiversOf(channel: *const Channel, here: []u32) Receivers {
    const segment = channel.segment;
    if (channel.link != null) return .{ .elsewhere = 1 };
    var told: Receivers = .{};
    var next = firstOfThread();
    while (next != 0) {
        const slot = &slots[next - 1];
        next = slot.next;
        if (slot.body != .receiver or !isSameMemory(slot.channel, channel)) continue;
        if (told.here < here.len) here[told.here] = slot.handle.raw;
        told.here += 1;
    }
    const tickets = ledger_module.receiverTickets(segment);
    const open = if (segment.geometry.kind.hasManyReceivers())
        ledger_module.receiversOpen(segment)
    else switch (ledger_module.receiverState(segment)) {
        .none => 0,
        // There will be no other, whatever tickets there are.
        .open => return .{ .elsewhere = 1 -| told.here, .here = told.here },
        .gone, _ => return .{},
    };
    told.elsewhere = open -| told.here +| tickets;
    return told;
}

/// Whether a blocking wait of the endpoint can only be ended by this very thread, which is about to block:
/// for a sender, nobody else may receive; for a receiver, nobody else may send; of a pool, nobody else has a
/// part in it. What is not known counts as somebody. Who is found to be alone stays so, but must look once
/// more for what others did before they went.
pub fn isAlone(handle: u32) Error!bool {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const channel = slot.channel;
    // Another process keeps it.
    if (channel.link != null) return false;
    switch (slot.body) {
        // What another receiver has claimed comes again when it goes.
        .sender => return receiversOf(channel, &.{}).elsewhere == 0 and !isHeldElsewhere(channel),
        .receiver => return receiversOf(channel, &.{}).elsewhere == 0 and
            channel.sender_references == sendersHere(channel) and !isHeldElsewhere(channel),
        .pool => {},
        .channel, .weak, .share, .link => return false,
    }
    if (channel.segment.geometry.is_shared) return false;
    // A slab is freed by whoever has the pool open, and by the receivers, senders and the end of the
    // channels whose messages go through it.
    var attached: u32 = 0;
    var all = channels.valueIterator();
    while (all.next()) |other| {
        if (other.*.pool != channel) continue;
        attached += 1;
        if (other.*.references != referencesHere(other.*)) return false;
    }
    return channel.references == referencesHere(channel) + attached;
}

/// Whether another thread has the channel itself, or a weak sender, and with it the right to open endpoints.
fn isHeldElsewhere(channel: *const Channel) bool {
    const here = os.threadIdentity();
    for (slots[0..slots_used.raw]) |*slot| {
        if (slot.handle.raw == 0 or slot.channel != channel) continue;
        if (slot.body != .channel and slot.body != .weak) continue;
        if (slot.owner.load(.monotonic) != here) return true;
    }
    return false;
}

fn sendersHere(channel: *const Channel) u32 {
    var count: u32 = 0;
    var next = firstOfThread();
    while (next != 0) {
        const slot = &slots[next - 1];
        next = slot.next;
        if (slot.body == .sender and isSameMemory(slot.channel, channel)) count += 1;
    }
    return count;
}

/// References that are endpoints and handles of this thread. Tickets are none.
fn referencesHere(channel: *const Channel) u32 {
    var count: u32 = 0;
    var next = firstOfThread();
    while (next != 0) {
        const slot = &slots[next - 1];
        next = slot.next;
        if (slot.channel == channel) count += 1;
        if (slot.keeps == channel) count += 1;
    }
    return count;
}

/// Also if one of them was connected to from this very process.
fn isSameMemory(one: *const Channel, other: *const Channel) bool {
    if (one == other) return true;
    return one.is_mapped and one.segment.inode != 0 and one.segment.inode == other.segment.inode;
}

/// A CloseState. A sender whose ring somebody has sealed can send no more, whatever the channel says.
pub fn closeState(slot: *const Slot) u32 {
    const state = ledger_module.closeState(slot.channel.segment);
    if (state != .open) return @intFromEnum(state);
    const is_sealed = slot.body == .sender and slot.body.sender.producer.isClosed();
    return @intFromEnum(if (is_sealed) segment_module.CloseState.closed else segment_module.CloseState.open);
}

pub fn readReason(slot: *const Slot, buffer: []u8) u32 {
    return reason_module.read(slot.channel.segment, buffer);
}

// ---- tickets and endpoints ----

pub fn issueTicket(handle: u32, role: Role) Error!Ticket {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const channel = slot.channel;
    if ((role == .pool) != (channel.slabs != null)) return error.InvalidArgument;
    // What a connection owns is one endpoint's.
    if (channel.owner != 0) return error.InvalidArgument;
    if (role == .sender and !ledger_module.isOpen(channel.segment)) return error.ChannelClosed;
    const ticket = try ticket_module.issue(channel.id, role);
    channel.references += 1;
    switch (role) {
        .sender => addSenderReference(channel),
        .receiver => ledger_module.addReceiverTickets(channel.segment, 1),
        .pool => {},
    }
    return ticket;
}

/// Takes an unused ticket of a channel back. Returns the bells to ring.
pub fn revokeTicket(handle: u32, ticket: Ticket) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    if (ticket.channel != slot.channel.id) return error.TicketForged;
    return takeBack(ticket);
}

/// The same for who has the ticket, and perhaps no handle of the channel.
pub fn takeBackTicket(ticket: Ticket) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    return takeBack(ticket);
}

/// Whether a ticket has been neither used nor revoked.
pub fn isOutstanding(ticket: Ticket) Error!bool {
    mutex.lock();
    defer mutex.unlock();
    try ticket_module.verify(ticket);
    return ticket_module.isOutstanding(ticket);
}

fn takeBack(ticket: Ticket) Error!channel_module.Bells {
    const channel = try redeem(ticket, null);
    const has_ended = switch (ticket.role()) {
        .sender => dropSenderReference(channel, .can_ring),
        .receiver => endWithoutReceivers(channel, .can_ring),
        .pool => false,
    };
    returnUnreceivable(channel);
    dereference(channel);
    return .{ .all = has_ended };
}

fn redeem(ticket: Ticket, role: ?Role) Error!*Channel {
    try ticket_module.verify(ticket);
    if (role) |wanted| if (ticket.role() != wanted) return error.TicketRole;
    const channel = channels.get(ticket.channel) orelse return error.TicketFreed;
    if (!ticket_module.take(ticket)) return error.TicketUsed;
    if (ticket.role() == .receiver) ledger_module.dropReceiverTickets(channel.segment, 1);
    return channel;
}

pub fn openEndpoint(ticket: Ticket, role: Role) Error!*Slot {
    return openEndpointAt(ticket, role, .{});
}

/// The same, and says where the memory it writes shall lie.
pub fn openEndpointAt(ticket: Ticket, role: Role, place: placement.Request) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const channel = try redeem(ticket, role);
    if (openOn(channel, role, place)) |slot| {
        // The ticket's sender reference passes to the endpoint.
        dereference(channel);
        return slot;
    } else |err| switch (err) {
        // What is full now may have room later, and another node may do: the ticket stays as good as it
        // was.
        error.TooManySenders,
        error.TooManyReceivers,
        error.TooManyEndpoints,
        error.OutOfMemory,
        error.NoSuchNode,
        error.NodeNotAllowed,
        error.NodeOutOfMemory,
        error.NumaRefused,
        error.NumaUnsupported,
        error.HugePagesUnavailable,
        => {
            try ticket_module.restore(ticket);
            if (role == .receiver) ledger_module.addReceiverTickets(channel.segment, 1);
            return err;
        },
        else => {
            if (role == .sender) _ = dropSenderReference(channel, .can_ring);
            // Whoever waits has to look. JavaScript rings as well; a native caller does not.
            channel.ring(.{ .all = true }, 0);
            dereference(channel);
            return err;
        },
    }
}

/// Opens an endpoint on a channel this thread holds a handle of.
pub fn openDirectly(handle: u32, role: Role) Error!*Slot {
    return openDirectlyAt(handle, role, .{});
}

pub fn openDirectlyAt(handle: u32, role: Role, place: placement.Request) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const opened = try openOn(slot.channel, role, place);
    if (role == .sender) addSenderReference(slot.channel);
    return opened;
}

/// Opens a weak sender beside an endpoint or a handle of this thread: it keeps no channel open.
pub fn openWeak(handle: u32) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const channel = (try find(handle)).channel;
    // A connection stands for one endpoint.
    if (channel.slabs != null or channel.link != null) return error.InvalidArgument;
    return allocate(channel, .weak);
}

fn openOn(channel: *Channel, role: Role, place: placement.Request) Error!*Slot {
    if ((role == .pool) != (channel.slabs != null)) return error.InvalidArgument;
    if (role == .pool) return allocate(channel, .pool);
    // The slot first: a ring that was claimed cannot be given back by its sender alone.
    const slot = try allocate(channel, .channel);
    errdefer {
        free(slot);
        channel.references -= 1;
    }
    const segment = channel.segment;
    switch (role) {
        .sender => {
            const ring = try Sender.claimRing(segment);
            placeRing(segment, ring, place) catch |err| {
                // If the channel was closed meanwhile that is what is told: whoever disposed of it took
                // back the tickets that were outstanding, and this one must not be again.
                try Sender.unclaimRing(segment, ring);
                return err;
            };
            slot.body = .{ .sender = try Sender.settle(segment, channel.has_records, ring) };
        },
        .receiver => {
            // Not for one that will be refused.
            if (channel_module.isReceiverTaken(segment)) return error.ReceiverTaken;
            try placement.placeShared(segment, place);
            slot.body = .{ .receiver = try Receiver.open(segment, channel.has_records) };
        },
        .pool => unreachable,
    }
    return slot;
}

// ---- other processes ----

/// Lets other processes in to a channel that this thread holds a handle of.
pub fn shareAt(handle: u32, address: []const u8, options: share_module.Options) Error!*Slot {
    // Not under the mutex: it may have to wait for a process that does the same.
    const place: sockets.Address = try .init(address);
    try checkShareable(handle, options.roles);
    const mode: u16 = if (options.users.len == 0) 0o600 else 0o666; // who connects is looked at
    const listener = try sockets.listenAt(place, mode);
    errdefer {
        listener.removeFile();
        os.closeDescriptor(listener.fd);
    }
    mutex.lock();
    defer mutex.unlock();
    const channel = (try find(handle)).channel;
    return allocateShare(try .listen(channel, listener, options), handle);
}

/// The same for the process at the other end of a socket. Takes the descriptor, unless it fails.
pub fn shareOver(handle: u32, socket: i32, options: share_module.Options) Error!*Slot {
    try checkShareable(handle, options.roles);
    mutex.lock();
    defer mutex.unlock();
    const channel = (try find(handle)).channel;
    return allocateShare(try .over(channel, socket, options), handle);
}

fn checkShareable(handle: u32, roles: share_module.Roles) Error!void {
    const slot = try find(handle);
    const channel = slot.channel;
    const is_keeper = switch (slot.body) {
        .channel => channel.ledger.keeper != null and !roles.pools,
        .pool => channel.owners != null and roles.pools and !roles.senders and !roles.receivers,
        else => false,
    };
    if (!is_keeper) return error.InvalidArgument;
    if (channel.pool) |pool| if (pool.owners == null) return error.InvalidArgument;
    if (!ledger_module.isOpen(channel.segment)) return error.ChannelClosed;
}

fn allocateShare(share: *Share, opener: u32) Error!*Slot {
    const slot = allocate(share.channel, .{ .share = share }) catch |err| {
        share.takeBack();
        return err;
    };
    share.handle = slot.handle.raw;
    share.opener = opener;
    countShare(share.channel, share.options.roles);
    return slot;
}

/// When the last receiver dies its messages are kept for the next one.
pub fn awaitReceivers(handle: u32) Error!void {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    if (slot.body != .channel or slot.channel.ledger.keeper == null) return error.InvalidArgument;
    slot.channel.waits_for_receiver = true;
}

/// A share is a ticket for every role it offers.
fn countShare(channel: *Channel, roles: share_module.Roles) void {
    if (roles.senders) addSenderReference(channel);
    if (!roles.receivers) return;
    channel.receiver_shares += 1;
    ledger_module.addReceiverTickets(channel.segment, 1);
}

/// It is no more.
pub fn uncountShare(channel: *Channel, roles: share_module.Roles) void {
    var has_ended = roles.senders and dropSenderReference(channel, .cannot_ring);
    if (roles.receivers) {
        channel.receiver_shares -= 1;
        ledger_module.dropReceiverTickets(channel.segment, 1);
        has_ended = endWithoutReceivers(channel, .cannot_ring) or has_ended;
    }
    if (has_ended) tellSleepers(channel);
}

/// Whether somebody may still open a receiver; the processes that a share may let in count or do not.
pub fn hasReceiverTickets(channel: *const Channel, counts_shares: bool) bool {
    const tickets = ledger_module.receiverTickets(channel.segment);
    return tickets > if (counts_shares) 0 else channel.receiver_shares;
}

/// Ends the connections that came by the shares of this handle.
fn dropPeers(channel: *Channel, opener: u32) void {
    var next = channel.shares.first;
    while (next) |node| {
        const share: *Share = @fieldParentPtr("listed", node);
        if (share.opener == opener) share.dropPeers();
        // A pair's share closes with its peer, and stays in the list.
        next = node.next;
    }
}

/// Those that were opened by this handle.
fn endShares(channel: *Channel, opener: u32) void {
    var next = channel.shares.first;
    while (next) |node| {
        next = node.next;
        const share: *Share = @fieldParentPtr("listed", node);
        if (share.opener != opener) continue;
        // Of this thread, as the opener, which keeps the channel.
        _ = giveUp(findShare(share.handle) catch unreachable, "");
    }
}

/// Begins to connect to the keeper of a channel: at an address, or over a socket, which it takes unless
/// it fails.
pub fn beginLink(role: Role, place: link_module.Place, users: []const u32) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const channel = try allocator.create(Channel);
    errdefer allocator.destroy(channel);
    channel.* = .{ .id = 0, .segment = undefined, .has_records = false, .references = 0, .is_mapped = false };
    // The slot first: what it takes over must not fail afterwards.
    const slot = try allocate(channel, .channel);
    errdefer free(slot);
    channel.link = try .begin(channel, role, place, users);
    slot.body = .{ .link = channel.link.? };
    return slot;
}

/// Whether the keeper has answered. An error: there will be no endpoint.
pub fn pollLink(handle: u32) Error!bool {
    mutex.lock();
    defer mutex.unlock();
    const link = (try findLink(handle)).body.link;
    try link.advance();
    return switch (link.stateNow()) {
        .begun, .asked => false,
        .welcomed => true,
        else => link.failure,
    };
}

/// The same, and waits for the answer. False: the time is up.
pub fn awaitLink(handle: u32, timeout_ns: u64) Error!bool {
    const deadline = os.now() +| timeout_ns;
    while (true) {
        if (try pollLink(handle)) return true;
        const now = os.now();
        if (now >= deadline) return false;
        // The link lives as long as the handle, which is this thread's.
        const state = &(try findLink(handle)).body.link.state;
        const seen = state.load(.acquire);
        switch (@as(link_module.State, @enumFromInt(seen))) {
            .begun => os.sleep(@min(deadline - now, std.time.ns_per_ms)), // the keeper's queue is full
            .asked => os.futexWait(state, seen, deadline - now),
            else => {},
        }
    }
}

/// What the keeper says about the channel's values.
pub fn linkDescriptor(handle: u32) Error![]const u8 {
    mutex.lock();
    defer mutex.unlock();
    const link = (try findLink(handle)).body.link;
    if (link.stateNow() != .welcomed) return error.InvalidArgument;
    return link.descriptor; // it stays what it is
}

pub fn isShareOpen(handle: u32) Error!bool {
    mutex.lock();
    defer mutex.unlock();
    return (try findShare(handle)).body.share.isOpen();
}

pub fn shareConnections(handle: u32) Error!u32 {
    mutex.lock();
    defer mutex.unlock();
    return (try findShare(handle)).body.share.connections;
}

/// Opens the endpoint that a keeper has granted. The handle stays the same.
pub fn finishLink(handle: u32) Error!*Slot {
    return finishLinkAt(handle, (try findLink(handle)).body.link.wanted);
}

/// The same, and says where the memory it writes shall lie. If that is refused it may be tried again
/// with another place.
pub fn finishLinkAt(handle: u32, place: placement.Request) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const slot = try findLink(handle);
    const channel = slot.channel;
    const link = slot.body.link;
    if (link.stateNow() != .welcomed) return if (link.stateNow() == .failed) link.failure else error.InvalidArgument;
    const memory = link.takeMemory(.own) orelse return error.InvalidArgument;
    const segment = try attach(memory, link.role == .pool);
    errdefer {
        // It can be tried again, with another place.
        os.releasePages(segment.base, segment.geometry.total_bytes);
        link.memories[0] = memory;
    }
    const geometry = segment.geometry;
    const has_records = link.welcome.has_records != 0;
    const places = switch (link.role) {
        .sender => geometry.senders_max,
        .receiver => geometry.receivers_max,
        .pool => 1,
    };
    if (link.welcome.index >= places) return error.WrongLayout;
    if (has_records and geometry.slot_bytes != segment_module.record_slot_bytes) return error.WrongLayout;
    if (link.slot_bytes) |expected| if (has_records or geometry.slot_bytes != expected) return error.WrongLayout;
    const owner = try ownerOf(link);
    switch (link.role) {
        .sender => try placeRing(segment, link.welcome.index, place),
        .receiver => try placement.placeShared(segment, place),
        .pool => {},
    }
    // The keeper may have gone meanwhile.
    if (link.stateNow() != .welcomed) return link.failure;
    const pool = if (link.role == .pool or owner == 0) null else try attachPoolOf(link, owner);
    errdefer if (pool) |attached| dereference(attached);
    channel.id = ticket_module.nextSerial();
    try channels.put(allocator, channel.id, channel);
    channel.place_id = link.welcome.channel;
    channel.segment = segment;
    channel.segment.notifier = &channel.notifier;
    channel.segment.ledger = &channel.ledger;
    channel.has_records = has_records;
    channel.pool = pool;
    channel.is_mapped = true;
    slot.body = switch (link.role) {
        .sender => .{ .sender = .attach(channel.segment, has_records, link.welcome.index) },
        .receiver => .{ .receiver = .attach(channel.segment, has_records, link.welcome.index) },
        .pool => .pool,
    };
    if (link.role == .pool) {
        channel.slabs = .in(segment);
        channel.owner = owner;
        channel.pool_endpoints = 1;
        slot.slab_owner = owner;
    }
    link.open();
    return slot;
}

/// Attaches to memory that a keeper has sent, of a channel or a pool. Takes the descriptor.
fn attach(memory: i32, is_pool: bool) Error!Segment {
    errdefer os.closeDescriptor(memory);
    const segment = try Segment.attach(memory);
    if ((segment.geometry.slabs.count != 0) == is_pool) return segment;
    os.releasePages(segment.base, segment.geometry.total_bytes);
    return error.WrongLayout;
}

/// The number by which this process's endpoint owns slabs; 0: there is no pool.
fn ownerOf(link: *const Link) Error!u32 {
    const owner = link.welcome.owner;
    if (owner == 0 and link.role != .pool) return 0;
    if (owner < pool_module.owner_remote_first or owner > pool_module.owner_remote_last) return error.WrongLayout;
    return owner;
}

/// The pool of a channel that another process keeps. The caller has its one reference.
fn attachPoolOf(link: *Link, owner: u32) Error!*Channel {
    const segment = try attach(link.takeMemory(.of_pool) orelse return error.WrongLayout, true);
    errdefer segment.destroy();
    const pool = try allocator.create(Channel);
    errdefer allocator.destroy(pool);
    pool.* = .{
        .id = ticket_module.nextSerial(),
        .segment = segment,
        .has_records = false,
        .references = 1,
        .slabs = .in(segment),
        .owner = owner,
    };
    pool.segment.notifier = &pool.notifier;
    try channels.put(allocator, pool.id, pool);
    return pool;
}

/// Places a claimed ring. To touch gigabytes takes seconds, for which nobody else shall wait: the slot
/// keeps the channel, the claim the ring.
fn placeRing(segment: Segment, ring: u32, place: placement.Request) placement.Error!void {
    if (!placement.takesTime(segment, place)) return placement.placeRing(segment, ring, place);
    mutex.unlock();
    defer mutex.lock();
    return placement.placeRing(segment, ring, place);
}

/// Closes what the slot stands for, and says which bells to ring. A sender with a reason closes the
/// channel with it; a receiver, if it is the last.
fn closeSlot(slot: *Slot, ringer: channel_module.Ringer, reason: []const u8) channel_module.Bells {
    switch (slot.body) {
        .channel => {
            endShares(slot.channel, slot.handle.raw);
            return .{};
        },
        .share => |share| {
            share.destroy();
            return .{};
        },
        .link => return .{}, // goes with the channel
        .weak => return .{},
        .pool => {
            endShares(slot.channel, slot.handle.raw);
            // First: what still writes through the views of a thread that has died (I/O under way, or a
            // thread that was given a view) writes to memory that is nobody's.
            if (slot.mirror) |mirror| if (slot.is_mirror_lost) mirror.leave() else mirror.unmap();
            slot.mirror = null;
            // What it owned is free; who sleeps on the pool's bell is told by its count of deaths.
            returnOwned(slot.channel, slot.slab_owner);
            slot.channel.pool_endpoints -= 1;
            if (slot.channel.pool_endpoints == 0) {
                slot.channel.references -= ticket_module.forgetChannel(slot.channel.id).pools;
            }
            if (slot.channel.link) |link| _ = link.sayBye("");
            return .{};
        },
        .sender => |*sender| {
            if (slot.channel.link) |link| {
                // The keeper does it. Where there is none everything is sealed.
                sender.disarm();
                _ = link.sayBye(reason);
                return .{};
            }
            // Before the end that this sender may be: no receiver sees it without the reason.
            const has_reason = reason_module.put(slot.channel.segment, reason);
            // Before the seal: then the ring can be another's.
            returnInFlight(slot.channel, pool_module.Uncommitted{
                .segment = slot.channel.segment,
                .ring = sender.producer.ring,
            });
            var bells = sender.close(ringer);
            if (has_reason and channel_module.close(slot.channel.segment, .closed, ringer)) {
                interruptSlabSleepers(slot.channel);
                bells.all = ringer == .can_ring;
            }
            if (dropSenderReference(slot.channel, ringer)) bells.all = ringer == .can_ring;
            return bells;
        },
        .receiver => |*receiver| {
            if (slot.channel.link) |link| if (link.sayBye(reason)) {
                receiver.disarm();
                return .{};
            };
            const has_reason = reason_module.put(slot.channel.segment, reason);
            const bells = receiver.close(ringer);
            // It was not the last: the others go on.
            if (has_reason) reason_module.takeBackIfOpen(slot.channel.segment);
            returnUnreceivable(slot.channel);
            interruptSlabSleepers(slot.channel);
            return bells;
        },
    }
}

// ---- pools ----

pub fn createPool(slab_bytes: u32, count: u32, is_shared: bool) Error!*Slot {
    const pool: Pool = try .create(slab_bytes, count, is_shared);
    errdefer pool.segment.destroy();
    return register(.{
        .id = 0,
        .segment = pool.segment,
        .has_records = false,
        .references = 0,
        .slabs = pool,
        .owners = if (is_shared) .{} else null,
    }, .pool);
}

/// Has the large messages of a channel go through a pool, for the rest of the channel's life.
pub fn attachPool(channel: u32, pool: u32) Error!void {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(channel);
    if (slot.body != .channel or slot.channel.pool != null) return error.InvalidArgument;
    const pool_slot = try findPool(pool);
    // Its keeper would not know where this channel's messages are.
    if (pool_slot.channel.owner != 0) return error.InvalidArgument;
    slot.channel.pool = pool_slot.channel;
    pool_slot.channel.references += 1;
}

/// Opens this thread's endpoint of the pool that the endpoint's channel has.
pub fn openAttached(handle: u32) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const channel = (try find(handle)).channel;
    const pool = channel.pool orelse return error.InvalidArgument;
    if (pool.owner == 0) return allocate(pool, .pool);
    // What a connection owns is one endpoint's.
    if (pool.is_owner_used) return error.InvalidArgument;
    const slot = try allocate(pool, .pool);
    pool.is_owner_used = true;
    slot.slab_owner = pool.owner;
    slot.keeps = channel;
    channel.references += 1;
    return slot;
}

/// Whether two endpoints' pools are one.
pub fn isSamePool(one: ?*const Channel, other: *const Channel) bool {
    return isSameMemory(one orelse return false, other);
}

/// Tells a pool from every other that this process knows: the same number for all its mappings.
pub fn poolNumber(pool: *const Channel) u64 {
    const shared_bit = 1 << 52; // a number of JavaScript is exact below 2^53
    if (pool.segment.inode == 0) return pool.id;
    return shared_bit | (pool.segment.inode & (shared_bit - 1));
}

/// Returns what an endpoint owned.
pub fn returnOwned(pool: *Channel, owner: u32) void {
    if (pool.slabs.?.returnOwned(owner)) tellSlabSleepers(pool);
}

/// The keeper of a pool is gone: nobody gets a slab of it any more.
pub fn abandonPool(pool: *Channel) void {
    // SC, before the wake-up: partner of the look in armPool().
    pool.is_abandoned.store(true, .seq_cst);
    pool.slabs.?.interrupt();
    tellSleepers(pool);
}

/// Returns slabs in flight in the channel that nobody will receive.
pub fn returnInFlight(channel: *Channel, lost: anytype) void {
    const pool = channel.pool orelse return;
    if (pool.slabs.?.returnInFlight(channel.place_id, lost)) tellSlabSleepers(pool);
}

/// After a receiver went: returns what it left, and if there will be no receiver any more, what was
/// sent.
pub fn returnUnreceivable(channel: *Channel) void {
    if (ledger_module.receiverState(channel.segment) != .gone) {
        return returnInFlight(channel, pool_module.Released{ .segment = channel.segment });
    }
    // Every ring is sealed by now.
    returnInFlight(channel, pool_module.Committed{ .segment = channel.segment });
}

/// A channel may have closed: a sender of it that waits for a slab of its pool has to look. Event loops
/// are told by the closer's JavaScript, which rings the pool's bell, or by `orphans`.
pub fn interruptSlabSleepers(channel: *Channel) void {
    if (channel.pool) |pool| pool.slabs.?.interrupt();
}

pub fn tellSlabSleepers(pool: *Channel) void {
    // SC, after the pushes: whoever sees it looks again and sees them.
    _ = pool.segment.control().orphans.fetchAdd(1, .seq_cst);
}

// ---- closing ----

/// Closes an endpoint, or gives a channel handle back.
pub fn closeEndpoint(handle: u32) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    return giveUp(try findAny(handle), "");
}

/// Closes a sender, and the channel with the reason it gives; or a receiver, whose senders get the
/// reason if it is the last. In one step: nobody sees the end without the reason.
pub fn closeWithReason(handle: u32, reason: []const u8) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    return giveUp(try findWithReason(handle), reason);
}

fn findWithReason(handle: u32) Error!*Slot {
    const slot = try findAny(handle);
    return switch (slot.body) {
        .sender, .receiver => slot,
        else => error.InvalidHandle,
    };
}

/// Disposes of a channel: closes it, takes its unused tickets back, gives the handle back.
pub fn disposeChannel(handle: u32) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    if (slot.body != .channel) return error.InvalidHandle;
    return dispose(slot);
}

/// Gives a channel's handle up, as the end of its thread would: endpoints and tickets stay good.
pub fn forgetChannel(handle: u32) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    if (slot.body != .channel) return error.InvalidHandle;
    const channel = slot.channel;
    channel.references += 1; // it outlives what follows
    defer dereference(channel);
    _ = giveUp(slot, "");
    endWithoutOwner(channel, .can_ring);
    returnUnreceivable(channel);
    interruptSlabSleepers(channel);
    return .{ .all = true };
}

/// Gives up what a handle stands for, as if this process had died: its program begins anew. Who is connected
/// from another process is told of a death.
pub fn abandon(handle: u32) Error!channel_module.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try findAny(handle);
    const channel = slot.channel;
    channel.references += 1; // it outlives what follows
    defer dereference(channel);
    if (channel.link) |link| {
        link.is_silent = true;
    } else if (channel.is_mapped and channel.segment.geometry.is_shared) switch (slot.body) {
        .channel, .pool => {
            if (slot.body == .channel) _ = channel_module.close(channel.segment, .peer_died, .can_ring);
            dropPeers(channel, handle);
        },
        else => {},
    };
    // Of a ring the views were taken away, of a slab perhaps not.
    if (slot.is_exposed) channel.is_quarantined = true;
    const is_channel = slot.body == .channel;
    var bells = giveUp(slot, "");
    if (is_channel) {
        endWithoutOwner(channel, .can_ring);
        returnUnreceivable(channel);
        interruptSlabSleepers(channel);
        bells.all = true;
    }
    return bells;
}

/// Closes an endpoint, or disposes of a channel, and has the bells rung.
pub fn closeAndRing(handle: u32) Error!void {
    mutex.lock();
    defer mutex.unlock();
    const slot = try findAny(handle);
    if (slot.body == .link) {
        _ = giveUp(slot, "");
        return;
    }
    endAndRing(slot, "");
}

/// closeWithReason(), and has the bells rung.
pub fn closeWithReasonAndRing(handle: u32, reason: []const u8) Error!void {
    mutex.lock();
    defer mutex.unlock();
    endAndRing(try findWithReason(handle), reason);
}

fn endAndRing(slot: *Slot, reason: []const u8) void {
    const channel = slot.channel;
    channel.references += 1; // it outlives what follows
    channel.ring(if (slot.body == .channel) dispose(slot) else giveUp(slot, reason), 0);
    dereference(channel);
}

fn giveUp(slot: *Slot, reason: []const u8) channel_module.Bells {
    const channel = slot.channel;
    const keeps = slot.keeps;
    const bells = closeSlot(slot, .can_ring, reason);
    free(slot);
    dereference(channel);
    if (keeps) |kept| dereference(kept);
    return bells;
}

fn dispose(slot: *Slot) channel_module.Bells {
    const channel = slot.channel;
    _ = channel_module.close(channel.segment, .closed, .can_ring);
    endShares(channel, slot.handle.raw);
    const revoked = ticket_module.forgetChannel(channel.id);
    channel.sender_references -= revoked.senders;
    tellSenderReferences(channel);
    ledger_module.dropReceiverTickets(channel.segment, revoked.receivers);
    channel.references -= revoked.senders + revoked.receivers;
    endWithoutOwner(channel, .can_ring);
    returnUnreceivable(channel);
    interruptSlabSleepers(channel);
    free(slot);
    dereference(channel);
    return .{ .all = true };
}

/// Has a ringer ring for a channel; see ringer.zig.
pub fn registerRinging(handle: u32, ringer: u32) (Error || ringer_module.Error)!u32 {
    mutex.lock();
    defer mutex.unlock();
    const channel = (try find(handle)).channel;
    return ringer_module.register(ringer, channel.segment, &channel.ringing);
}

/// Says that views of the mapping are in the program's hands.
pub fn expose(slot: *Slot) void {
    slot.is_exposed = true; // only its own thread looks
}

/// Keeps the channel's address range mapped for the life of the process, or that of this endpoint of a pool:
/// a view of it may be in use somewhere this library cannot reach.
pub fn quarantine(slot: *Slot) void {
    mutex.lock();
    defer mutex.unlock();
    quarantineLocked(slot);
}

fn quarantineLocked(slot: *Slot) void {
    // Of a pool no more was shown than its endpoint's own addresses.
    if (slot.body == .pool) slot.is_mirror_lost = true else slot.channel.is_quarantined = true;
}

/// Where an endpoint of a pool sees a slab.
pub fn slabAddress(slot: *Slot, index: u32) Error!usize {
    const slabs = &slot.channel.slabs.?;
    if (slot.mirror == null) slot.mirror = slabs.mirror() orelse return error.OutOfMemory;
    return @intFromPtr(slot.mirror.?.base) + try slabs.offset(index);
}
