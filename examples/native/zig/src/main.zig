//! Workers of a Zig program: three threads measure, two find the extremes, and a bare ring takes what
//! they find to the main thread. Every reading is counted.
//!
//! zig build run

const std = @import("std");
const millrace = @import("millrace");

const producers = 3;
const consumers = 2;
const count = 100_000;

/// Extern, so that its layout is defined: with a slice or a pointer in it this would not compile.
const Reading = extern struct { producer: u32, sequence: u32, value: f64 };
const Readings = millrace.Mpmc(Reading);

const Extremes = extern struct { readings: u64, least: f64, most: f64 };
const Found = millrace.Ring(Extremes);

fn produce(opened: Readings.Sender, producer: u32) !void {
    var sender = opened; // it was moved to this thread
    defer sender.close();
    var sequence: u32 = 0;
    while (sequence < count) {
        // One by one for a while, and then in place, as much as there is room for.
        if (sequence < count / 2) {
            try sender.send(readingOf(producer, sequence));
            sequence += 1;
            continue;
        }
        const room = try sender.reserve(1);
        if (room.len == 0) {
            try sender.send(readingOf(producer, sequence)); // waits
            sequence += 1;
            continue;
        }
        const chunk: u32 = @min(@as(u32, @intCast(room.len)), count - sequence);
        for (room[0..chunk], 0..) |*reading, index| {
            reading.* = readingOf(producer, sequence + @as(u32, @intCast(index)));
        }
        try sender.commit(chunk);
        sequence += chunk;
    }
}

fn readingOf(producer: u32, sequence: u32) Reading {
    return .{ .producer = producer, .sequence = sequence, .value = @sin(@as(f64, @floatFromInt(sequence))) };
}

fn consume(opened: Readings.Receiver, found: *Found) void {
    var receiver = opened;
    defer receiver.close();
    var extremes: Extremes = .{ .readings = 0, .least = std.math.inf(f64), .most = -std.math.inf(f64) };
    while (receiver.receive()) |reading| {
        extremes.readings += 1;
        extremes.least = @min(extremes.least, reading.value);
        extremes.most = @max(extremes.most, reading.value);
    }
    std.debug.assert(found.push(extremes));
}

pub fn main() !void {
    var readings: Readings = try .init(.{ .capacity = 256, .senders_max = producers, .receivers_max = consumers });
    defer readings.deinit();

    var rings: [consumers]Found = undefined;
    var consuming: [consumers]std.Thread = undefined;
    for (&rings, &consuming) |*ring, *thread| {
        ring.* = try .init(2);
        thread.* = try std.Thread.spawn(.{}, consume, .{ try readings.receiver(), ring });
    }
    // All senders before the first thread: the channel ends when its last sender has closed.
    var senders: [producers]Readings.Sender = undefined;
    for (&senders) |*sender| sender.* = try readings.sender();
    var producing: [producers]std.Thread = undefined;
    for (&producing, senders, 0..) |*thread, sender, producer| {
        thread.* = try std.Thread.spawn(.{}, produce, .{ sender, @as(u32, @intCast(producer)) });
    }
    for (producing) |thread| thread.join();

    var total: u64 = 0;
    for (&rings, consuming) |*ring, thread| {
        thread.join();
        defer ring.deinit();
        const extremes = ring.pop().?;
        total += extremes.readings;
        std.debug.print("{d} readings from {d:.3} to {d:.3}\n", .{ extremes.readings, extremes.least, extremes.most });
    }
    if (total != producers * count) return error.ReadingsAreMissing;
    std.debug.print("{d} readings in all\n", .{total});
}
