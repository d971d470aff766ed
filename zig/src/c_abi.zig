//! The C ABI: thin exports over the real types, and no logic.
//!
//! Every function returns a number that is negative for an error (see Status). A handle is a
//! positive number. The same list stands in ffi/abi.ts and zig/include/millrace.h; a test holds
//! the three equal.

const std = @import("std");
const channel_module = @import("channel.zig");
const claims = @import("claims.zig");
const endpoint = @import("endpoint.zig");
const native = @import("native.zig");
const numa = @import("numa.zig");
const os = @import("os/linux.zig");
const placement = @import("placement.zig");
const pool = @import("pool.zig");
const reload = @import("reload.zig");
const ringer = @import("ringer.zig");
const segment_module = @import("segment.zig");
const select = @import("select.zig");
const histogram_module = @import("histogram.zig");
const system = @import("os/numa.zig");
const statistics_module = @import("statistics.zig");
const Kind = segment_module.Kind;
const Ticket = @import("ticket.zig").Ticket;
const Role = @import("ticket.zig").Role;
const Strategy = @import("wait.zig").Strategy;
const link = @import("link.zig");
const protocol = @import("protocol.zig");
const share = @import("share.zig");
const sockets = @import("os/sockets.zig");

/// Changes whenever a signature, a struct or the meaning of a number does.
pub const abi_version = 11;

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
    too_many_receivers = -16,
    would_block = -17,
    too_small = -18,
    slab_stale = -20,
    slab_foreign = -21,
    slab_not_owned = -22,
    pool_empty = -23,
    no_such_node = -30,
    node_not_allowed = -31,
    node_out_of_memory = -32,
    numa_refused = -33,
    numa_unsupported = -34,
    no_such_cpu = -35,
    cpu_not_allowed = -36,
    huge_pages_unavailable = -37,
    connection_refused = -40,
    no_such_path = -41,
    not_permitted = -42,
    role_refused = -43,
    not_a_segment = -44,
    wrong_version = -45,
    truncated = -46,
    unsealed = -47,
    wrong_layout = -48,
    not_understood = -49,
    address_in_use = -50,
    peer_died = -51,
    too_many_descriptors = -52,
    system_refused = -53,
    shared_memory_refused = -54,
    file_size_limit = -55,

    const Error = endpoint.Error || ringer.Error || native.SendError || native.ReceiveError || numa.PinError;

    fn of(err: Error) i32 {
        const status: Status = switch (err) {
            error.InvalidHandle => .invalid_handle,
            error.WrongThread => .wrong_thread,
            error.TooManyEndpoints => .too_many_endpoints,
            error.OutOfMemory => .out_of_memory,
            error.InvalidGeometry, error.InvalidArgument => .invalid_argument,
            error.SlabStale => .slab_stale,
            error.SlabForeign => .slab_foreign,
            error.SlabNotOwned => .slab_not_owned,
            error.ChannelClosed => .channel_closed,
            error.TooManySenders => .too_many_senders,
            error.ReceiverTaken => .receiver_taken,
            error.TicketForeign => .ticket_foreign,
            error.TicketForged => .ticket_forged,
            error.TicketUsed => .ticket_used,
            error.TicketFreed => .ticket_freed,
            error.TicketRole => .ticket_role,
            error.TooManyReceivers => .too_many_receivers,
            error.WouldBlock => .would_block,
            error.InvalidSize => .invalid_argument,
            error.Ended => .ended,
            error.Corrupt => .corrupt,
            error.TooSmall => .too_small,
            error.NoSuchNode => .no_such_node,
            error.NodeNotAllowed => .node_not_allowed,
            error.NodeOutOfMemory => .node_out_of_memory,
            error.NumaRefused => .numa_refused,
            error.NumaUnsupported => .numa_unsupported,
            error.NoSuchCpu => .no_such_cpu,
            error.CpuNotAllowed => .cpu_not_allowed,
            error.HugePagesUnavailable => .huge_pages_unavailable,
            error.ConnectionRefused => .connection_refused,
            error.NoSuchPath => .no_such_path,
            error.NotPermitted => .not_permitted,
            error.RoleRefused => .role_refused,
            error.NotASegment => .not_a_segment,
            error.WrongVersion, error.OtherVersion => .wrong_version,
            error.Truncated => .truncated,
            error.Unsealed => .unsealed,
            error.WrongLayout => .wrong_layout,
            error.NotUnderstood => .not_understood,
            error.AddressInUse => .address_in_use,
            error.PeerDied => .peer_died,
            error.TooManyDescriptors => .too_many_descriptors,
            error.SystemRefused => .system_refused,
            error.SharedMemoryRefused => .shared_memory_refused,
            error.FileSizeLimit => .file_size_limit,
        };
        return status.number();
    }

    fn number(status: Status) i32 {
        return @intFromEnum(status);
    }
};

pub const ChannelOptions = extern struct {
    /// A Kind.
    kind: u32,
    slot_bytes: u32,
    capacity: u32,
    senders_max: u32,
    receivers_max: u32,
    /// 1: messages are records of variable length in slots of 8 bytes.
    has_records: u32,
    initial_sequence: u32,
    /// 1: the time from commit to release is taken of every message.
    has_latency: u32,
    /// 1: over a memfd, which other processes can map.
    is_shared: u32,
    /// A HugePages.
    huge_pages: u32,
    /// Where what receivers write shall lie.
    place: Place,
};

/// Where memory shall lie.
pub const Place = extern struct {
    /// A placement.Mode.
    mode: u32,
    /// placement.local: the node of the calling thread.
    node: u32,

    fn request(self: Place) ?placement.Request {
        return .{ .mode = placement.Mode.fromInt(self.mode) orelse return null, .node = self.node };
    }
};

pub const EndpointInfo = extern struct {
    mailbox_address: u64,
    slot_bytes: u32,
    capacity: u32,
    senders_max: u32,
    receivers_max: u32,
    /// A sender's ring; a receiver's place among the receivers.
    index: u32,
    kind: u32,
};

fn bellsNumber(bells: channel_module.Bells) i32 {
    return @intCast(@as(u32, @bitCast(bells)));
}

/// What C calls MILLRACE_FOREVER is.
fn nanoseconds(timeout_us: u32) u64 {
    if (timeout_us == std.math.maxInt(u32)) return native.forever;
    return @as(u64, timeout_us) * std.time.ns_per_us;
}

export fn millrace_abi_version() u32 {
    return abi_version;
}

export fn millrace_channels_alive() u32 {
    return endpoint.channelCount();
}

/// Monotonic time, in milliseconds. A runtime's clock can be made to stand still, this one cannot.
export fn millrace_now_ms() f64 {
    return @as(f64, @floatFromInt(os.now())) / std.time.ns_per_ms;
}

/// Whether this process runs its program anew when a file changes.
export fn millrace_process_reloads() i32 {
    return @intFromBool(reload.isExpected());
}

/// Gives up what a handle stands for, as if this process had died.
export fn millrace_endpoint_abandon(handle: u32) i32 {
    return bellsNumber(endpoint.abandon(handle) catch |err| return Status.of(err));
}

var was_called = std.atomic.Value(bool).init(false);

/// 1 for the first call of a process.
export fn millrace_process_once() i32 {
    // Nothing else is published by it.
    return @intFromBool(!was_called.swap(true, .monotonic));
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
        .shape = .{
            .kind = Kind.fromInt(options.kind) orelse return Status.invalid_argument.number(),
            .slot_bytes = options.slot_bytes,
            .capacity = options.capacity,
            .senders_max = options.senders_max,
            .receivers_max = options.receivers_max,
            .has_latency = options.has_latency != 0,
            .is_shared = options.is_shared != 0,
            .huge_pages = segment_module.HugePages.fromInt(options.huge_pages) orelse
                return Status.invalid_argument.number(),
        },
        .has_records = options.has_records != 0,
        .initial_sequence = options.initial_sequence,
        .place = options.place.request() orelse return Status.invalid_argument.number(),
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

/// Gives the handle up: endpoints and unused tickets stay good.
export fn millrace_channel_forget(channel: u32) i32 {
    return bellsNumber(endpoint.forgetChannel(channel) catch |err| return Status.of(err));
}

/// Receivers that this thread has open, `here_max` at most; returns how many may receive elsewhere.
export fn millrace_channel_receivers(handle: u32, here: [*]u32, here_max: u32) i32 {
    const told = endpoint.receivers(handle, here[0..here_max]) catch |err| return Status.of(err);
    return @intCast(@min(told.elsewhere, std.math.maxInt(i32)));
}

/// 1: only this thread could end a blocking wait of the endpoint.
export fn millrace_endpoint_is_alone(handle: u32) i32 {
    return @intFromBool(endpoint.isAlone(handle) catch |err| return Status.of(err));
}

/// 1: armed. 0: drained already. 2: nothing was armed; in a shared segment the endpoint must be watched.
export fn millrace_channel_arm_drain(channel: u32) i32 {
    const slot = endpoint.find(channel) catch |err| return Status.of(err);
    if (slot.body != .channel) return Status.invalid_handle.number();
    return armedNumber(endpoint.armBell(slot, 0));
}

fn armedNumber(armed: channel_module.Armed) i32 {
    return @intCast(@intFromEnum(armed));
}

export fn millrace_ticket_issue(channel: u32, role: u32, ticket: *Ticket) i32 {
    const wanted = Role.fromInt(role) orelse return Status.invalid_argument.number();
    ticket.* = endpoint.issueTicket(channel, wanted) catch |err| return Status.of(err);
    return 0;
}

export fn millrace_ticket_revoke(channel: u32, ticket: *const Ticket) i32 {
    return bellsNumber(endpoint.revokeTicket(channel, ticket.*) catch |err| return Status.of(err));
}

/// The same without a handle of the channel.
export fn millrace_ticket_take_back(ticket: *const Ticket) i32 {
    return bellsNumber(endpoint.takeBackTicket(ticket.*) catch |err| return Status.of(err));
}

/// 1: the ticket has been neither used nor revoked.
export fn millrace_ticket_is_outstanding(ticket: *const Ticket) i32 {
    return @intFromBool(endpoint.isOutstanding(ticket.*) catch |err| return Status.of(err));
}

export fn millrace_endpoint_open(ticket: *const Ticket, role: u32, info: *EndpointInfo) i32 {
    return millrace_endpoint_open_at(ticket, role, &.{ .mode = 0, .node = 0 }, info);
}

export fn millrace_endpoint_open_on(channel: u32, role: u32, info: *EndpointInfo) i32 {
    return millrace_endpoint_open_on_at(channel, role, &.{ .mode = 0, .node = 0 }, info);
}

/// Opens a weak sender on the channel of an endpoint or a handle of this thread.
export fn millrace_endpoint_open_weak(handle: u32, info: *EndpointInfo) i32 {
    return describe(endpoint.openWeak(handle) catch |err| return Status.of(err), info);
}

/// The same, and says where the memory it writes shall lie.
export fn millrace_endpoint_open_at(ticket: *const Ticket, role: u32, place: *const Place, info: *EndpointInfo) i32 {
    const wanted = Role.fromInt(role) orelse return Status.invalid_argument.number();
    const request = place.request() orelse return Status.invalid_argument.number();
    return describe(endpoint.openEndpointAt(ticket.*, wanted, request) catch |err| return Status.of(err), info);
}

export fn millrace_endpoint_open_on_at(channel: u32, role: u32, place: *const Place, info: *EndpointInfo) i32 {
    const wanted = Role.fromInt(role) orelse return Status.invalid_argument.number();
    const request = place.request() orelse return Status.invalid_argument.number();
    return describe(endpoint.openDirectlyAt(channel, wanted, request) catch |err| return Status.of(err), info);
}

fn describe(slot: *endpoint.Slot, info: *EndpointInfo) i32 {
    const geometry = slot.channel.segment.geometry;
    info.* = .{
        .mailbox_address = @intFromPtr(&slot.mailbox),
        .slot_bytes = geometry.slot_bytes,
        .capacity = geometry.capacity,
        .senders_max = geometry.senders_max,
        .receivers_max = geometry.receivers_max,
        .index = slot.index(),
        .kind = @intFromEnum(geometry.kind),
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
    return @intCast(@min(endpoint.closeState(slot), std.math.maxInt(i32)));
}

/// Closes a sender, and the channel with the reason it gives; or a receiver, whose senders get it if it is
/// the last.
export fn millrace_endpoint_close_with_reason(handle: u32, reason: ?[*]const u8, reason_bytes: u32) i32 {
    const text: []const u8 = if (reason) |bytes| bytes[0..reason_bytes] else "";
    return bellsNumber(endpoint.closeWithReason(handle, text) catch |err| return Status.of(err));
}

/// Copies the reason given to close(); returns its bytes.
export fn millrace_endpoint_reason(handle: u32, buffer: [*]u8, buffer_bytes: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    return @intCast(endpoint.readReason(slot, buffer[0..buffer_bytes]));
}

export fn millrace_endpoint_statistics(handle: u32, statistics: *statistics_module.Channel) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    statistics.* = statistics_module.ofChannel(slot.channel.segment);
    return 0;
}

/// Tells of the rings that have a sender, `rings_max` at most; returns of how many.
export fn millrace_endpoint_rings(handle: u32, rings: [*]statistics_module.Ring, rings_max: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    return @intCast(statistics_module.ofRings(slot.channel.segment, rings[0..rings_max]));
}

/// 1: what the channel has measured. 0: it does not track latency.
export fn millrace_endpoint_latency(handle: u32, summary: *histogram_module.Summary) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    const segment = slot.channel.segment;
    if (!segment.geometry.has_latency) return 0;
    summary.* = segment.histogram().summary();
    return 1;
}

/// How many buckets were filled in. An endpoint whose channel does not track latency is no argument.
export fn millrace_endpoint_histogram(
    handle: u32,
    summary: *histogram_module.Summary,
    buckets: [*]histogram_module.Bucket,
    buckets_max: u32,
) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    const segment = slot.channel.segment;
    if (!segment.geometry.has_latency) return @intFromEnum(Status.invalid_argument);
    return @intCast(segment.histogram().tell(summary, buckets[0..buckets_max]));
}

/// What stands for the pages that receivers write.
const ring_shared = std.math.maxInt(u32);

/// Where a ring's pages are wanted and are, or those that receivers write.
export fn millrace_endpoint_placement(handle: u32, ring: u32, told: *placement.Placement) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    const segment = slot.channel.segment;
    if (ring == ring_shared) {
        placement.ofShared(segment, told);
    } else {
        if (ring >= segment.geometry.senders_max) return Status.invalid_argument.number();
        placement.ofRing(segment, ring, told);
    }
    // What C is told is a status.
    const refusal: placement.Refusal = @enumFromInt(told.refusal);
    told.refusal = if (refusal.toError()) |err| @bitCast(Status.of(err)) else 0;
    return 0;
}

/// Contiguous slots granted (at least `slots_min`), 0 when full. Their position is in the mailbox.
export fn millrace_sender_reserve(handle: u32, slots_min: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    if (slots_min == 0 or slots_min > sender.producer.capacity) return Status.invalid_argument.number();
    const reserved = sender.reserve(slots_min);
    switch (reserved) {
        .slots => |slots| {
            slot.mailbox.position = sender.producer.position();
            return @intCast(slots);
        },
        .full => {
            sender.countFull();
            return 0;
        },
        .closed => return closedNumber(slot),
        .corrupt => return poison(slot),
    }
}

/// What the channel is, to a sender that can send no more.
fn closedNumber(slot: *const endpoint.Slot) i32 {
    const is_poisoned = channel_module.isPoisoned(slot.channel.segment);
    return if (is_poisoned) Status.corrupt.number() else Status.channel_closed.number();
}

fn poison(slot: *const endpoint.Slot) i32 {
    _ = channel_module.poison(slot.channel.segment);
    return Status.corrupt.number();
}

/// Closes the channel of one who found what cannot be there; the caller rings every bell.
export fn millrace_endpoint_poison(handle: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    return poison(slot);
}

/// The bells to ring.
export fn millrace_sender_commit(handle: u32, slots: u32, messages: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    if (slots > sender.producer.granted) return Status.invalid_argument.number();
    return switch (sender.commit(slots, messages)) {
        .bells => |bells| bellsNumber(bells),
        .closed => closedNumber(slot),
    };
}

/// 1: there is room, or the ring is sealed. 0: what is in the way is being read.
export fn millrace_sender_force(handle: u32, slots_min: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    const is_possible = sender.segment.geometry.kind.hasManyReceivers() and slot.channel.pool == null;
    if (!is_possible or slots_min == 0 or slots_min > sender.producer.capacity) return Status.invalid_argument.number();
    const forced = sender.force(slots_min);
    slot.mailbox.bells = @bitCast(forced.bells);
    return @intFromBool(forced.has_room);
}

/// 1: there is room, or the ring is sealed. 0: the time is up.
export fn millrace_sender_wait(handle: u32, slots_min: u32, strategy: u32, timeout_us: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    const how = Strategy.fromInt(strategy) orelse return Status.invalid_argument.number();
    if (slots_min == 0 or slots_min > sender.producer.capacity) return Status.invalid_argument.number();
    return @intFromBool(sender.wait(slots_min, how, nanoseconds(timeout_us)));
}

/// 1: armed, sleep on the bell. 0: there is room, or the ring is sealed. 2: as of the channel above.
export fn millrace_sender_arm(handle: u32, slots_min: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const sender = &slot.body.sender;
    if (slots_min == 0 or slots_min > sender.producer.capacity) return Status.invalid_argument.number();
    return armedNumber(endpoint.armBell(slot, slots_min));
}

export fn millrace_sender_disarm(handle: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    endpoint.disarm(slot);
    return 0;
}

const polls_between_looks = 1 << 12;

/// Slots readable in one run, 0 when empty, `ended` when closed and drained. Ring, position and the
/// bells to ring are in the mailbox. Where receivers share the rings, at most `messages_max` messages
/// are claimed; 0 is no bound.
export fn millrace_receiver_poll(handle: u32, messages_max: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return polledNumber(slot, slot.body.receiver.poll(messages_max));
}

/// The same, and certain: 0 means that there was an instant at which every ring was empty.
export fn millrace_receiver_poll_surely(handle: u32, messages_max: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return polledNumber(slot, slot.body.receiver.pollSurely(messages_max));
}

/// The answers of a poll: positive if it would find something. Nothing is claimed where receivers share
/// the rings.
export fn millrace_receiver_look(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return polledNumber(slot, slot.body.receiver.look());
}

fn polledNumber(slot: *endpoint.Slot, polled: channel_module.Polled) i32 {
    const window = slot.body.receiver.window();
    slot.mailbox.bells = @bitCast(window.bells);
    switch (polled) {
        .window => |slots| {
            slot.mailbox.ring = window.ring;
            slot.mailbox.position = window.position;
            return @intCast(slots);
        },
        .empty => {
            // Who never sleeps has to look, too.
            slot.empty_polls +%= 1;
            if (slot.empty_polls % polls_between_looks == 0 and slot.channel.segment.geometry.is_shared) {
                channel_module.lookAround(slot.channel.segment);
            }
            return 0;
        },
        .ended => return Status.ended.number(),
        .corrupt => return Status.corrupt.number(),
    }
}

/// Lets other receivers have what this one has claimed and not released. The bells to ring.
export fn millrace_receiver_offer(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return bellsNumber(slot.body.receiver.offer());
}

/// What this receiver holds may have been seen: when it closes, others get it as what a dead one has left.
export fn millrace_receiver_mark_seen(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    slot.body.receiver.markSeen();
    return 0;
}

/// Wakes another receiver, for what this one was woken for and does not take. The bells to ring.
export fn millrace_receiver_pass_on(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return bellsNumber(slot.body.receiver.passOn());
}

/// Wakes one more receiver if there is a message that none has claimed. The bells to ring, or `ended`: there
/// is no such message, or no receiver sleeps.
export fn millrace_endpoint_wake_another(handle: u32) i32 {
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    const segment = slot.channel.segment;
    if (!segment.geometry.kind.hasManyReceivers()) return Status.ended.number();
    return bellsNumber(claims.wakeAnother(segment) orelse return Status.ended.number());
}

/// The bells to ring.
export fn millrace_receiver_release(handle: u32, slots: u32, messages: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    const receiver = &slot.body.receiver;
    if (slots > receiver.window().slots) return Status.invalid_argument.number();
    return bellsNumber(receiver.release(slots, messages));
}

/// 1: there is something to poll. 0: the time is up.
export fn millrace_receiver_wait(handle: u32, strategy: u32, timeout_us: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    const how = Strategy.fromInt(strategy) orelse return Status.invalid_argument.number();
    return @intFromBool(slot.body.receiver.wait(how, nanoseconds(timeout_us)));
}

/// The same for the first of several receivers of this thread; `bells` gets those to ring for each.
export fn millrace_receivers_wait(
    handles: [*]const u32,
    bells: [*]u32,
    count: u32,
    strategy: u32,
    timeout_us: u32,
) i32 {
    const how = Strategy.fromInt(strategy) orelse return Status.invalid_argument.number();
    if (count == 0 or count > select.receivers_max) return Status.invalid_argument.number();
    var receivers: [select.receivers_max]*select.Receiver = undefined;
    for (handles[0..count], receivers[0..count]) |handle, *receiver| {
        const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
        receiver.* = &slot.body.receiver;
    }
    return @intFromBool(select.wait(receivers[0..count], @ptrCast(bells[0..count]), how, nanoseconds(timeout_us)));
}

/// 1: armed, sleep on the bell. 0: there is something to poll. 2: as of the channel above.
export fn millrace_receiver_arm(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return armedNumber(endpoint.armBell(slot, 0));
}

/// The receiver's eventfd.
export fn millrace_receiver_event_fd(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return slot.body.receiver.eventFd() catch |err| return Status.of(err);
}

/// 1: armed, wait for the eventfd. 0: there is something to poll.
export fn millrace_receiver_arm_event_fd(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return armedNumber(endpoint.armEventFd(slot) orelse return Status.invalid_argument.number());
}

export fn millrace_receiver_disarm(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    endpoint.disarm(slot);
    return 0;
}

/// Disarms for one that will not look. The bells to ring: a wake-up on its way goes to another.
export fn millrace_receiver_give_up(handle: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    return bellsNumber(slot.body.receiver.giveUp());
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

// ---- for callers that are no JavaScript: these have bells rung by themselves ----

/// Has the bells rung that the answer of another call says; passes an error on.
export fn millrace_ring(handle: u32, answer: i32) i32 {
    if (answer < 0) return answer;
    const slot = endpoint.find(handle) catch |err| return Status.of(err);
    const bells: channel_module.Bells = @bitCast(answer);
    if (bells.receiver_index >= segment_module.receivers_max) return Status.invalid_argument.number();
    BellsOf.ring(.{ .slot = slot }, bells, releasedRing(slot));
    return 0;
}

const BellsOf = struct {
    slot: *endpoint.Slot,

    pub fn ring(self: BellsOf, bells: channel_module.Bells, ring_index: u32) void {
        self.slot.channel.ring(bells, ring_index);
    }
};

fn releasedRing(slot: *const endpoint.Slot) u32 {
    return if (slot.body == .receiver) slot.body.receiver.window().ring else 0;
}

/// Closes an endpoint, or disposes of a channel.
export fn millrace_close(handle: u32) i32 {
    endpoint.closeAndRing(handle) catch |err| return Status.of(err);
    return 0;
}

/// As millrace_endpoint_close_with_reason, and has the bells rung.
export fn millrace_close_with_reason(handle: u32, reason: ?[*]const u8, reason_bytes: u32) i32 {
    const text: []const u8 = if (reason) |bytes| bytes[0..reason_bytes] else "";
    endpoint.closeWithReasonAndRing(handle, text) catch |err| return Status.of(err);
    return 0;
}

export fn millrace_send(handle: u32, message: ?[*]const u8, message_bytes: u32, timeout_us: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    const bytes: []const u8 = if (message) |first| first[0..message_bytes] else "";
    native.send(&slot.body.sender, bytes, nanoseconds(timeout_us), BellsOf{ .slot = slot }) catch |err| return Status.of(err);
    return 0;
}

/// Messages sent.
export fn millrace_send_many(handle: u32, messages: [*]const u8, count: u32, timeout_us: u32) i32 {
    const slot = endpoint.findSender(handle) catch |err| return Status.of(err);
    if (count > std.math.maxInt(i32)) return Status.invalid_argument.number();
    const bytes = @as(u64, count) * slot.channel.segment.geometry.slot_bytes;
    const sent = native.sendMany(&slot.body.sender, messages[0..bytes], nanoseconds(timeout_us), BellsOf{ .slot = slot });
    return @intCast(sent catch |err| return Status.of(err));
}

export fn millrace_receive(handle: u32, buffer: [*]u8, buffer_bytes: u32, message_bytes: *u32, timeout_us: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    native.receive(
        &slot.body.receiver,
        slot.channel.segment,
        slot.channel.has_records,
        buffer[0..buffer_bytes],
        message_bytes,
        nanoseconds(timeout_us),
        BellsOf{ .slot = slot },
    ) catch |err| return Status.of(err);
    return 0;
}

/// Messages received.
export fn millrace_receive_many(handle: u32, buffer: [*]u8, buffer_bytes: u32, timeout_us: u32) i32 {
    const slot = endpoint.findReceiver(handle) catch |err| return Status.of(err);
    if (slot.channel.has_records) return Status.invalid_argument.number();
    const received = native.receiveMany(
        &slot.body.receiver,
        slot.channel.segment,
        buffer[0..buffer_bytes],
        nanoseconds(timeout_us),
        BellsOf{ .slot = slot },
    );
    return @intCast(received catch |err| return Status.of(err));
}

// ---- nodes and CPUs ----

/// `root`: where sysfs is; null for this machine's.
export fn millrace_numa_topology(root: ?[*:0]const u8, topology: *numa.Topology) i32 {
    numa.readTopology(if (root) |path| std.mem.span(path) else numa.root_default, topology);
    return 0;
}

/// Has the calling thread run on one CPU.
export fn millrace_thread_pin_cpu(cpu: u32) i32 {
    numa.pinToCpu(cpu) catch |err| return Status.of(err);
    return 0;
}

/// Has the calling thread run on the CPUs of one node.
export fn millrace_thread_pin_node(node: u32) i32 {
    numa.pinToNode(node, numa.root_default) catch |err| return Status.of(err);
    return 0;
}

export fn millrace_thread_unpin() i32 {
    numa.unpin() catch |err| return Status.of(err);
    return 0;
}

/// The CPU the calling thread runs on now.
export fn millrace_thread_cpu() i32 {
    const here = system.currentPlace() orelse return Status.numa_unsupported.number();
    return @intCast(here.cpu);
}

/// The node of that CPU.
export fn millrace_thread_node() i32 {
    const here = system.currentPlace() orelse return Status.numa_unsupported.number();
    return @intCast(here.node);
}

// ---- other processes ----

pub const ShareOptions = extern struct {
    /// Bit 0: senders may connect; bit 1: receivers. Of a pool: bit 2.
    roles: u32,
    /// Connections until it closes by itself; 0: as many as come.
    limit: u32,
    /// Without an address: the socket whose other end is to be let in.
    socket: i32,
    users_count: u32,
    /// Users that may connect beside this process's own.
    users: [share.users_max]u32,
};

/// A share's handle.
export fn millrace_share(
    channel: u32,
    options: *const ShareOptions,
    address: ?[*]const u8,
    address_bytes: u32,
    descriptor: ?[*]const u8,
    descriptor_bytes: u32,
) i32 {
    const roles: share.Roles = @bitCast(options.roles);
    if (options.roles == 0 or options.roles > 7 or options.users_count > share.users_max or
        descriptor_bytes > protocol.descriptor_bytes_max) return Status.invalid_argument.number();
    const described: share.Options = .{
        .roles = roles,
        .limit = options.limit,
        .users = options.users[0..options.users_count],
        .descriptor = if (descriptor) |bytes| bytes[0..descriptor_bytes] else "",
    };
    const slot = if (address_bytes == 0)
        endpoint.shareOver(channel, options.socket, described)
    else
        endpoint.shareAt(channel, if (address) |bytes| bytes[0..address_bytes] else "", described);
    return @intCast((slot catch |err| return Status.of(err)).handle.raw);
}

/// 1: it lets processes in. 0: it has come to its limit, or its channel was disposed of.
export fn millrace_share_is_open(handle: u32) i32 {
    return @intFromBool(endpoint.isShareOpen(handle) catch |err| return Status.of(err));
}

/// Endpoints that came through a share and are open.
export fn millrace_share_connections(handle: u32) i32 {
    return @intCast(endpoint.shareConnections(handle) catch |err| return Status.of(err));
}

/// Keeps the messages of a receiver that dies for the next one.
export fn millrace_channel_await_receivers(channel: u32) i32 {
    endpoint.awaitReceivers(channel) catch |err| return Status.of(err);
    return 0;
}

pub const ConnectOptions = extern struct {
    /// A Role.
    role: u32,
    /// Without an address: a socket whose other end is shared over.
    socket: i32,
    users_count: u32,
    /// Users that may be the keeper, beside this process's own and the superuser.
    users: [share.users_max]u32,
    /// Where the memory that the endpoint writes shall lie.
    place: Place,
};

/// Begins to connect; a handle for the calls below, and for millrace_endpoint_close, which gives up.
export fn millrace_connect_begin(options: *const ConnectOptions, address: ?[*]const u8, address_bytes: u32) i32 {
    const role = Role.fromInt(options.role) orelse return Status.invalid_argument.number();
    if (options.users_count > share.users_max) return Status.invalid_argument.number();
    const wanted = options.place.request() orelse return Status.invalid_argument.number();
    const place: link.Place = if (address_bytes == 0) .{ .socket = options.socket } else .{
        .address = sockets.Address.init(if (address) |bytes| bytes[0..address_bytes] else "") catch |err|
            return Status.of(err),
    };
    const slot = endpoint.beginLink(role, place, options.users[0..options.users_count]) catch |err| return Status.of(err);
    slot.body.link.wanted = wanted; // only this thread looks
    return @intCast(slot.handle.raw);
}

/// 1: the keeper has let us in. 0: no answer yet.
export fn millrace_connect_poll(connection: u32) i32 {
    return @intFromBool(endpoint.pollLink(connection) catch |err| return Status.of(err));
}

/// Copies what the keeper's program says about the values, once it has answered; its bytes.
export fn millrace_connect_descriptor(connection: u32, buffer: [*]u8, buffer_bytes: u32) i32 {
    const descriptor = endpoint.linkDescriptor(connection) catch |err| return Status.of(err);
    if (descriptor.len > buffer_bytes) return Status.too_small.number();
    @memcpy(buffer[0..descriptor.len], descriptor);
    return @intCast(descriptor.len);
}

/// Opens the endpoint; its handle.
export fn millrace_connect_finish(connection: u32, info: *EndpointInfo) i32 {
    return describeLinked(endpoint.finishLink(connection) catch |err| return Status.of(err), info);
}

/// The same, and says where instead of what the options said.
export fn millrace_connect_finish_at(connection: u32, place: *const Place, info: *EndpointInfo) i32 {
    const wanted = place.request() orelse return Status.invalid_argument.number();
    return describeLinked(endpoint.finishLinkAt(connection, wanted) catch |err| return Status.of(err), info);
}

fn describeLinked(slot: *endpoint.Slot, info: *EndpointInfo) i32 {
    return if (slot.body == .pool) describePool(slot, info) else describe(slot, info);
}

/// All of it, and waits for the answer; the endpoint's handle.
export fn millrace_connect(
    options: *const ConnectOptions,
    address: ?[*]const u8,
    address_bytes: u32,
    timeout_us: u32,
    info: *EndpointInfo,
) i32 {
    const connection = millrace_connect_begin(options, address, address_bytes);
    if (connection < 0) return connection;
    const handle = connectWithin(@intCast(connection), nanoseconds(timeout_us), info);
    if (handle < 0) _ = millrace_endpoint_close(@intCast(connection));
    return handle;
}

fn connectWithin(connection: u32, timeout_ns: u64, info: *EndpointInfo) i32 {
    const welcomed = endpoint.awaitLink(connection, timeout_ns) catch |err| return Status.of(err);
    if (!welcomed) return Status.would_block.number();
    return millrace_connect_finish(connection, info);
}

/// Two connected sockets; the second survives an exec.
export fn millrace_socket_pair(pair: *[2]i32) i32 {
    pair.* = sockets.createPair() catch |err| return Status.of(err);
    return 0;
}

/// Sends a descriptor over a Unix socket; waits for room.
export fn millrace_send_fd(socket: i32, descriptor: i32) i32 {
    sockets.sendDescriptor(socket, descriptor) catch |err| return Status.of(err);
    return 0;
}

/// Waits for a descriptor; its number here.
export fn millrace_receive_fd(socket: i32) i32 {
    return sockets.receiveDescriptor(socket) catch |err| return Status.of(err);
}

/// Closes a descriptor.
export fn millrace_close_fd(descriptor: i32) i32 {
    sockets.close(descriptor) catch |err| return Status.of(err);
    return 0;
}

// ---- the bell ringer ----

export fn millrace_ringers_alive() u32 {
    return ringer.count();
}

/// The ringer's number.
export fn millrace_ringer_create() i32 {
    return @intCast(ringer.create() catch |err| return Status.of(err));
}

/// The registration's number: how many the ringer has had.
export fn millrace_ringer_register(ringer_id: u32, channel: u32) i32 {
    return @intCast(endpoint.registerRinging(channel, ringer_id) catch |err| return Status.of(err));
}

/// Has a ringer watch what an endpoint on a shared segment sleeps on; 0: it sleeps unwatched. The
/// registration's number, as above.
export fn millrace_ringer_watch(ringer_id: u32, handle: u32) i32 {
    return @intCast(endpoint.watch(handle, ringer_id) catch |err| return Status.of(err));
}

/// 1: there are bells to ring. 0: the time is up, or there are registrations to be learnt.
export fn millrace_ringer_wait(ringer_id: u32, posts_handled: u32, timeout_us: u32, request: *ringer.Request) i32 {
    const found = ringer.wait(ringer_id, posts_handled, nanoseconds(timeout_us), request);
    return @intFromBool(found catch |err| return Status.of(err));
}

/// 1: the ringer has ended. 0: it still has channels.
export fn millrace_ringer_close(ringer_id: u32, only_if_idle: u32) i32 {
    return @intFromBool(ringer.close(ringer_id, only_if_idle != 0) catch |err| return Status.of(err));
}

// ---- the pool ----

pub const SlabPlace = extern struct { address: u64, bytes: u64 };

/// Creates a pool and opens this thread's endpoint of it. `is_shared`: over a memfd.
export fn millrace_pool_create(slab_bytes: u32, count: u32, is_shared: u32, info: *EndpointInfo) i32 {
    return describePool(endpoint.createPool(slab_bytes, count, is_shared != 0) catch |err| return Status.of(err), info);
}

/// Opens this thread's endpoint of the pool that an endpoint's channel has.
export fn millrace_pool_open_attached(handle: u32, info: *EndpointInfo) i32 {
    return describePool(endpoint.openAttached(handle) catch |err| return Status.of(err), info);
}

/// Opens this thread's endpoint of a pool, by ticket.
export fn millrace_pool_open(ticket: *const Ticket, info: *EndpointInfo) i32 {
    return describePool(endpoint.openEndpoint(ticket.*, .pool) catch |err| return Status.of(err), info);
}

fn describePool(slot: *endpoint.Slot, info: *EndpointInfo) i32 {
    const handle = describe(slot, info);
    const slabs = slot.channel.slabs.?;
    info.slot_bytes = slabs.slab_bytes;
    info.capacity = slabs.count;
    return handle;
}

/// Has large messages of a channel go through a pool.
export fn millrace_channel_attach_pool(channel: u32, handle: u32) i32 {
    endpoint.attachPool(channel, handle) catch |err| return Status.of(err);
    return 0;
}

/// Which pool of this process the endpoint is of.
export fn millrace_pool_id(handle: u32, id: *u64) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    id.* = endpoint.poolNumber(slot.channel);
    return 0;
}

/// Where a slab is.
export fn millrace_pool_slab(handle: u32, index: u32, place: *SlabPlace) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    const address = endpoint.slabAddress(slot, index) catch |err| return Status.of(err);
    place.* = .{ .address = address, .bytes = slot.channel.slabs.?.slab_bytes };
    return 0;
}

/// A free slab's index; its generation is in the mailbox. `pool_empty` when there is none.
export fn millrace_pool_alloc(handle: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    if (slot.channel.is_abandoned.load(.monotonic)) return Status.channel_closed.number();
    const slab = slot.channel.slabs.?.alloc(slot.slab_owner) orelse return Status.pool_empty.number();
    slot.mailbox.position = slab.generation;
    return @intCast(slab.index);
}

/// The bells of the pool to ring.
export fn millrace_pool_free(handle: u32, index: u32, generation: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    const wake = slot.channel.slabs.?.free(.{ .index = index, .generation = generation }, slot.slab_owner) catch |err|
        return Status.of(err);
    return bellsNumber(.of(wake, "receiver"));
}

/// Takes a slab out of use: a view of it is out of reach.
export fn millrace_pool_retire(handle: u32, index: u32, generation: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    slot.channel.slabs.?.retire(.{ .index = index, .generation = generation }, slot.slab_owner) catch |err|
        return Status.of(err);
    return 0;
}

/// Puts a slab in flight: its handle is about to be committed in slot `position` of the sender's ring.
export fn millrace_pool_stage(handle: u32, index: u32, generation: u32, sender: u32, position: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    const sender_slot = endpoint.findSender(sender) catch |err| return Status.of(err);
    const channel = sender_slot.channel;
    if (!endpoint.isSamePool(channel.pool, slot.channel)) return Status.slab_foreign.number();
    const place: pool.Place = .{
        .channel = channel.place_id,
        .ring = sender_slot.body.sender.producer.ring,
        .sequence = sender_slot.body.sender.producer.sequenceAt(position),
    };
    slot.channel.slabs.?.stage(.{ .index = index, .generation = generation }, slot.slab_owner, place) catch |err|
        return Status.of(err);
    return 0;
}

/// Takes a slab that is in flight.
export fn millrace_pool_claim(handle: u32, index: u32, generation: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    slot.channel.slabs.?.claim(.{ .index = index, .generation = generation }, slot.slab_owner) catch |err|
        return Status.of(err);
    return 0;
}

/// Frees a slab that is in flight; the bells of the pool to ring.
export fn millrace_pool_drop(handle: u32, index: u32, generation: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    const wake = slot.channel.slabs.?.drop(.{ .index = index, .generation = generation }) catch |err|
        return Status.of(err);
    return bellsNumber(.of(wake, "receiver"));
}

/// 1: a slab is free, or a channel of the pool may have closed: look. 0: the time is up.
export fn millrace_pool_wait(handle: u32, strategy: u32, timeout_us: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    const how = Strategy.fromInt(strategy) orelse return Status.invalid_argument.number();
    return @intFromBool(slot.channel.slabs.?.wait(how, nanoseconds(timeout_us)));
}

/// 1: armed, sleep on the pool's bell. 0: a slab is free. 2: unwatched, see millrace_ringer_watch.
export fn millrace_pool_arm(handle: u32) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    return armedNumber(endpoint.armBell(slot, 0));
}

export fn millrace_pool_statistics(handle: u32, statistics: *pool.Statistics) i32 {
    const slot = endpoint.findPool(handle) catch |err| return Status.of(err);
    statistics.* = slot.channel.slabs.?.statistics();
    return 0;
}
