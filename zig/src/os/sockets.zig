//! What the connections between processes ask of Linux: Unix sockets that keep messages apart,
//! descriptors and credentials that travel along with a message, pidfds and epoll.
//!
//! Every descriptor made here is close-on-exec and no call waits, but for the two that say so.

const std = @import("std");
const os = @import("linux.zig");
const linux = std.os.linux;

pub const path_bytes_max = 107;
pub const descriptors_max = 2;

/// What a process may be refused for, and what can fail.
pub const Error = error{
    NoSuchPath,
    /// Nobody listens there.
    ConnectionRefused,
    /// The system, or the other side's list of users, does not let this user in.
    NotPermitted,
    AddressInUse,
    TooManyDescriptors,
    OutOfMemory,
    /// It is no socket that keeps messages apart, or the address cannot be.
    InvalidArgument,
    /// The other side is gone.
    PeerDied,
    /// Anything else the system says.
    SystemRefused,
};

fn errorOf(errno: linux.E) Error {
    return switch (errno) {
        .NOENT, .NOTDIR => error.NoSuchPath,
        // A socket of another kind: nobody listens there for ours.
        .CONNREFUSED, .PROTOTYPE => error.ConnectionRefused,
        .ACCES, .PERM, .ROFS => error.NotPermitted,
        .ADDRINUSE => error.AddressInUse,
        .MFILE, .NFILE, .TOOMANYREFS => error.TooManyDescriptors,
        .NOMEM, .NOBUFS => error.OutOfMemory,
        .BADF, .NOTSOCK, .INVAL, .NAMETOOLONG, .OPNOTSUPP, .ISCONN, .LOOP => error.InvalidArgument,
        .PIPE, .CONNRESET, .NOTCONN => error.PeerDied,
        else => error.SystemRefused,
    };
}

/// The credentials of a process: `struct ucred`.
pub const Credentials = extern struct { pid: i32, uid: u32, gid: u32 };

pub fn ownCredentials() Credentials {
    return .{ .pid = linux.getpid(), .uid = linux.geteuid(), .gid = linux.getegid() };
}

/// Where a process listens: a path, or, where the name begins with '@', a name in no directory.
pub const Address = struct {
    bytes: [path_bytes_max]u8 = undefined,
    length: u8,

    pub fn init(name: []const u8) error{InvalidArgument}!Address {
        if (name.len == 0 or name.len > path_bytes_max) return error.InvalidArgument;
        if (std.mem.indexOfScalar(u8, name, 0) != null) return error.InvalidArgument;
        if (name[0] == '@' and name.len == 1) return error.InvalidArgument;
        var self: Address = .{ .length = @intCast(name.len) };
        @memcpy(self.bytes[0..name.len], name);
        return self;
    }

    pub fn isAbstract(self: *const Address) bool {
        return self.bytes[0] == '@';
    }

    pub fn slice(self: *const Address) []const u8 {
        return self.bytes[0..self.length];
    }

    const Raw = struct { address: linux.sockaddr.un, length: linux.socklen_t };

    fn raw(self: *const Address) Raw {
        var address: linux.sockaddr.un = .{ .path = @splat(0) };
        @memcpy(address.path[0..self.length], self.slice());
        if (self.isAbstract()) address.path[0] = 0;
        // A path ends with its zero; of an abstract name every byte counts.
        const length = @offsetOf(linux.sockaddr.un, "path") + @as(u32, self.length) + @intFromBool(!self.isAbstract());
        return .{ .address = address, .length = length };
    }

    fn path(self: *const Address, buffer: *[path_bytes_max + 1]u8) [*:0]const u8 {
        @memcpy(buffer[0..self.length], self.slice());
        buffer[self.length] = 0;
        return @ptrCast(buffer);
    }
};

const socket_type = linux.SOCK.SEQPACKET | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;

pub fn createSocket() Error!i32 {
    const result = linux.socket(linux.AF.UNIX, socket_type, 0);
    return switch (linux.errno(result)) {
        .SUCCESS => @intCast(result),
        else => |errno| errorOf(errno),
    };
}

/// Two sockets that are connected with each other. The second one survives an exec: it is for a child.
pub fn createPair() Error![2]i32 {
    var pair: [2]i32 = undefined;
    const result = linux.socketpair(linux.AF.UNIX, linux.SOCK.SEQPACKET | linux.SOCK.CLOEXEC, 0, &pair);
    if (linux.errno(result) != .SUCCESS) return errorOf(linux.errno(result));
    askForCredentials(pair[0]);
    askForCredentials(pair[1]);
    _ = linux.fcntl(pair[1], linux.F.SETFD, 0);
    return pair;
}

/// Makes a descriptor a program handed over one as createSocket() makes them.
pub fn adopt(fd: i32) Error!void {
    var kind: u32 = 0;
    var length: linux.socklen_t = @sizeOf(u32);
    const result = linux.getsockopt(fd, linux.SOL.SOCKET, linux.SO.TYPE, @ptrCast(&kind), &length);
    if (linux.errno(result) != .SUCCESS) return errorOf(linux.errno(result));
    var domain: u32 = 0;
    _ = linux.getsockopt(fd, linux.SOL.SOCKET, linux.SO.DOMAIN, @ptrCast(&domain), &length);
    if (kind != linux.SOCK.SEQPACKET or domain != linux.AF.UNIX) return error.InvalidArgument;
    _ = linux.fcntl(fd, linux.F.SETFD, linux.FD_CLOEXEC);
    const flags = linux.fcntl(fd, linux.F.GETFL, 0);
    const nonblocking: usize = @as(u32, @bitCast(linux.O{ .NONBLOCK = true }));
    _ = linux.fcntl(fd, linux.F.SETFL, flags | nonblocking);
    askForCredentials(fd);
}

const so_passpidfd = 76;

/// Has the kernel tell with every message which process sent it, and give a pidfd of it where it can
/// (Linux 6.5).
pub fn askForCredentials(fd: i32) void {
    const yes: u32 = 1;
    _ = linux.setsockopt(fd, linux.SOL.SOCKET, linux.SO.PASSCRED, @ptrCast(&yes), @sizeOf(u32));
    _ = linux.setsockopt(fd, linux.SOL.SOCKET, so_passpidfd, @ptrCast(&yes), @sizeOf(u32));
}

/// The user at the other end, as it was when that end connected or began to listen.
pub fn peerUser(fd: i32) ?u32 {
    var credentials: Credentials = undefined;
    var length: linux.socklen_t = @sizeOf(Credentials);
    const result = linux.getsockopt(fd, linux.SOL.SOCKET, linux.SO.PEERCRED, @ptrCast(&credentials), &length);
    return if (linux.errno(result) == .SUCCESS) credentials.uid else null;
}

// ---- listening and connecting ----

const backlog = 4096;

/// A socket that listens, and which file it has.
pub const Listener = struct {
    fd: i32,
    address: Address,
    file: ?Identity,

    /// Removes the file, unless another has taken its place.
    pub fn removeFile(self: *const Listener) void {
        const file = self.file orelse return;
        var buffer: [path_bytes_max + 1]u8 = undefined;
        const path = self.address.path(&buffer);
        const found = Identity.of(path) orelse return;
        if (std.meta.eql(file, found)) _ = linux.unlink(path);
    }
};

const Identity = struct {
    device: [2]u32,
    inode: u64,

    fn of(path: [*:0]const u8) ?Identity {
        var status: linux.Statx = undefined;
        const found = linux.statx(linux.AT.FDCWD, path, linux.AT.SYMLINK_NOFOLLOW, .{ .INO = true }, &status);
        if (linux.errno(found) != .SUCCESS) return null;
        return .{ .device = .{ status.dev_major, status.dev_minor }, .inode = status.ino };
    }
};

/// Listens at an address, with a socket file of this mode. A file whose keeper is gone is replaced. May
/// wait a tenth of a second.
pub fn listenAt(address: Address, mode: u16) Error!Listener {
    const fd = try createSocket();
    errdefer os.closeDescriptor(fd);
    askForCredentials(fd); // what is accepted inherits it
    // The mode of the socket is that of its file, less the umask: nobody can come in between.
    _ = linux.fchmod(fd, mode);
    const lock = if (address.isAbstract()) null else lockDirectoryOf(&address, 100);
    defer if (lock) |directory| os.closeDescriptor(directory);
    bindTo(fd, &address) catch |err| {
        if (err != error.AddressInUse or !removeStale(&address)) return err;
        try bindTo(fd, &address);
    };
    var listener: Listener = .{ .fd = fd, .address = address, .file = null };
    var buffer: [path_bytes_max + 1]u8 = undefined;
    if (!address.isAbstract()) listener.file = Identity.of(address.path(&buffer));
    const result = linux.listen(fd, backlog);
    if (linux.errno(result) == .SUCCESS) return listener;
    listener.removeFile();
    return errorOf(linux.errno(result));
}

fn bindTo(fd: i32, address: *const Address) Error!void {
    const raw = address.raw();
    const result = linux.bind(fd, @ptrCast(&raw.address), raw.length);
    if (linux.errno(result) != .SUCCESS) return errorOf(linux.errno(result));
}

/// False: there is no answer yet, try again.
pub fn connectTo(fd: i32, address: *const Address) Error!bool {
    const raw = address.raw();
    while (true) {
        const result = linux.connect(fd, &raw.address, raw.length);
        return switch (linux.errno(result)) {
            .SUCCESS, .ISCONN => true,
            .INTR => continue,
            .AGAIN, .INPROGRESS, .ALREADY => false, // its queue is full
            else => |errno| errorOf(errno),
        };
    }
}

const lock_exclusive = 2; // sys/file.h
const lock_nonblocking = 4;

/// Two processes that find the same stale file must not replace each other's: who holds the lock of the
/// directory may remove. Tries so often, a millisecond apart, and goes without where it may not lock.
fn lockDirectoryOf(address: *const Address, tries: u32) ?i32 {
    var buffer: [path_bytes_max + 1]u8 = undefined;
    const directory = std.fs.path.dirname(address.slice()) orelse ".";
    @memcpy(buffer[0..directory.len], directory);
    buffer[directory.len] = 0;
    const flags: linux.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    const result = linux.open(@ptrCast(&buffer), flags, 0);
    if (linux.errno(result) != .SUCCESS) return null;
    const fd: i32 = @intCast(result);
    for (0..tries) |attempt| {
        if (attempt != 0) os.sleep(std.time.ns_per_ms);
        if (linux.errno(linux.flock(fd, lock_exclusive | lock_nonblocking)) == .SUCCESS) break;
    }
    return fd;
}

/// Removes a socket's file if nobody listens there. True: there is none any more.
fn removeStale(address: *const Address) bool {
    if (address.isAbstract()) return false;
    var buffer: [path_bytes_max + 1]u8 = undefined;
    const path = address.path(&buffer);
    var status: linux.Statx = undefined;
    const found = linux.statx(linux.AT.FDCWD, path, linux.AT.SYMLINK_NOFOLLOW, .{ .TYPE = true }, &status);
    if (linux.errno(found) == .NOENT) return true;
    // Something else of that name is nobody's to remove.
    if (linux.errno(found) != .SUCCESS or status.mode & linux.S.IFMT != linux.S.IFSOCK) return false;
    const fd = createSocket() catch return false;
    defer os.closeDescriptor(fd);
    _ = connectTo(fd, address) catch |err| {
        return err == error.ConnectionRefused and linux.errno(linux.unlink(path)) == .SUCCESS;
    };
    return false;
}

/// The same for who was connected there and saw the keeper die.
pub fn removeAbandoned(address: *const Address) void {
    if (address.isAbstract()) return;
    const lock = lockDirectoryOf(address, 1);
    defer if (lock) |directory| os.closeDescriptor(directory);
    _ = removeStale(address);
}

/// Null: nobody is there.
pub fn accept(listener: i32) Error!?i32 {
    while (true) {
        const result = linux.accept4(listener, null, null, linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK);
        switch (linux.errno(result)) {
            .SUCCESS => return @intCast(result),
            .AGAIN => return null,
            .INTR, .CONNABORTED => {},
            else => |errno| return errorOf(errno),
        }
    }
}

// ---- messages ----

const control_bytes = 256;

/// Sends one message, with this process's credentials and these descriptors. What cannot be sent at once
/// is an error: whoever has a connection has room for what is to be said there.
pub fn send(fd: i32, message: []const u8, descriptors: []const i32) Error!void {
    std.debug.assert(descriptors.len <= descriptors_max);
    var control: [control_bytes]u8 align(@alignOf(linux.cmsghdr)) = @splat(0);
    var length: usize = 0;
    const credentials = ownCredentials();
    length += put(control[length..], linux.SCM.CREDENTIALS, std.mem.asBytes(&credentials));
    if (descriptors.len != 0) length += put(control[length..], linux.SCM.RIGHTS, std.mem.sliceAsBytes(descriptors));
    return sendWith(fd, message, control[0..length], linux.MSG.DONTWAIT);
}

fn sendWith(fd: i32, message: []const u8, control: []const u8, flags: u32) Error!void {
    const parts = [1]std.posix.iovec_const{.{ .base = message.ptr, .len = message.len }};
    const header: linux.msghdr_const = .{
        .name = null,
        .namelen = 0,
        .iov = &parts,
        .iovlen = 1,
        .control = control.ptr,
        .controllen = control.len,
        .flags = 0,
    };
    while (true) {
        const result = linux.sendmsg(fd, &header, flags | linux.MSG.NOSIGNAL);
        switch (linux.errno(result)) {
            .SUCCESS => return,
            .INTR => {},
            else => |errno| return errorOf(errno),
        }
    }
}

fn put(control: []u8, kind: i32, bytes: []const u8) usize {
    const header: linux.cmsghdr = .{ .len = @sizeOf(linux.cmsghdr) + bytes.len, .level = linux.SOL.SOCKET, .type = kind };
    @memcpy(control[0..@sizeOf(linux.cmsghdr)], std.mem.asBytes(&header));
    @memcpy(control[@sizeOf(linux.cmsghdr)..][0..bytes.len], bytes);
    return std.mem.alignForward(usize, header.len, @alignOf(linux.cmsghdr));
}

/// What came with a message.
pub const Received = struct {
    bytes: usize,
    /// The message was longer than the buffer.
    is_cut: bool = false,
    /// A descriptor, or a pidfd, was sent that this process has no number left for.
    lacks_descriptors: bool = false,
    descriptors: [descriptors_max]i32 = undefined,
    descriptors_count: usize = 0,
    /// Who sent it, as the kernel says.
    sender: ?Credentials = null,
    /// Of who sent it.
    pidfd: ?i32 = null,

    /// Closes what nobody has taken.
    pub fn drop(self: *Received) void {
        for (self.descriptors[0..self.descriptors_count]) |fd| os.closeDescriptor(fd);
        self.descriptors_count = 0;
        if (self.pidfd) |fd| os.closeDescriptor(fd);
        self.pidfd = null;
    }

    pub fn takeDescriptor(self: *Received, index: usize) ?i32 {
        if (index >= self.descriptors_count) return null;
        const fd = self.descriptors[index];
        for (index + 1..self.descriptors_count) |next| self.descriptors[next - 1] = self.descriptors[next];
        self.descriptors_count -= 1;
        return fd;
    }

    pub fn takePidfd(self: *Received) ?i32 {
        defer self.pidfd = null;
        return self.pidfd;
    }
};

/// Receives one message. Null: none is there. An end of the connection is error.PeerDied.
pub fn receive(fd: i32, buffer: []u8) Error!?Received {
    return receiveWith(fd, buffer, linux.MSG.DONTWAIT);
}

fn receiveWith(fd: i32, buffer: []u8, flags: u32) Error!?Received {
    var control: [control_bytes]u8 align(@alignOf(linux.cmsghdr)) = @splat(0);
    var parts = [1]std.posix.iovec{.{ .base = buffer.ptr, .len = buffer.len }};
    var header: linux.msghdr = .{
        .name = null,
        .namelen = 0,
        .iov = &parts,
        .iovlen = 1,
        .control = &control,
        .controllen = control.len,
        .flags = 0,
    };
    const bytes = while (true) {
        const result = linux.recvmsg(fd, &header, flags | linux.MSG.CMSG_CLOEXEC);
        switch (linux.errno(result)) {
            .SUCCESS => break result,
            .AGAIN => return null,
            // A reset is told once, before what the other side said last.
            .INTR, .CONNRESET => {},
            else => |errno| return errorOf(errno),
        }
    };
    var received: Received = .{
        .bytes = bytes,
        .is_cut = header.flags & linux.MSG.TRUNC != 0,
        .lacks_descriptors = header.flags & linux.MSG.CTRUNC != 0,
    };
    collect(control[0..@min(header.controllen, control.len)], &received);
    // Nobody sends messages of no bytes here.
    if (bytes == 0) {
        received.drop();
        return error.PeerDied;
    }
    return received;
}

fn collect(control: []const u8, received: *Received) void {
    var rest = control;
    while (rest.len >= @sizeOf(linux.cmsghdr)) {
        const header = std.mem.bytesToValue(linux.cmsghdr, rest[0..@sizeOf(linux.cmsghdr)]);
        if (header.len < @sizeOf(linux.cmsghdr) or header.len > rest.len) return;
        const data = rest[@sizeOf(linux.cmsghdr)..header.len];
        if (header.level == linux.SOL.SOCKET) switch (header.type) {
            linux.SCM.RIGHTS => for (0..data.len / @sizeOf(i32)) |index| {
                const fd = std.mem.bytesToValue(i32, data[index * @sizeOf(i32) ..][0..@sizeOf(i32)]);
                if (received.descriptors_count < descriptors_max) {
                    received.descriptors[received.descriptors_count] = fd;
                    received.descriptors_count += 1;
                } else os.closeDescriptor(fd);
            },
            linux.SCM.CREDENTIALS => if (data.len >= @sizeOf(Credentials)) {
                received.sender = std.mem.bytesToValue(Credentials, data[0..@sizeOf(Credentials)]);
            },
            linux.SCM.PIDFD => if (data.len >= @sizeOf(i32)) {
                const fd = std.mem.bytesToValue(i32, data[0..@sizeOf(i32)]);
                // In place of a descriptor the kernel tells why there is none.
                if (fd >= 0) received.pidfd = fd else if (fd == -@as(i32, @intFromEnum(linux.E.MFILE)) or
                    fd == -@as(i32, @intFromEnum(linux.E.NFILE))) received.lacks_descriptors = true;
            },
            else => {},
        };
        rest = rest[@min(std.mem.alignForward(usize, header.len, @alignOf(linux.cmsghdr)), rest.len)..];
    }
}

/// Sends a descriptor, and waits until there is room for it.
pub fn sendDescriptor(socket: i32, fd: i32) Error!void {
    var control: [64]u8 align(@alignOf(linux.cmsghdr)) = @splat(0);
    const length = put(&control, linux.SCM.RIGHTS, std.mem.asBytes(&fd));
    return sendWith(socket, "\x00", control[0..length], 0);
}

/// Waits for a descriptor. What came with it is dropped.
pub fn receiveDescriptor(socket: i32) Error!i32 {
    var byte: [1]u8 = undefined;
    var received = try receiveWith(socket, &byte, 0) orelse return error.SystemRefused;
    defer received.drop();
    return received.takeDescriptor(0) orelse
        if (received.lacks_descriptors) error.TooManyDescriptors else error.InvalidArgument;
}

/// Closes a descriptor of the program's.
pub fn close(fd: i32) Error!void {
    if (fd < 0) return error.InvalidArgument;
    const result = linux.close(fd);
    if (linux.errno(result) == .BADF) return error.InvalidArgument;
}

// ---- processes ----

/// A descriptor that becomes readable when the process at the other end of a connection is gone. Null:
/// the kernel gives none. A process id can be another's by the time it is looked up: so the connection is
/// looked at afterwards, and if it has hung up the answer is an error.
pub fn openPidfd(connection: i32, pid: i32) Error!?i32 {
    if (pid <= 0) return null; // of another PID namespace
    const result = linux.pidfd_open(pid, 0);
    if (linux.errno(result) != .SUCCESS) {
        return switch (linux.errno(result)) {
            .SRCH => error.PeerDied,
            .MFILE, .NFILE => error.TooManyDescriptors,
            else => null,
        };
    }
    const fd: i32 = @intCast(result);
    _ = linux.fcntl(fd, linux.F.SETFD, linux.FD_CLOEXEC);
    if (!hasHungUp(connection)) return fd;
    os.closeDescriptor(fd);
    return error.PeerDied;
}

pub fn hasHungUp(connection: i32) bool {
    var looked = [1]linux.pollfd{.{ .fd = connection, .events = linux.EPOLL.RDHUP, .revents = 0 }};
    if (linux.errno(linux.poll(&looked, 1, 0)) != .SUCCESS) return false;
    return looked[0].revents & (linux.POLL.HUP | linux.EPOLL.RDHUP | linux.POLL.ERR) != 0;
}

// ---- epoll ----

pub const Event = linux.epoll_event;

pub fn createEpoll() Error!i32 {
    const result = linux.epoll_create1(linux.EPOLL.CLOEXEC);
    return if (linux.errno(result) == .SUCCESS) @intCast(result) else errorOf(linux.errno(result));
}

/// Has an epoll tell, under `token`, when a descriptor can be read or its other end is gone.
pub fn watch(epoll: i32, fd: i32, token: u64) Error!void {
    var event: Event = .{ .events = linux.EPOLL.IN | linux.EPOLL.RDHUP, .data = .{ .u64 = token } };
    const result = linux.epoll_ctl(epoll, linux.EPOLL.CTL_ADD, fd, &event);
    if (linux.errno(result) != .SUCCESS) return errorOf(linux.errno(result));
}

/// Another process may have the file open as well: to close the descriptor alone would not end it.
pub fn unwatch(epoll: i32, fd: i32) void {
    _ = linux.epoll_ctl(epoll, linux.EPOLL.CTL_DEL, fd, null);
}

/// Waits for events, so many milliseconds at most; -1 is as long as it takes.
pub fn waitForEvents(epoll: i32, events: []Event, timeout_ms: i32) []Event {
    const result = linux.epoll_wait(epoll, events.ptr, @intCast(events.len), timeout_ms);
    return if (linux.errno(result) == .SUCCESS) events[0..result] else events[0..0];
}

/// Runs `body` on a thread of its own that takes no signals of the program's.
pub fn spawnQuietly(comptime body: fn () void) error{OutOfMemory}!void {
    var theirs: linux.sigset_t = linux.sigfillset();
    // Those between the numbered ones and SIGRTMIN are the C library's own: setuid() has every thread
    // answer one, and waits for it.
    theirs[0] &= ~@as(@TypeOf(theirs[0]), 0b111 << (32 - 1));
    var before: linux.sigset_t = undefined;
    _ = linux.sigprocmask(linux.SIG.BLOCK, &theirs, &before);
    defer _ = linux.sigprocmask(linux.SIG.SETMASK, &before, null);
    // In it lie the thread-local variables of the whole program, too: with those of Zig 256 KiB and more
    // for each that is linked. It is reserved, and touched as it is used.
    const thread = std.Thread.spawn(.{ .stack_size = 4 << 20 }, body, .{}) catch return error.OutOfMemory;
    thread.detach();
}
