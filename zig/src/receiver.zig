//! The receiver of any kind of channel.

const bell = @import("bell.zig");
const channel = @import("channel.zig");
const latency = @import("latency.zig");
const os = @import("os/linux.zig");
const sleepers = @import("sleepers.zig");
const wait_module = @import("wait.zig");
const Segment = @import("segment.zig").Segment;
const Bells = channel.Bells;

pub const Receiver = union(enum) {
    mpsc: @import("mpsc.zig").Receiver,
    spsc: @import("spsc.zig").Receiver,
    spmc: @import("spmc.zig").Receiver,
    mpmc: @import("mpmc.zig").Receiver,

    pub fn open(on: Segment, has_records: bool) channel.OpenError!Receiver {
        return switch (on.geometry.kind) {
            .mpsc => .{ .mpsc = try .open(on) },
            .spsc => .{ .spsc = try .open(on) },
            .spmc => .{ .spmc = try .open(on, has_records) },
            .mpmc => .{ .mpmc = try .open(on, has_records) },
        };
    }

    /// At a place that the keeper of the channel has claimed for this process.
    pub fn attach(on: Segment, has_records: bool, place: u32) Receiver {
        return switch (on.geometry.kind) {
            .mpsc => .{ .mpsc = .{ .segment = on } },
            .spsc => .{ .spsc = .{ .segment = on, .consumer = .init(on, 0) } },
            .spmc => .{ .spmc = .{ .shared = .attach(on, has_records, place) } },
            .mpmc => .{ .mpmc = .{ .shared = .attach(on, has_records, place) } },
        };
    }

    /// Does for a receiver in another process what it cannot do itself.
    pub fn leaveBehind(on: Segment, place: u32, left: channel.LeftBehind) void {
        if (!on.geometry.kind.hasManyReceivers()) return channel.leaveReceiver(on, left);
        return @import("claims.zig").leaveBehind(on, place, left);
    }

    /// Does what any process that has gone may have left undone.
    pub fn sweep(on: Segment) void {
        if (on.geometry.kind.hasManyReceivers()) @import("claims.zig").sweep(on);
    }

    /// Finds a window of messages: a contiguous run of one ring. `messages_max` bounds what is claimed
    /// where receivers share the rings; 0 is no bound.
    pub inline fn poll(self: *Receiver, messages_max: u32) channel.Polled {
        const polled = switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.poll(),
            inline .spmc, .mpmc => |*receiver| receiver.poll(messages_max),
        };
        return switch (polled) {
            .window, .empty => polled,
            .ended, .corrupt => self.conclude(polled),
        };
    }

    /// The same, and certain: if it finds nothing there was an instant at which nothing was there. It looks at
    /// every ring then, not only at those that are ready. (Not if another receiver was stopped just as it took
    /// over what this one had offered: this one can claim nothing until that goes on, or is gone.)
    pub fn pollSurely(self: *Receiver, messages_max: u32) channel.Polled {
        for (0..sure_looks_max) |_| {
            const polled = self.poll(messages_max);
            if (polled != .empty) return polled;
            const shared = switch (self.*) {
                .mpsc, .spsc => return polled,
                inline .spmc, .mpmc => |*receiver| &receiver.shared,
            };
            if (!shared.mayClaim()) return polled;
            switch (shared.verifyEmpty()) {
                .empty => return .empty,
                .changed => {},
                .ring => |ring| switch (shared.claim(ring, messages_max)) {
                    .claimed => return .{ .window = shared.window },
                    .empty => {}, // another receiver was faster
                    .corrupt => return self.conclude(.corrupt),
                },
            }
        }
        return .empty; // others send and receive faster than this one can look
    }

    const sure_looks_max = 1 << 16;

    /// Whether poll() would find something. Where receivers share the rings nothing is claimed by it.
    pub fn look(self: *Receiver) channel.Polled {
        const polled = switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.poll(),
            inline .spmc, .mpmc => |*receiver| receiver.shared.look(),
        };
        return switch (polled) {
            .window, .empty => polled,
            .ended, .corrupt => self.conclude(polled),
        };
    }

    /// Lets other receivers have what this one has claimed and not released. The bells to ring.
    pub fn offer(self: *Receiver) Bells {
        return switch (self.*) {
            .mpsc, .spsc => .{},
            inline .spmc, .mpmc => |*receiver| receiver.shared.offer(),
        };
    }

    /// What it holds may have been seen: when it closes, others get it as what a dead one has left.
    pub fn markSeen(self: *Receiver) void {
        switch (self.*) {
            .mpsc, .spsc => {},
            inline .spmc, .mpmc => |*receiver| receiver.shared.markSeen(),
        }
    }

    /// Wakes another receiver for what this one was woken for and may not take. The bells to ring.
    pub fn passOn(self: *Receiver) Bells {
        if (!self.segment().geometry.kind.hasManyReceivers()) return .{};
        return sleepers.wakeOne(self.segment().*);
    }

    /// Where nonsense was found, everyone is told, whoever found it.
    noinline fn conclude(self: *const Receiver, polled: channel.Polled) channel.Polled {
        @branchHint(.cold);
        const on = self.segment().*;
        if (polled == .corrupt) _ = channel.poison(on);
        return if (channel.isPoisoned(on)) .corrupt else .ended;
    }

    pub const Window = struct {
        ring: u32,
        position: u32,
        slots: u32,
        /// To be rung by whoever polled: other receivers that are wanted as well.
        bells: Bells,
    };

    /// What is left of the window.
    pub inline fn window(self: *const Receiver) Window {
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| .{
                .ring = receiver.ring,
                .position = receiver.position,
                .slots = receiver.window,
                .bells = .{},
            },
            inline .spmc, .mpmc => |*receiver| .{
                .ring = receiver.shared.ring,
                .position = receiver.shared.position,
                .slots = if (receiver.shared.is_offered) 0 else receiver.shared.window,
                .bells = receiver.shared.bells,
            },
        };
    }

    pub inline fn segment(self: *const Receiver) *const Segment {
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| &receiver.segment,
            inline .spmc, .mpmc => |*receiver| &receiver.shared.segment,
        };
    }

    /// The receiver's place among the receivers of the channel.
    pub fn index(self: *const Receiver) u32 {
        return switch (self.*) {
            .mpsc, .spsc => 0,
            inline .spmc, .mpmc => |*receiver| receiver.shared.line,
        };
    }

    /// Frees `slots` of the window, that held `messages`.
    pub inline fn release(self: *Receiver, slots: u32, messages: u32) Bells {
        if (self.segment().geometry.has_latency) {
            const from = self.window();
            latency.collect(self.segment(), from.ring, from.position, slots, messages);
        }
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.release(slots, messages),
            inline .spmc, .mpmc => |*receiver| receiver.shared.release(slots, messages),
        };
    }

    /// Whether poll() might find something.
    pub fn holds(self: *const Receiver) bool {
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.holds(),
            inline .spmc, .mpmc => |*receiver| receiver.shared.holds(),
        };
    }

    /// Waits until poll() would find something. False: the time is up.
    pub fn wait(self: *Receiver, strategy: wait_module.Strategy, timeout_ns: u64) bool {
        self.leaveEvent();
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.wait(strategy, timeout_ns),
            inline .spmc, .mpmc => |*receiver| receiver.shared.wait(strategy, timeout_ns),
        };
    }

    /// For a wait for several receivers: to be called before their words are armed.
    pub fn prepareToWait(self: *Receiver) void {
        self.leaveEvent();
        if (self.* == .mpsc) self.mpsc.dropEmpty();
    }

    /// Arms the wait word alone; the caller looks.
    pub fn armWord(self: *Receiver, how: bell.Waiting) void {
        switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.segment.control().receiver_wait.arm(receiver.segment.waiting(how)),
            inline .spmc, .mpmc => |*receiver| receiver.shared.sleeper().arm(how),
        }
    }

    /// Takes that arm away. False: a waker was faster.
    pub fn disarmWord(self: *Receiver) bool {
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.segment.control().receiver_wait.disarm(),
            inline .spmc, .mpmc => |*receiver| receiver.shared.sleeper().disarm(),
        };
    }

    /// Arms the wait word. False: there is something to poll; do not sleep.
    pub fn arm(self: *Receiver, how: bell.Waiting) bool {
        if (how != .event_fd) self.leaveEvent();
        const armed = switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.arm(how),
            inline .spmc, .mpmc => |*receiver| receiver.shared.arm(how),
        };
        if (armed) channel.receiverWait(self.segment().*, self.index()).countSleep();
        return armed;
    }

    /// There is one wait word: who waits in another way takes the eventfd's arm away. Its descriptor
    /// becomes readable, so that whoever waits for it looks, and arms again.
    fn leaveEvent(self: *Receiver) void {
        const word = channel.receiverWait(self.segment().*, self.index());
        // Only this thread arms. A waker that is faster than take() writes itself.
        if (word.word.load(.monotonic) != @intFromEnum(self.segment().waiting(.event_fd))) return;
        _ = channel.deliver(self.segment().*, self.index(), word.take());
    }

    /// The descriptor that becomes readable when an arm of `event_fd` is taken.
    pub fn eventFd(self: *Receiver) os.DescriptorError!i32 {
        return self.segment().notifier.?.open(self.index());
    }

    /// Arms the eventfd. False: there is something to poll. Null: there is no descriptor yet.
    pub fn armEventFd(self: *Receiver) ?bool {
        if (!self.segment().notifier.?.isOpen(self.index())) return null;
        return self.arm(.event_fd);
    }

    /// Takes the arm away, to look.
    pub fn disarm(self: *Receiver) void {
        switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.disarm(),
            inline .spmc, .mpmc => |*receiver| receiver.shared.disarm(),
        }
    }

    /// Takes the arm away without looking: a wake-up that was on its way goes to another receiver.
    pub fn giveUp(self: *Receiver) Bells {
        switch (self.*) {
            inline .mpsc, .spsc => |*receiver| {
                receiver.disarm();
                return .{};
            },
            inline .spmc, .mpmc => |*receiver| return receiver.shared.giveUp(),
        }
    }

    /// Remembers how far everything has been committed now. Where there are other receivers, that is
    /// theirs too: this one has to finish what it has claimed.
    pub fn mark(self: *Receiver) void {
        switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.mark(),
            .spmc, .mpmc => {},
        }
    }

    /// Whether everything mark() saw has been released.
    pub fn hasReachedMarks(self: *const Receiver) bool {
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.hasReachedMarks(),
            inline .spmc, .mpmc => |*receiver| !receiver.shared.hasWindow(),
        };
    }

    pub fn close(self: *Receiver, ringer: channel.Ringer) Bells {
        defer if (self.segment().notifier) |notifier| notifier.leave(self.index());
        return switch (self.*) {
            inline .mpsc, .spsc => |*receiver| receiver.close(ringer),
            inline .spmc, .mpmc => |*receiver| receiver.shared.close(ringer),
        };
    }
};
