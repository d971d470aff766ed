//! The C ABI: thin exports over the real types, and no logic.
//!
//! Every function returns a number that is negative for an error (see Status). A handle is a
//! positive number. The same list stands in ffi/abi.ts and zig/include/millrace.h; a test holds
//! the three equal.

const std = @import("std");
const endpoint = @import("endpoint.zig");
const mpsc = @import("mpsc.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const Ticket = @import("ticket.zig").Ticket;
const Role = @import("ticket.zig").Role;
const Strategy = @import("wait.zig").Strategy;

/// Changes whenever a signature, a struct or the meaning of a number does.
pub const abi_version = 4;

pub const Status = enum(i32) {
    ok = 0,
    invalid_handle = -1,
    wrong_thread = -2,
    too_many_endpoints = -3,
    out_of_memory = -4,
    invalid_argument = -5,
    channel_closed = -6,
    too_many_senders = -7,
    receiver_taken = -8,
    ticket_foreign = -9,
    ticket_forged = -10,
    ticket_used = -11,
    ticket_freed = -12,
    ticket_role = -13,
    ended = -14,
    corrupt = -15,

    fn of(err: endpoint.Error) i32 {
        const status: Status = switch (err) {
            error.InvalidHandle => .invalid_handle,
            error.WrongThread => .wrong_thread,
            error.TooManyEndpoints => .too_many_endpoints,
            error.OutOfMemory => .out_of_memory,
            error.InvalidGeometry => .invalid_argument,
            error.ChannelClosed => .channel_closed,
            error.TooManySenders => .too_many_senders,
            error.ReceiverTaken => .receiver_taken,
            error.TicketForeign => .ticket_foreign,
            error.TicketForged => .ticket_forged,
            error.TicketUsed => .ticket_used,
            error.TicketFreed => .ticket_freed,
            error.TicketRole => .ticket_role,
        };
        return status.number();
    }

    fn number(status: Status) i32 {
        return @intFromEnum(status);
    }
};

pub const ChannelOptions = extern struct {
    slot_bytes: u32,
    capacity: u32,
    senders_max: u32,
    /// 1: messages are records of variable length in slots of 8 bytes.
    has_records: u32,
    initial_sequence: u32,
};

pub const EndpointInfo = extern struct {
    mailbox_address: u64,
    slot_bytes: u32,
    capacity: u32,
    senders_max: u32,
    ring: u32,
};

fn bellsNumber(bells: mpsc.Bells) i32 {
    return @intCast(@as(u32, @bitCast(bells)));
}

fn nanoseconds(timeout_us: u32) u64 {
    return @as(u64, timeout_us) * std.time.ns_per_us;
}

export fn millrace_abi_version() u32 {
    return abi_version;
}

export fn millrace_channels_alive() u32 {
    return endpoint.channelCount();
}

/// Gives the core to another thread that wants it.
export fn millrace_thread_yield() i32 {
    os.yieldThread();
    return 0;
}

/// Keeps the core for a moment without touching memory.
export fn millrace_thread_pause(hints: u32) i32 {
    for (0..@min(hints, 1024)) |_| std.atomic.spinLoopHint();
    return 0;
}

export fn millrace_channel_create(options: *const ChannelOptions) i32 {
    const handle = endpoint.createChannel(.{
        .slot_bytes = options.slot_bytes,
        .capacity = options.capacity,
        .senders_max = options.senders_max,
        .has_records = options.has_records != 0,
        .initial_sequence = options.initial_sequence,
    }) catch |err| return Status.of(err);
    return @intCast(handle);
}

export fn millrace_channel_close(channel: u32, reason: ?[*]const u8, reason_bytes: u32) i32 {
    const text: []const u8 = if (reason) |bytes| bytes[0..reason_bytes] else "";
    return bellsNumber(endpoint.closeChannel(channel, text) catch |err| return Status.of(err));
}

export fn millrace_channel_dispose(channel: u32) i32 {
    return bellsNumber(endpoint.disposeChannel(channel) catch |err| return Status.of(err));
}

/// 1: armed. 0: drained already.
export fn millrace_channel_arm_drain(channel: u32) i32 {
    const slot = endpoint.find(channel) catch |err| return Status.of(err);
    const control = slot.channel.segment.control();
    control.drain_wait.arm(.bell);
    if (!mpsc.isDrained(slot.channel.segment)) return 1;
    _ = control.drain_wait.disarm();
    return 0;
}

export fn millrace_ticket_issue(channel: u32, role: u32, ticket: *Ticket) i32 {
    const wanted = Role.fromInt(role) orelse return Status.invalid_argument.number();
    ticket.* = endpoint.issueTicket(channel, wanted) catch |err| return Status.of(err);
    return 0;
}

export fn millrace_ticket_revoke(channel: u32, ticket: *const Ticket) i32 {
    return bellsNumber(endpoint.revokeTicket(channel, ticket.*) catch |err| return Status.of(err));
}

export fn millrace_endpoint_open(ticket: *const Ticket, role: u32, info: *EndpointInfo) i32 {
    const wanted = Role.fromInt(role) orelse return Status.invalid_argument.number();
    return describe(endpoint.openEndpoint(ticket.*, wanted) catch |err| return Status.of(err), info);
}

export fn millrace_endpoint_open_on(channel: u32, role: u32, info: *EndpointInfo) i32 {
    const wanted = Role.fromInt(role) orelse return Status.invalid_argument.number();
    return describe(endpoint.openDirectly(channel, wanted) catch |err| return Status.of(err), info);
}

fn describe(slot: *endpoint.Slot, info: *EndpointInfo) i32 {
    const geometry = slot.channel.segment.geometry;
    info.* = .{
        .mailbox_address = @intFromPtr(&slot.mailbox),
        .slot_bytes = geometry.slot_bytes,
        .capacity = geometry.capacity,
        .senders_max = geometry.senders_max,
        .ring = slot.mailbox.ring,
    };
    return @intCast(slot.handle.raw);
}

export fn millrace_endpoint_close(handle: u32) i32 {
    return bellsNumber(endpoint.closeEndpoint(handle) catch |err| return Status.of(err));
}

export fn millrace_endpoint_expose(handle: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    endpoint.expose(slot);
    return 0;
}

export fn millrace_endpoint_quarantine(handle: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    endpoint.quarantine(slot);
    return 0;
}

/// Where the data of a ring is: address, then bytes.
export fn millrace_endpoint_ring(handle: u32, ring: u32, place: *[2]u64) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    const segment = slot.channel.segment;
    if (ring >= segment.geometry.senders_max) return Status.invalid_argument.number();
    place.* = .{ @intFromPtr(segment.data(ring)), segment.geometry.dataBytes() };
    return 0;
}

export fn millrace_endpoint_orphans(handle: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    return @intCast(endpoint.orphans(slot) & std.math.maxInt(i32));
}

export fn millrace_endpoint_close_state(handle: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    return @intCast(slot.channel.segment.control().close_state.load(.seq_cst));
}

/// Copies the reason given to close(); returns its bytes.
export fn millrace_endpoint_reason(handle: u32, buffer: [*]u8, buffer_bytes: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    return @intCast(endpoint.readReason(slot, buffer[0..buffer_bytes]));
}

export fn millrace_endpoint_statistics(handle: u32, statistics: *mpsc.Statistics) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    statistics.* = mpsc.statistics(slot.channel.segment);
    return 0;
}

/// Contiguous slots granted (at least `slots_min`), 0 when full. Their position is in the mailbox.
export fn millrace_sender_reserve(handle: u32, slots_min: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    if (slots_min == 0 or slots_min > sender.producer.capacity) return Status.invalid_argument.number();
    const reserved = sender.producer.reserve(slots_min);
    switch (reserved) {
        .slots => |slots| {
            slot.mailbox.position = sender.producer.position();
            return @intCast(slots);
        },
        .full => {
            sender.countFull();
            return 0;
        },
        .closed => return Status.channel_closed.number(),
    }
}

/// The bells to ring.
export fn millrace_sender_commit(handle: u32, slots: u32, messages: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    if (slots > sender.producer.granted) return Status.invalid_argument.number();
    return switch (sender.commit(slots, messages)) {
        .bells => |bells| bellsNumber(bells),
        .closed => Status.channel_closed.number(),
    };
}

/// 1: there is room, or the ring is sealed. 0: the time is up.
export fn millrace_sender_wait(handle: u32, slots_min: u32, strategy: u32, timeout_us: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    const how = Strategy.fromInt(strategy) orelse return Status.invalid_argument.number();
    if (slots_min == 0 or slots_min > sender.producer.capacity) return Status.invalid_argument.number();
    return @intFromBool(sender.wait(slots_min, how, nanoseconds(timeout_us)));
}

/// 1: armed, sleep on the bell. 0: there is room, or the ring is sealed.
export fn millrace_sender_arm(handle: u32, slots_min: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    if (slots_min == 0 or slots_min > sender.producer.capacity) return Status.invalid_argument.number();
    const armed = sender.arm(slots_min);
    if (armed) sender.countSleep();
    return @intFromBool(armed);
}

export fn millrace_sender_disarm(handle: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    slot.body.sender.disarm();
    return 0;
}

/// Slots readable in one run, 0 when empty, `ended` when closed and drained. Ring and position are
/// in the mailbox.
export fn millrace_receiver_poll(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    const receiver = &slot.body.receiver;
    switch (receiver.poll()) {
        .window => |slots| {
            slot.mailbox.ring = receiver.ring;
            slot.mailbox.position = receiver.position;
            return @intCast(slots);
        },
        .empty => return 0,
        .ended => return Status.ended.number(),
        .corrupt => return Status.corrupt.number(),
    }
}

/// The bells to ring.
export fn millrace_receiver_release(handle: u32, slots: u32, messages: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    const receiver = &slot.body.receiver;
    if (slots > receiver.window) return Status.invalid_argument.number();
    return bellsNumber(receiver.release(slots, messages));
}

/// 1: there is something to poll. 0: the time is up.
export fn millrace_receiver_wait(handle: u32, strategy: u32, timeout_us: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    const how = Strategy.fromInt(strategy) orelse return Status.invalid_argument.number();
    return @intFromBool(slot.body.receiver.wait(how, nanoseconds(timeout_us)));
}

/// 1: armed, sleep on the bell. 0: there is something to poll.
export fn millrace_receiver_arm(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return @intFromBool(slot.body.receiver.arm());
}

export fn millrace_receiver_disarm(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    slot.body.receiver.disarm();
    return 0;
}

export fn millrace_receiver_mark(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    slot.body.receiver.mark();
    return 0;
}

/// 1: everything that was committed at the last mark has been released.
export fn millrace_receiver_reached_mark(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return @intFromBool(slot.body.receiver.hasReachedMarks());
}
