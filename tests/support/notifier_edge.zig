//! A consumer in a real epoll loop, edge-triggered: it never reads its eventfd but at the end.
//! Usage: program KIND COUNT. Prints "sleeps writes received".

const std = @import("std");
const linux = std.os.linux;
const c = @cImport(@cInclude("millrace.h"));

fn must(condition: bool) void {
    if (!condition) @panic("the program's expectation failed");
}

/// How often the receiver has slept.
var sleeps: std.atomic.Value(u64) = .init(0);

const Job = struct {
    ticket: c.millrace_ticket = undefined,
    count: u32,

    fn send(job: *Job) void {
        var info: c.millrace_endpoint_info = undefined;
        var place: [2]u64 = undefined;
        const opened = c.millrace_endpoint_open(&job.ticket, c.MILLRACE_SENDER, &info);
        must(opened > 0);
        const sender: u32 = @intCast(opened);
        must(c.millrace_endpoint_ring(sender, info.index, &place) == 0);
        const mailbox: [*]const u32 = @ptrFromInt(info.mailbox_address);
        const slots: [*]u32 = @ptrFromInt(place[0]);
        for (0..job.count) |value| {
            while (c.millrace_sender_reserve(sender, 1) == 0) {
                _ = c.millrace_sender_wait(sender, 1, c.MILLRACE_BLOCK, 100_000);
            }
            slots[mailbox[1]] = @intCast(value);
            must(c.millrace_sender_commit(sender, 1, 1) >= 0);
            // After each lot of 16 the receiver has to have slept once more.
            while (sleeps.load(.monotonic) <= value / 16) {
                _ = linux.nanosleep(&.{ .sec = 0, .nsec = 60_000 }, null);
            }
        }
        must(c.millrace_endpoint_close(sender) >= 0);
    }
};

pub export fn main(argc: c_int, argv: [*]const [*:0]const u8) c_int {
    must(argc == 3);
    const kind = std.fmt.parseInt(u32, std.mem.span(argv[1]), 10) catch unreachable;
    const count = std.fmt.parseInt(u32, std.mem.span(argv[2]), 10) catch unreachable;
    var options = std.mem.zeroes(c.millrace_channel_options);
    options.kind = kind;
    options.slot_bytes = 4;
    options.capacity = 64;
    options.senders_max = 1;
    options.receivers_max = 1;
    const channel: u32 = @intCast(c.millrace_channel_create(&options));
    var job: Job = .{ .count = count };
    must(c.millrace_ticket_issue(channel, c.MILLRACE_SENDER, &job.ticket) == 0);
    var info: c.millrace_endpoint_info = undefined;
    var place: [2]u64 = undefined;
    const receiver: u32 = @intCast(c.millrace_endpoint_open_on(channel, c.MILLRACE_RECEIVER, &info));
    must(c.millrace_endpoint_ring(receiver, 0, &place) == 0);
    const mailbox: [*]const u32 = @ptrFromInt(info.mailbox_address);
    const slots: [*]const u32 = @ptrFromInt(place[0]);
    const fd = c.millrace_receiver_event_fd(receiver);
    must(fd >= 0);

    const epoll: i32 = @intCast(linux.epoll_create1(linux.EPOLL.CLOEXEC));
    var event: linux.epoll_event = .{ .events = linux.EPOLL.IN | linux.EPOLL.ET, .data = .{ .fd = fd } };
    must(linux.epoll_ctl(epoll, linux.EPOLL.CTL_ADD, fd, &event) == 0);
    const thread = std.Thread.spawn(.{}, Job.send, .{&job}) catch unreachable;
    var received: u32 = 0;
    while (true) {
        const there = c.millrace_receiver_poll(receiver, 0);
        if (there == c.MILLRACE_ENDED) break;
        must(there >= 0);
        if (there > 0) {
            for (0..@intCast(there)) |index| {
                must(slots[mailbox[1] + index] == received);
                received += 1;
            }
            must(c.millrace_receiver_release(receiver, @intCast(there), @intCast(there)) >= 0);
            continue;
        }
        if (c.millrace_receiver_arm_event_fd(receiver) == 0) continue;
        _ = sleeps.fetchAdd(1, .monotonic);
        // A lost wake-up ends here.
        var events: [1]linux.epoll_event = undefined;
        must(linux.epoll_wait(epoll, &events, 1, 100_000) == 1);
    }
    thread.join();
    var writes: u64 = 0;
    must(linux.read(fd, std.mem.asBytes(&writes), @sizeOf(u64)) == @sizeOf(u64));
    must(c.millrace_endpoint_close(receiver) >= 0);
    must(c.millrace_channel_dispose(channel) >= 0);
    must(c.millrace_channels_alive() == 0);
    _ = std.c.printf("%lu %lu %u\n", sleeps.load(.monotonic), writes, received);
    return 0;
}
