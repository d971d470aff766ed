//! What the core asks of Linux: pages, futexes, time, randomness, and the identity of a thread.
//! Every other file is free of system calls, so another system is one more file with this face.

const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;

pub const page_bytes = 4096;

/// Reserves zeroed address space. Pages cost memory only once touched (MAP_NORESERVE), which is
/// what lets a channel reserve a ring for every producer it may ever have.
pub fn reservePages(length: usize) ?[*]align(page_bytes) u8 {
    const result = linux.mmap(
        null,
        length,
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true },
        -1,
        0,
    );
    if (linux.errno(result) != .SUCCESS) return null;
    return @ptrFromInt(result);
}

pub fn releasePages(base: [*]align(page_bytes) u8, length: usize) void {
    _ = linux.munmap(base, length);
}

/// Gives the memory of a range back; the range stays reserved and reads as zeros.
pub fn discardPages(base: [*]align(page_bytes) u8, length: usize) void {
    _ = linux.madvise(base, length, linux.MADV.DONTNEED);
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

/// An eventfd that waits when it is read while it is 0: io_uring and a runtime's file API then sleep in
/// the read; an event loop reads when it was told to.
pub fn createEvent() ?i32 {
    const result = linux.eventfd(0, linux.EFD.CLOEXEC);
    return if (linux.errno(result) == .SUCCESS) @intCast(result) else null;
}

/// Another number for the same open file.
pub fn duplicateDescriptor(fd: i32) ?i32 {
    const result = linux.fcntl(fd, linux.F.DUPFD_CLOEXEC, 0);
    return if (linux.errno(result) == .SUCCESS) @intCast(result) else null;
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

/// Whether two numbers are the same open file. A kernel that does not tell: yes.
pub fn isSameFile(a: i32, b: i32) bool {
    const kcmp_file = 0;
    const process: usize = @intCast(linux.getpid());
    const result = linux.syscall5(.kcmp, process, process, kcmp_file, @intCast(a), @intCast(b));
    return switch (linux.errno(result)) {
        .SUCCESS => result == 0,
        .BADF => false,
        else => true,
    };
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
