//! Millrace: ring-decomposed message channels. The package root for Zig programs.
//!
//! What lives where: `segment` is the memory layout, `ring` the single-producer single-consumer
//! ring, `ready_set` the bitmap of rings with data, `bell` the wake protocol, `wait` the wait
//! strategies, `channel` and `sender` what every kind of channel shares, `mpsc`, `spsc`, `spmc` and
//! `mpmc` the receivers of the kinds, `claims` how receivers share rings, `select` the wait for several, `pool` the slabs for large
//! messages, `numa` the nodes and CPUs of the machine, `placement` the node a ring lies on, `endpoint`
//! and `ticket` what a process has open, `share`, `proxy` and `link` what connects it with other
//! processes, over the `protocol` and by the thread of `attendant`.

const typed = @import("typed.zig");
pub const Ring = typed.Ring;
pub const Mpsc = typed.Mpsc;
pub const Spsc = typed.Spsc;
pub const Spmc = typed.Spmc;
pub const Mpmc = typed.Mpmc;
pub const Options = typed.Options;
pub const Statistics = typed.Statistics;

const shared = @import("shared.zig");
pub const Shared = shared.Shared;
pub const SharedSender = shared.Sender;
pub const SharedReceiver = shared.Receiver;
pub const Share = shared.Share;
pub const connectSender = shared.connectSender;
pub const connectReceiver = shared.connectReceiver;

pub const attendant = @import("attendant.zig");
pub const bell = @import("bell.zig");
pub const channel = @import("channel.zig");
pub const claims = @import("claims.zig");
pub const endpoint = @import("endpoint.zig");
pub const histogram = @import("histogram.zig");
pub const latency = @import("latency.zig");
pub const ledger = @import("ledger.zig");
pub const link = @import("link.zig");
pub const mpmc = @import("mpmc.zig");
pub const mpsc = @import("mpsc.zig");
pub const native = @import("native.zig");
pub const numa = @import("numa.zig");
pub const os = @import("os/linux.zig");
pub const sockets = @import("os/sockets.zig");
pub const event_fd = @import("event_fd.zig");
pub const placement = @import("placement.zig");
pub const pool = @import("pool.zig");
pub const protocol = @import("protocol.zig");
pub const proxy = @import("proxy.zig");
pub const reason = @import("reason.zig");
pub const ready_set = @import("ready_set.zig");
pub const receiver = @import("receiver.zig");
pub const reload = @import("reload.zig");
pub const ring = @import("ring.zig");
pub const ringer = @import("ringer.zig");
pub const segment = @import("segment.zig");
pub const select = @import("select.zig");
pub const sender = @import("sender.zig");
pub const share = @import("share.zig");
pub const sleepers = @import("sleepers.zig");
pub const spmc = @import("spmc.zig");
pub const spsc = @import("spsc.zig");
pub const statistics = @import("statistics.zig");
pub const ticket = @import("ticket.zig");
pub const wait = @import("wait.zig");

test {
    _ = typed;
    _ = shared;
    @import("std").testing.refAllDecls(@This());
    _ = @import("mpsc_test.zig");
    _ = @import("pool_test.zig");
    _ = @import("processes_test.zig");
    _ = @import("residence_test.zig");
    _ = @import("sharing_test.zig");
    _ = @import("hostile_test.zig");
    _ = @import("c_abi.zig");
}
