//! Runtimes that run a program anew in the same process and thread when one of its files changes, as
//! `deno run --watch` and `bun --hot` do. No thread ends then, so nothing is given back by itself. The
//! runtimes do not tell the program, but their command line does.

const std = @import("std");
const os = @import("os/linux.zig");

/// Whether an argument of this process says so. One of the program's own that looks like it is mistaken
/// for it: then the end of the process gives back what the kernel would have, a moment earlier.
pub fn isExpected() bool {
    var buffer: [4096]u8 = undefined;
    return mentionsReload(os.commandLine(&buffer));
}

fn mentionsReload(arguments: []const u8) bool {
    var each = std.mem.splitScalar(u8, arguments, 0);
    while (each.next()) |argument| {
        for ([_][]const u8{ "--watch", "--watch-hmr", "--unstable-hmr", "--hot" }) |flag| {
            if (!std.mem.startsWith(u8, argument, flag)) continue;
            if (argument.len == flag.len or argument[flag.len] == '=') return true;
        }
    }
    return false;
}

test "a flag is recognized with and without a value, and nothing else is" {
    try std.testing.expect(mentionsReload("deno\x00run\x00--watch\x00main.ts\x00"));
    try std.testing.expect(mentionsReload("deno\x00run\x00--watch=a,b\x00main.ts\x00"));
    try std.testing.expect(mentionsReload("bun\x00--hot\x00main.ts\x00"));
    try std.testing.expect(!mentionsReload("deno\x00run\x00--watcher\x00hot\x00"));
    try std.testing.expect(!mentionsReload(""));
}
