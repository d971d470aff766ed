//! What the core asks of Linux about nodes and CPUs: where a thread may run, where pages lie and
//! shall lie, and the files that tell of the machine.

const std = @import("std");
const os = @import("linux.zig");
const linux = std.os.linux;

pub const nodes_max = 1024;
pub const cpus_max = 8192;

/// A set of CPUs, in the form the system calls have.
pub const CpuSet = NumberSet(cpus_max);
pub const NodeSet = NumberSet(nodes_max);

fn NumberSet(comptime count: u32) type {
    return extern struct {
        words: [count / 64]u64 = @splat(0),

        const Self = @This();

        pub fn of(number: u32) Self {
            var set: Self = .{};
            set.add(number);
            return set;
        }

        pub fn has(self: *const Self, number: u32) bool {
            return number < count and self.words[number / 64] >> @intCast(number % 64) & 1 != 0;
        }

        pub fn add(self: *Self, number: u32) void {
            self.words[number / 64] |= @as(u64, 1) << @intCast(number % 64);
        }

        pub fn intersect(self: Self, other: Self) Self {
            var both = self;
            for (&both.words, other.words) |*word, theirs| word.* &= theirs;
            return both;
        }

        pub fn isEmpty(self: *const Self) bool {
            return std.mem.allEqual(u64, &self.words, 0);
        }

        pub fn first(self: *const Self) ?u32 {
            for (0..count) |number| if (self.has(@intCast(number))) return @intCast(number);
            return null;
        }

        /// The next number from `from` on.
        pub fn next(self: *const Self, from: u32) ?u32 {
            for (from..count) |number| if (self.has(@intCast(number))) return @intCast(number);
            return null;
        }
    };
}

pub const Place = struct { cpu: u32, node: u32 };

/// Where the calling thread runs now.
pub fn currentPlace() ?Place {
    var cpu: u32 = 0;
    var node: u32 = 0;
    const result = linux.syscall3(.getcpu, @intFromPtr(&cpu), @intFromPtr(&node), 0);
    return if (linux.errno(result) == .SUCCESS) .{ .cpu = cpu, .node = node } else null;
}

pub const Thread = enum { calling, main };

/// The CPUs a thread may run on, which its cgroup's cpuset allows.
pub fn affinity(thread: Thread) ?CpuSet {
    var set: CpuSet = .{};
    const id: usize = if (thread == .main) @intCast(linux.getpid()) else 0;
    const result = linux.syscall3(.sched_getaffinity, id, @sizeOf(CpuSet), @intFromPtr(&set));
    return if (linux.errno(result) == .SUCCESS) set else null;
}

pub const AffinityError = error{
    /// None of the CPUs exists, or the cpuset allows none.
    NotAllowed,
    /// The kernel will not have it: a seccomp filter, for instance.
    Refused,
};

pub fn setAffinity(set: *const CpuSet) AffinityError!void {
    const result = linux.syscall3(.sched_setaffinity, 0, @sizeOf(CpuSet), @intFromPtr(set));
    return switch (linux.errno(result)) {
        .SUCCESS => {},
        .INVAL => error.NotAllowed,
        else => error.Refused,
    };
}

pub fn isMainThread() bool {
    return linux.gettid() == linux.getpid();
}

/// `MPOL_*` of linux/mempolicy.h.
pub const Policy = enum(u32) {
    default = 0,
    preferred = 1,
    bind = 2,
    /// The node of who touches a page, whatever the thread's own policy says.
    local = 4,

    fn hasNode(self: Policy) bool {
        return self == .preferred or self == .bind;
    }
};

pub const BindError = error{
    /// There is no such node, or the cpuset does not allow it.
    InvalidNode,
    /// Some page is on another node, and could not be moved.
    Misplaced,
    /// The kernel has no such call: it knows one node.
    Unsupported,
    /// It has, and will not: a seccomp filter, for instance.
    Refused,
    OutOfMemory,
};

/// `MPOL_MF_*` of linux/mempolicy.h.
pub const Moving = packed struct(u32) {
    /// Every page that is there, or else `Misplaced`; of those that it moves at all.
    is_strict: bool = false,
    /// Pages that no other process maps. The rest is passed over without a word.
    own: bool = true,
    /// All pages. Only for who may (CAP_SYS_NICE).
    all: bool = false,
    _: u29 = 0,
};

/// Says where the pages of a range are to be, and moves those that are there.
pub fn bindPages(base: [*]align(os.page_bytes) u8, length: usize, policy: Policy, node: u32, moving: Moving) BindError!void {
    const nodes: NodeSet = if (policy.hasNode()) .of(node) else .{};
    const result = linux.syscall6(
        .mbind,
        @intFromPtr(base),
        length,
        @intFromEnum(policy),
        // A set of no numbers is not the same as no set.
        if (policy.hasNode()) @intFromPtr(&nodes) else 0,
        // The kernel takes one from it: get_nodes() of mm/mempolicy.c.
        if (policy.hasNode()) nodes_max + 1 else 0,
        if (policy.hasNode()) @as(u32, @bitCast(moving)) else 0,
    );
    return switch (linux.errno(result)) {
        .SUCCESS => {},
        .INVAL => error.InvalidNode,
        .IO => error.Misplaced,
        .NOSYS => error.Unsupported,
        .NOMEM => error.OutOfMemory,
        else => error.Refused,
    };
}

/// Of pages in a row which are there, whether this process has looked at them or not: bit 0 of each.
/// Null: the kernel does not tell.
pub fn residentPages(base: [*]align(os.page_bytes) u8, length: usize, residence: [*]u8) ?void {
    const result = linux.syscall3(.mincore, @intFromPtr(base), length, @intFromPtr(residence));
    return if (linux.errno(result) == .SUCCESS) {} else null;
}

/// The node of each page; a negative error number where there is none: `-ENOENT` for a page that was
/// never touched. Null: the kernel does not tell.
pub fn nodesOfPages(addresses: []const usize, nodes: []i32) ?void {
    const result = linux.syscall6(
        .move_pages,
        0,
        addresses.len,
        @intFromPtr(addresses.ptr),
        0,
        @intFromPtr(nodes.ptr),
        0,
    );
    return if (linux.errno(result) == .SUCCESS) {} else null;
}

/// Touches every page of a range, which keeps what it holds.
pub fn populate(base: [*]align(os.page_bytes) u8, length: usize) error{OutOfMemory}!void {
    const madv_populate_write = 23; // Linux 5.14
    while (true) switch (linux.errno(linux.madvise(base, length, madv_populate_write))) {
        .SUCCESS => return,
        .INTR, .AGAIN => {},
        .INVAL, .PERM, .NOSYS => break,
        else => return error.OutOfMemory,
    };
    var offset: usize = 0;
    while (offset < length) : (offset += os.page_bytes) {
        const word: *std.atomic.Value(u32) = @ptrCast(@alignCast(base + offset));
        _ = word.fetchOr(0, .monotonic);
    }
}

pub const HugeAdvice = enum(u32) {
    /// `MADV_HUGEPAGE`.
    want = 14,
    /// `MADV_NOHUGEPAGE`.
    refuse = 15,
    /// `MADV_COLLAPSE` (Linux 6.1): at once, or an error. Populates what is missing.
    collapse = 25,
};

pub const AdviceError = error{
    /// The kernel has no such advice.
    Unsupported,
    /// There is no huge page to be had.
    Refused,
};

pub fn adviseHuge(base: [*]align(os.page_bytes) u8, length: usize, advice: HugeAdvice) AdviceError!void {
    while (true) return switch (linux.errno(linux.madvise(base, length, @intFromEnum(advice)))) {
        .SUCCESS => {},
        .INTR => continue,
        .INVAL => error.Unsupported,
        else => error.Refused,
    };
}

/// Reads a small file, whatever fits. Null: it cannot be read.
pub fn readFile(path: [*:0]const u8, buffer: []u8) ?[]u8 {
    const opened = linux.open(path, .{ .CLOEXEC = true }, 0);
    if (linux.errno(opened) != .SUCCESS) return null;
    const fd: i32 = @intCast(opened);
    defer os.closeDescriptor(fd);
    var filled: usize = 0;
    while (filled < buffer.len) {
        const result = linux.read(fd, buffer[filled..].ptr, buffer.len - filled);
        switch (linux.errno(result)) {
            .SUCCESS => {},
            .INTR => continue,
            else => return null,
        }
        if (result == 0) break;
        filled += result;
    }
    return buffer[0..filled];
}
