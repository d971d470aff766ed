//! What the core asks of Linux: pages, futexes, time, randomness, and the identity of a thread.
//! Every other file is free of system calls, so another system is one more file with this face.

const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;

pub const page_bytes = 4096;

/// Reserves zeroed address space. Pages cost memory only once touched (MAP_NORESERVE), which is
/// what lets a channel reserve a ring for every producer it may ever have. Over a memfd, if there is
/// one, or over memory of this process alone.
pub fn reservePages(length: usize, alignment: usize, fd: ?i32) ?[*]align(page_bytes) u8 {
    if (alignment <= page_bytes) return mapPages(null, length, fd);
    // More than is needed, of which a run that is aligned is kept.
    const around = mapPages(null, std.math.add(usize, length, alignment) catch return null, null) orelse return null;
    const base: [*]align(page_bytes) u8 = @ptrFromInt(std.mem.alignForward(usize, @intFromPtr(around), alignment));
    const before = @intFromPtr(base) - @intFromPtr(around);
    const after: [*]align(page_bytes) u8 = @ptrFromInt(std.mem.alignForward(usize, @intFromPtr(base) + length, page_bytes));
    if (before != 0) releasePages(around, before);
    const after_bytes = @intFromPtr(around) + length + alignment - @intFromPtr(after);
    if (after_bytes != 0) releasePages(after, after_bytes);
    if (fd == null) return base;
    if (mapPages(base, length, fd) != null) return base;
    releasePages(base, length);
    return null;
}

/// The same for memory that mirrorPages() can map a second time.
pub fn reserveMirroredPages(length: usize) ?[*]align(page_bytes) u8 {
    const flags: linux.MAP = .{ .TYPE = .SHARED, .ANONYMOUS = true, .NORESERVE = true };
    const result = linux.mmap(null, length, .{ .READ = true, .WRITE = true }, flags, -1, 0);
    return if (linux.errno(result) == .SUCCESS) @ptrFromInt(result) else null;
}

/// Maps memory that is shared (with other processes, or by reserveMirroredPages()) a second time.
pub fn mirrorPages(base: [*]align(page_bytes) u8, length: usize) ?[*]align(page_bytes) u8 {
    // Of nothing moved to somewhere else: both ranges are the same pages then.
    const result = linux.mremap(base, 0, length, .{ .MAYMOVE = true }, null);
    return if (linux.errno(result) == .SUCCESS) @ptrFromInt(result) else null;
}

fn mapPages(fixed: ?[*]align(page_bytes) u8, length: usize, fd: ?i32) ?[*]align(page_bytes) u8 {
    const result = linux.mmap(
        fixed,
        length,
        .{ .READ = true, .WRITE = true },
        .{
            .TYPE = if (fd == null) .PRIVATE else .SHARED,
            .ANONYMOUS = fd == null,
            .NORESERVE = true,
            .FIXED = fixed != null,
        },
        fd orelse -1,
        0,
    );
    if (linux.errno(result) != .SUCCESS) return null;
    return @ptrFromInt(result);
}

/// Why there is no new descriptor.
pub const DescriptorError = error{
    /// This process, or the system, has as many as it may have.
    TooManyDescriptors,
    OutOfMemory,
    /// Anything else the system says.
    SystemRefused,
};

fn descriptorOf(result: usize) DescriptorError!i32 {
    return switch (linux.errno(result)) {
        .SUCCESS => @intCast(result),
        .MFILE, .NFILE => error.TooManyDescriptors,
        .NOMEM, .NOSPC => error.OutOfMemory,
        else => error.SystemRefused,
    };
}

/// Why there is no memory for several processes.
pub const SharedMemoryError = DescriptorError || error{
    /// A sandbox forbids memfd_create, or the kernel has none.
    SharedMemoryRefused,
    /// It is longer than a file of this process may be.
    FileSizeLimit,
};

const mfd_noexec_seal = 8;

/// A memfd of so many bytes, zeroed, that can neither grow nor shrink: who maps it never meets the end
/// of the file.
pub fn createSharedMemory(length: u64) SharedMemoryError!i32 {
    if (length > std.math.maxInt(i64)) return error.OutOfMemory;
    // The kernel would answer a longer file with SIGXFSZ, which ends a process that does not expect it.
    if (length > fileBytesMax()) return error.FileSizeLimit;
    const fd = openSharedMemory(mfd_noexec_seal) catch |err| switch (err) {
        error.SystemRefused => try openSharedMemory(0), // before Linux 6.3
        else => return err,
    };
    errdefer closeDescriptor(fd);
    switch (linux.errno(linux.ftruncate(fd, @intCast(length)))) {
        .SUCCESS => {},
        .FBIG => return error.FileSizeLimit,
        .NOMEM, .NOSPC => return error.OutOfMemory,
        else => return error.SystemRefused,
    }
    const seals = linux.F.SEAL_SHRINK | linux.F.SEAL_GROW | linux.F.SEAL_SEAL;
    if (linux.errno(linux.fcntl(fd, linux.F.ADD_SEALS, seals)) != .SUCCESS) return error.SharedMemoryRefused;
    return fd;
}

fn openSharedMemory(flags: u32) SharedMemoryError!i32 {
    const result = linux.memfd_create("millrace", linux.MFD.CLOEXEC | linux.MFD.ALLOW_SEALING | flags);
    return switch (linux.errno(result)) {
        .PERM, .ACCES, .NOSYS => error.SharedMemoryRefused,
        else => descriptorOf(result),
    };
}

/// The limit of RLIMIT_FSIZE.
fn fileBytesMax() u64 {
    var limit: linux.rlimit = undefined;
    if (linux.errno(linux.prlimit(0, .FSIZE, null, &limit)) != .SUCCESS) return std.math.maxInt(u64);
    return limit.cur;
}

pub fn releasePages(base: [*]align(page_bytes) u8, length: usize) void {
    _ = linux.munmap(base, length);
}

/// Gives the memory of a range back; the range stays reserved and reads as zeros.
pub fn discardPages(base: [*]align(page_bytes) u8, length: usize) void {
    _ = linux.madvise(base, length, linux.MADV.DONTNEED);
}

/// Takes a range out of a memfd: it reads as zeros in every process that maps it.
pub fn removePages(base: [*]align(page_bytes) u8, length: usize) void {
    _ = linux.madvise(base, length, linux.MADV.REMOVE);
}

/// Leaves a range of memory that is shared: it reads as zeros here, and whoever else maps it keeps it.
pub fn leaveSharedPages(base: [*]align(page_bytes) u8, length: usize) void {
    // In one step: the range is never free for another mapping in between.
    _ = mapPages(base, length, null);
}

/// What is needed to know of a file before it is mapped.
pub const FileFacts = struct {
    bytes: u64,
    /// Sealed as createSharedMemory() does it, and on memory that is never short of pages: a mapping
    /// of these bytes meets no SIGBUS, whatever others do to the file.
    is_sealed: bool,
    /// Tells it from every other file of its kind.
    inode: u64,

    pub const unknown: FileFacts = .{ .bytes = 0, .is_sealed = false, .inode = 0 };
};

/// Null: no such descriptor, or not a file.
pub fn factsOf(fd: i32) ?FileFacts {
    // The seals before the size: once they are there it does not change.
    const seals = linux.fcntl(fd, linux.F.GET_SEALS, 0);
    var stat: linux.Statx = undefined;
    const result = linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .TYPE = true, .SIZE = true, .INO = true }, &stat);
    if (linux.errno(result) != .SUCCESS or stat.mode & linux.S.IFMT != linux.S.IFREG) return null;
    const needed = linux.F.SEAL_SHRINK | linux.F.SEAL_GROW | linux.F.SEAL_SEAL;
    const unwanted = linux.F.SEAL_WRITE | linux.F.SEAL_FUTURE_WRITE;
    return .{
        .bytes = stat.size,
        .inode = stat.ino,
        .is_sealed = linux.errno(seals) == .SUCCESS and seals & needed == needed and
            seals & unwanted == 0 and isOfPlainPages(fd),
    };
}

/// Whether the file lies in tmpfs. The other kind of memfd, of huge pages, can be sealed as well, but a
/// page that is first touched when the system has none left is a SIGBUS.
fn isOfPlainPages(fd: i32) bool {
    const tmpfs_magic = 0x0102_1994; // linux/magic.h
    var facts: [64]c_long = @splat(0); // struct statfs begins with f_type
    const result = linux.syscall2(.fstatfs, @bitCast(@as(isize, fd)), @intFromPtr(&facts));
    return linux.errno(result) == .SUCCESS and facts[0] == tmpfs_magic;
}

/// The arguments this process was started with, each behind it a zero, as far as the buffer goes.
pub fn commandLine(buffer: []u8) []const u8 {
    const result = linux.open("/proc/self/cmdline", .{ .CLOEXEC = true }, 0);
    if (linux.errno(result) != .SUCCESS) return "";
    const fd: i32 = @intCast(result);
    defer closeDescriptor(fd);
    return buffer[0..readBeginning(fd, buffer)];
}

/// Reads the beginning of a file. Answers how many bytes there were; 0 also if it cannot be read.
pub fn readBeginning(fd: i32, buffer: []u8) usize {
    while (true) {
        const result = linux.pread(fd, buffer.ptr, buffer.len, 0);
        switch (linux.errno(result)) {
            .SUCCESS => return result,
            .INTR => {},
            else => return 0,
        }
    }
}

/// Sleeps while `word` still holds `expected`, at most `timeout_ns`. Spurious returns are allowed:
/// every caller looks at its condition again.
pub fn futexWait(word: *const std.atomic.Value(u32), expected: u32, timeout_ns: u64) void {
    const timeout: linux.timespec = .{
        .sec = @intCast(timeout_ns / std.time.ns_per_s),
        .nsec = @intCast(timeout_ns % std.time.ns_per_s),
    };
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = true }, expected, &timeout);
}

pub fn futexWake(word: *const std.atomic.Value(u32), waiters: u32) void {
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = true }, waiters);
}

/// The same for a word that other processes wake, too.
pub fn futexWaitShared(word: *const std.atomic.Value(u32), expected: u32, timeout_ns: u64) void {
    const timeout: linux.timespec = .{
        .sec = @intCast(timeout_ns / std.time.ns_per_s),
        .nsec = @intCast(timeout_ns % std.time.ns_per_s),
    };
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = false }, expected, &timeout);
}

pub fn futexWakeShared(word: *const std.atomic.Value(u32), waiters: u32) void {
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = false }, waiters);
}

/// One of several words to sleep on, while all of them hold what is expected.
pub const FutexWaiter = linux.futex2_waitone;
pub const futex_waiters_max = linux.FUTEX2_WAITONE_MAX;

pub fn futexWaiter(word: *const std.atomic.Value(u32), expected: u32, is_shared: bool) FutexWaiter {
    return .{
        .val = expected,
        .uaddr = @intFromPtr(word),
        .flags = .{ .size = .U32, .private = !is_shared },
    };
}

/// Sleeps while every word holds what is expected of it, at most until `deadline_ns` of now().
/// Spurious returns are allowed; a word that is not mapped any more is one. False: this system cannot
/// (before Linux 5.16, or a sandbox forbids it).
pub fn futexWaitAny(waiters: []const FutexWaiter, deadline_ns: u64) bool {
    const deadline: linux.kernel_timespec = .{
        .sec = @intCast(deadline_ns / std.time.ns_per_s),
        .nsec = @intCast(deadline_ns % std.time.ns_per_s),
    };
    const result = linux.futex2_waitv(waiters.ptr, @intCast(waiters.len), .{}, &deadline, .MONOTONIC);
    return switch (linux.errno(result)) {
        .NOSYS, .PERM, .ACCES, .INVAL => false,
        else => true,
    };
}

/// An eventfd that waits when it is read while it is 0: io_uring and a runtime's file API then sleep in
/// the read; an event loop reads when it was told to.
pub fn createEvent() DescriptorError!i32 {
    return descriptorOf(linux.eventfd(0, linux.EFD.CLOEXEC));
}

/// Another number for the same open file.
pub fn duplicateDescriptor(fd: i32) DescriptorError!i32 {
    const result = linux.fcntl(fd, linux.F.DUPFD_CLOEXEC, 0);
    // EINVAL, too, is a limit of 0.
    return if (linux.errno(result) == .INVAL) error.TooManyDescriptors else descriptorOf(result);
}

pub fn closeDescriptor(fd: i32) void {
    _ = linux.close(fd);
}

/// Adds 1: whoever waits for the eventfd is woken.
pub fn writeEvent(fd: i32) void {
    const one: u64 = 1;
    while (linux.errno(linux.write(fd, std.mem.asBytes(&one), @sizeOf(u64))) == .INTR) {}
}

/// How often it was written since it was read last. Waits while that is 0.
pub fn readEvent(fd: i32) u64 {
    var count: u64 = 0;
    while (linux.errno(linux.read(fd, std.mem.asBytes(&count), @sizeOf(u64))) == .INTR) {}
    return count;
}

/// Makes `number`, which is open, another number for the open file `fd`, at one instant: whoever uses
/// it meanwhile uses the one or the other.
pub fn replaceDescriptor(fd: i32, number: i32) DescriptorError!void {
    while (true) {
        const result = linux.dup3(fd, number, linux_close_on_exec);
        switch (linux.errno(result)) {
            .SUCCESS => return,
            .INTR, .BUSY => {},
            // The number is beyond a limit that was lowered since.
            .BADF => return error.TooManyDescriptors,
            else => _ = try descriptorOf(result),
        }
    }
}

const linux_close_on_exec: u32 = @bitCast(linux.O{ .CLOEXEC = true });

/// Whether `number` is the open file `own`, an eventfd. Containers tend to forbid kcmp, so: numbers of
/// one open file share its status flags, and O_APPEND means nothing to an eventfd.
pub fn isSameFile(number: i32, own: i32) bool {
    const append: u32 = @bitCast(linux.O{ .APPEND = true });
    const flags = statusFlags(own) orelse return false;
    const before = statusFlags(number) orelse return false;
    _ = linux.fcntl(own, linux.F.SETFL, flags ^ append);
    const after = statusFlags(number);
    _ = linux.fcntl(own, linux.F.SETFL, flags);
    return before == flags and after == flags ^ append;
}

fn statusFlags(fd: i32) ?usize {
    const result = linux.fcntl(fd, linux.F.GETFL, 0);
    return if (linux.errno(result) == .SUCCESS) result else null;
}

pub fn yieldThread() void {
    _ = linux.sched_yield();
}

pub fn sleep(duration_ns: u64) void {
    const request: linux.timespec = .{
        .sec = @intCast(duration_ns / std.time.ns_per_s),
        .nsec = @intCast(duration_ns % std.time.ns_per_s),
    };
    _ = linux.nanosleep(&request, null);
}

/// Monotonic time. Through libc, whose vDSO call does not enter the kernel.
pub fn now() u64 {
    var time: std.c.timespec = undefined;
    if (std.c.clock_gettime(.MONOTONIC, &time) != 0) return 0;
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

pub fn randomBytes(buffer: []u8) void {
    var filled: usize = 0;
    while (filled < buffer.len) {
        const result = linux.getrandom(buffer[filled..].ptr, buffer.len - filled, 0);
        switch (linux.errno(result)) {
            .SUCCESS => filled += result,
            .INTR => {},
            // Linux 3.17 and later always have getrandom; 5.10 is the minimum.
            else => unreachable,
        }
    }
}

/// The thread pointer: one register, unique among living threads. A dead thread's value may come
/// back, but by then its destructor has closed everything that carried it.
pub inline fn threadIdentity() usize {
    return switch (builtin.cpu.arch) {
        // Word 0 of the thread control block holds its own address (glibc and musl).
        .x86_64 => asm ("movq %%fs:0, %[result]"
            : [result] "=r" (-> usize),
        ),
        .aarch64 => asm ("mrs %[result], tpidr_el0"
            : [result] "=r" (-> usize),
        ),
        else => @compileError("Millrace supports x86-64 and arm64"),
    };
}

/// A mutex for the cold paths (opening, closing, tickets). No hot path takes it.
/// After Drepper, "Futexes Are Tricky", mutex2.
pub const Mutex = struct {
    state: std.atomic.Value(u32) = .init(unlocked),

    const unlocked = 0;
    const locked = 1;
    const contended = 2;

    pub fn lock(self: *Mutex) void {
        // Acquire: pairs with the release in unlock(), so the last holder's writes are seen.
        if (self.state.cmpxchgStrong(unlocked, locked, .acquire, .monotonic) == null) return;
        while (self.state.swap(contended, .acquire) != unlocked) {
            futexWait(&self.state, contended, std.time.ns_per_s);
        }
    }

    pub fn unlock(self: *Mutex) void {
        // Release: pairs with the acquires in lock().
        if (self.state.swap(unlocked, .release) == contended) futexWake(&self.state, 1);
    }
};

/// `dlfcn.h`: which file an address was loaded from.
const DynamicLinkInfo = extern struct {
    file_name: ?[*:0]const u8,
    file_base: ?*anyopaque,
    symbol_name: ?[*:0]const u8,
    symbol_address: ?*anyopaque,
};
extern "c" fn dladdr(address: *const anyopaque, info: *DynamicLinkInfo) c_int;
extern "c" fn dlopen(path: [*:0]const u8, mode: c_int) ?*anyopaque;

const rtld_lazy = 0x0001;
const rtld_noload = 0x0004;
const rtld_nodelete = 0x1000;

/// Keeps this library mapped for the life of the process. A runtime closes the libraries a Worker
/// opened when the Worker ends, and the thread destructor below runs after that: its code must
/// still be there.
pub fn pinLibrary(any_address_inside: *const anyopaque) void {
    var info: DynamicLinkInfo = undefined;
    if (dladdr(any_address_inside, &info) == 0) return;
    const path = info.file_name orelse return;
    _ = dlopen(path, rtld_lazy | rtld_noload | rtld_nodelete);
}

/// Calls `destructor` with a thread's value when that thread ends, however it ends.
pub const ThreadExitHook = struct {
    key: std.c.pthread_key_t,

    pub fn create(destructor: *const fn (*anyopaque) callconv(.c) void) ?ThreadExitHook {
        var key: std.c.pthread_key_t = undefined;
        if (std.c.pthread_key_create(&key, destructor) != .SUCCESS) return null;
        return .{ .key = key };
    }

    pub fn get(self: ThreadExitHook) ?*anyopaque {
        return std.c.pthread_getspecific(self.key);
    }

    pub fn set(self: ThreadExitHook, value: ?*anyopaque) bool {
        return std.c.pthread_setspecific(self.key, value) == 0;
    }
};

test "Mutex excludes: two threads count without losing an increment" {
    const Shared = struct {
        mutex: Mutex = .{},
        count: u64 = 0,

        fn work(self: *@This()) void {
            for (0..20_000) |_| {
                self.mutex.lock();
                defer self.mutex.unlock();
                self.count += 1;
            }
        }
    };
    var shared: Shared = .{};
    const other = try std.Thread.spawn(.{}, Shared.work, .{&shared});
    shared.work();
    other.join();
    try std.testing.expectEqual(40_000, shared.count);
}
