const std = @import("std");

pub fn build(b: *std.Build) void {
    // The oldest glibc that is supported (DESIGN: 2.28), and no instruction beyond the baseline:
    // the library built here runs on every machine of the platform.
    const target = b.standardTargetOptions(.{ .default_target = defaultTarget() });
    const optimize = b.standardOptimizeOption(.{});
    const tsan = b.option(bool, "tsan", "Run the threaded tests under ThreadSanitizer") orelse false;

    const package = b.addModule("millrace", .{
        .root_source_file = b.path("src/millrace.zig"),
        .target = target,
        .optimize = optimize,
        .link_libc = true,
    });

    const library = b.addLibrary(.{
        .name = "millrace",
        .linkage = .dynamic,
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/c_abi.zig"),
            .target = target,
            .optimize = optimize,
            .link_libc = true,
            .strip = optimize != .Debug,
        }),
    });
    library.installHeader(b.path("include/millrace.h"), "millrace.h");
    b.installArtifact(library);

    const bench = b.step("bench", "Build the native side of the benchmarks");
    for ([_][]const u8{ "mpmc", "copy" }) |name| {
        const program = b.addExecutable(.{
            .name = name,
            .root_module = b.createModule(.{
                .root_source_file = b.path(b.fmt("bench/{s}.zig", .{name})),
                // For this very CPU: what its widest vectors are worth is what is asked.
                .target = b.graph.host,
                .optimize = optimize,
                .link_libc = true,
                .imports = &.{.{ .name = "millrace", .module = package }},
            }),
        });
        bench.dependOn(&b.addInstallArtifact(program, .{}).step);
    }

    const filter = b.option([]const u8, "test-filter", "Run only the tests whose name contains this");
    const tests = b.addTest(.{
        .filters = if (filter) |text| b.dupeStrings(&.{text}) else &.{},
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/millrace.zig"),
            .target = if (tsan) b.graph.host else target,
            .optimize = optimize,
            .link_libc = true,
            .sanitize_thread = tsan,
        }),
    });
    b.step("test-program", "Build the tests, to be run elsewhere").dependOn(
        &b.addInstallArtifact(tests, .{ .dest_sub_path = "millrace-tests" }).step,
    );
    const run_tests = b.addRunArtifact(tests);
    b.step("test", "Run the tests (-Dtsan: under ThreadSanitizer)").dependOn(&run_tests.step);
}

fn defaultTarget() std.Target.Query {
    const builtin = @import("builtin");
    if (builtin.os.tag != .linux) return .{};
    return .{
        .cpu_model = .baseline,
        .os_tag = .linux,
        .abi = if (builtin.abi.isMusl()) .musl else .gnu,
        .glibc_version = .{ .major = 2, .minor = 28, .patch = 0 },
    };
}
