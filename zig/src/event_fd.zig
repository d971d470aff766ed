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
        /// The receiver it was made for is gone; another may have its place.
        is_left: bool = false,

        /// A fresh eventfd under the old numbers, so that receivers that come and go use up none. A
        /// read of the last receiver's that is still under way keeps that one's eventfd, and cannot
        /// take a wake-up away from this one.
        fn renew(self: *Event, fresh: i32) os.DescriptorError!void {
            defer os.closeDescriptor(fresh);
            const private = self.private.raw;
            if (os.isSameFile(self.public, private)) {
                try os.replaceDescriptor(fresh, self.public);
            } else {
                // The program has closed it: the number may be another file's by now.
                self.public = try os.duplicateDescriptor(fresh);
            }
            // Last. A slow waker of the last receiver writes to the old one or the new: in vain.
            try os.replaceDescriptor(fresh, private);
            self.is_left = false;
        }
    };

    /// The descriptor of a receiver. Called by the receiver's thread.
    pub fn open(self: *Notifier, receiver: u32) os.DescriptorError!i32 {
        const event = &self.events[receiver];
        const is_first = event.private.load(.acquire) == none;
        if (!is_first and !event.is_left) return event.public;
        const private = try os.createEvent();
        if (!is_first) {
            try event.renew(private);
            return event.public;
        }
        event.public = os.duplicateDescriptor(private) catch |err| {
            os.closeDescriptor(private);
            return err;
        };
        // Release: pairs with the acquires. A waker comes here only after it has taken an arm, which
        // the receiver's thread set after this.
        event.private.store(private, .release);
        return event.public;
    }

    /// Whether the receiver that has this place now has asked for its descriptor.
    pub fn isOpen(self: *const Notifier, receiver: u32) bool {
        const event = &self.events[receiver];
        return event.private.load(.acquire) != none and !event.is_left;
    }

    /// The receiver goes: whoever still waits for its descriptor, in a read perhaps, is let go.
    pub fn leave(self: *Notifier, receiver: u32) void {
        self.write(receiver);
        // A receiver's place is given up and taken under one mutex: the next one sees this.
        self.events[receiver].is_left = true;
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
    const stranger = try os.createEvent();
    try std.testing.expectEqual(fd, stranger);
    notifier.close();
    os.writeEvent(stranger);
    try std.testing.expectEqual(1, os.readEvent(stranger));
    os.closeDescriptor(stranger);
}

test "a receiver that takes another's place gets an eventfd of its own, and no more numbers are used" {
    var notifier: Notifier = .{};
    const fd = try notifier.open(0);
    // A read of the first receiver's that never ended, as it would be under way in another thread.
    const stale = try os.duplicateDescriptor(fd);
    notifier.leave(0);
    try std.testing.expect(!notifier.isOpen(0));
    for (0..3) |_| {
        try std.testing.expectEqual(fd, try notifier.open(0));
        try std.testing.expect(notifier.isOpen(0));
        notifier.write(0);
        try std.testing.expectEqual(1, os.readEvent(fd));
        notifier.leave(0);
    }
    // Only the leave of its own receiver was written there.
    try std.testing.expectEqual(1, os.readEvent(stale));
    os.closeDescriptor(stale);
    // The program closes its number, and it becomes another file's.
    os.closeDescriptor(fd);
    const stranger = try os.createEvent();
    try std.testing.expectEqual(fd, stranger);
    const other = try notifier.open(0);
    try std.testing.expect(other != stranger);
    notifier.write(0);
    try std.testing.expectEqual(1, os.readEvent(other));
    os.writeEvent(stranger);
    try std.testing.expectEqual(1, os.readEvent(stranger));
    notifier.close();
    try std.testing.expect(!os.isSameFile(other, stranger));
    os.closeDescriptor(stranger);
}
