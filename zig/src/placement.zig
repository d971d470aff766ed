//! Where the memory of a channel lies: a ring beside its producer, what receivers write beside them.
//!
//! A policy is bound to exactly the pages of one ring before its tenant touches them (mbind(2)); those
//! that are there already, of an earlier tenant or of the look that found the ring free, are moved.
//!
//! `require` must not simply bind and touch: Linux answers a touch that a full node cannot serve by
//! killing a process. So the pages are first touched under a preference, which overflows to other
//! nodes, and then bound strictly, which moves the overflow or says that it cannot.
//!
//! The policy of a memfd is the file's: it holds whichever process touches a page. But what another
//! process maps, the kernel moves for nobody without CAP_SYS_NICE. So of a memfd the data of an earlier
//! tenant are given back, and not moved; and a keeper lets go of the page with the producer line.

const std = @import("std");
const numa = @import("numa.zig");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");
const system = @import("os/numa.zig");
const Segment = segment_module.Segment;

pub const Mode = enum(u2) {
    off = 0,
    /// As good as the machine allows.
    prefer = 1,
    /// Every page is there, or the open is refused.
    require = 2,
    _,

    pub fn fromInt(value: u32) ?Mode {
        return if (value <= @intFromEnum(Mode.require)) @enumFromInt(value) else null;
    }
};

/// Stands for the node the calling thread runs on.
pub const local: u32 = std.math.maxInt(u32);

pub const Request = struct {
    mode: Mode = .off,
    node: u32 = local,
};

pub const Error = error{
    NoSuchNode,
    /// The process's cpuset does not allow it.
    NodeNotAllowed,
    NodeOutOfMemory,
    /// The kernel forbids the call: a seccomp filter, as containers have.
    NumaRefused,
    /// The kernel knows no nodes.
    NumaUnsupported,
    HugePagesUnavailable,
};

/// Why a preference was not followed.
pub const Refusal = enum(u6) {
    none = 0,
    no_such_node,
    node_not_allowed,
    node_out_of_memory,
    numa_refused,
    numa_unsupported,
    _,

    fn of(err: Error) Refusal {
        return switch (err) {
            error.NoSuchNode => .no_such_node,
            error.NodeNotAllowed => .node_not_allowed,
            error.NodeOutOfMemory => .node_out_of_memory,
            error.NumaRefused => .numa_refused,
            error.NumaUnsupported => .numa_unsupported,
            error.HugePagesUnavailable => .none,
        };
    }

    pub fn toError(self: Refusal) ?Error {
        return switch (self) {
            .no_such_node => error.NoSuchNode,
            .node_not_allowed => error.NodeNotAllowed,
            .node_out_of_memory => error.NodeOutOfMemory,
            .numa_refused => error.NumaRefused,
            .numa_unsupported => error.NumaUnsupported,
            .none, _ => null,
        };
    }
};

/// What was asked for and came of it, as one word of the segment: every process that maps it can tell.
pub const Wish = packed struct(u32) {
    node: u24 = 0,
    mode: Mode = .off,
    refusal: Refusal = .none,
};

/// A run of pages.
const Range = struct {
    base: [*]align(os.page_bytes) u8,
    length: usize,
};

/// What belongs together: at most two ranges.
const Region = struct {
    first: Range,
    second: ?Range = null,

    fn ranges(self: *const Region, buffer: *[2]Range) []const Range {
        buffer[0] = self.first;
        buffer[1] = self.second orelse return buffer[0..1];
        return buffer;
    }
};

fn rangeOf(segment: Segment, offset: u64, length: u64) Range {
    return .{ .base = @alignCast(segment.base + offset), .length = length };
}

/// Its producer line and data, and its stamps.
fn regionOfRing(segment: Segment, ring: u32) Region {
    const geometry = &segment.geometry;
    std.debug.assert(ring < geometry.senders_max);
    return .{
        .first = rangeOf(segment, geometry.rings_offset + ring * geometry.ring_stride, geometry.ringBytes()),
        .second = if (geometry.has_latency)
            rangeOf(segment, geometry.stamps_offset + ring * geometry.stamps_stride, geometry.stamps_stride)
        else
            null,
    };
}

/// The control block and every line that receivers write, and the histogram.
fn sharedRegion(segment: Segment) Region {
    const geometry = &segment.geometry;
    return .{
        .first = rangeOf(segment, 0, geometry.sharedBytes()),
        .second = if (geometry.has_latency)
            rangeOf(segment, geometry.histogram_offset, geometry.stamps_offset - geometry.histogram_offset)
        else
            null,
    };
}

/// Whether placeRing() may touch, move or give back the whole ring, which takes its time.
pub fn takesTime(segment: Segment, request: Request) bool {
    return request.mode != .off or segment.geometry.huge_pages == .require;
}

/// The keeper has touched a ring's first page to claim it for another process, which is to place it, and
/// cannot while this one maps the page. Nothing is lost: the page is the file's.
pub fn leaveRing(segment: Segment, ring: u32) void {
    os.discardPages(regionOfRing(segment, ring).first.base, segment_module.pageBytes());
}

/// Places a ring that its sender has claimed and nobody uses yet.
pub fn placeRing(segment: Segment, ring: u32, request: Request) Error!void {
    const region = regionOfRing(segment, ring);
    const word = &segment.producerLine(ring).placement;
    const was: Wish = @bitCast(word.load(.monotonic));
    try adviseHuge(segment, region);
    if (request.mode == .off) {
        if (was.mode != .off) {
            // The last tenant's node is nothing to this one. What lies there stays.
            forget(segment, region);
            word.store(@bitCast(Wish{}), .monotonic);
        }
        return requireHuge(segment, region);
    }
    errdefer {
        forget(segment, region);
        word.store(@bitCast(Wish{}), .monotonic);
        discardData(segment, region);
    }
    // Whatever it held has been received.
    if (segment.fd != null) discardData(segment, region);
    const wish = try place(segment, region, request);
    try requireHuge(segment, region);
    if (wish.mode == .require) try require(segment, region, wish.node);
    word.store(@bitCast(wish), .monotonic);
}

/// Places what receivers write. Where there are several, the first that asks decides.
pub fn placeShared(segment: Segment, request: Request) Error!void {
    if (request.mode == .off) return;
    const word = &segment.control().placement;
    const was: Wish = @bitCast(word.load(.monotonic));
    if (was.mode != .off and segment.geometry.kind.hasManyReceivers()) return;
    const region = sharedRegion(segment);
    errdefer restore(segment, region, was);
    const wish = try place(segment, region, request);
    if (wish.mode == .require) try require(segment, region, wish.node);
    word.store(@bitCast(wish), .monotonic);
}

/// Binds a preference, and moves what is there already.
fn place(segment: Segment, region: Region, request: Request) Error!Wish {
    var wish: Wish = .{ .mode = request.mode };
    const node = if (request.node == local) node: {
        const here = system.currentPlace() orelse return refused(wish, error.NumaUnsupported);
        break :node here.node;
    } else request.node;
    wish.node = @intCast(@min(node, std.math.maxInt(u24)));
    if (node >= system.nodes_max) return refused(wish, error.NoSuchNode);
    bind(segment, region, .preferred, node, false) catch |err| return refused(wish, err);
    return wish;
}

/// What is preferred need not be had; what is required must be.
fn refused(wish: Wish, err: Error) Error!Wish {
    if (wish.mode == .require) return err;
    var told = wish;
    told.refusal = .of(err);
    return told;
}

/// Touches every page and has it on the node.
fn require(segment: Segment, region: Region, node: u32) Error!void {
    var buffer: [2]Range = undefined;
    for (region.ranges(&buffer)) |range| {
        system.populate(range.base, range.length) catch return error.NodeOutOfMemory;
    }
    try bind(segment, region, .bind, node, true);
    if (segment.fd == null) return;
    // What another process maps may have been passed over.
    for (region.ranges(&buffer)) |range| if (!liesOn(range, node)) return error.NumaRefused;
}

fn bind(segment: Segment, region: Region, policy: system.Policy, node: u32, is_strict: bool) Error!void {
    var buffer: [2]Range = undefined;
    for (region.ranges(&buffer)) |range| {
        bindRange(range, policy, node, .{ .is_strict = is_strict }, segment.fd != null) catch |err| return switch (err) {
            error.InvalidNode => if (numa.hasNode(node)) error.NodeNotAllowed else error.NoSuchNode,
            error.Misplaced, error.OutOfMemory => error.NodeOutOfMemory,
            error.Refused => error.NumaRefused,
            error.Unsupported => error.NumaUnsupported,
        };
    }
}

fn bindRange(range: Range, policy: system.Policy, node: u32, moving: system.Moving, is_shared: bool) system.BindError!void {
    if (!is_shared) return system.bindPages(range.base, range.length, policy, node, moving);
    // A policy that the mapping has had before the kernel takes for done, though through another mapping
    // the file has got another one meanwhile. So it gets one in between that nobody asks for.
    try system.bindPages(range.base, range.length, .local, 0, .{});
    var all = moving;
    all.all = true;
    if (system.bindPages(range.base, range.length, policy, node, all)) {
        return;
    } else |err| if (err != error.Refused) return err;
    return system.bindPages(range.base, range.length, policy, node, moving); // not everyone may
}

fn forget(segment: Segment, region: Region) void {
    var buffer: [2]Range = undefined;
    for (region.ranges(&buffer)) |range| bindRange(range, .default, 0, .{}, segment.fd != null) catch {};
}

/// What was wished for before one that is refused is still what others rely on. The word may be another
/// process's nonsense.
fn restore(segment: Segment, region: Region, was: Wish) void {
    const policy: system.Policy = switch (was.mode) {
        .prefer => .preferred,
        .require => .bind,
        .off, _ => return forget(segment, region),
    };
    if (was.refusal != .none or was.node >= system.nodes_max) return forget(segment, region);
    var buffer: [2]Range = undefined;
    for (region.ranges(&buffer)) |range| bindRange(range, policy, was.node, .{}, segment.fd != null) catch {};
}

/// Whether all of it that is there lies on the node, as far as the kernel tells.
fn liesOn(range: Range, node: u32) bool {
    var pages: Pages = .{ .range = range };
    while (pages.next()) |places| {
        for (places orelse return true) |place_of| if (place_of >= 0 and place_of != node) return false;
    }
    return true;
}

/// Gives back what a refused open has touched: all but the page of the producer line.
fn discardData(segment: Segment, region: Region) void {
    const page = segment_module.pageBytes();
    segment.discard(@alignCast(region.first.base + page), region.first.length - page);
    if (region.second) |stamps| segment.discard(stamps.base, stamps.length);
}

/// Gives back the memory of a ring that holds nothing any more and that no sender can have yet. The page
/// of its producer line stays. So do huge pages: all that were required, since they may not be had again,
/// and otherwise the first, which would have to be split.
pub fn emptyRing(segment: Segment, ring: u32) void {
    const geometry = &segment.geometry;
    if (geometry.huge_pages == .require) return;
    const region = regionOfRing(segment, ring);
    const kept = if (geometry.huge_pages == .@"try" and hugePart(region).length != 0)
        segment_module.huge_page_bytes
    else
        segment_module.pageBytes();
    if (region.first.length > kept) {
        segment.discard(@alignCast(region.first.base + kept), region.first.length - kept);
    }
    if (region.second) |stamps| segment.discard(stamps.base, stamps.length);
}

// ---- huge pages ----

/// The part of a ring that huge pages can hold: what is left behind it keeps small pages, or a few
/// bytes would cost a whole huge one.
fn hugePart(region: Region) Range {
    return .{
        .base = region.first.base,
        .length = region.first.length - region.first.length % segment_module.huge_page_bytes,
    };
}

fn adviseHuge(segment: Segment, region: Region) Error!void {
    const part = hugePart(region);
    switch (segment.geometry.huge_pages) {
        .system => {},
        .off => system.adviseHuge(region.first.base, region.first.length, .refuse) catch {},
        .@"try" => if (part.length != 0) system.adviseHuge(part.base, part.length, .want) catch {},
        .require => system.adviseHuge(part.base, part.length, .want) catch return error.HugePagesUnavailable,
    }
}

/// `require`: the ring lies in huge pages now.
fn requireHuge(segment: Segment, region: Region) Error!void {
    if (segment.geometry.huge_pages != .require) return;
    errdefer discardData(segment, region);
    const part = hugePart(region);
    system.populate(part.base, part.length) catch return error.HugePagesUnavailable;
    // Of no length it only tells whether the kernel knows how.
    if (system.adviseHuge(part.base, 0, .collapse)) {
        system.adviseHuge(part.base, part.length, .collapse) catch return error.HugePagesUnavailable;
    } else |_| if (!numa.hasHugePages(segment.fd != null)) return error.HugePagesUnavailable;
}

// ---- where it is ----

pub const NodePages = extern struct { node: u32, _: u32 = 0, pages: u64 };

/// Where the memory of a ring, or of what receivers write, is wanted and is.
pub const Placement = extern struct {
    /// A Mode.
    mode: u32,
    /// Meaningless when the mode is off.
    node: u32,
    /// 1: `prefer` was not followed, and `refusal` says why.
    refusal: u32,
    /// 1: the kernel told where the pages are.
    is_known: u32,
    pages: u64,
    /// Pages nobody has touched: they are nowhere yet.
    untouched: u64,
    node_count: u32,
    _: u32 = 0,
    nodes: [numa.nodes_told_max]NodePages,
};

pub fn ofRing(segment: Segment, ring: u32, placement: *Placement) void {
    tell(segment, regionOfRing(segment, ring), segment.producerLine(ring).placement.load(.monotonic), placement);
}

pub fn ofShared(segment: Segment, placement: *Placement) void {
    tell(segment, sharedRegion(segment), segment.control().placement.load(.monotonic), placement);
}

fn tell(segment: Segment, region: Region, word: u32, placement: *Placement) void {
    const wish: Wish = @bitCast(word);
    placement.* = .{
        .mode = @intFromEnum(wish.mode),
        .node = wish.node,
        .refusal = @intFromEnum(wish.refusal),
        .is_known = 1,
        .pages = 0,
        .untouched = 0,
        .node_count = 0,
        .nodes = @splat(.{ .node = 0, .pages = 0 }),
    };
    var buffer: [2]Range = undefined;
    for (region.ranges(&buffer)) |range| {
        placement.pages += range.length / segment_module.pageBytes();
        if (placement.is_known != 0) tellRange(segment, range, placement);
    }
}

fn tellRange(segment: Segment, range: Range, placement: *Placement) void {
    var pages: Pages = .{ .range = range, .is_shared = segment.fd != null };
    while (pages.next()) |places| {
        for (places orelse {
            placement.is_known = 0;
            return;
        }) |node| {
            if (node >= 0) countPage(placement, @intCast(node)) else placement.untouched += 1;
        }
    }
}

/// Asks for the nodes of a range's pages, some at a time.
const Pages = struct {
    range: Range,
    /// Others may have touched pages that this process has not.
    is_shared: bool = false,
    done: usize = 0,
    nodes: [at_once]i32 = undefined,

    const at_once = 512;

    /// Of each page the node, or a negative number where there is none. Null within: it is not told.
    fn next(self: *Pages) ??[]const i32 {
        const page = segment_module.pageBytes();
        const count = @min(at_once, self.range.length / page - self.done);
        if (count == 0) return null;
        const base: [*]align(os.page_bytes) u8 = @alignCast(self.range.base + self.done * page);
        if (self.is_shared) lookAt(base, count * page);
        var addresses: [at_once]usize = undefined;
        for (addresses[0..count], 0..) |*address, index| address.* = @intFromPtr(base) + index * page;
        self.done += count;
        system.nodesOfPages(addresses[0..count], self.nodes[0..count]) orelse return @as(?[]const i32, null);
        return self.nodes[0..count];
    }

    /// The kernel tells of no page that this process does not map. Maps those that are there, and makes
    /// none.
    fn lookAt(base: [*]align(os.page_bytes) u8, length: usize) void {
        var residence: [at_once]u8 = undefined;
        system.residentPages(base, length, &residence) orelse return;
        const page = segment_module.pageBytes();
        for (residence[0 .. length / page], 0..) |resident, index| {
            if (resident & 1 == 0) continue;
            const byte: *const volatile u8 = &base[index * page];
            _ = byte.*;
        }
    }
};

fn countPage(placement: *Placement, node: u32) void {
    for (placement.nodes[0..placement.node_count]) |*told| {
        if (told.node == node) {
            told.pages += 1;
            return;
        }
    }
    if (placement.node_count == placement.nodes.len) return;
    placement.nodes[placement.node_count] = .{ .node = node, .pages = 1 };
    placement.node_count += 1;
}

const testing = std.testing;

fn testSegment(is_shared: bool, has_latency: bool) !Segment {
    return .create(try segment_module.Geometry.init(.{
        .slot_bytes = 8,
        .capacity = 4096,
        .senders_max = 3,
        .has_latency = has_latency,
        .is_shared = is_shared,
    }), 0);
}

/// A node with memory this process may use: the last.
fn testNode() !u32 {
    const segment = try testSegment(false, false);
    defer segment.destroy();
    placeShared(segment, .{ .mode = .require }) catch |err| switch (err) {
        error.NumaRefused, error.NumaUnsupported => return error.SkipZigTest, // as in a container
        else => {},
    };
    const topology = try testing.allocator.create(numa.Topology);
    defer testing.allocator.destroy(topology);
    numa.readTopology(numa.root_default, topology);
    var index = topology.node_count;
    while (index > 0) {
        index -= 1;
        const node = &topology.nodes[index];
        if (node.is_allowed != 0 and node.memory_bytes != 0) return node.node;
    }
    return error.SkipZigTest;
}

fn expectAllOn(placement: *const Placement, node: u32) !void {
    try testing.expectEqual(1, placement.is_known);
    try testing.expectEqual(0, placement.refusal);
    try testing.expectEqual(node, placement.node);
    try testing.expectEqual(0, placement.untouched);
    try testing.expectEqual(1, placement.node_count);
    try testing.expectEqual(NodePages{ .node = node, .pages = placement.pages }, placement.nodes[0]);
}

test "numa: what is required is there when the call returns, of either memory, and nothing beside it" {
    const node = try testNode();
    for ([_]bool{ false, true }) |is_shared| {
        for ([_]bool{ false, true }) |has_latency| {
            const segment = try testSegment(is_shared, has_latency);
            defer segment.destroy();
            try placeRing(segment, 1, .{ .mode = .require, .node = node });
            try placeShared(segment, .{ .mode = .require, .node = node });
            var told: Placement = undefined;
            ofRing(segment, 1, &told);
            try testing.expectEqual(8 + 1 + @as(u64, if (has_latency) 8 else 0), told.pages);
            try expectAllOn(&told, node);
            ofShared(segment, &told);
            try expectAllOn(&told, node);
            for ([_]u32{ 0, 2 }) |ring| {
                ofRing(segment, ring, &told);
                try testing.expectEqual(0, told.mode);
                // A look at the word of a wish may have mapped a page.
                try testing.expect(told.untouched >= told.pages - 1);
            }
        }
    }
}

test "numa: a refused requirement keeps the ring as it was, and a refused preference says why" {
    _ = try testNode();
    for ([_]bool{ false, true }) |is_shared| {
        const segment = try testSegment(is_shared, false);
        defer segment.destroy();
        segment.data(0)[0] = 7; // the page of the producer line is never given back
        for ([_]u32{ system.nodes_max - 1, system.nodes_max, local - 1 }) |node| {
            try testing.expectError(error.NoSuchNode, placeRing(segment, 0, .{ .mode = .require, .node = node }));
            try testing.expectError(error.NoSuchNode, placeShared(segment, .{ .mode = .require, .node = node }));
            try testing.expectEqual(0, segment.producerLine(0).placement.raw);
            try testing.expectEqual(0, segment.control().placement.raw);
            try placeRing(segment, 0, .{ .mode = .prefer, .node = node });
            var told: Placement = undefined;
            ofRing(segment, 0, &told);
            try testing.expectEqual(@intFromEnum(Refusal.no_such_node), told.refusal);
            try testing.expectEqual(@intFromEnum(Mode.prefer), told.mode);
            try placeRing(segment, 0, .{});
            try testing.expectEqual(0, segment.producerLine(0).placement.raw);
        }
        try testing.expectEqual(7, segment.data(0)[0]);
    }
}

test "numa: local is where the calling thread runs" {
    _ = try testNode();
    const segment = try testSegment(false, false);
    defer segment.destroy();
    const here = system.currentPlace().?.node;
    numa.pinToNode(here, numa.root_default) catch return error.SkipZigTest;
    defer numa.unpin() catch {};
    try placeRing(segment, 2, .{ .mode = .require });
    var told: Placement = undefined;
    ofRing(segment, 2, &told);
    try expectAllOn(&told, here);
}

test "numa: a ring of huge pages begins at one, and leaves its last bytes to small ones" {
    const geometry: segment_module.Geometry = try .init(.{
        .slot_bytes = 8,
        .capacity = 1 << 18,
        .senders_max = 2,
        .huge_pages = .@"try",
    });
    try testing.expectEqual(0, geometry.rings_offset % segment_module.huge_page_bytes);
    try testing.expectEqual(0, geometry.ring_stride % segment_module.huge_page_bytes);
    for ([_]bool{ false, true }) |is_shared| {
        var shape = geometry;
        shape.is_shared = is_shared;
        const segment: Segment = try .create(shape, 0);
        defer segment.destroy();
        try testing.expectEqual(0, @intFromPtr(segment.base) % segment_module.huge_page_bytes);
        const region = regionOfRing(segment, 1);
        try testing.expectEqual(segment_module.huge_page_bytes, hugePart(region).length);
        try placeRing(segment, 1, .{});
        @memset(segment.data(1)[0..geometry.dataBytes()], 1);
    }
    try testing.expectError(error.InvalidGeometry, segment_module.Geometry.init(.{
        .slot_bytes = 8,
        .capacity = 1024,
        .huge_pages = .require,
    }));
}
