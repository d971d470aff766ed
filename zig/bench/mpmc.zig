//! Four producers and four consumers, a message at a time: Millrace's mpmc channel against a ring under
//! one lock with two condition variables, in the same program. Run by bench/suites/mpmc_native.ts.
//!
//! mpmc IMPLEMENTATION MESSAGES
//!
//! IMPLEMENTATION is `millrace` (a receiver claims what is there, up to 64), `millrace-claim-1` or
//! `locked`. Prints messages per second. Every value is summed on arrival, and the sum is checked.

const std = @import("std");
const millrace = @import("millrace");
const channel = millrace.channel;
const Receiver = millrace.receiver.Receiver;
const Segment = millrace.segment.Segment;
const Sender = millrace.sender.Sender;

const producers = 4;
const consumers = 4;
const capacity = 1024;
const slice_ns = 100 * std.time.ns_per_ms;

/// A bounded queue as one would write it first.
const Locked = struct {
    mutex: std.c.pthread_mutex_t = .{},
    not_full: std.c.pthread_cond_t = .{},
    not_empty: std.c.pthread_cond_t = .{},
    slots: [capacity * producers]u64 = undefined,
    head: usize = 0,
    tail: usize = 0,
    producers_left: u32 = producers,

    fn push(self: *Locked, value: u64) void {
        _ = std.c.pthread_mutex_lock(&self.mutex);
        while (self.tail - self.head == self.slots.len) _ = std.c.pthread_cond_wait(&self.not_full, &self.mutex);
        self.slots[self.tail % self.slots.len] = value;
        self.tail += 1;
        _ = std.c.pthread_mutex_unlock(&self.mutex);
        _ = std.c.pthread_cond_signal(&self.not_empty);
    }

    fn pop(self: *Locked) ?u64 {
        _ = std.c.pthread_mutex_lock(&self.mutex);
        while (self.tail == self.head) {
            if (self.producers_left == 0) {
                _ = std.c.pthread_mutex_unlock(&self.mutex);
                return null;
            }
            _ = std.c.pthread_cond_wait(&self.not_empty, &self.mutex);
        }
        const value = self.slots[self.head % self.slots.len];
        self.head += 1;
        _ = std.c.pthread_mutex_unlock(&self.mutex);
        _ = std.c.pthread_cond_signal(&self.not_full);
        return value;
    }

    fn end(self: *Locked) void {
        _ = std.c.pthread_mutex_lock(&self.mutex);
        self.producers_left -= 1;
        _ = std.c.pthread_mutex_unlock(&self.mutex);
        _ = std.c.pthread_cond_broadcast(&self.not_empty);
    }
};

var locked: Locked = .{};
var segment: Segment = undefined;
var messages_max: u32 = 64;
var sum: std.atomic.Value(u64) = .init(0);

fn produceLocked(first: u64, count: u64) void {
    for (0..count) |index| locked.push(first + index);
    locked.end();
}

fn consumeLocked() void {
    var own: u64 = 0;
    while (locked.pop()) |value| own += value;
    _ = sum.fetchAdd(own, .monotonic);
}

fn slotsOf(ring: u32) [*]u64 {
    return @ptrCast(@alignCast(segment.data(ring)));
}

fn produce(sender: *Sender, first: u64, count: u64) void {
    const slots = slotsOf(sender.producer.ring);
    var sent: u64 = 0;
    while (sent < count) switch (sender.producer.reserve(1)) {
        .slots => {
            slots[sender.producer.position()] = first + sent;
            _ = sender.commit(1, 1);
            sent += 1;
        },
        .full => _ = sender.wait(1, .phased, slice_ns),
        .closed => return,
    };
    _ = sender.close(.can_ring);
    if (segment.control().sender_references.fetchSub(1, .seq_cst) == 1) {
        _ = channel.close(segment, .senders_gone, .can_ring);
    }
}

fn consume(receiver: *Receiver) void {
    var own: u64 = 0;
    while (true) switch (receiver.poll(messages_max)) {
        .window => {
            const window = receiver.window();
            for (slotsOf(window.ring)[window.position..][0..window.slots]) |value| own += value;
            _ = receiver.release(window.slots, window.slots);
        },
        .empty => _ = receiver.wait(.phased, slice_ns),
        .ended => break,
        .corrupt => return,
    };
    _ = sum.fetchAdd(own, .monotonic);
}

pub fn main(init: std.process.Init.Minimal) !void {
    var arguments = init.args.iterate();
    _ = arguments.next();
    const implementation = arguments.next() orelse return error.Usage;
    const each = try std.fmt.parseInt(u64, arguments.next() orelse return error.Usage, 10) / producers;
    const is_locked = std.mem.eql(u8, implementation, "locked");
    if (std.mem.eql(u8, implementation, "millrace-claim-1")) messages_max = 1;

    var senders: [producers]Sender = undefined;
    var receivers: [consumers]Receiver = undefined;
    if (!is_locked) {
        segment = try .create(try .init(.{
            .kind = .mpmc,
            .slot_bytes = 8,
            .capacity = capacity,
            .senders_max = producers,
            .receivers_max = consumers,
        }), 0);
        segment.control().sender_references.store(producers, .seq_cst);
        for (&senders) |*sender| sender.* = try .open(segment, false);
        for (&receivers) |*receiver| receiver.* = try .open(segment, false);
    }
    const start = millrace.os.now();
    var threads: [producers + consumers]std.Thread = undefined;
    for (threads[0..consumers], 0..) |*thread, index| {
        thread.* = if (is_locked)
            try std.Thread.spawn(.{}, consumeLocked, .{})
        else
            try std.Thread.spawn(.{}, consume, .{&receivers[index]});
    }
    for (threads[consumers..], 0..) |*thread, index| {
        const first = index * each;
        thread.* = if (is_locked)
            try std.Thread.spawn(.{}, produceLocked, .{ first, each })
        else
            try std.Thread.spawn(.{}, produce, .{ &senders[index], first, each });
    }
    for (threads) |thread| thread.join();
    const took = millrace.os.now() - start;

    const count = each * producers;
    if (sum.load(.monotonic) != count * (count - 1) / 2) return error.MessagesLost;
    const per_second = @as(f64, @floatFromInt(count)) * std.time.ns_per_s / @as(f64, @floatFromInt(took));
    var buffer: [32]u8 = undefined;
    const text = try std.fmt.bufPrint(&buffer, "{d:.0}\n", .{per_second});
    if (std.c.write(1, text.ptr, text.len) != text.len) return error.CannotWrite;
}
