//! The other process of the tests across processes, in Zig: `send` and `receive` of process_peer.ts,
//! in the keeper's process or not.

const std = @import("std");
const c = @cImport(@cInclude("millrace.h"));

const sequence_bits = 28;
const sequence_mask = (1 << sequence_bits) - 1;
/// Far beyond what a connect takes on a slow machine.
const timeout_us = 20_000_000;

fn check(what: [:0]const u8, answer: i32) u32 {
    if (answer >= 0) return @intCast(answer);
    _ = std.c.printf("failed %d\n", answer);
    std.debug.panic("{s}: status {d}", .{ what, answer });
}

fn say(comptime format: [:0]const u8, arguments: anytype) void {
    _ = @call(.auto, std.c.printf, .{format.ptr} ++ arguments);
}

fn connect(address: [*:0]const u8, role: c_int) u32 {
    var options = std.mem.zeroes(c.millrace_connect_options);
    options.role = @intCast(role);
    var info: c.millrace_endpoint_info = undefined;
    const bytes: u32 = @intCast(std.mem.len(address));
    const endpoint = check("connect", c.millrace_connect(&options, address, bytes, timeout_us, &info));
    say("connected\n", .{});
    return endpoint;
}

fn keep(address: [*:0]const u8, kind: []const u8, roles: c_int, limit: u32) u32 {
    const names = [_][]const u8{ "mpsc", "spsc", "spmc", "mpmc" };
    const kind_number = for (names, 0..) |name, index| {
        if (std.mem.eql(u8, name, kind)) break index;
    } else unreachable;
    var options = std.mem.zeroes(c.millrace_channel_options);
    options.kind = @intCast(kind_number);
    options.slot_bytes = @sizeOf(u32);
    options.capacity = 4096;
    options.senders_max = if (kind_number == c.MILLRACE_MPSC or kind_number == c.MILLRACE_MPMC) 64 else 1;
    options.receivers_max = if (kind_number == c.MILLRACE_SPMC or kind_number == c.MILLRACE_MPMC) 16 else 1;
    options.is_shared = 1;
    const channel = check("create", c.millrace_channel_create(&options));
    var sharing = std.mem.zeroes(c.millrace_share_options);
    sharing.roles = @intCast(roles);
    sharing.limit = limit;
    const bytes: u32 = @intCast(std.mem.len(address));
    _ = check("share", c.millrace_share(channel, &sharing, address, bytes, null, 0));
    return channel;
}

fn openOn(channel: u32, role: c_int) u32 {
    var info: c.millrace_endpoint_info = undefined;
    return check("open", c.millrace_endpoint_open_on(channel, @intCast(role), &info));
}

fn sendAll(sender: u32, id: u32, count: u32) void {
    var values: [1024]u32 = undefined;
    var sum: u64 = 0;
    var next: u32 = 0;
    while (next < count) {
        const chunk = values[0..@min(values.len, count - next)];
        for (chunk) |*value| {
            value.* = id << sequence_bits | next;
            sum += next;
            next += 1;
        }
        const sent = check("send", c.millrace_send_many(sender, chunk.ptr, @intCast(chunk.len), c.MILLRACE_FOREVER));
        if (sent != chunk.len) _ = check("send", c.MILLRACE_CHANNEL_CLOSED);
    }
    _ = check("close", c.millrace_close(sender));
    say("sent %u %lu\n", .{ count, sum });
}

fn receiveAll(receiver: u32, is_whole: bool) void {
    var values: [1024]u32 = undefined;
    var next: [16]u32 = @splat(0);
    var count: u32 = 0;
    var sum: u64 = 0;
    while (true) {
        const received = c.millrace_receive_many(receiver, &values, @sizeOf(@TypeOf(values)), c.MILLRACE_FOREVER);
        if (received == c.MILLRACE_ENDED) break;
        for (values[0..check("receive", received)]) |value| {
            const sequence = value & sequence_mask;
            const expected = &next[value >> sequence_bits];
            if (if (is_whole) sequence != expected.* else sequence < expected.*) {
                std.debug.panic("expected {d}, received {d}", .{ expected.*, sequence });
            }
            expected.* = sequence + 1;
            count += 1;
            sum += sequence;
        }
    }
    _ = check("close", c.millrace_close(receiver));
    say("received %u %lu\n", .{ count, sum });
}

fn number(text: [*:0]const u8) u32 {
    return std.fmt.parseInt(u32, std.mem.span(text), 10) catch unreachable;
}

pub export fn main(count: c_int, arguments: [*]const [*:0]const u8) c_int {
    std.debug.assert(count >= 3);
    // What it says is seen at once, also through a pipe.
    _ = setvbuf(stdout, null, 2, 0);
    const Task = enum { send, receive, @"keep-send", @"keep-receive" };
    const address = arguments[2];
    switch (std.meta.stringToEnum(Task, std.mem.span(arguments[1])).?) {
        .send => sendAll(connect(address, c.MILLRACE_SENDER), number(arguments[3]), number(arguments[4])),
        .receive => {
            const is_whole = count < 4 or std.mem.eql(u8, std.mem.span(arguments[3]), "whole");
            receiveAll(connect(address, c.MILLRACE_RECEIVER), is_whole);
        },
        .@"keep-receive" => {
            const channel = keep(address, std.mem.span(arguments[3]), c.MILLRACE_SHARE_SENDERS, number(arguments[4]));
            const receiver = openOn(channel, c.MILLRACE_RECEIVER);
            say("shared\n", .{});
            receiveAll(receiver, true);
            _ = check("dispose", c.millrace_close(channel));
        },
        .@"keep-send" => {
            const channel = keep(address, std.mem.span(arguments[3]), c.MILLRACE_SHARE_RECEIVERS, number(arguments[4]));
            const sender = openOn(channel, c.MILLRACE_SENDER);
            say("shared\n", .{});
            sendAll(sender, number(arguments[5]), number(arguments[6]));
            var statistics: c.millrace_statistics = undefined;
            // The keeper must outlive the traffic.
            while (true) {
                _ = check("statistics", c.millrace_endpoint_statistics(channel, &statistics));
                if (statistics.drained != 0) break;
                _ = usleep(1000);
            }
            _ = check("dispose", c.millrace_close(channel));
        },
    }
    return 0;
}

extern var stdout: *anyopaque;
extern fn setvbuf(stream: *anyopaque, buffer: ?[*]u8, mode: c_int, size: usize) c_int;
extern fn usleep(microseconds: c_uint) c_int;
