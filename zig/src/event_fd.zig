//! Event descriptors: a receiver whose thread waits in epoll, io_uring or poll, for an eventfd.
//!
//! Such an arm is the futex arm of bell.zig with another wake: whoever takes it writes 1 to the
//! receiver's eventfd, a system call that every thread can make, also one of another language and
//! one that is dying.
//!
//! A waker may be about to write when the receiver closes. So the descriptors are the channel's: they
//! stay open until its last endpoint, handle and ticket is gone, and a waker has one of these.

const std = @import("std");
const os = @import("os/linux.zig");
const segment_module = @import("segment.zig");

pub const Notifier = struct {
    events: [segment_module.receivers_max]Event = @splat(.{}),

    const none = -1;

    const Event = struct {
        /// What wakers write to. No program knows its number, so none can close it by mistake and have
        /// the next wake-up written into another file.
        private: std.atomic.Value(i32) = .init(none),
        /// What the program waits for: the same eventfd under a number of its own.
        public: i32 = none,
    };

    /// The descriptor of a receiver. Called by the receiver's thread.
    pub fn open(self: *Notifier, receiver: u32) error{OutOfMemory}!i32 {
        const event = &self.events[receiver];
        if (event.private.load(.acquire) != none) return event.public;
        const private = os.createEvent() orelse return error.OutOfMemory;
        event.public = os.duplicateDescriptor(private) orelse {
            os.closeDescriptor(private);
            return error.OutOfMemory;
        };
        // Release: pairs with the acquires. A waker comes here only after it has taken an arm, which
        // the receiver's thread set after this.
        event.private.store(private, .release);
        return event.public;
    }

    pub fn isOpen(self: *const Notifier, receiver: u32) bool {
        return self.events[receiver].private.load(.acquire) != none;
    }

    /// Makes the descriptor of a receiver readable, if it has one.
    pub fn write(self: *const Notifier, receiver: u32) void {
        const private = self.events[receiver].private.load(.acquire);
        if (private != none) os.writeEvent(private);
    }

    /// Nobody can be about to write any more.
    pub fn close(self: *Notifier) void {
        for (&self.events) |*event| {
            const private = event.private.raw;
            if (private == none) continue;
            // A program that closed it itself may have another file under that number by now.
            if (os.isSameFile(event.public, private)) os.closeDescriptor(event.public);
            os.closeDescriptor(private);
        }
    }
};

test "Notifier writes to the eventfd it gave out, and leaves a stranger's descriptor open" {
    var notifier: Notifier = .{};
    try std.testing.expect(!notifier.isOpen(3));
    notifier.write(3); // without one: nothing
    const fd = try notifier.open(3);
    try std.testing.expectEqual(fd, try notifier.open(3));
    notifier.write(3);
    notifier.write(3);
    try std.testing.expectEqual(2, os.readEvent(fd));
    // A program closes it, and the number becomes another file's.
    os.closeDescriptor(fd);
    const stranger = os.createEvent().?;
    try std.testing.expectEqual(fd, stranger);
    notifier.close();
    os.writeEvent(stranger);
    try std.testing.expectEqual(1, os.readEvent(stranger));
    os.closeDescriptor(stranger);
}
