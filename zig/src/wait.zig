//! Wait strategies: how a thread that has nothing to do waits, chosen by a value.

const std = @import("std");
const os = @import("os/linux.zig");

/// After the LMAX Disruptor's wait strategies.
pub const Strategy = enum(u32) {
    /// Spins: the quickest, for a core of one's own.
    spin = 0,
    /// Gives the core away between looks.
    yield = 1,
    /// Sleeps 50 microseconds between looks.
    sleep = 2,
    /// Sleeps in the kernel until woken: no CPU while idle.
    block = 3,
    /// Blocks, with a deadline the caller must give.
    timed = 4,
    /// Spins, then yields, then blocks.
    phased = 5,

    pub fn fromInt(value: u32) ?Strategy {
        return if (value <= @intFromEnum(Strategy.phased)) @enumFromInt(value) else null;
    }
};

/// Exponential backoff in the style of crossbeam-utils: every look waits twice as long as the one
/// before, up to a bound, so that a short wait is met at once and a longer one leaves the memory bus
/// and a sibling hardware thread alone.
pub const Backoff = struct {
    step: u5 = 0,

    const step_max = 4;

    pub inline fn spin(self: *Backoff) void {
        for (0..@as(u32, 1) << self.step) |_| std.atomic.spinLoopHint();
        if (self.step < step_max) self.step += 1;
    }
};

const sleep_between_looks_ns = 50 * std.time.ns_per_us;
/// How long `phased` spins before it yields: a few round trips between two cores.
const spin_phase_ns = 20 * std.time.ns_per_us;
/// And how long it yields before it blocks: about what blocking and waking would cost.
const yield_phase_ns = 60 * std.time.ns_per_us;
const looks_between_clock_reads = 8;

/// Waits until `condition.holds()`, at most `timeout_ns`. Returns whether it holds.
///
/// `condition` has `holds()`, whose loads are sequentially consistent (it is the look half of the
/// protocol in bell.zig).
pub fn wait(
    strategy: Strategy,
    timeout_ns: u64,
    /// A wait word: what has arm, disarm and sleep.
    word: anytype,
    condition: anytype,
) bool {
    if (condition.holds()) return true;
    if (timeout_ns == 0) return false;
    const start = os.now();
    const deadline = start +| timeout_ns;
    return switch (strategy) {
        .spin => poll(deadline, condition, .spin),
        .yield => poll(deadline, condition, .yield),
        .sleep => poll(deadline, condition, .sleep),
        .block, .timed => block(deadline, word, condition),
        .phased => (!shares_core and poll(@min(deadline, start + spin_phase_ns), condition, .back_off)) or
            yieldOnce(condition) or
            poll(@min(deadline, start + spin_phase_ns + yield_phase_ns), condition, .yield) or
            block(deadline, word, condition),
    };
}

/// Whether this thread's last yield let somebody else run for about as long as a conversation takes:
/// then whoever is to answer may need this very core, and spinning only keeps it from them.
threadlocal var shares_core: bool = false;
const shared_yield_least_ns = 2 * std.time.ns_per_us;
const shared_yield_most_ns = 200 * std.time.ns_per_us;

fn yieldOnce(condition: anytype) bool {
    const before = os.now();
    os.yieldThread();
    const took = os.now() -| before;
    shares_core = took > shared_yield_least_ns and took < shared_yield_most_ns;
    return condition.holds();
}

const Pause = enum { spin, back_off, yield, sleep };

inline fn poll(deadline: u64, condition: anytype, comptime pause: Pause) bool {
    var backoff: Backoff = .{};
    while (true) {
        for (0..looks_between_clock_reads) |_| {
            switch (pause) {
                .spin => std.atomic.spinLoopHint(),
                .back_off => backoff.spin(),
                .yield => os.yieldThread(),
                .sleep => os.sleep(sleep_between_looks_ns),
            }
            if (condition.holds()) return true;
        }
        if (os.now() >= deadline) return false;
    }
}

fn block(deadline: u64, word: anytype, condition: anytype) bool {
    while (true) {
        word.arm(.futex);
        // The look after the arm: see bell.zig.
        if (condition.holds()) {
            _ = word.disarm();
            return true;
        }
        const now = os.now();
        if (now >= deadline) {
            _ = word.disarm();
            // A waker may have taken the arm just now; what it published must not be missed.
            return condition.holds();
        }
        word.sleep(deadline - now);
        if (condition.holds()) {
            _ = word.disarm();
            return true;
        }
    }
}
