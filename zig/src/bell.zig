//! Wait words: how one side says it sleeps, and how the other takes that away and wakes it.
//!
//! The classic lost wake-up is a StoreLoad: "publish, then look whether anyone waits" against "say
//! that I wait, then look whether anything was published". Release and acquire do not order a store
//! before a later load, so all four accesses here are sequentially consistent:
//!
//!   waker:   publish (SC read-modify-write or store)   then  take(): load the word (SC)
//!   sleeper: arm(): store the word (SC)                then  look at what is published (SC load)
//!
//! In the single total order of those four, one of the two loads comes last and sees the other's
//! store: either the waker sees the arm, or the sleeper sees what was published.
//! Model-checked in zig/models/.
//!
//! In a segment that other processes map, whoever waits here may be of any of them. A waker must not
//! have to know of which, so the word itself is the doorbell: a wake-up is a wake of the futex, without
//! the private flag. A blocked thread sleeps on it; for an event loop the bell ringer of its process
//! does, see ringer.zig. Somebody there may have taken an arm away and woken nobody: whoever sleeps
//! in a shared segment looks at least every `shared_sleep_ns_max`.

const std = @import("std");
const os = @import("os/linux.zig");

pub const Waiting = enum(u32) {
    awake = 0,
    /// Blocked in futex_wait on the word itself.
    futex = 1,
    /// An event loop asleep in Atomics.waitAsync on its bell, which only JavaScript can ring.
    bell = 2,
    /// In epoll, io_uring or poll, for its eventfd. See event_fd.zig.
    event_fd = 3,
    /// As `futex`, where other processes wake.
    futex_shared = 4,
    /// As `bell`, where other processes wake: the bell ringer watches this word, and rings.
    bell_shared = 5,
    /// As `event_fd`, where other processes wake: the bell ringer watches this word, and writes.
    event_fd_shared = 6,
    _,

    /// The same arm in a segment that is shared, or is not.
    pub inline fn in(self: Waiting, is_shared: bool) Waiting {
        if (!is_shared) return self;
        return switch (self) {
            .futex => .futex_shared,
            .bell => .bell_shared,
            .event_fd => .event_fd_shared,
            else => self,
        };
    }
};

pub const shared_sleep_ns_max = 500 * std.time.ns_per_ms;

/// Who has to do what after a take().
pub const Wake = enum {
    nobody,
    /// A futex waiter was there, and has been woken.
    woken,
    /// The arm is taken; the caller must have the bell rung.
    ring_bell,
    /// The arm is taken; the caller must write to the receiver's eventfd.
    write_event,
};

pub const WaitWord = extern struct {
    word: std.atomic.Value(u32),
    /// How often whoever waits here went to sleep. Written by sleepers.
    sleeps: std.atomic.Value(u64),
    /// How often an arm was taken to wake it. Written by wakers, who have this line anyway.
    wakes: std.atomic.Value(u64),

    /// Says "I am about to sleep". The caller must look at its condition again (with SC loads)
    /// before it sleeps.
    pub fn arm(self: *WaitWord, how: Waiting) void {
        // SC store: its partner is the SC load in take(). See the top of the file.
        self.word.store(@intFromEnum(how), .seq_cst);
    }

    /// Takes the arm away without sleeping. False: a waker was faster, its wake-up is on its way
    /// and will be spurious.
    pub fn disarm(self: *WaitWord) bool {
        // Acquire: whatever a waker published before it took the arm is visible now.
        return self.word.swap(@intFromEnum(Waiting.awake), .acq_rel) != @intFromEnum(Waiting.awake);
    }

    /// To be called after publishing with an SC store or read-modify-write. Wakes a futex waiter;
    /// a bell has to be rung by the caller.
    pub inline fn take(self: *WaitWord) Wake {
        // SC load: its partner is the SC store in arm().
        if (self.word.load(.seq_cst) == @intFromEnum(Waiting.awake)) return .nobody;
        return self.takeArmed();
    }

    fn takeArmed(self: *WaitWord) Wake {
        @branchHint(.cold);
        // SC, as the load: of several wakers one gets the arm, and it wakes.
        const was: Waiting = @enumFromInt(self.word.swap(@intFromEnum(Waiting.awake), .seq_cst));
        if (was == .awake) return .nobody; // another waker was faster
        self.countWake();
        switch (was) {
            .bell => return .ring_bell,
            .event_fd => return .write_event,
            .futex => {
                os.futexWake(&self.word, 1);
                return .woken;
            },
            .bell_shared => {
                os.futexWakeShared(&self.word, waiters_all);
                // If it is of this process, a caller that is JavaScript is quicker than the ringer.
                return .ring_bell;
            },
            .event_fd_shared => {
                os.futexWakeShared(&self.word, waiters_all);
                return .write_event;
            },
            // Or what no side ever writes: whoever sleeps here is then of a shared segment.
            .futex_shared, .awake, _ => {
                os.futexWakeShared(&self.word, waiters_all);
                return .woken;
            },
        }
    }

    /// For a dying thread, which can wake a futex and write to an eventfd but cannot ring a bell:
    /// leaves a bell's arm in place, for the next live waker or for the sleeper's own watch over
    /// `orphans`.
    pub fn takeUnlessBell(self: *WaitWord) Wake {
        var was = self.word.load(.seq_cst);
        while (was != @intFromEnum(Waiting.awake) and was != @intFromEnum(Waiting.bell)) {
            was = self.word.cmpxchgWeak(was, @intFromEnum(Waiting.awake), .seq_cst, .seq_cst) orelse {
                self.countWake();
                switch (@as(Waiting, @enumFromInt(was))) {
                    .event_fd => return .write_event,
                    .event_fd_shared => {
                        os.futexWakeShared(&self.word, waiters_all);
                        return .write_event;
                    },
                    .futex => os.futexWake(&self.word, 1),
                    else => os.futexWakeShared(&self.word, waiters_all),
                }
                return .woken;
            };
        }
        return .nobody;
    }

    /// Wakes whoever sleeps here in a shared segment, whether his arm is there or not.
    pub fn wakeAnyway(self: *const WaitWord) void {
        os.futexWakeShared(&self.word, waiters_all);
    }

    fn countWake(self: *WaitWord) void {
        // By any thread; next to a wake-up, and a sleep, the read-modify-write is nothing.
        _ = self.wakes.fetchAdd(1, .monotonic);
    }

    /// To be called when an arm led to a sleep that is not sleep(): on a bell.
    pub fn countSleep(self: *WaitWord) void {
        _ = self.sleeps.fetchAdd(1, .monotonic);
    }

    /// Sleeps while the futex arm is in place, at most `timeout_ns`. Spurious returns are allowed.
    pub fn sleep(self: *WaitWord, how: Waiting, timeout_ns: u64) void {
        self.countSleep();
        if (how == .futex_shared) {
            os.futexWaitShared(&self.word, @intFromEnum(how), @min(timeout_ns, shared_sleep_ns_max));
        } else os.futexWait(&self.word, @intFromEnum(Waiting.futex), timeout_ns);
    }
};

/// Of another process there may be several, and a futex does not tell them apart.
const waiters_all = std.math.maxInt(i32);

test "take() answers by who is waiting, and only once" {
    var word: WaitWord = std.mem.zeroes(WaitWord);
    try std.testing.expectEqual(.nobody, word.take());
    word.arm(.bell);
    try std.testing.expectEqual(.ring_bell, word.take());
    try std.testing.expectEqual(.nobody, word.take());
    word.arm(.futex);
    try std.testing.expectEqual(.woken, word.take());
    word.arm(.bell);
    try std.testing.expectEqual(.nobody, word.takeUnlessBell());
    try std.testing.expectEqual(2, word.wakes.raw);
    try std.testing.expect(word.disarm());
    try std.testing.expect(!word.disarm());
    word.arm(.event_fd);
    try std.testing.expectEqual(.write_event, word.take());
    word.arm(.event_fd);
    try std.testing.expectEqual(.write_event, word.takeUnlessBell());
    word.arm(.futex);
    try std.testing.expectEqual(.woken, word.takeUnlessBell());
    try std.testing.expectEqual(.nobody, word.takeUnlessBell());
}

test "the arms of a shared segment are taken by every waker, also one that can ring no bell" {
    var word: WaitWord = std.mem.zeroes(WaitWord);
    word.arm(Waiting.in(.bell, true));
    try std.testing.expectEqual(.ring_bell, word.take());
    word.arm(Waiting.in(.bell, true));
    try std.testing.expectEqual(.woken, word.takeUnlessBell());
    for ([_]Waiting{ Waiting.in(.futex, true), @enumFromInt(77), @enumFromInt(std.math.maxInt(u32)) }) |how| {
        word.arm(how);
        try std.testing.expectEqual(.woken, word.take());
        word.arm(how);
        try std.testing.expectEqual(.woken, word.takeUnlessBell());
        try std.testing.expectEqual(.nobody, word.take());
    }
}

test "a shared arm wakes a thread that sleeps on another mapping of the word" {
    const fd = try os.createSharedMemory(os.page_bytes);
    defer os.closeDescriptor(fd);
    var words: [2]*WaitWord = undefined;
    for (&words) |*word| word.* = @ptrCast(os.reservePages(os.page_bytes, os.page_bytes, fd).?);
    defer for (words) |word| os.releasePages(@ptrCast(@alignCast(word)), os.page_bytes);
    const Waiter = struct {
        fn run(word: *WaitWord) void {
            const deadline = os.now() + 60 * std.time.ns_per_s;
            word.arm(.futex_shared);
            // Not sleep(), which would look again by itself.
            while (word.word.load(.acquire) != 0) {
                const now = os.now();
                if (now >= deadline) return;
                os.futexWaitShared(&word.word, @intFromEnum(Waiting.futex_shared), deadline - now);
            }
        }
    };
    const thread = try std.Thread.spawn(.{}, Waiter.run, .{words[0]});
    const start = os.now();
    while (words[1].take() == .nobody) os.yieldThread();
    thread.join();
    try std.testing.expect(os.now() - start < 30 * std.time.ns_per_s);
}
