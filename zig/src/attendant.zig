//! The attendant: the one native thread of a process that looks after its connections to others.
//!
//! It starts with the first share or connect, sleeps in epoll, and never runs JavaScript. Whoever wants
//! a descriptor watched says what to call; the call is made on this thread, under the mutex of
//! endpoint.zig, and must not wait for anything.
//!
//! Lock order: that mutex is the only lock here. Everything below is called under it, but for the
//! thread's own wait. A descriptor that is not watched any more has its token forgotten, so an event that
//! was under way finds nothing: what a watcher belongs to can be freed by whoever holds the mutex.
//!
//! The thread ends with the process, at whatever moment: it holds nothing another process waits for.

const std = @import("std");
const endpoint = @import("endpoint.zig");
const os = @import("os/linux.zig");
const sockets = @import("os/sockets.zig");

pub const Happening = enum {
    /// The descriptor can be read, or its other end is gone.
    ready,
    /// The time is up.
    late,
};

const Watcher = struct {
    fd: i32,
    context: *anyopaque,
    call: *const fn (*anyopaque, Happening) void,
    deadline: u64 = never,
};

const never: u64 = std.math.maxInt(u64);
const allocator = std.heap.c_allocator;

var epoll: i32 = -1;
/// A descriptor that is kept for when there is no other left; -1: there was none.
var spare: i32 = -1;
var watchers: std.AutoHashMapUnmanaged(u64, Watcher) = .empty;
/// Of the watchers, how many have a deadline.
var deadlines: u32 = 0;
var last_token: u64 = 0;

/// Calls `call(context, happening)` when something happens to a descriptor. Answers the token for
/// unwatch().
pub fn watch(
    fd: i32,
    context: anytype,
    comptime call: fn (@TypeOf(context), Happening) void,
) sockets.Error!u64 {
    try start();
    const Shim = struct {
        fn run(erased: *anyopaque, happening: Happening) void {
            call(@ptrCast(@alignCast(erased)), happening);
        }
    };
    last_token += 1;
    try watchers.put(allocator, last_token, .{ .fd = fd, .context = context, .call = &Shim.run });
    errdefer _ = watchers.remove(last_token);
    try sockets.watch(epoll, fd, last_token);
    return last_token;
}

/// Before the descriptor is closed.
pub fn unwatch(token: u64) void {
    const removed = watchers.fetchRemove(token) orelse return;
    if (removed.value.deadline != never) deadlines -= 1;
    sockets.unwatch(epoll, removed.value.fd);
}

/// Has a watcher told of nothing but the end of its time.
pub fn pauseWatch(token: u64) void {
    const watcher = watchers.getPtr(token) orelse return;
    sockets.unwatch(epoll, watcher.fd);
}

/// False: it cannot be watched again.
pub fn resumeWatch(token: u64) bool {
    const watcher = watchers.getPtr(token) orelse return false;
    sockets.watch(epoll, watcher.fd, token) catch return false;
    return true;
}

/// Has a watcher called when so much time has passed, unless it is no more. To be called by watchers:
/// the thread looks at the deadlines before it sleeps.
pub fn setDeadline(token: u64, after_ns: ?u64) void {
    const watcher = watchers.getPtr(token) orelse return;
    if (watcher.deadline != never) deadlines -= 1;
    watcher.deadline = if (after_ns) |duration| os.now() + duration else never;
    if (after_ns != null) deadlines += 1;
}

/// What came of the spare descriptor.
pub const Lent = enum { done, nothing_to_do, in_vain };

/// Gives the spare descriptor up for as long as `use` takes, which must close what it opens.
pub fn lend(fd: i32, comptime use: fn (i32) Lent) Lent {
    keepSpare();
    if (spare < 0) return .in_vain;
    os.closeDescriptor(spare);
    // Another thread may take the number meanwhile.
    defer spare = os.duplicateDescriptor(epoll) catch -1;
    return use(fd);
}

/// What may have been lost to another thread is taken back.
fn keepSpare() void {
    if (spare < 0) spare = os.duplicateDescriptor(epoll) catch -1;
}

fn start() sockets.Error!void {
    if (epoll >= 0) return keepSpare();
    const created = try sockets.createEpoll();
    errdefer os.closeDescriptor(created);
    epoll = created;
    errdefer epoll = -1;
    try sockets.spawnQuietly(run);
    keepSpare();
}

fn run() void {
    var events: [64]sockets.Event = undefined;
    while (true) {
        for (sockets.waitForEvents(epoll, &events, timeoutOf(nextDeadline()))) |event| {
            tell(event.data.u64, .ready);
        }
        while (takeLate()) |token| tell(token, .late);
    }
}

fn tell(token: u64, happening: Happening) void {
    endpoint.mutex.lock();
    defer endpoint.mutex.unlock();
    const watcher = watchers.get(token) orelse return;
    watcher.call(watcher.context, happening);
}

fn nextDeadline() u64 {
    endpoint.mutex.lock();
    defer endpoint.mutex.unlock();
    var first = never;
    if (deadlines == 0) return first;
    var iterator = watchers.valueIterator();
    while (iterator.next()) |watcher| first = @min(first, watcher.deadline);
    return first;
}

fn timeoutOf(deadline: u64) i32 {
    if (deadline == never) return -1;
    const left_ns = deadline -| os.now();
    return @intCast(@min(left_ns / std.time.ns_per_ms + 1, std.math.maxInt(i32)));
}

/// One watcher whose time is up; its deadline is over.
fn takeLate() ?u64 {
    endpoint.mutex.lock();
    defer endpoint.mutex.unlock();
    if (deadlines == 0) return null;
    const now = os.now();
    var iterator = watchers.iterator();
    while (iterator.next()) |entry| {
        if (entry.value_ptr.deadline > now) continue;
        entry.value_ptr.deadline = never;
        deadlines -= 1;
        return entry.key_ptr.*;
    }
    return null;
}
