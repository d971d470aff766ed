//! The bell ringer: how a thread that is no JavaScript thread has a bell rung.
//!
//! Only JavaScript can end another event loop's `Atomics.waitAsync`. So one Worker for each thread
//! that hands out tickets to native code, the ringer, blocks here until a native thread asks for
//! bells, and notifies for it. A native operation that took a bell's arm leaves a request behind;
//! requests for the same channel merge, since a bell that is rung twice is as good as rung once.
//!
//! Where no ringer is alive, or it does not know the channel yet, the channel's `orphans` are counted
//! up instead: every event loop that sleeps looks at them twice a second. So a request is never lost,
//! whatever dies when. A ringer's own death is counted by the hook of its thread, which covers what
//! it had taken and not rung.
//!
//! In a segment that other processes map, whoever publishes cannot know whose event loop sleeps: it
//! wakes the futex of the wait word. So an endpoint on such a segment has its word **watched** by the
//! ringer of its thread, which sleeps on all armed words it watches at once, and on its own. It looks
//! at a word before it sleeps on it, and takes every look for the last: a word whose arm is gone has
//! its bell rung, whenever that is noticed. An endpoint that arms kicks the ringer, which then sleeps
//! on its word, too. Where the system has no such sleep, or beyond what it takes, the ringer looks
//! every `look_ns` while anybody sleeps.
//!
//! A mutex of its own guards all of it. Nobody comes here but for an event loop that sleeps, which
//! costs a system call anyway, and no holder of it waits for anything.

const std = @import("std");
const bell = @import("bell.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const Bells = @import("channel.zig").Bells;
const Segment = segment_module.Segment;

pub const Error = error{
    /// No such ringer, or it has ended.
    InvalidHandle,
    WrongThread,
    OutOfMemory,
};

/// What a ringer is told: bells of one channel to ring, as the answer of a commit would say it.
pub const Request = extern struct {
    /// Which channel: what register() answered.
    registration: u32 = 0,
    bells: u32 = 0,
    /// The ring whose sender's bell is meant.
    ring: u32 = 0,
    /// 1: the channel is gone; nothing will be asked for it any more.
    is_gone: u32 = 0,
    /// How many channels have ever been registered with this ringer.
    posts: u32 = 0,
};

/// A channel as its ringer knows it, and what it is asked to ring there.
pub const Registration = struct {
    /// Null: it has died.
    ringer: ?*Ringer,
    id: u32,
    /// Not to be touched once `is_gone`.
    segment: Segment,
    is_gone: bool = false,
    is_queued: bool = false,
    queued: std.DoublyLinkedList.Node = .{},
    listed: std.DoublyLinkedList.Node = .{},

    drain: bool = false,
    all: bool = false,
    receivers: std.StaticBitSet(segment_module.receivers_max) = .initEmpty(),
    senders: std.StaticBitSet(segment_module.senders_max) = .initEmpty(),

    fn add(self: *Registration, bells: Bells, ring_index: u32) void {
        if (bells.all) self.all = true;
        if (bells.drain) self.drain = true;
        if (bells.receiver) self.receivers.set(bells.receiver_index);
        if (bells.sender) self.senders.set(ring_index);
    }

    /// Takes one request; null: there is none left.
    fn take(self: *Registration) ?Request {
        var bells: Bells = .{};
        var request: Request = .{ .registration = self.id };
        if (self.all) {
            bells.all = true;
            self.all = false;
            self.drain = false;
            self.receivers = .initEmpty();
            self.senders = .initEmpty();
        } else {
            bells.drain = self.drain;
            self.drain = false;
            if (self.receivers.toggleFirstSet()) |receiver| {
                bells.receiver = true;
                bells.receiver_index = @intCast(receiver);
            }
            if (self.senders.toggleFirstSet()) |sender| {
                bells.sender = true;
                request.ring = @intCast(sender);
            }
        }
        request.bells = @bitCast(bells);
        if (request.bells != 0) return request;
        if (!self.is_gone) return null;
        request.is_gone = 1;
        return request;
    }
};

/// A wait word of an endpoint in a shared segment, on which an event loop of its thread sleeps.
pub const Watch = struct {
    /// Null: it has died.
    ringer: ?*Ringer,
    id: u32,
    /// Not to be touched once `is_gone`, nor the word in it.
    segment: Segment,
    word: *const std.atomic.Value(u32),
    /// The word is a count of wake-ups, not an arm: any number may be armed.
    is_count: bool,
    bells: Bells,
    ring_index: u32,
    /// The arm that was set, as long as nobody knows that it is gone; awake: none.
    armed: std.atomic.Value(u32) = .init(@intFromEnum(bell.Waiting.awake)),
    is_gone: bool = false,
    listed: std.DoublyLinkedList.Node = .{},

    fn isArmed(self: *const Watch) bool {
        return !self.is_gone and self.armed.load(.monotonic) != @intFromEnum(bell.Waiting.awake);
    }
};

/// How often a ringer looks at words that it cannot sleep on.
const look_ns = 2 * std.time.ns_per_ms;

const Ringer = struct {
    id: u32,
    /// The thread that waits for requests; 0 before it comes.
    attendant: usize = 0,
    is_dead: bool = false,
    posts: u32 = 0,
    /// Of those, how many its thread knows.
    posts_handled: u32 = 0,
    word: bell.WaitWord = std.mem.zeroes(bell.WaitWord),
    queue: std.DoublyLinkedList = .{},
    registrations: std.DoublyLinkedList = .{},
    watches: std.DoublyLinkedList = .{},
    /// A sleep on several words at once was refused.
    has_no_wait_any: bool = false,

    /// Wakes the attendant. The mutex is held, as it is when the attendant arms: so either it sees
    /// what was changed before, or it is armed here.
    fn wake(self: *Ringer) void {
        _ = self.word.take();
    }

    fn enqueue(self: *Ringer, registration: *Registration) void {
        if (!registration.is_queued) {
            registration.is_queued = true;
            self.queue.append(&registration.queued);
        }
        self.wake();
    }

    fn pop(self: *Ringer) ?Request {
        while (self.queue.first) |node| {
            const registration: *Registration = @fieldParentPtr("queued", node);
            if (registration.take()) |request| {
                if (request.is_gone != 0) {
                    self.queue.remove(node);
                    self.registrations.remove(&registration.listed);
                    allocator.destroy(registration);
                }
                return request;
            }
            self.queue.remove(node);
            registration.is_queued = false;
        }
        return null;
    }

    /// Finds a watched word whose arm is gone, or an endpoint that is.
    fn popWatch(self: *Ringer) ?Request {
        var next = self.watches.first;
        while (next) |node| {
            next = node.next;
            const watched: *Watch = @fieldParentPtr("listed", node);
            if (watched.is_gone) {
                const request: Request = .{ .registration = watched.id, .is_gone = 1 };
                self.watches.remove(node);
                allocator.destroy(watched);
                return request;
            }
            const armed = watched.armed.load(.monotonic);
            // Acquire: pairs with the exchange in takeArmed(); what was published before is then seen
            // by whoever is rung.
            if (armed == @intFromEnum(bell.Waiting.awake) or watched.word.load(.acquire) == armed) continue;
            watched.armed.store(@intFromEnum(bell.Waiting.awake), .monotonic);
            if (!watched.is_count and armed == @intFromEnum(bell.Waiting.event_fd_shared)) {
                if (watched.segment.notifier) |notifier| notifier.write(watched.bells.receiver_index);
                continue;
            }
            return .{ .registration = watched.id, .bells = @bitCast(watched.bells), .ring = watched.ring_index };
        }
        return null;
    }

    /// Sleeps until a request comes, or the arm of a watched word is gone. The mutex is held, and
    /// given away meanwhile; what was found before the call is found under the same lock.
    fn sleep(self: *Ringer, deadline: u64) void {
        self.word.arm(.futex);
        var waiters: [os.futex_waiters_max]os.FutexWaiter = undefined;
        waiters[0] = os.futexWaiter(&self.word.word, @intFromEnum(bell.Waiting.futex), false);
        var used: usize = 1;
        var until = deadline;
        var next = self.watches.first;
        while (next) |node| : (next = node.next) {
            const watched: *Watch = @fieldParentPtr("listed", node);
            if (!watched.isArmed()) continue;
            if (used == waiters.len or self.has_no_wait_any) {
                until = @min(until, os.now() + look_ns);
                break;
            }
            waiters[used] = os.futexWaiter(watched.word, watched.armed.load(.monotonic), true);
            used += 1;
        }
        mutex.unlock();
        // A word may be unmapped from here on: then the sleep ends at once, and its watch is gone.
        if (used == 1) {
            self.word.sleep(.futex, until -| os.now());
        } else if (!os.futexWaitAny(waiters[0..used], until)) {
            self.has_no_wait_any = true; // only this thread uses it
        }
        mutex.lock();
        _ = self.word.disarm();
    }

    /// Nobody will ring for its channels any more; it is freed when its thread lets go of it.
    fn die(self: *Ringer) void {
        self.is_dead = true;
        while (self.registrations.popFirst()) |node| {
            const registration: *Registration = @fieldParentPtr("listed", node);
            registration.ringer = null;
            if (registration.is_gone) {
                allocator.destroy(registration);
                continue;
            }
            registration.is_queued = false;
            owe(registration.segment);
        }
        while (self.watches.popFirst()) |node| {
            const watched: *Watch = @fieldParentPtr("listed", node);
            watched.ringer = null;
            if (watched.is_gone) allocator.destroy(watched) else owe(watched.segment);
        }
        self.queue = .{};
    }

    fn destroy(self: *Ringer) void {
        _ = ringers.remove(self.id);
        allocator.destroy(self);
    }
};

const allocator = std.heap.c_allocator;

var mutex: os.Mutex = .{};
var ringers: std.AutoHashMapUnmanaged(u32, *Ringer) = .empty;
var last_id: u32 = 0;
var exit_hook: ?os.ThreadExitHook = null;

/// Has event loops that sleep on bells of this channel look within half a second.
fn owe(segment: Segment) void {
    // SC: after the publication and the taken arm; its partner is the look at `orphans` of a sleeper,
    // which remembered the number before it armed.
    _ = segment.control().orphans.fetchAdd(1, .seq_cst);
}

fn find(id: u32) Error!*Ringer {
    const ringer = ringers.get(id) orelse return error.InvalidHandle;
    return if (ringer.is_dead) error.InvalidHandle else ringer;
}

/// Makes a ringer, which no thread attends yet. Answers its number. If this thread ends before one
/// does, the ringer ends with it.
pub fn create() Error!u32 {
    mutex.lock();
    defer mutex.unlock();
    os.pinLibrary(@ptrCast(&ringers));
    if (exit_hook == null) exit_hook = os.ThreadExitHook.create(&onThreadExit) orelse return error.OutOfMemory;
    const ringer = try allocator.create(Ringer);
    errdefer allocator.destroy(ringer);
    last_id = last_id % std.math.maxInt(i32) + 1; // positive as i32
    ringer.* = .{ .id = last_id };
    if (!exit_hook.?.set(@ptrFromInt(ringer.id))) return error.OutOfMemory;
    try ringers.put(allocator, ringer.id, ringer);
    return ringer.id;
}

/// Has a ringer ring for a channel. Answers the registration: the number of the post in which the
/// ringer's thread is to be told the channel's bells.
pub fn register(id: u32, segment: Segment, place: *?*Registration) Error!u32 {
    mutex.lock();
    defer mutex.unlock();
    const ringer = try find(id);
    const registration = place.* orelse try allocator.create(Registration);
    if (place.* == null) {
        registration.* = .{ .ringer = null, .id = 0, .segment = segment };
        place.* = registration;
    }
    if (registration.ringer == ringer) return registration.id;
    if (registration.ringer) |former| {
        former.registrations.remove(&registration.listed);
        if (registration.is_queued) former.queue.remove(&registration.queued);
        registration.is_queued = false;
    }
    ringer.posts += 1;
    registration.id = ringer.posts;
    registration.ringer = ringer;
    ringer.registrations.append(&registration.listed);
    // What a former ringer was asked and has not rung.
    ringer.enqueue(registration);
    return registration.id;
}

/// What a ringer watches.
pub const Watched = struct {
    /// In a shared segment.
    word: *const std.atomic.Value(u32),
    is_count: bool = false,
    /// To be rung when the word is not what was armed any more.
    bells: Bells,
    ring_index: u32 = 0,
};

/// Has a ringer watch a word of a shared segment. Answers the number of the post, as register().
pub fn watch(id: u32, segment: Segment, what: Watched, place: *?*Watch) Error!u32 {
    mutex.lock();
    defer mutex.unlock();
    const ringer = try find(id);
    const watched = place.* orelse try allocator.create(Watch);
    if (place.* != null) {
        if (watched.ringer == ringer) return watched.id;
        if (watched.ringer) |former| former.watches.remove(&watched.listed);
    }
    ringer.posts += 1;
    watched.* = .{
        .ringer = ringer,
        .id = ringer.posts,
        .segment = segment,
        .word = what.word,
        .is_count = what.is_count,
        .bells = what.bells,
        .ring_index = what.ring_index,
    };
    place.* = watched;
    ringer.watches.append(&watched.listed);
    ringer.wake(); // it has a post to read
    return watched.id;
}

/// Whether a ringer that lives watches.
pub fn isWatched(place: *const ?*Watch) bool {
    const watched = place.* orelse return false;
    mutex.lock();
    defer mutex.unlock();
    return watched.ringer != null;
}

/// The word has been armed: the ringer is to sleep on it.
pub fn kick(place: *const ?*Watch, armed: u32) void {
    const watched = place.* orelse return;
    mutex.lock();
    defer mutex.unlock();
    watched.armed.store(armed, .monotonic);
    // One that has died in the meantime has counted `orphans` up.
    if (watched.ringer) |ringer| ringer.wake();
}

/// The arm was taken away by the one who set it. A ringer that overlooks it rings once in vain.
pub fn rest(place: *const ?*Watch) void {
    if (place.*) |watched| watched.armed.store(@intFromEnum(bell.Waiting.awake), .monotonic);
}

/// The endpoint goes, and its segment perhaps.
pub fn unwatch(place: *?*Watch) void {
    const watched = place.* orelse return;
    mutex.lock();
    defer mutex.unlock();
    place.* = null;
    watched.is_gone = true;
    // It must not sleep on: that would keep the memory alive.
    if (watched.ringer) |ringer| ringer.wake() else allocator.destroy(watched);
}

/// The channel is about to be unmapped.
pub fn forget(place: *?*Registration) void {
    const registration = place.* orelse return;
    mutex.lock();
    defer mutex.unlock();
    place.* = null;
    registration.is_gone = true;
    if (registration.ringer) |ringer| ringer.enqueue(registration) else allocator.destroy(registration);
}

/// Has bells of a channel rung, on behalf of a thread that cannot. The caller keeps the channel from
/// being freed.
pub fn ring(segment: Segment, place: *const ?*Registration, bells: Bells, ring_index: u32) void {
    // Those who sleep in a shared segment were woken with their arm.
    if (@as(u32, @bitCast(bells)) == 0 or segment.geometry.is_shared) return;
    mutex.lock();
    defer mutex.unlock();
    const registration = place.* orelse return owe(segment);
    registration.add(bells, ring_index);
    const ringer = registration.ringer orelse return owe(segment);
    ringer.enqueue(registration);
    // Its Worker may take long to start, or to be told of this channel.
    if (registration.id > ringer.posts_handled) owe(segment);
}

/// Waits for a request, on the ringer's own thread. False: the time is up, or `posts` of the request
/// says that there are registrations the caller does not know yet.
pub fn wait(id: u32, posts_handled: u32, timeout_ns: u64, request: *Request) Error!bool {
    const deadline = os.now() +| timeout_ns;
    mutex.lock();
    defer mutex.unlock();
    const ringer = ringers.get(id) orelse return error.InvalidHandle;
    if (ringer.attendant == 0) {
        if (!exit_hook.?.set(@ptrFromInt(id))) return error.OutOfMemory;
        ringer.attendant = os.threadIdentity();
    } else if (ringer.attendant != os.threadIdentity()) return error.WrongThread;
    ringer.posts_handled = posts_handled;
    while (true) {
        if (ringer.is_dead) {
            _ = exit_hook.?.set(null);
            ringer.destroy();
            return error.InvalidHandle;
        }
        request.* = .{ .posts = ringer.posts };
        if (ringer.posts != posts_handled) return false;
        if (ringer.pop() orelse ringer.popWatch()) |found| {
            request.* = found;
            request.posts = ringer.posts;
            return true;
        }
        if (os.now() >= deadline) return false;
        ringer.sleep(deadline);
    }
}

/// Ends a ringer: if it has nothing to ring for, or in any case. Answers whether it has ended.
pub fn close(id: u32, only_if_idle: bool) Error!bool {
    mutex.lock();
    defer mutex.unlock();
    const ringer = try find(id);
    if (only_if_idle and (ringer.registrations.first != null or ringer.watches.first != null)) return false;
    ringer.die();
    if (ringer.attendant == os.threadIdentity()) _ = exit_hook.?.set(null);
    if (ringer.attendant == 0 or ringer.attendant == os.threadIdentity()) {
        ringer.destroy();
    } else ringer.wake();
    return true;
}

/// The ringer's thread has ended, and what it had taken may not be rung; or the thread that made it,
/// before it had one.
fn onThreadExit(value: *anyopaque) callconv(.c) void {
    mutex.lock();
    defer mutex.unlock();
    const ringer = ringers.get(@intCast(@intFromPtr(value))) orelse return;
    if (ringer.attendant != 0 and ringer.attendant != os.threadIdentity()) return;
    ringer.die();
    ringer.destroy();
}

/// Ringers that exist; tests hold it against zero.
pub fn count() u32 {
    mutex.lock();
    defer mutex.unlock();
    return ringers.count();
}

fn testSegment() !Segment {
    return .create(try .init(.{ .kind = .mpsc, .slot_bytes = 4, .capacity = 2, .senders_max = 4 }), 0);
}

test "a ringer is told merged requests once it knows the channel, and its end" {
    const segment = try testSegment();
    defer segment.destroy();
    const orphans = &segment.control().orphans;
    var place: ?*Registration = null;
    var request: Request = .{};
    // Nobody rings for the channel: whoever sleeps has to look.
    ring(segment, &place, .{ .receiver = true }, 0);
    try std.testing.expectEqual(1, orphans.raw);

    const id = try create();
    try std.testing.expectEqual(1, try register(id, segment, &place));
    try std.testing.expectEqual(1, try register(id, segment, &place));
    ring(segment, &place, .{ .receiver = true }, 0);
    try std.testing.expectEqual(2, orphans.raw); // its thread does not know the channel yet
    try std.testing.expect(!try wait(id, 0, 0, &request));
    try std.testing.expectEqual(1, request.posts);
    for ([_]u32{ 2, 3, 2 }) |sender| ring(segment, &place, .{ .sender = true, .drain = true }, sender);
    try std.testing.expect(try wait(id, 1, 0, &request));
    try std.testing.expectEqual(@as(u32, @bitCast(Bells{ .receiver = true, .sender = true, .drain = true })), request.bells);
    try std.testing.expectEqual(2, request.ring);
    try std.testing.expect(try wait(id, 1, 0, &request));
    try std.testing.expectEqual(3, request.ring);
    try std.testing.expect(!try wait(id, 1, 0, &request));
    const owed = orphans.raw;
    ring(segment, &place, .{ .all = true, .receiver = true }, 0);
    try std.testing.expectEqual(owed, orphans.raw);
    try std.testing.expect(try wait(id, 1, 0, &request));
    try std.testing.expectEqual(@as(u32, @bitCast(Bells{ .all = true })), request.bells);

    try std.testing.expect(!try close(id, true));
    forget(&place);
    try std.testing.expect(try wait(id, 1, 0, &request));
    try std.testing.expectEqual(1, request.is_gone);
    try std.testing.expect(try close(id, true));
    try std.testing.expectError(error.InvalidHandle, wait(id, 1, 0, &request));
}

test "what a ringer that dies has not rung is owed, and passes to the next" {
    const segment = try testSegment();
    defer segment.destroy();
    const orphans = &segment.control().orphans;
    var place: ?*Registration = null;
    var request: Request = .{};
    const first = try create();
    const Attendant = struct {
        fn work(id: u32) void {
            var found: Request = .{};
            std.debug.assert(!(wait(id, 1, 0, &found) catch unreachable));
        }
    };
    _ = try register(first, segment, &place);
    const thread = try std.Thread.spawn(.{}, Attendant.work, .{first});
    thread.join();
    try std.testing.expectError(error.InvalidHandle, wait(first, 1, 0, &request));
    const owed = orphans.raw;
    try std.testing.expect(owed > 0);
    ring(segment, &place, .{ .receiver = true }, 0);
    try std.testing.expectEqual(owed + 1, orphans.raw);
    const second = try create();
    try std.testing.expectEqual(1, try register(second, segment, &place));
    try std.testing.expect(try wait(second, 1, 0, &request));
    try std.testing.expectEqual(1, request.registration);
    _ = try close(second, false);
    forget(&place);
    try std.testing.expectEqual(0, count());
}

test "requests from several threads wake a ringer that sleeps, and none is lost" {
    const segment = try testSegment();
    defer segment.destroy();
    const Asker = struct {
        segment: Segment,
        place: *?*Registration,
        sender: u32,
        rung: std.atomic.Value(u32) = .init(0),

        /// Asks again only when the last request was rung: a lost one stops it for good.
        fn work(self: *@This()) void {
            for (0..200) |index| {
                ring(self.segment, self.place, .{ .sender = true }, self.sender);
                while (self.rung.load(.acquire) <= index) std.Thread.yield() catch {};
            }
        }
    };
    var place: ?*Registration = null;
    const id = try create();
    _ = try register(id, segment, &place);
    var request: Request = .{};
    _ = try wait(id, 0, 0, &request);
    var askers: [3]Asker = undefined;
    var threads: [3]std.Thread = undefined;
    for (&askers, &threads, 0..) |*asker, *thread, index| {
        asker.* = .{ .segment = segment, .place = &place, .sender = @intCast(index) };
        thread.* = try std.Thread.spawn(.{}, Asker.work, .{asker});
    }
    for (0..3 * 200) |_| {
        try std.testing.expect(try wait(id, 1, 60 * std.time.ns_per_s, &request));
        _ = askers[request.ring].rung.fetchAdd(1, .release);
    }
    for (threads) |thread| thread.join();
    forget(&place);
    try std.testing.expect(try close(id, false));
}

/// A ringer's thread: what its Worker does, with a count a bell in place of bells.
const TestAttendant = struct {
    id: u32,
    rung: [8]std.atomic.Value(u32) = @splat(.init(0)),
    gone: std.atomic.Value(u32) = .init(0),

    fn work(self: *TestAttendant) void {
        var posts: u32 = 0;
        var request: Request = .{};
        while (true) {
            const found = wait(self.id, posts, 60 * std.time.ns_per_s, &request) catch return;
            posts = request.posts;
            if (!found) continue;
            if (request.is_gone != 0) _ = self.gone.fetchAdd(1, .release);
            const bells: Bells = @bitCast(request.bells);
            if (bells.sender) _ = self.rung[request.ring].fetchAdd(1, .release);
        }
    }

    fn await(word: *const std.atomic.Value(u32), value: u32) !void {
        const deadline = os.now() + 60 * std.time.ns_per_s;
        while (word.load(.acquire) != value) {
            if (os.now() > deadline) return error.TestTimeout;
            os.yieldThread();
        }
    }
};

/// A shared segment and a second mapping of it, as another process has.
fn testMappings() ![2]Segment {
    const made: Segment = try .create(
        try .init(.{ .kind = .mpsc, .slot_bytes = 4, .capacity = 2, .senders_max = 8, .is_shared = true }),
        0,
    );
    errdefer made.destroy();
    return .{ made, try .attach(try os.duplicateDescriptor(made.fd.?)) };
}

fn testWatch(has_no_wait_any: bool) !void {
    const segment, const foreign = try testMappings();
    defer segment.destroy();
    defer foreign.destroy();
    var attendant: TestAttendant = .{ .id = try create() };
    ringers.get(attendant.id).?.has_no_wait_any = has_no_wait_any;
    var places: [8]?*Watch = @splat(null);
    const thread = try std.Thread.spawn(.{}, TestAttendant.work, .{&attendant});
    for (&places, 0..) |*place, index| {
        const sender: u32 = @intCast(index);
        _ = try watch(attendant.id, segment, .{
            .word = &segment.waitLine(sender).sender_wait.word,
            .bells = .{ .sender = true },
            .ring_index = sender,
        }, place);
        try std.testing.expect(isWatched(place));
    }
    for (1..50) |round| {
        for (&places, 0..) |*place, index| {
            segment.waitLine(@intCast(index)).sender_wait.arm(.bell_shared);
            kick(place, @intFromEnum(bell.Waiting.bell_shared));
        }
        // What a waker in another process does, and it knows nothing of a ringer. Some arms are taken
        // before the ringer sleeps on them, some after.
        for (0..places.len) |index| {
            try std.testing.expectEqual(.ring_bell, foreign.waitLine(@intCast(index)).sender_wait.take());
        }
        for (&attendant.rung) |*rung| try TestAttendant.await(rung, @intCast(round));
    }
    // One that disarms is not rung.
    segment.waitLine(0).sender_wait.arm(.bell_shared);
    kick(&places[0], @intFromEnum(bell.Waiting.bell_shared));
    rest(&places[0]);
    _ = segment.waitLine(0).sender_wait.disarm();
    for (&places) |*place| unwatch(place);
    try TestAttendant.await(&attendant.gone, places.len);
    try std.testing.expectEqual(49, attendant.rung[0].raw);
    try std.testing.expect(try close(attendant.id, true));
    thread.join();
}

test "a ringer rings for watched words whose arm another process took" {
    try testWatch(false);
}

test "a ringer that cannot sleep on several words looks at them" {
    try testWatch(true);
}

test "a ringer watches more words than it can sleep on" {
    const segment: Segment = try .create(
        try .init(.{ .kind = .mpsc, .slot_bytes = 4, .capacity = 2, .senders_max = 300, .is_shared = true }),
        0,
    );
    defer segment.destroy();
    var attendant: TestAttendant = .{ .id = try create() };
    var places: [300]?*Watch = @splat(null);
    const thread = try std.Thread.spawn(.{}, TestAttendant.work, .{&attendant});
    for (&places, 0..) |*place, index| {
        const word = &segment.waitLine(@intCast(index)).sender_wait;
        _ = try watch(attendant.id, segment, .{
            .word = &word.word,
            .bells = .{ .sender = true },
            .ring_index = @intCast(index % 8),
        }, place);
        word.arm(.bell_shared);
        kick(place, @intFromEnum(bell.Waiting.bell_shared));
    }
    for ([_]u32{ 299, 0, 150, 7 }) |index| _ = segment.waitLine(index).sender_wait.take();
    for ([_]u32{ 299 % 8, 0, 150 % 8, 7 }) |index| try TestAttendant.await(&attendant.rung[index], 1);
    for (&places) |*place| unwatch(place);
    try TestAttendant.await(&attendant.gone, places.len);
    _ = try close(attendant.id, false);
    thread.join();
}

test "whoever is watched by a ringer that dies is owed a look, and passes to the next" {
    const segment, const foreign = try testMappings();
    defer segment.destroy();
    defer foreign.destroy();
    var place: ?*Watch = null;
    const word = &segment.waitLine(0).sender_wait;
    const first = try create();
    _ = try watch(first, segment, .{ .word = &word.word, .bells = .{ .sender = true } }, &place);
    try std.testing.expect(isWatched(&place));
    word.arm(.bell_shared);
    kick(&place, @intFromEnum(bell.Waiting.bell_shared));
    _ = try close(first, false);
    try std.testing.expect(!isWatched(&place));
    try std.testing.expectEqual(1, segment.control().orphans.raw);
    kick(&place, @intFromEnum(bell.Waiting.bell_shared)); // reaches nobody
    const second = try create();
    _ = try watch(second, segment, .{ .word = &word.word, .bells = .{ .sender = true } }, &place);
    word.arm(.bell_shared);
    kick(&place, @intFromEnum(bell.Waiting.bell_shared));
    _ = foreign.waitLine(0).sender_wait.take();
    var request: Request = .{};
    try std.testing.expect(try wait(second, 1, 0, &request));
    unwatch(&place);
    try std.testing.expect(try wait(second, 1, 0, &request));
    try std.testing.expectEqual(1, request.is_gone);
    try std.testing.expect(try close(second, true));
    try std.testing.expectEqual(0, count());
}
