//! The machine as NUMA sees it: nodes, their CPUs and memory, how far they are from each other; and
//! where the calling thread runs.
//!
//! Read from sysfs (Documentation/ABI/stable/sysfs-devices-node of Linux), which containers mask and
//! tests forge: what is missing or malformed is left out and told, and a machine that tells nothing
//! has one node.

const std = @import("std");
const os = @import("os/linux.zig");
const system = @import("os/numa.zig");
const CpuSet = system.CpuSet;
const NodeSet = system.NodeSet;

/// The most nodes that are told of.
pub const nodes_told_max = 64;
const problems_max = 64;
/// What Linux itself takes where the firmware tells nothing: LOCAL_DISTANCE and REMOTE_DISTANCE.
const distance_local = 10;
const distance_remote = 20;

pub const Node = extern struct {
    node: u32,
    /// 1: the process's cpuset allows memory of it.
    is_allowed: u32,
    memory_bytes: u64,
    free_bytes: u64,
    /// To each node of the topology, in its order; 10 is here, 20 twice as far.
    distances: [nodes_told_max]u8,
    /// Those of its CPUs that this process may use.
    cpus: CpuSet,
};

pub const Entry = enum(u16) { online, cpulist, meminfo, distance, _ };
pub const Trouble = enum(u16) { missing, malformed, too_many, _ };

/// An entry of sysfs that could not be used.
pub const Problem = extern struct {
    node: u32,
    entry: Entry,
    trouble: Trouble,
};

pub const Topology = extern struct {
    node_count: u32,
    /// May be more than there is room for.
    problem_count: u32,
    problems: [problems_max]Problem,
    nodes: [nodes_told_max]Node,

    fn report(self: *Topology, node: u32, entry: Entry, trouble: Trouble) void {
        if (self.problem_count < problems_max) {
            self.problems[self.problem_count] = .{ .node = node, .entry = entry, .trouble = trouble };
        }
        self.problem_count += 1;
    }

    pub fn told(self: *const Topology) []const Node {
        return self.nodes[0..self.node_count];
    }
};

pub const root_default = "/sys";

/// Reads the topology. `root` is where sysfs is; another than `/sys` is a forged or copied one.
pub fn readTopology(root: []const u8, topology: *Topology) void {
    @memset(std.mem.asBytes(topology), 0);
    const usable = processAffinity();
    const memories = allowedMemories();
    var buffer: [8192]u8 = undefined;
    var online: NodeSet = .{};
    if (read(root, null, "online", &buffer)) |text| {
        online = parseList(NodeSet, text) catch .{};
        if (online.isEmpty()) topology.report(0, .online, .malformed);
    } else topology.report(0, .online, .missing);
    if (online.isEmpty()) return takeAsOne(topology, usable, &buffer);

    var from: u32 = 0;
    while (online.next(from)) |id| : (from = id + 1) {
        if (topology.node_count == nodes_told_max) {
            topology.report(id, .online, .too_many);
            break;
        }
        const node = &topology.nodes[topology.node_count];
        topology.node_count += 1;
        node.node = id;
        node.is_allowed = @intFromBool(if (memories) |allowed| allowed.has(id) else true);
        if (read(root, id, "cpulist", &buffer)) |text| {
            if (parseList(CpuSet, text)) |cpus| {
                node.cpus = if (usable) |set| cpus.intersect(set) else cpus;
            } else |_| topology.report(id, .cpulist, .malformed);
        } else topology.report(id, .cpulist, .missing);
        if (read(root, id, "meminfo", &buffer)) |text| {
            const total = kilobytesOf(text, "MemTotal:");
            const free = kilobytesOf(text, "MemFree:");
            if (total == null or free == null) topology.report(id, .meminfo, .malformed);
            node.memory_bytes = total orelse 0;
            node.free_bytes = free orelse 0;
        } else topology.report(id, .meminfo, .missing);
    }
    for (topology.nodes[0..topology.node_count], 0..) |*node, place| {
        const distances = node.distances[0..topology.node_count];
        const trouble: Trouble = trouble: {
            const text = read(root, node.node, "distance", &buffer) orelse break :trouble .missing;
            if (parseDistances(text, distances)) continue;
            break :trouble .malformed;
        };
        topology.report(node.node, .distance, trouble);
        @memset(distances, distance_remote);
        distances[place] = distance_local;
    }
}

fn takeAsOne(topology: *Topology, usable: ?CpuSet, buffer: []u8) void {
    topology.node_count = 1;
    const node = &topology.nodes[0];
    node.is_allowed = 1;
    node.distances[0] = distance_local;
    node.cpus = usable orelse .{};
    const text = system.readFile("/proc/meminfo", buffer) orelse "";
    node.memory_bytes = kilobytesOf(text, "MemTotal:") orelse 0;
    node.free_bytes = kilobytesOf(text, "MemFree:") orelse 0;
}

/// Reads `<root>/devices/system/node[/node<id>]/<name>`.
fn read(root: []const u8, node: ?u32, name: []const u8, buffer: []u8) ?[]u8 {
    var path_buffer: [4096]u8 = undefined;
    const path = (if (node) |id|
        std.fmt.bufPrintZ(&path_buffer, "{s}/devices/system/node/node{d}/{s}", .{ root, id, name })
    else
        std.fmt.bufPrintZ(&path_buffer, "{s}/devices/system/node/{s}", .{ root, name })) catch return null;
    return system.readFile(path, buffer);
}

/// "0-3,8,10-11". Nothing at all is the empty set: a node without CPUs.
fn parseList(comptime Set: type, text: []const u8) error{Malformed}!Set {
    var set: Set = .{};
    const trimmed = std.mem.trim(u8, text, " \t\n");
    if (trimmed.len == 0) return set;
    var parts = std.mem.splitScalar(u8, trimmed, ',');
    while (parts.next()) |part| {
        const dash = std.mem.indexOfScalar(u8, part, '-') orelse part.len;
        const first = try parseNumber(part[0..dash]);
        const last = if (dash == part.len) first else try parseNumber(part[dash + 1 ..]);
        if (first > last or last >= set.words.len * 64) return error.Malformed;
        for (first..last + 1) |number| set.add(@intCast(number));
    }
    return set;
}

fn parseNumber(text: []const u8) error{Malformed}!u32 {
    for (text) |character| if (!std.ascii.isDigit(character)) return error.Malformed;
    return std.fmt.parseInt(u32, text, 10) catch error.Malformed;
}

/// "Node 0 MemTotal:   6908116 kB", or without the node: in bytes.
fn kilobytesOf(text: []const u8, name: []const u8) ?u64 {
    const start = (std.mem.indexOf(u8, text, name) orelse return null) + name.len;
    var words = std.mem.tokenizeAny(u8, text[start..], " \t");
    const kilobytes = std.fmt.parseInt(u64, words.next() orelse return null, 10) catch return null;
    return std.math.mul(u64, kilobytes, 1024) catch null;
}

/// "10 21", one for each node that is online.
fn parseDistances(text: []const u8, distances: []u8) bool {
    var words = std.mem.tokenizeAny(u8, text, " \t\n");
    for (distances) |*distance| {
        distance.* = std.fmt.parseInt(u8, words.next() orelse return false, 10) catch return false;
        if (distance.* < distance_local) return false;
    }
    // Where there are more nodes than are told of, there are more of these.
    return words.next() == null or distances.len == nodes_told_max;
}

/// The nodes the process's cpuset allows memory of. Null: the kernel does not tell.
fn allowedMemories() ?NodeSet {
    var buffer: [16384]u8 = undefined;
    const text = system.readFile("/proc/self/status", &buffer) orelse return null;
    const name = "Mems_allowed_list:";
    const start = (std.mem.indexOf(u8, text, name) orelse return null) + name.len;
    const end = std.mem.indexOfScalarPos(u8, text, start, '\n') orelse text.len;
    return parseList(NodeSet, text[start..end]) catch null;
}

/// Whether the machine has this node, as far as it tells.
pub fn hasNode(id: u32) bool {
    var buffer: [8192]u8 = undefined;
    const text = read(root_default, null, "online", &buffer) orelse return id == 0;
    const online = parseList(NodeSet, text) catch return id == 0;
    return online.has(id);
}

/// Whether this machine gives huge pages to memory that asks for them: private memory, or a memfd's.
pub fn hasHugePages(is_shared: bool) bool {
    var buffer: [256]u8 = undefined;
    const directory = root_default ++ "/kernel/mm/transparent_hugepage/";
    const path = if (is_shared) directory ++ "shmem_enabled" else directory ++ "enabled";
    const text = system.readFile(path, &buffer) orelse return false;
    // The one in brackets is in force.
    const start = std.mem.indexOfScalar(u8, text, '[') orelse return false;
    return !std.mem.startsWith(u8, text[start..], "[never]") and !std.mem.startsWith(u8, text[start..], "[deny]");
}

// ---- the calling thread ----

pub const PinError = error{ NoSuchNode, NodeNotAllowed, NoSuchCpu, CpuNotAllowed, NumaRefused };

/// What the thread's affinity was before its first pin.
threadlocal var before_pin: ?CpuSet = null;
/// The same of the main thread, whose affinity is taken for the process's.
var main_before_pin: ?CpuSet = null;
var mutex: os.Mutex = .{};

/// The CPUs the process may use: what its main thread was allowed before this library pinned it. Not
/// those of the calling thread, which may have been started by one that was pinned.
pub fn processAffinity() ?CpuSet {
    mutex.lock();
    defer mutex.unlock();
    return main_before_pin orelse system.affinity(.main) orelse system.affinity(.calling);
}

/// Has the calling thread run on one CPU only.
pub fn pinToCpu(cpu: u32) PinError!void {
    if (processAffinity()) |usable| if (!usable.has(cpu)) {
        return if (isOnline(cpu)) error.CpuNotAllowed else error.NoSuchCpu;
    };
    if (cpu >= system.cpus_max) return error.NoSuchCpu;
    pin(&.of(cpu)) catch |err| return switch (err) {
        error.NotAllowed => error.CpuNotAllowed,
        error.Refused => error.NumaRefused,
    };
}

/// Has the calling thread run on CPUs of one node only. `root` is where sysfs is.
pub fn pinToNode(node: u32, root: []const u8) PinError!void {
    var buffer: [8192]u8 = undefined;
    const usable = processAffinity();
    const cpus: CpuSet = cpus: {
        if (read(root, null, "online", &buffer)) |text| {
            if (parseList(NodeSet, text)) |online| {
                if (!online.has(node)) return error.NoSuchNode;
                const list = read(root, node, "cpulist", &buffer) orelse return error.NodeNotAllowed;
                const listed = parseList(CpuSet, list) catch return error.NodeNotAllowed;
                break :cpus if (usable) |set| listed.intersect(set) else listed;
            } else |_| {}
        }
        // One node, as readTopology() takes it.
        if (node != 0) return error.NoSuchNode;
        break :cpus usable orelse return error.NumaRefused;
    };
    if (cpus.isEmpty()) return error.NodeNotAllowed;
    pin(&cpus) catch |err| return switch (err) {
        error.NotAllowed => error.NodeNotAllowed,
        error.Refused => error.NumaRefused,
    };
}

fn pin(cpus: *const CpuSet) system.AffinityError!void {
    // What is remembered here must outlive a runtime that closes the library with its Worker.
    os.pinLibrary(@ptrCast(&mutex));
    const before = before_pin orelse system.affinity(.calling) orelse return error.Refused;
    mutex.lock();
    defer mutex.unlock();
    try system.setAffinity(cpus);
    before_pin = before;
    if (system.isMainThread()) main_before_pin = before;
}

/// Undoes the pins of the calling thread. One that was never pinned, and was started by a thread that
/// was, gets the CPUs of the process.
pub fn unpin() PinError!void {
    const wanted = before_pin orelse processAffinity() orelse return error.NumaRefused;
    mutex.lock();
    defer mutex.unlock();
    system.setAffinity(&wanted) catch |err| return switch (err) {
        error.NotAllowed => error.CpuNotAllowed,
        error.Refused => error.NumaRefused,
    };
    before_pin = null;
    if (system.isMainThread()) main_before_pin = null;
}

/// Whether the machine has this CPU, and it is on.
fn isOnline(cpu: u32) bool {
    var buffer: [8192]u8 = undefined;
    const text = system.readFile(root_default ++ "/devices/system/cpu/online", &buffer) orelse return false;
    const online = parseList(CpuSet, text) catch return false;
    return online.has(cpu);
}

const testing = std.testing;

/// A sysfs of a test, in a directory of its own.
const ForgedSystem = struct {
    directory: testing.TmpDir,
    root: [256]u8 = undefined,
    root_bytes: usize = 0,

    fn init() !ForgedSystem {
        var self: ForgedSystem = .{ .directory = testing.tmpDir(.{}) };
        self.root_bytes = try self.directory.dir.realPath(testing.io, &self.root);
        return self;
    }

    fn deinit(self: *ForgedSystem) void {
        self.directory.cleanup();
    }

    fn write(self: *ForgedSystem, comptime path: []const u8, text: []const u8) !void {
        const whole = "devices/system/node/" ++ path;
        try self.directory.dir.createDirPath(testing.io, std.fs.path.dirname(whole).?);
        try self.directory.dir.writeFile(testing.io, .{ .sub_path = whole, .data = text });
    }

    fn topology(self: *ForgedSystem) !*Topology {
        const told = try testing.allocator.create(Topology);
        readTopology(self.root[0..self.root_bytes], told);
        return told;
    }
};

test "readTopology() tells of nodes, their usable CPUs, memory and distances" {
    var forged: ForgedSystem = try .init();
    defer forged.deinit();
    const usable = processAffinity().?.first().?;
    var list: [16]u8 = undefined;
    try forged.write("online", "0,2-3\n");
    try forged.write("node0/cpulist", try std.fmt.bufPrint(&list, "{d},8000\n", .{usable}));
    try forged.write("node0/meminfo", "\nNode 0 MemTotal:  4096 kB\nNode 0 MemFree:   1024 kB\n");
    try forged.write("node0/distance", "10 20 31\n");
    try forged.write("node2/cpulist", "\n");
    try forged.write("node2/meminfo", "Node 2 MemTotal: 8 kB\nNode 2 MemFree: 0 kB\n");
    try forged.write("node2/distance", "20 10 20\n");
    try forged.write("node3/cpulist", "7000-7001\n");
    try forged.write("node3/meminfo", "Node 3 MemTotal: 8 kB\nNode 3 MemFree: 8 kB\n");
    try forged.write("node3/distance", "31 20 10\n");
    const told = try forged.topology();
    defer testing.allocator.destroy(told);
    try testing.expectEqual(0, told.problem_count);
    try testing.expectEqual(3, told.node_count);
    try testing.expectEqual(2, told.nodes[1].node);
    try testing.expect(told.nodes[0].cpus.has(usable));
    try testing.expect(!told.nodes[0].cpus.has(8000)); // not ours
    try testing.expect(told.nodes[1].cpus.isEmpty());
    try testing.expect(told.nodes[2].cpus.isEmpty());
    try testing.expectEqual(4096 * 1024, told.nodes[0].memory_bytes);
    try testing.expectEqual(1024 * 1024, told.nodes[0].free_bytes);
    try testing.expectEqualSlices(u8, &.{ 31, 20, 10 }, told.nodes[2].distances[0..3]);
}

test "readTopology() leaves out and reports what is missing or malformed" {
    var forged: ForgedSystem = try .init();
    defer forged.deinit();
    try forged.write("online", "0-1\n");
    try forged.write("node0/cpulist", "0-\n");
    try forged.write("node0/meminfo", "Node 0 MemTotal: lots\n");
    try forged.write("node0/distance", "10\n");
    const told = try forged.topology();
    defer testing.allocator.destroy(told);
    try testing.expectEqual(2, told.node_count);
    const expected = [_]Problem{
        .{ .node = 0, .entry = .cpulist, .trouble = .malformed },
        .{ .node = 0, .entry = .meminfo, .trouble = .malformed },
        .{ .node = 1, .entry = .cpulist, .trouble = .missing },
        .{ .node = 1, .entry = .meminfo, .trouble = .missing },
        .{ .node = 0, .entry = .distance, .trouble = .malformed },
        .{ .node = 1, .entry = .distance, .trouble = .missing },
    };
    try testing.expectEqualSlices(Problem, &expected, told.problems[0..told.problem_count]);
    try testing.expectEqualSlices(u8, &.{ 20, 10 }, told.nodes[1].distances[0..2]);
}

test "readTopology() takes a machine that tells of no nodes, or nonsense, as one node" {
    for ([_]?[]const u8{ null, "", "zwei\n", "3-1\n", "0-99999999999\n", "0-1024\n", "-1\n", "1_0\n", "\xff\x00" }) |online| {
        var forged: ForgedSystem = try .init();
        defer forged.deinit();
        if (online) |text| try forged.write("online", text);
        const told = try forged.topology();
        defer testing.allocator.destroy(told);
        try testing.expectEqual(1, told.node_count);
        try testing.expectEqual(1, told.problem_count);
        try testing.expectEqual(if (online == null) Trouble.missing else .malformed, told.problems[0].trouble);
        try testing.expect(told.nodes[0].memory_bytes > 0);
        try testing.expectEqual(processAffinity().?, told.nodes[0].cpus);
    }
}

test "readTopology() of more nodes than it has room for says so" {
    var forged: ForgedSystem = try .init();
    defer forged.deinit();
    try forged.write("online", "0-1023\n");
    const told = try forged.topology();
    defer testing.allocator.destroy(told);
    try testing.expectEqual(nodes_told_max, told.node_count);
    try testing.expect(told.problem_count > problems_max);
}

test "readTopology() agrees with the kernel about this machine" {
    const told = try testing.allocator.create(Topology);
    defer testing.allocator.destroy(told);
    readTopology(root_default, told);
    var all: CpuSet = .{};
    for (told.told()) |node| {
        for (&all.words, node.cpus.words) |*word, cpus| word.* |= cpus;
    }
    try testing.expectEqual(processAffinity().?, all);
    const place = system.currentPlace().?;
    for (told.told()) |node| if (node.node == place.node) return testing.expect(node.cpus.has(place.cpu));
    return error.TestUnexpectedResult;
}

test "a pin holds for its thread, and unpin() restores what was before" {
    const Pinned = struct {
        fn work(outcome: *anyerror!void) void {
            outcome.* = check();
        }

        fn check() !void {
            const before = system.affinity(.calling).?;
            const cpu = before.first().?;
            try pinToCpu(cpu);
            try testing.expectEqual(CpuSet.of(cpu), system.affinity(.calling).?);
            try testing.expectEqual(cpu, system.currentPlace().?.cpu);
            const node = system.currentPlace().?.node;
            try pinToNode(node, root_default);
            try testing.expect(system.affinity(.calling).?.has(cpu));
            var inherited: anyerror!void = error.Unset;
            try pinToCpu(cpu);
            const child = try std.Thread.spawn(.{}, inherit, .{ &inherited, cpu });
            child.join();
            try inherited;
            try unpin();
            try testing.expectEqual(before, system.affinity(.calling).?);
            try testing.expectError(error.NoSuchCpu, pinToCpu(system.cpus_max - 1));
            try testing.expectError(error.NoSuchCpu, pinToCpu(std.math.maxInt(u32)));
            try testing.expectError(error.NoSuchNode, pinToNode(system.nodes_max - 1, root_default));
            try testing.expectError(error.NoSuchNode, pinToNode(std.math.maxInt(u32), root_default));
            try testing.expectEqual(before, system.affinity(.calling).?);
        }

        fn inherit(outcome: *anyerror!void, cpu: u32) void {
            outcome.* = checkInherited(cpu);
        }

        fn checkInherited(cpu: u32) !void {
            try testing.expectEqual(CpuSet.of(cpu), system.affinity(.calling).?);
            try unpin();
            try testing.expectEqual(processAffinity().?, system.affinity(.calling).?);
        }
    };
    var outcome: anyerror!void = error.Unset;
    const thread = try std.Thread.spawn(.{}, Pinned.work, .{&outcome});
    thread.join();
    try outcome;
}

test "pinToNode() refuses a node without a CPU that may be used" {
    var forged: ForgedSystem = try .init();
    defer forged.deinit();
    try forged.write("online", "0-1\n");
    try forged.write("node1/cpulist", "8000\n");
    const root = forged.root[0..forged.root_bytes];
    try testing.expectError(error.NodeNotAllowed, pinToNode(0, root));
    try testing.expectError(error.NodeNotAllowed, pinToNode(1, root));
    try testing.expectError(error.NoSuchNode, pinToNode(2, root));
}
