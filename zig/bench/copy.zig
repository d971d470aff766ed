//! Copies of a batch between two places of a ring: `@memcpy` against loops over vectors of 16, 32 and
//! 64 bytes, the widest this CPU has. Run by bench/suites/bulk_copy.ts.
//!
//! copy IMPLEMENTATION BYTES
//!
//! Prints bytes per second over a quarter of a second, and checks the copy.

const std = @import("std");
const os = @import("millrace").os;

const bytes_most = 1 << 20;
var source: [bytes_most]u8 align(64) = undefined;
var target: [bytes_most]u8 align(64) = undefined;

fn copyVectors(comptime width: usize, bytes: usize) void {
    const Vector = @Vector(width, u8);
    const from: [*]const Vector = @ptrCast(&source);
    const to: [*]Vector = @ptrCast(&target);
    for (0..bytes / width) |index| to[index] = from[index];
}

fn copy(implementation: Implementation, bytes: usize) void {
    switch (implementation) {
        .memcpy => @memcpy(target[0..bytes], source[0..bytes]),
        .vector16 => copyVectors(16, bytes),
        .vector32 => copyVectors(32, bytes),
        .vector64 => copyVectors(64, bytes),
    }
    // The copy is wanted: nobody may leave it out.
    asm volatile ("" ::: .{ .memory = true });
}

const Implementation = enum { memcpy, vector16, vector32, vector64 };
const sample_ns = std.time.ns_per_s / 4;

pub fn main(init: std.process.Init.Minimal) !void {
    var arguments = init.args.iterate();
    _ = arguments.next();
    const name = arguments.next() orelse return error.Usage;
    const implementation = std.meta.stringToEnum(Implementation, name) orelse return error.Usage;
    const bytes = try std.fmt.parseInt(usize, arguments.next() orelse return error.Usage, 10);
    if (bytes > bytes_most or bytes % 64 != 0) return error.Usage;
    for (&source, 0..) |*byte, index| byte.* = @truncate(index *% 31);
    var copies: u64 = 0;
    const start = os.now();
    while (os.now() - start < sample_ns) : (copies += 64) {
        for (0..64) |_| copy(implementation, bytes);
    }
    const took = os.now() - start;
    if (!std.mem.eql(u8, target[0..bytes], source[0..bytes])) return error.CopyDiffers;
    const per_second = @as(f64, @floatFromInt(copies * bytes)) * std.time.ns_per_s / @as(f64, @floatFromInt(took));
    var buffer: [32]u8 = undefined;
    const text = try std.fmt.bufPrint(&buffer, "{d:.0}\n", .{per_second});
    if (std.c.write(1, text.ptr, text.len) != text.len) return error.CannotWrite;
}
