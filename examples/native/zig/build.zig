const std = @import("std");

pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{});
    const optimize = b.standardOptimizeOption(.{});
    const millrace = b.dependency("millrace", .{ .target = target, .optimize = optimize });
    const program = b.addExecutable(.{
        .name = "measure",
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/main.zig"),
            .target = target,
            .optimize = optimize,
            .imports = &.{.{ .name = "millrace", .module = millrace.module("millrace") }},
        }),
    });
    b.installArtifact(program);
    const run = b.addRunArtifact(program);
    b.step("run", "Run it").dependOn(&run.step);
}
