//! Endpoints: what this process has open, by handle, and what happens when a thread dies.
//!
//! A handle is a number, checked on every call, so that nothing a caller does with a stale or
//! foreign one can reach memory. The table is a fixed array: looking a handle up takes no lock and
//! an endpoint never moves. Opening, closing and tickets take the mutex.

const std = @import("std");
const os = @import("os/linux.zig");
const mpsc = @import("mpsc.zig");
const segment_module = @import("segment.zig");
const Segment = segment_module.Segment;
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
    TicketForeign,
    TicketForged,
    TicketUsed,
    TicketFreed,
    TicketRole,
};

/// One channel as this process knows it. Freed when nothing refers to it any more: no handle, no
/// endpoint, no outstanding ticket.
pub const Channel = struct {
    id: u64,
    segment: Segment,
    has_records: bool,
    references: u32,
    /// A view of the mapping got out of our hands (its buffer was transferred): keep the range.
    is_quarantined: bool = false,
};

pub const Body = union(enum) {
    channel: void,
    sender: mpsc.Sender,
    receiver: mpsc.Receiver,
};

/// What JavaScript reads of an endpoint through a view, plain loads on its own thread.
pub const Mailbox = extern struct {
    /// The ring the last poll or reserve was about.
    ring: u32 = 0,
    /// The first slot of the granted or readable run.
    position: u32 = 0,
    _: [14]u32 = @splat(0),
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
    /// The next endpoint of the same thread, or of the free list: an index + 1.
    next: u32 = 0,
    previous: u32 = 0,
};

pub const endpoints_max = 16384;
const index_bits = 16;

var slots: [endpoints_max]Slot = undefined;
/// Slots that have ever been used: below it they are initialised. Release and acquire pair up.
var slots_used: std.atomic.Value(u32) = .init(0);
var first_free: u32 = 0;
var mutex: os.Mutex = .{};
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

pub inline fn find(handle: u32) Error!*Slot {
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
    const slot = try find(handle);
    return if (slot.body == .sender) slot else error.InvalidHandle;
}

pub inline fn findReceiver(handle: u32) Error!*Slot {
    const slot = try find(handle);
    return if (slot.body == .receiver) slot else error.InvalidHandle;
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
    slot.body = body;
    slot.previous = 0;
    slot.next = first;
    if (first != 0) slots[first - 1].previous = index + 1;
    channel.references += 1;
    // Release: pairs with the acquire in find().
    slot.handle.store(@as(u32, slot.generation) << index_bits | index, .release);
    return slot;
}

/// Takes a slot out of its thread's list and back to the free list. Does not touch the channel.
fn free(slot: *Slot) void {
    const index: u32 = @intCast((@intFromPtr(slot) - @intFromPtr(&slots)) / @sizeOf(Slot));
    slot.handle.store(0, .release);
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
        if (slot.is_exposed) channel.is_quarantined = true;
        _ = closeSlot(slot, .cannot_ring);
        if (slot.body == .channel) endWithoutOwner(channel);
        free(slot);
        // SC, and after everything above: whoever sees it polls again and sees all of it.
        _ = channel.segment.control().orphans.fetchAdd(1, .seq_cst);
        dereference(channel);
    }
    // A thread may end after its last native call took a bell's arm and before it rang the bell,
    // and hold nothing by then.
    _ = ended_threads.fetchAdd(1, .seq_cst);
    _ = exit_hook.?.set(null); // or the destructor would be called again
}

/// The thread that created a channel died: nobody can issue tickets any more. A side that nobody has
/// and nobody can open will never come; the other must not wait for it.
fn endWithoutOwner(channel: *Channel) void {
    const control = channel.segment.control();
    if (control.sender_references.load(.seq_cst) == 0) {
        _ = mpsc.close(channel.segment, .senders_gone, .cannot_ring);
    }
    if (control.receiver_tickets.load(.seq_cst) != 0) return;
    // SC: partner of the look in mpsc.isDrained().
    if (control.receiver_state.cmpxchgStrong(
        @intFromEnum(segment_module.ReceiverState.none),
        @intFromEnum(segment_module.ReceiverState.gone),
        .seq_cst,
        .seq_cst,
    ) == null) _ = mpsc.close(channel.segment, .receiver_gone, .cannot_ring);
}

/// A number that changes when a thread has died that may have owed this channel a bell.
pub fn orphans(slot: *const Slot) u32 {
    return slot.channel.segment.control().orphans.load(.seq_cst) +% ended_threads.load(.seq_cst);
}

// ---- channels ----

pub const ChannelOptions = struct {
    slot_bytes: u32,
    capacity: u32,
    senders_max: u32,
    has_records: bool,
    initial_sequence: u32,
};

pub fn createChannel(options: ChannelOptions) Error!u32 {
    const geometry = try segment_module.Geometry.init(options.slot_bytes, options.capacity, options.senders_max);
    const segment = try Segment.create(geometry, options.initial_sequence);
    errdefer segment.destroy();
    mutex.lock();
    defer mutex.unlock();
    const channel = try allocator.create(Channel);
    errdefer allocator.destroy(channel);
    channel.* = .{
        .id = ticket_module.nextSerial(),
        .segment = segment,
        .has_records = options.has_records,
        .references = 0,
    };
    try channels.put(allocator, channel.id, channel);
    errdefer _ = channels.remove(channel.id);
    const slot = try allocate(channel, .channel);
    return slot.handle.raw;
}

fn dereference(channel: *Channel) void {
    channel.references -= 1;
    if (channel.references != 0) return;
    _ = channels.remove(channel.id);
    _ = ticket_module.forgetChannel(channel.id);
    if (channel.is_quarantined) channel.segment.abandon() else channel.segment.destroy();
    allocator.destroy(channel);
}

fn addSenderReference(channel: *Channel) void {
    _ = channel.segment.control().sender_references.fetchAdd(1, .seq_cst);
}

/// The last sender reference to go closes the channel. Returns whether it did.
fn dropSenderReference(channel: *Channel, ringer: mpsc.Ringer) bool {
    if (channel.segment.control().sender_references.fetchSub(1, .seq_cst) != 1) return false;
    return mpsc.close(channel.segment, .senders_gone, ringer);
}

pub fn closeChannel(handle: u32, reason: []const u8) Error!mpsc.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const control = slot.channel.segment.control();
    if (control.close_state.load(.acquire) == @intFromEnum(segment_module.CloseState.open)) {
        const length: u32 = @intCast(@min(reason.len, segment_module.reason_bytes_max));
        @memcpy(control.reason[0..length], reason[0..length]);
        // Release: with the close below; pairs with the acquire in readReason().
        control.reason_bytes.store(length, .release);
    }
    return .{ .all = mpsc.close(slot.channel.segment, .closed, .can_ring) };
}

pub fn readReason(slot: *const Slot, buffer: []u8) u32 {
    const control = slot.channel.segment.control();
    const length = @min(control.reason_bytes.load(.acquire), segment_module.reason_bytes_max, buffer.len);
    @memcpy(buffer[0..length], control.reason[0..length]);
    return @intCast(length);
}

// ---- tickets and endpoints ----

pub fn issueTicket(handle: u32, role: Role) Error!Ticket {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const channel = slot.channel;
    if (channel.segment.control().close_state.load(.acquire) != @intFromEnum(segment_module.CloseState.open) and
        role == .sender) return error.ChannelClosed;
    const ticket = try ticket_module.issue(channel.id, role);
    channel.references += 1;
    switch (role) {
        .sender => addSenderReference(channel),
        .receiver => _ = channel.segment.control().receiver_tickets.fetchAdd(1, .seq_cst),
    }
    return ticket;
}

/// Takes an unused ticket of a channel back. Returns the bells to ring.
pub fn revokeTicket(handle: u32, ticket: Ticket) Error!mpsc.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    if (ticket.channel != slot.channel.id) return error.TicketForged;
    const channel = try redeem(ticket, null);
    const has_ended = ticket.role() == .sender and dropSenderReference(channel, .can_ring);
    dereference(channel);
    return .{ .all = has_ended };
}

fn redeem(ticket: Ticket, role: ?Role) Error!*Channel {
    try ticket_module.verify(ticket);
    if (role) |wanted| if (ticket.role() != wanted) return error.TicketRole;
    const channel = channels.get(ticket.channel) orelse return error.TicketFreed;
    if (!ticket_module.take(ticket)) return error.TicketUsed;
    if (ticket.role() == .receiver) _ = channel.segment.control().receiver_tickets.fetchSub(1, .seq_cst);
    return channel;
}

pub fn openEndpoint(ticket: Ticket, role: Role) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const channel = try redeem(ticket, role);
    if (openOn(channel, role)) |slot| {
        // The ticket's sender reference passes to the endpoint.
        dereference(channel);
        return slot;
    } else |err| switch (err) {
        // What is full now may have room later: the ticket stays as good as it was.
        error.TooManySenders, error.TooManyEndpoints, error.OutOfMemory => {
            try ticket_module.restore(ticket);
            if (role == .receiver) _ = channel.segment.control().receiver_tickets.fetchAdd(1, .seq_cst);
            return err;
        },
        else => {
            if (role == .sender) _ = dropSenderReference(channel, .can_ring);
            dereference(channel);
            return err;
        },
    }
}

/// Opens an endpoint on a channel this thread holds a handle of.
pub fn openDirectly(handle: u32, role: Role) Error!*Slot {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const opened = try openOn(slot.channel, role);
    if (role == .sender) addSenderReference(slot.channel);
    return opened;
}

fn openOn(channel: *Channel, role: Role) Error!*Slot {
    // The slot first: a ring that was claimed cannot be given back by its sender alone.
    const slot = try allocate(channel, .channel);
    errdefer {
        free(slot);
        channel.references -= 1;
    }
    switch (role) {
        .sender => {
            slot.body = .{ .sender = try mpsc.Sender.open(channel.segment, channel.has_records) };
            slot.mailbox.ring = slot.body.sender.producer.ring;
        },
        .receiver => slot.body = .{ .receiver = try mpsc.Receiver.open(channel.segment) },
    }
    return slot;
}

/// Closes what the slot stands for, and says which bells to ring.
fn closeSlot(slot: *Slot, ringer: mpsc.Ringer) mpsc.Bells {
    switch (slot.body) {
        .channel => return .{},
        .sender => |*sender| {
            var bells = sender.close(ringer);
            if (dropSenderReference(slot.channel, ringer)) bells.all = ringer == .can_ring;
            return bells;
        },
        .receiver => |*receiver| return receiver.close(ringer),
    }
}

/// Closes an endpoint, or gives a channel handle back.
pub fn closeEndpoint(handle: u32) Error!mpsc.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    const channel = slot.channel;
    const bells = closeSlot(slot, .can_ring);
    free(slot);
    dereference(channel);
    return bells;
}

/// Disposes of a channel: closes it, takes its unused tickets back, gives the handle back.
pub fn disposeChannel(handle: u32) Error!mpsc.Bells {
    mutex.lock();
    defer mutex.unlock();
    const slot = try find(handle);
    if (slot.body != .channel) return error.InvalidHandle;
    const channel = slot.channel;
    _ = mpsc.close(channel.segment, .closed, .can_ring);
    const revoked = ticket_module.forgetChannel(channel.id);
    _ = channel.segment.control().sender_references.fetchSub(revoked.senders, .seq_cst);
    channel.references -= revoked.senders + revoked.receivers;
    free(slot);
    dereference(channel);
    return .{ .all = true };
}

/// Says that views of the mapping are in the program's hands.
pub fn expose(slot: *Slot) void {
    slot.is_exposed = true; // only its own thread looks
}

/// Keeps the channel's address range mapped for the life of the process: a view of it may be in use
/// somewhere this library cannot reach.
pub fn quarantine(slot: *Slot) void {
    mutex.lock();
    defer mutex.unlock();
    slot.channel.is_quarantined = true;
}
