//! Millrace: ring-decomposed message channels. The package root for Zig programs.
//!
//! What lives where: `segment` is the memory layout, `ring` the single-producer single-consumer
//! ring, `ready_set` the bitmap of rings with data, `bell` the wake protocol, `wait` the wait
//! strategies, `mpsc` the channel over them, `endpoint` and `ticket` what a process has open.

pub const bell = @import("bell.zig");
pub const endpoint = @import("endpoint.zig");
pub const mpsc = @import("mpsc.zig");
pub const os = @import("os/linux.zig");
pub const ready_set = @import("ready_set.zig");
pub const ring = @import("ring.zig");
pub const segment = @import("segment.zig");
pub const ticket = @import("ticket.zig");
pub const wait = @import("wait.zig");

test {
    @import("std").testing.refAllDecls(@This());
    _ = @import("mpsc_test.zig");
    _ = @import("c_abi.zig");
}
