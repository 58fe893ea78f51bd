//! The access log: a line a request, written by the worker that served it before it goes on (`log_file.zig`).
//!
//! Each listener has settings (`{path, door, decided}`), each of its workers a logger. All that can fail is done when
//! the settings are read, where Envoy refuses what fails; a line that could not be written is counted (`COUNTER`).
//! Leaves out what a line looks like (`log_line.zig`).

const std = @import("std");
const abi = @import("log_abi.zig");
const line = @import("log_line.zig");
const text = @import("log_text.zig");
const peers = @import("log_peer.zig");
const files = @import("log_file.zig");
const Buffer = @import("abi.zig").Buffer;
const complain = @import("abi.zig").complain;

const memory = std.heap.c_allocator;
const STATUS = "grpc-status";
const COUNTER = "access_log_failed";
const Random = std.Random.DefaultCsprng;

/// What a listener's log is told. `door`: what a line calls the listener; `decided`: whether the gate stands behind it.
const Settings = struct { path: []const u8, door: []const u8, decided: bool };

const Log = struct {
    envoy: abi.Config,
    counter: usize,
    settings: std.json.Parsed(Settings),
    loggers: []Logger,
    file: ?*files.File = null, // none in a process that will not serve
    witness: files.Witness = .{ .tell = &told },

    fn new(envoy: abi.Config, given: []const u8) !*Log {
        const self = try memory.create(Log);
        errdefer memory.destroy(self);
        const settings = try std.json.parseFromSlice(Settings, memory, given, .{ .allocate = .alloc_always });
        errdefer settings.deinit();
        if (!line.isDoor(settings.value.door)) return error.NotADoor;
        const loggers = try memory.alloc(Logger, @as(usize, abi.workers()) + 1); // the main thread has one as well
        errdefer memory.free(loggers);
        for (loggers) |*logger| logger.* = .{ .log = self, .random = try seeded() };
        self.* = .{ .envoy = envoy, .counter = try envoy.counter(COUNTER), .settings = settings, .loggers = loggers };
        if (!abi.validating()) {
            self.file = try files.shared(settings.value.path);
            if (self.file) |file| file.join(&self.witness);
        }
        return self;
    }

    fn destroy(self: *Log) void {
        if (self.file) |file| {
            file.flush();
            file.leave(&self.witness);
        }
        memory.free(self.loggers);
        self.settings.deinit();
        memory.destroy(self);
    }

    fn told(witness: *files.Witness, count: usize) void {
        const self: *Log = @fieldParentPtr("witness", witness);
        self.failed(count);
    }

    fn failed(self: *Log, count: usize) void {
        self.envoy.count(self.counter, count);
    }
};

fn seeded() !Random {
    var seed: [Random.secret_seed_length]u8 = undefined;
    try std.posix.getrandom(&seed);
    return Random.init(seed);
}

/// One worker's. Its random numbers are its own: nobody else can know or repeat them.
const Logger = struct {
    log: *Log,
    random: Random,
    room: [line.LONGEST]u8 = undefined, // on the stack it would be filled anew for every line

    fn write(self: *Logger, entry: abi.Entry) void {
        const file = self.log.file orelse return;
        var out = text.Out{ .room = &self.room };
        line.write(&out, self.request(entry)) catch return self.log.failed(1);
        file.append(out.written());
    }

    fn request(self: *Logger, entry: abi.Entry) line.Request {
        const settings = self.log.settings.value;
        const timing, const bytes, const status = .{ entry.timing(), entry.bytes(), entry.status() };
        return .{
            .door = settings.door,
            .time = @divFloor(timing.start, std.time.ns_per_us),
            .event = self.event(),
            .peer = entry.address() orelse peers.of(entry.connection()),
            .method = entry.header(.request, ":method"),
            .host = entry.header(.request, ":authority"),
            .path = entry.header(.request, ":path"),
            .status = status,
            .grpc_status = grpcStatus(entry, status),
            .flags = entry.flags(),
            .detail = entry.detail(),
            .received = bytes.received,
            .sent = bytes.sent,
            .duration = if (timing.last_sent < 0) null else @divFloor(timing.last_sent, std.time.ns_per_us),
            .agent = entry.header(.request, "user-agent"),
            .decided = if (settings.decided) decided(entry) else null,
        };
    }

    /// A random UUID (RFC 9562 section 5.4).
    fn event(self: *Logger) [36]u8 {
        var id: [16]u8 = undefined;
        self.random.fill(&id);
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        const digits = std.fmt.bytesToHex(id, .lower);
        const parts = .{ digits[0..8], digits[8..12], digits[12..16], digits[16..20], digits[20..32] };
        return (parts[0] ++ "-" ++ parts[1] ++ "-" ++ parts[2] ++ "-" ++ parts[3] ++ "-" ++ parts[4]).*;
    }
};

fn grpcStatus(entry: abi.Entry, status: u32) ?i64 {
    if (!line.isGrpc(entry.header(.request, "content-type") orelse return null)) return null;
    return line.grpcStatus(entry.header(.response_trailers, STATUS), entry.header(.response, STATUS), status);
}

fn decided(entry: abi.Entry) line.Decided {
    if (entry.mark("permitted")) |said| {
        const end = std.mem.indexOfScalar(u8, said, ' ') orelse said.len; // where it says that the arbiter was asked
        return .{ .decision = said[0..end], .asked = if (end < said.len) true else null, .reason = null };
    }
    return .{ .decision = entry.mark("decision"), .asked = entry.flag("asked"), .reason = entry.mark("reason") };
}

export fn envoy_dynamic_module_on_access_logger_config_new(envoy: abi.Config, _: Buffer, settings: Buffer) ?*Log {
    return Log.new(envoy, settings.text()) catch |trouble| {
        complain("the access log cannot be opened: ", @errorName(trouble));
        return null;
    };
}

export fn envoy_dynamic_module_on_access_logger_config_destroy(log: *Log) void {
    log.destroy();
}

/// One of those made with the settings: nothing is left that could fail.
export fn envoy_dynamic_module_on_access_logger_new(log: *Log, entry: abi.Entry) ?*Logger {
    const worker = entry.worker();
    return if (worker < log.loggers.len) &log.loggers[worker] else null;
}

export fn envoy_dynamic_module_on_access_logger_log(entry: abi.Entry, logger: *Logger, _: c_int) void {
    logger.write(entry);
}

export fn envoy_dynamic_module_on_access_logger_destroy(_: *Logger) void {}
