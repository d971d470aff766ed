//! So that `zig fetch` of this repository finds the package, which is in zig/.

const std = @import("std");

pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{});
    const optimize = b.standardOptimizeOption(.{});
    const package = b.dependency("zig", .{ .target = target, .optimize = optimize });
    b.modules.put(b.graph.arena, "millrace", package.module("millrace")) catch @panic("OOM");
    b.installArtifact(package.artifact("millrace"));
}
