//! Links: this process's connections to keepers of channels. One link is one endpoint.
//!
//! A link begins as a question (hello) that the attendant waits for the answer to; whoever asked polls, or
//! sleeps until `state` changes. With the answer comes the memory, which is attached to on the thread
//! that asked, with nothing taken on trust. From then on the link tells of one thing: the keeper's end.
//! Then nobody is left who could let a sender in or give a dead one's ring back, so the channel is
//! closed, by every process that sees it, and what was committed is received to the end.
//!
//! All of it runs under the mutex of endpoint.zig, but for the wait of await().

const std = @import("std");
const attendant = @import("attendant.zig");
const channel_module = @import("channel.zig");
const endpoint = @import("endpoint.zig");
const os = @import("os/linux.zig");
const placement = @import("placement.zig");
const protocol = @import("protocol.zig");
const segment_module = @import("segment.zig");
const sockets = @import("os/sockets.zig");
const Role = @import("ticket.zig").Role;
const Watched = @import("share.zig").Watched;
const Channel = endpoint.Channel;

const allocator = std.heap.c_allocator;

pub const Error = sockets.Error || protocol.Error || channel_module.OpenError || error{
    /// The keeper does not offer the role.
    RoleRefused,
};

pub const State = enum(u32) {
    /// There is no connection yet.
    begun = 0,
    /// Hello was said.
    asked = 1,
    welcomed = 2,
    failed = 3,
    /// An endpoint stands on it.
    open = 4,
    /// The keeper is gone.
    ended = 5,
};

pub const Which = enum(u1) { own = 0, of_pool = 1 };

pub const Place = union(enum) { address: sockets.Address, socket: i32 };

pub const Link = struct {
    channel: *Channel,
    role: Role,
    /// A State; also a futex word.
    state: std.atomic.Value(u32) = .init(@intFromEnum(State.begun)),
    failure: Error = error.PeerDied,
    address: ?sockets.Address,
    /// Keepers of these users are trusted beside this process's own, and the superuser's.
    users: []const u32,
    socket: i32,
    watched: ?Watched = null,
    process: ?Watched = null,
    welcome: protocol.Welcome = .{},
    /// What the keeper says about the channel's values.
    descriptor: []u8 = "",
    /// That of the channel, or pool, and that of the channel's pool; those that are not taken yet.
    memories: [sockets.descriptors_max]?i32 = @splat(null),
    /// Where the memory that the endpoint writes shall lie.
    wanted: placement.Request = .{},
    /// Its end is to look like a death.
    is_silent: bool = false,
    /// Messages of this size and no other are looked for.
    slot_bytes: ?u32 = null,

    /// Takes the socket, if one is given, unless it fails.
    pub fn begin(
        channel: *Channel,
        role: Role,
        place: Place,
        users: []const u32,
    ) Error!*Link {
        const kept = try allocator.dupe(u32, users);
        errdefer allocator.free(kept);
        const self = try allocator.create(Link);
        errdefer allocator.destroy(self);
        self.* = .{ .channel = channel, .role = role, .users = kept, .address = null, .socket = -1 };
        switch (place) {
            .address => |address| {
                self.address = address;
                self.socket = try sockets.createSocket();
                errdefer os.closeDescriptor(self.socket);
                sockets.askForCredentials(self.socket);
                try self.advance();
            },
            .socket => |socket| {
                try sockets.adopt(socket);
                self.socket = socket;
                try self.ask();
            },
        }
        return self;
    }

    pub fn stateNow(self: *const Link) State {
        return @enumFromInt(self.state.load(.acquire));
    }

    fn become(self: *Link, state: State) void {
        // Release: what led to it is seen by who sees it.
        self.state.store(@intFromEnum(state), .release);
        os.futexWake(&self.state, std.math.maxInt(i32));
    }

    /// Connects, if that is still to be done.
    pub fn advance(self: *Link) Error!void {
        if (self.stateNow() != .begun) return;
        if (!try sockets.connectTo(self.socket, &self.address.?)) return;
        const user = sockets.peerUser(self.socket);
        if (user == null or !self.trusts(user.?)) return error.NotPermitted;
        return self.ask();
    }

    fn trusts(self: *const Link, user: u32) bool {
        if (user == 0 or user == sockets.ownCredentials().uid) return true;
        return std.mem.indexOfScalar(u32, self.users, user) != null;
    }

    fn ask(self: *Link) Error!void {
        const hello: protocol.Hello = .{ .role = @intFromEnum(self.role) };
        sockets.send(self.socket, std.mem.asBytes(&hello), &.{}) catch |err| switch (err) {
            error.PeerDied => {}, // it may have said why
            else => return err,
        };
        self.watched = .{ .fd = self.socket, .token = try attendant.watch(self.socket, self, onSocket) };
        self.become(.asked);
    }

    fn fail(self: *Link, why: Error) void {
        self.failure = why;
        self.unwatch();
        self.become(.failed);
    }

    fn unwatch(self: *Link) void {
        if (self.watched) |watched| attendant.unwatch(watched.token);
        self.watched = null;
        if (self.process) |process| process.close();
        self.process = null;
    }

    fn onSocket(self: *Link, _: attendant.Happening) void {
        if (self.stateNow() == .asked) return self.hear();
        // A keeper has nothing more to say: this is its end, or nonsense.
        var byte: [1]u8 = undefined;
        if (sockets.receive(self.socket, &byte) catch null) |said| {
            var received = said;
            received.drop();
        } else if (!sockets.hasHungUp(self.socket)) return;
        self.end();
    }

    fn onProcess(self: *Link, _: attendant.Happening) void {
        if (self.stateNow() == .asked) return self.hear();
        self.end();
        self.unwatch();
        // Not before: the connection may end before the keeper's other sockets do.
        if (self.address) |*address| sockets.removeAbandoned(address);
    }

    fn hear(self: *Link) void {
        var buffer: [protocol.welcome_bytes_max + 1]u8 = undefined;
        var received = (sockets.receive(self.socket, &buffer) catch |err| return self.fail(err)) orelse {
            if (sockets.hasHungUp(self.socket)) self.fail(error.PeerDied);
            return;
        };
        defer received.drop();
        self.understand(buffer[0..@min(received.bytes, buffer.len)], &received) catch |err| self.fail(err);
    }

    fn understand(self: *Link, message: []const u8, received: *sockets.Received) Error!void {
        const welcome = try protocol.read(protocol.Welcome, message);
        try checkRefusal(@enumFromInt(welcome.refusal));
        const descriptor = message[@sizeOf(protocol.Welcome)..];
        if (welcome.role != @intFromEnum(self.role) or welcome.has_records > 1) return error.NotUnderstood;
        if (descriptor.len != welcome.descriptor_bytes or descriptor.len > protocol.descriptor_bytes_max) {
            return error.NotUnderstood;
        }
        const sender = received.sender orelse return error.NotPermitted;
        if (!self.trusts(sender.uid)) return error.NotPermitted;
        if (received.lacks_descriptors) return error.TooManyDescriptors;
        const memory = received.takeDescriptor(0) orelse return error.NotUnderstood;
        errdefer os.closeDescriptor(memory);
        const pool = received.takeDescriptor(0);
        errdefer if (pool) |opened| os.closeDescriptor(opened);
        const copy = try allocator.dupe(u8, descriptor);
        errdefer allocator.free(copy);
        try self.watchProcess(received.takePidfd(), sender.pid);
        self.memories = .{ memory, pool };
        self.descriptor = copy;
        self.welcome = welcome;
        self.become(.welcomed);
    }

    fn watchProcess(self: *Link, given: ?i32, pid: i32) Error!void {
        const fd = given orelse try sockets.openPidfd(self.socket, pid) orelse return;
        errdefer os.closeDescriptor(fd);
        self.process = .{ .fd = fd, .token = try attendant.watch(fd, self, onProcess) };
    }

    /// Memory that came with the welcome: the channel's, or pool's, and that of the channel's pool.
    /// Whoever takes it closes it.
    pub fn takeMemory(self: *Link, which: Which) ?i32 {
        defer self.memories[@intFromEnum(which)] = null;
        return self.memories[@intFromEnum(which)];
    }

    /// The channel is attached to, and an endpoint stands on the link.
    pub fn open(self: *Link) void {
        self.become(.open);
    }

    /// The keeper is gone.
    fn end(self: *Link) void {
        if (self.stateNow() == .ended) return;
        if (self.stateNow() != .open) return self.fail(error.PeerDied);
        if (self.watched) |watched| attendant.unwatch(watched.token);
        self.watched = null;
        self.become(.ended);
        const channel = self.channel;
        if (self.role == .pool) return endpoint.abandonPool(channel);
        _ = channel_module.close(channel.segment, .peer_died, .cannot_ring);
        // It may have died between taking an arm and waking who had armed.
        channel_module.wakeEveryone(channel.segment);
        endpoint.tellSleepers(channel);
        if (channel.pool) |pool| endpoint.abandonPool(pool);
    }

    /// Says that the endpoint is closed, and why if there is a reason: the keeper gives back what it had.
    /// False: there is no keeper.
    pub fn sayBye(self: *Link, reason: []const u8) bool {
        if (self.stateNow() != .open) return false;
        if (self.is_silent) return true;
        // What cannot be said the end of the connection tells.
        self.tell(.{}, reason[0..@min(reason.len, segment_module.reason_bytes_max)]);
        return true;
    }

    fn tell(self: *Link, bye: protocol.Bye, reason: []const u8) void {
        var message: [protocol.bye_bytes_max]u8 = undefined;
        var head = bye;
        head.reason_bytes = @intCast(reason.len);
        @memcpy(message[0..@sizeOf(protocol.Bye)], std.mem.asBytes(&head));
        @memcpy(message[@sizeOf(protocol.Bye)..][0..reason.len], reason);
        sockets.send(self.socket, message[0 .. @sizeOf(protocol.Bye) + reason.len], &.{}) catch {};
    }

    pub fn destroy(self: *Link) void {
        self.unwatch();
        if (self.stateNow() == .welcomed) self.tell(.{ .has_declined = 1 }, "");
        os.closeDescriptor(self.socket);
        for (self.memories) |memory| if (memory) |opened| os.closeDescriptor(opened);
        if (self.descriptor.len != 0) allocator.free(self.descriptor);
        allocator.free(self.users);
        allocator.destroy(self);
    }
};

fn checkRefusal(refusal: protocol.Refusal) Error!void {
    return switch (refusal) {
        .none => {},
        .not_permitted => error.NotPermitted,
        .role_refused => error.RoleRefused,
        .channel_closed => error.ChannelClosed,
        .too_many_senders => error.TooManySenders,
        .too_many_receivers => error.TooManyReceivers,
        .receiver_taken => error.ReceiverTaken,
        .out_of_memory => error.OutOfMemory,
        .not_understood => error.OtherVersion,
        .too_many_descriptors => error.TooManyDescriptors,
        _ => error.NotUnderstood,
    };
}
