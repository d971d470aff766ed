//! Waiting for the first of several receivers, of any channels and kinds, of one thread.
//!
//! The thread arms the wait word of every receiver, looks at each once more, and sleeps on all words at once
//! (futex_waitv, Linux 5.16; before, it looks every millisecond). It takes nothing. A waker that took an
//! arm meant its wake-up for one receiver; where others share that channel, it is passed on, since this
//! thread may take from another one.

const std = @import("std");
const bell = @import("bell.zig");
const channel = @import("channel.zig");
const os = @import("os/linux.zig");
const wait_module = @import("wait.zig");
pub const Receiver = @import("receiver.zig").Receiver;

pub const receivers_max = 64;

const look_again_ns = std.time.ns_per_ms;

/// Waits until a poll of one of them would find something, or the time is up (false). `bells` says for each
/// what the caller has to ring.
pub fn wait(
    receivers: []const *Receiver,
    bells: []channel.Bells,
    strategy: wait_module.Strategy,
    timeout_ns: u64,
) bool {
    std.debug.assert(receivers.len <= receivers_max and bells.len == receivers.len);
    for (receivers) |receiver| receiver.prepareToWait();
    var group: Group = .{ .receivers = receivers };
    const is_there = wait_module.wait(strategy, timeout_ns, &group, &group);
    for (receivers, bells, 0..) |receiver, *ring, index| {
        const was_woken = group.taken & @as(u64, 1) << @intCast(index) != 0;
        ring.* = if (was_woken) receiver.passOn() else .{};
    }
    return is_there;
}

/// Several wait words as one, as wait.zig wants it, and the look at what they are for.
const Group = struct {
    receivers: []const *Receiver,
    /// A bit for each receiver whose arm a waker has taken.
    taken: u64 = 0,

    pub fn arm(self: *Group, how: bell.Waiting) void {
        for (self.receivers) |receiver| receiver.armWord(how);
    }

    pub fn disarm(self: *Group) bool {
        for (self.receivers, 0..) |receiver, index| {
            if (!receiver.disarmWord()) self.taken |= @as(u64, 1) << @intCast(index);
        }
        return self.taken == 0;
    }

    /// SC loads, as of each receiver alone: the look after the arms.
    pub fn holds(self: *Group) bool {
        for (self.receivers) |receiver| if (receiver.holds()) return true;
        return false;
    }

    pub fn sleep(self: *Group, timeout_ns: u64) void {
        var waiters: [receivers_max]os.FutexWaiter = undefined;
        var limit_ns = timeout_ns;
        for (self.receivers, waiters[0..self.receivers.len]) |receiver, *waiter| {
            const on = receiver.segment();
            const word = channel.receiverWait(on.*, receiver.index());
            word.countSleep();
            const how = on.waiting(.futex);
            waiter.* = os.futexWaiter(&word.word, @intFromEnum(how), how == .futex_shared);
            // Where other processes write, one may take an arm away and wake no thread; where receivers share
            // the rings, the one that is woken may be busy.
            const looks_around = on.geometry.is_shared or on.geometry.kind.hasManyReceivers();
            if (looks_around) limit_ns = @min(limit_ns, bell.shared_sleep_ns_max);
        }
        if (!os.futexWaitAny(waiters[0..self.receivers.len], os.now() +| limit_ns)) {
            os.sleep(@min(limit_ns, look_again_ns));
        }
        for (self.receivers) |receiver| {
            const on = receiver.segment();
            if (on.geometry.is_shared) channel.lookAround(on.*);
        }
    }
};

const testing = std.testing;
const segment_module = @import("segment.zig");
const Segment = segment_module.Segment;
const Sender = @import("sender.zig").Sender;

test "a thread sleeps on several channels of any kind, and each of them wakes it" {
    const kinds = std.enums.values(segment_module.Kind);
    const Sending = struct {
        fn run(sender: *Sender, word: *const bell.WaitWord) void {
            while (word.word.load(.acquire) == 0) os.yieldThread();
            std.debug.assert(sender.producer.reserve(1) == .slots);
            _ = sender.commit(1, 1);
        }
    };
    var segments: [kinds.len]Segment = undefined;
    var senders: [kinds.len]Sender = undefined;
    var receivers: [kinds.len]Receiver = undefined;
    var all: [kinds.len]*Receiver = undefined;
    for (kinds, &segments, &senders, &receivers, &all) |kind, *segment, *sender, *receiver, *pointer| {
        segment.* = try Segment.create(try segment_module.Geometry.init(.{ .kind = kind, .slot_bytes = 8, .capacity = 4 }), 0);
        sender.* = try Sender.open(segment.*, false);
        receiver.* = try Receiver.open(segment.*, false);
        pointer.* = receiver;
    }
    defer for (segments) |segment| segment.destroy();
    var bells: [kinds.len]channel.Bells = undefined;
    try testing.expect(!wait(&all, &bells, .block, 1000));
    for (&senders, &receivers, &segments) |*sender, *receiver, segment| {
        for (&receivers) |*other| try testing.expectEqual(.empty, other.poll(1));
        const word = channel.receiverWait(segment, 0);
        const thread = try std.Thread.spawn(.{}, Sending.run, .{ sender, word });
        const is_there = wait(&all, &bells, .block, 60 * std.time.ns_per_s);
        thread.join();
        try testing.expect(is_there);
        try testing.expectEqual(1, receiver.poll(1).window);
        _ = receiver.release(1, 1);
    }
}
