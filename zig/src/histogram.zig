//! A histogram of durations: log-linear buckets, as in Gil Tene's HdrHistogram
//! (https://hdrhistogram.org). Below 128 ns a bucket is a nanosecond; above, every power of two is
//! divided into 128 buckets. So a bucket is at most 1/128 of its values wide, and a quantile, which
//! is told as the highest value of its bucket, is at most 0.8 % above the true one and never below.

const std = @import("std");

/// Buckets of one power of two, as a power of two.
const precision_bits = 7;
const buckets_per_octave = 1 << precision_bits;
/// Longer durations, from 73 minutes on, count as this long, but for the maximum.
const value_bits_max = 42;
const value_max: u64 = (1 << value_bits_max) - 1;
pub const buckets_max = (value_bits_max - precision_bits + 1) * buckets_per_octave;

comptime {
    std.debug.assert(buckets_max == 4608); // MILLRACE_BUCKETS of millrace.h
}

fn bucketOf(value_ns: u64) u32 {
    const value: u64 = @min(value_ns, value_max);
    if (value < buckets_per_octave) return @intCast(value);
    const shift: u6 = @intCast(63 - @clz(value) - precision_bits);
    return (@as(u32, shift) << precision_bits) + @as(u32, @intCast(value >> shift));
}

/// The highest value a bucket stands for.
fn highestOf(bucket: u32) u64 {
    if (bucket < buckets_per_octave) return bucket;
    const shift: u6 = @intCast(bucket / buckets_per_octave - 1);
    const mantissa: u64 = bucket % buckets_per_octave + buckets_per_octave;
    return ((mantissa + 1) << shift) - 1;
}

/// What a histogram says, in nanoseconds.
pub const Summary = extern struct {
    count: u64 = 0,
    sum_ns: u64 = 0,
    max_ns: u64 = 0,
    p50_ns: u64 = 0,
    p90_ns: u64 = 0,
    p99_ns: u64 = 0,
    p999_ns: u64 = 0,
};

/// The values of one bucket.
pub const Bucket = extern struct {
    /// The highest value it stands for; the lowest is one more than that of the bucket before.
    highest_ns: u64,
    count: u64,
};

/// Fresh zeroed memory is an empty histogram.
pub const Histogram = extern struct {
    max_ns: std.atomic.Value(u64),
    sum_ns: std.atomic.Value(u64),
    buckets: [buckets_max]std.atomic.Value(u64),

    /// Counts `weight` values. Any thread: the receivers of a channel share one histogram. Nothing is
    /// published by it, so every access is monotonic; whoever reads meanwhile reads a moment ago.
    pub fn record(self: *Histogram, value_ns: u64, weight: u64) void {
        _ = self.buckets[bucketOf(value_ns)].fetchAdd(weight, .monotonic);
        _ = self.sum_ns.fetchAdd(value_ns *| weight, .monotonic);
        if (value_ns > self.max_ns.load(.monotonic)) _ = self.max_ns.fetchMax(value_ns, .monotonic);
    }

    pub fn summary(self: *const Histogram) Summary {
        var counts: [buckets_max]u64 = undefined;
        return self.copy(&counts);
    }

    /// The summary, and the buckets it was made from: those that are not empty, in order, as many as there
    /// is room for. Returns how many.
    pub fn tell(self: *const Histogram, sum: *Summary, buckets: []Bucket) usize {
        var counts: [buckets_max]u64 = undefined;
        sum.* = self.copy(&counts);
        var told: usize = 0;
        for (counts, 0..) |count, bucket| {
            if (count == 0) continue;
            if (told == buckets.len) break;
            buckets[told] = .{ .highest_ns = highestOf(@intCast(bucket)), .count = count };
            told += 1;
        }
        return told;
    }

    /// Copies the buckets: those that are counted are those the quantiles are then looked up in.
    fn copy(self: *const Histogram, counts: *[buckets_max]u64) Summary {
        var sum: Summary = .{
            .sum_ns = self.sum_ns.load(.monotonic),
            .max_ns = self.max_ns.load(.monotonic),
        };
        for (counts, &self.buckets) |*count, *bucket| {
            count.* = bucket.load(.monotonic);
            sum.count +|= count.*;
        }
        if (sum.count == 0) return .{};
        var seen: u64 = 0;
        var bucket: u32 = 0;
        const wanted = [_]struct { *u64, u64 }{
            .{ &sum.p50_ns, 500 },
            .{ &sum.p90_ns, 900 },
            .{ &sum.p99_ns, 990 },
            .{ &sum.p999_ns, 999 },
        };
        for (wanted) |quantile| {
            const result, const per_mille = quantile;
            // The value that so many of the values are at most.
            const rank = std.math.divCeil(u128, @as(u128, sum.count) * per_mille, 1000) catch unreachable;
            while (bucket < buckets_max - 1 and seen +| counts[bucket] < rank) : (bucket += 1) seen +|= counts[bucket];
            result.* = @min(highestOf(bucket), sum.max_ns);
        }
        return sum;
    }
};

const testing = std.testing;

test "Histogram buckets follow one another without a gap, at most 1/128 wide" {
    var lowest: u64 = 0;
    for (0..buckets_max) |index| {
        const bucket: u32 = @intCast(index);
        const highest = highestOf(bucket);
        try testing.expectEqual(bucket, bucketOf(lowest));
        try testing.expectEqual(bucket, bucketOf(highest));
        try testing.expect((highest - lowest) * buckets_per_octave <= lowest);
        lowest = highest + 1;
    }
    try testing.expectEqual(value_max + 1, lowest);
    try testing.expectEqual(buckets_max - 1, bucketOf(std.math.maxInt(u64)));
}

test "Histogram quantiles are those of the sorted values, within the width of a bucket" {
    const histogram = try testing.allocator.create(Histogram);
    defer testing.allocator.destroy(histogram);
    var prng: std.Random.DefaultPrng = .init(7);
    const random = prng.random();
    var values: [10_000]u64 = undefined;
    for (1..8) |round| {
        histogram.* = std.mem.zeroes(Histogram);
        const count = values.len * round / 7;
        for (values[0..count]) |*value| {
            value.* = random.int(u64) >> random.intRangeAtMost(u6, 24, 63);
            histogram.record(value.*, 1);
        }
        std.mem.sort(u64, values[0..count], {}, std.sort.asc(u64));
        const summary = histogram.summary();
        try testing.expectEqual(count, summary.count);
        try testing.expectEqual(values[count - 1], summary.max_ns);
        const answers = [_]u64{ summary.p50_ns, summary.p90_ns, summary.p99_ns, summary.p999_ns };
        for ([_]u64{ 500, 900, 990, 999 }, answers) |per_mille, answer| {
            const exact = values[(count * per_mille + 999) / 1000 - 1];
            try testing.expect(answer >= exact);
            try testing.expect(answer <= exact + exact / buckets_per_octave);
        }
    }
}

test "Histogram.record() counts a weight as so many values" {
    const histogram = try testing.allocator.create(Histogram);
    defer testing.allocator.destroy(histogram);
    histogram.* = std.mem.zeroes(Histogram);
    try testing.expectEqual(Summary{}, histogram.summary());
    histogram.record(100, 899);
    histogram.record(std.math.maxInt(u64), 1);
    histogram.record(120, 100);
    try testing.expectEqual(1000, histogram.summary().count);
    try testing.expectEqual(100, histogram.summary().p50_ns);
    try testing.expectEqual(120, histogram.summary().p90_ns);
    try testing.expectEqual(120, histogram.summary().p999_ns);
    try testing.expectEqual(std.math.maxInt(u64), histogram.summary().max_ns);
}

test "Histogram.tell() gives the buckets that are not empty, in order, as many as there is room for" {
    const histogram = try testing.allocator.create(Histogram);
    defer testing.allocator.destroy(histogram);
    histogram.* = std.mem.zeroes(Histogram);
    var buckets: [4]Bucket = undefined;
    var summary: Summary = undefined;
    try testing.expectEqual(0, histogram.tell(&summary, &buckets));
    try testing.expectEqual(Summary{}, summary);
    histogram.record(1000, 5);
    histogram.record(7, 2);
    histogram.record(1001, 1);
    histogram.record(std.math.maxInt(u64), 3);
    try testing.expectEqual(3, histogram.tell(&summary, &buckets));
    try testing.expectEqual(histogram.summary(), summary);
    const expected = [_]Bucket{
        .{ .highest_ns = 7, .count = 2 },
        .{ .highest_ns = 1003, .count = 6 },
        .{ .highest_ns = value_max, .count = 3 },
    };
    try testing.expectEqualSlices(Bucket, &expected, buckets[0..3]);
    try testing.expectEqual(2, histogram.tell(&summary, buckets[0..2]));
    try testing.expectEqual(11, summary.count);
}
