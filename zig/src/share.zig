//! Shares: how the keeper of a channel lets other processes in, and what it does when they go.
//!
//! A share listens on a socket, or has one end of a pair whose other end a child inherits. A process that
//! connects says what it wants to be; the keeper claims that for it (proxy.zig) and answers with the
//! descriptor of the memory. From then on the connection carries nothing but its end. While it is open, a
//! share counts as a ticket for each role it offers, so that the channel does not end between two
//! producers.
//!
//! All of it runs under the mutex of endpoint.zig: on the thread that shares and closes, and on the
//! attendant, which waits for nothing here. A peer that says nothing, or does not read, costs one
//! descriptor until its time is up.

const std = @import("std");
const attendant = @import("attendant.zig");
const endpoint = @import("endpoint.zig");
const os = @import("os/linux.zig");
const protocol = @import("protocol.zig");
const sockets = @import("os/sockets.zig");
const channel_module = @import("channel.zig");
const Owner = @import("proxy.zig").Owner;
const Proxy = @import("proxy.zig").Proxy;
const Role = @import("ticket.zig").Role;
const Channel = endpoint.Channel;

const allocator = std.heap.c_allocator;

/// Users that may connect beside this process's own.
pub const users_max = 32;
/// Peers that have connected and said nothing yet; the oldest goes when there is another.
const strangers_max = 256;
/// How long a peer may take to say hello.
const hello_time_ns = 5 * std.time.ns_per_s;
/// How long a listener rests when there is no descriptor for who connects.
const rest_ns = 100 * std.time.ns_per_ms;

pub const Roles = packed struct(u32) {
    senders: bool = false,
    receivers: bool = false,
    /// Of a pool, which offers nothing else.
    pools: bool = false,
    _: u29 = 0,

    fn has(self: Roles, role: Role) bool {
        return switch (role) {
            .sender => self.senders,
            .receiver => self.receivers,
            .pool => self.pools,
        };
    }
};

pub const Options = struct {
    roles: Roles,
    /// Connections until it closes by itself; 0: as many as come.
    limit: u32 = 0,
    users: []const u32 = &.{},
    /// What the program says about its values.
    descriptor: []const u8 = "",
};

pub const Share = struct {
    channel: *Channel,
    options: Options,
    /// What listens; none once closed, and none of a pair.
    listener: ?sockets.Listener = null,
    token: u64 = 0,
    is_pair: bool = false,
    /// Connections it may still take.
    left: u32,
    peers: std.DoublyLinkedList = .{},
    strangers: u32 = 0,
    /// What the program has of it.
    handle: u32 = 0,
    /// The handle it was opened by, and ends with.
    opener: u32 = 0,
    /// In the list of the channel.
    listed: std.DoublyLinkedList.Node = .{},
    /// Endpoints that came through it and are open.
    connections: u32 = 0,
    user: u32,

    /// Makes a share of a socket that listens. Takes it, unless it fails.
    pub fn listen(channel: *Channel, listener: sockets.Listener, options: Options) sockets.Error!*Share {
        const self = try create(channel, options);
        errdefer self.forget();
        self.token = try attendant.watch(listener.fd, self, onListener);
        self.listener = listener;
        return self;
    }

    /// Makes a share of a socket that is connected already. Takes the descriptor, unless it fails.
    pub fn over(channel: *Channel, fd: i32, options: Options) sockets.Error!*Share {
        try sockets.adopt(fd);
        const self = try create(channel, options);
        errdefer self.forget();
        self.left = 1;
        self.is_pair = true;
        try Peer.create(self, fd);
        return self;
    }

    fn create(channel: *Channel, options: Options) error{OutOfMemory}!*Share {
        const users = try allocator.dupe(u32, options.users);
        errdefer allocator.free(users);
        const descriptor = try allocator.dupe(u8, options.descriptor);
        errdefer allocator.free(descriptor);
        const self = try allocator.create(Share);
        self.* = .{
            .channel = channel,
            .options = .{ .roles = options.roles, .users = users, .descriptor = descriptor },
            .left = if (options.limit == 0) std.math.maxInt(u32) else options.limit,
            .user = sockets.ownCredentials().uid,
        };
        channel.shares.append(&self.listed);
        return self;
    }

    /// It never was: nobody has had a chance to come. Gives the socket back.
    fn forget(self: *Share) void {
        self.channel.shares.remove(&self.listed);
        self.free();
    }

    /// The same when it has been made.
    pub fn takeBack(self: *Share) void {
        if (self.listener != null) attendant.unwatch(self.token);
        while (self.peers.popFirst()) |node| {
            const peer: *Peer = @fieldParentPtr("listed", node);
            attendant.unwatch(peer.socket.token);
            allocator.destroy(peer);
        }
        self.forget();
    }

    pub fn isOpen(self: *const Share) bool {
        return self.left != 0;
    }

    /// Takes nobody in any more. Who is connected stays.
    pub fn close(self: *Share) void {
        if (!self.isOpen()) return;
        self.left = 0;
        if (self.listener) |listener| {
            // The file first: who finds it could connect.
            listener.removeFile();
            attendant.unwatch(self.token);
            os.closeDescriptor(listener.fd);
            self.listener = null;
        }
        var next = self.peers.first;
        while (next) |node| {
            next = node.next;
            const peer: *Peer = @fieldParentPtr("listed", node);
            if (peer.role == null) peer.drop(.died);
        }
        endpoint.uncountShare(self.channel, self.options.roles);
    }

    /// The handle is gone: who is still connected does without it.
    pub fn destroy(self: *Share) void {
        self.close();
        self.channel.shares.remove(&self.listed);
        while (self.peers.popFirst()) |node| {
            const peer: *Peer = @fieldParentPtr("listed", node);
            peer.share = null;
        }
        self.free();
    }

    /// Ends the connections that came by it, as the death of this process would.
    pub fn dropPeers(self: *Share) void {
        while (self.peers.first) |node| {
            const peer: *Peer = @fieldParentPtr("listed", node);
            peer.drop(.died); // takes it out of the list
        }
    }

    fn free(self: *Share) void {
        allocator.free(self.options.users);
        allocator.free(self.options.descriptor);
        allocator.destroy(self);
    }

    fn admits(self: *const Share, user: u32) bool {
        if (user == self.user) return true;
        return std.mem.indexOfScalar(u32, self.options.users, user) != null;
    }

    fn onListener(self: *Share, happening: attendant.Happening) void {
        const listener = self.listener orelse return;
        if (happening == .late) {
            if (!attendant.resumeWatch(self.token)) attendant.setDeadline(self.token, rest_ns);
            return;
        }
        // A bounded number at a time: others wait for the attendant as well.
        for (0..64) |_| {
            const fd = sockets.accept(listener.fd) catch |err| {
                if (err == error.TooManyDescriptors) switch (attendant.lend(listener.fd, turnAway)) {
                    .done => continue,
                    .nothing_to_do => return,
                    .in_vain => {},
                };
                // It would tell us again at once.
                attendant.pauseWatch(self.token);
                attendant.setDeadline(self.token, rest_ns);
                return;
            } orelse return;
            self.greet(fd);
        }
    }

    /// There is no descriptor for who connects, but for this moment: it is told so.
    fn turnAway(listener: i32) attendant.Lent {
        const fd = (sockets.accept(listener) catch return .in_vain) orelse return .nothing_to_do;
        refuse(fd, .too_many_descriptors);
        os.closeDescriptor(fd);
        return .done;
    }

    fn greet(self: *Share, fd: i32) void {
        const user = sockets.peerUser(fd);
        if (user == null or !self.admits(user.?)) {
            refuse(fd, .not_permitted);
            return os.closeDescriptor(fd);
        }
        sockets.askForCredentials(fd);
        if (self.strangers >= strangers_max) self.dropOldestStranger();
        Peer.create(self, fd) catch os.closeDescriptor(fd);
    }

    fn dropOldestStranger(self: *Share) void {
        var next = self.peers.first;
        while (next) |node| : (next = node.next) {
            const peer: *Peer = @fieldParentPtr("listed", node);
            if (peer.role == null) return peer.drop(.died);
        }
    }
};

fn refuse(fd: i32, why: protocol.Refusal) void {
    const answer: protocol.Welcome = .{ .refusal = @intFromEnum(why) };
    sockets.send(fd, std.mem.asBytes(&answer), &.{}) catch {};
}

/// A descriptor that the attendant watches.
pub const Watched = struct {
    fd: i32,
    token: u64,

    pub fn close(self: Watched) void {
        attendant.unwatch(self.token);
        os.closeDescriptor(self.fd);
    }
};

/// More than a peer ever says, so that what is longer shows.
const words_bytes_max = @max(@sizeOf(protocol.Hello), protocol.bye_bytes_max) + 1;

/// A connection, as the keeper has it.
const Peer = struct {
    /// Null when it is gone.
    share: ?*Share,
    socket: Watched,
    /// Readable when the process is gone, whoever else has its end of the socket.
    process: ?Watched = null,
    /// What it has asked for and got; null before it has said hello.
    role: ?Role = null,
    /// What was claimed for it, until it is closed; null for a pool.
    proxy: ?Proxy = null,
    /// As what it owns slabs, if there is a pool, until the connection ends.
    owner: ?Owner = null,
    listed: std.DoublyLinkedList.Node = .{},

    /// Takes the descriptor, unless it fails.
    fn create(share: *Share, fd: i32) sockets.Error!void {
        const self = try allocator.create(Peer);
        errdefer allocator.destroy(self);
        self.* = .{ .share = share, .socket = .{ .fd = fd, .token = try attendant.watch(fd, self, onSocket) } };
        share.peers.append(&self.listed);
        share.strangers += 1;
        // A child may take as long as it likes to start.
        if (!share.is_pair) attendant.setDeadline(self.socket.token, hello_time_ns);
    }

    fn onSocket(self: *Peer, happening: attendant.Happening) void {
        if (happening == .late) return self.drop(.died);
        var buffer: [words_bytes_max]u8 = undefined;
        var received = (sockets.receive(self.socket.fd, &buffer) catch return self.drop(.died)) orelse {
            // An end without an end of file: the other side is gone, or shut its half.
            if (sockets.hasHungUp(self.socket.fd)) self.drop(.died);
            return;
        };
        defer received.drop();
        const message = buffer[0..@min(received.bytes, buffer.len)];
        if (self.role == null) return self.hear(message, &received);
        // Anything but a farewell is nonsense from here on.
        const farewell = protocol.farewellOf(message);
        // The slabs it has received may still be in use.
        if (farewell.how == .closed and self.proxy != null and self.owner != null) return self.closeProxy(farewell);
        self.dropWith(farewell);
    }

    fn onProcess(self: *Peer, _: attendant.Happening) void {
        // Its last words may still be under way in the socket.
        var buffer: [words_bytes_max]u8 = undefined;
        var received = (sockets.receive(self.socket.fd, &buffer) catch null) orelse return self.drop(.died);
        received.drop();
        self.dropWith(protocol.farewellOf(buffer[0..@min(received.bytes, buffer.len)]));
    }

    fn hear(self: *Peer, message: []const u8, received: *sockets.Received) void {
        const hello = protocol.read(protocol.Hello, message) catch return self.sendAway(.not_understood);
        const share = self.share.?; // closing one drops its strangers
        // Of a pair the socket itself knows only who made it.
        const sender = received.sender orelse return self.sendAway(.not_permitted);
        if (!share.admits(sender.uid)) return self.sendAway(.not_permitted);
        const role = Role.fromInt(hello.role) orelse return self.sendAway(.not_understood);
        if (!share.options.roles.has(role)) return self.sendAway(.role_refused);
        if (received.lacks_descriptors) return self.sendAway(.too_many_descriptors);
        self.watchProcess(received.takePidfd(), sender.pid) catch |err| switch (err) {
            error.TooManyDescriptors => return self.sendAway(.too_many_descriptors),
            else => return self.drop(.died),
        };
        self.claim(share.channel, role) catch |err| return self.sendAway(switch (err) {
            error.ChannelClosed => .channel_closed,
            error.TooManySenders => .too_many_senders,
            error.TooManyReceivers => .too_many_receivers,
            error.ReceiverTaken => .receiver_taken,
            error.OutOfMemory => .out_of_memory,
        });
        self.role = role;
        share.strangers -= 1;
        share.connections += 1;
        attendant.setDeadline(self.socket.token, null);
        self.welcome(share, role) catch return self.drop(.died);
        share.left -= 1;
        if (share.left == 0) {
            share.left = 1; // close() wants it open
            share.close();
        }
    }

    fn claim(self: *Peer, channel: *Channel, role: Role) (channel_module.OpenError || error{OutOfMemory})!void {
        if (if (role == .pool) channel else channel.pool) |pool| self.owner = try .open(pool);
        errdefer self.closeOwner();
        if (role != .pool) self.proxy = try .open(channel, role);
    }

    fn watchProcess(self: *Peer, given: ?i32, pid: i32) sockets.Error!void {
        const fd = given orelse try sockets.openPidfd(self.socket.fd, pid) orelse return;
        errdefer os.closeDescriptor(fd);
        self.process = .{ .fd = fd, .token = try attendant.watch(fd, self, onProcess) };
    }

    fn welcome(self: *Peer, share: *Share, role: Role) sockets.Error!void {
        const channel = share.channel;
        var message: [protocol.welcome_bytes_max]u8 = undefined;
        const head: protocol.Welcome = .{
            .role = @intFromEnum(role),
            .index = if (self.proxy) |proxy| proxy.index else 0,
            .has_records = @intFromBool(channel.has_records),
            .descriptor_bytes = @intCast(share.options.descriptor.len),
            .owner = if (self.owner) |owner| owner.number else 0,
            .channel = channel.place_id,
        };
        @memcpy(message[0..@sizeOf(protocol.Welcome)], std.mem.asBytes(&head));
        const descriptor = message[@sizeOf(protocol.Welcome)..][0..share.options.descriptor.len];
        @memcpy(descriptor, share.options.descriptor);
        const length = @sizeOf(protocol.Welcome) + descriptor.len;
        const memories = [_]i32{ channel.segment.fd.?, if (channel.pool) |pool| pool.segment.fd.? else -1 };
        return sockets.send(self.socket.fd, message[0..length], memories[0..if (channel.pool == null) 1 else 2]);
    }

    fn sendAway(self: *Peer, why: protocol.Refusal) void {
        refuse(self.socket.fd, why);
        self.drop(.died);
    }

    /// The end of what was claimed for it.
    fn closeProxy(self: *Peer, farewell: protocol.Farewell) void {
        const proxy = self.proxy orelse return;
        self.proxy = null;
        if (self.share) |share| share.connections -= 1;
        proxy.close(farewell);
    }

    fn closeOwner(self: *Peer) void {
        const owner = self.owner orelse return;
        self.owner = null;
        owner.close();
    }

    fn drop(self: *Peer, how: protocol.End) void {
        self.dropWith(.{ .how = how });
    }

    /// The end of a connection, and of everything that came by it.
    fn dropWith(self: *Peer, farewell: protocol.Farewell) void {
        self.socket.close();
        if (self.process) |process| process.close();
        if (self.share) |share| {
            share.peers.remove(&self.listed);
            if (self.role == null) share.strangers -= 1;
            if (self.role == .pool) share.connections -= 1;
            // The one end of a pair is all that such a share has.
            if (self.role == null and share.is_pair) share.close();
        }
        self.closeProxy(farewell);
        self.closeOwner();
        allocator.destroy(self);
    }
};
