//! One line of the access log: a JSON object of what one request was, and what became of it.
//!
//! Never in a line: a query, a token, a body. Every text is cut, so that no caller can make a line grow. What has no
//! value is null. Leaves out where the values come from (`log.zig`) and where the line goes (`log_file.zig`).

const std = @import("std");
const text = @import("log_text.zig");
const Out = text.Out;

/// The most bytes of each text that are kept.
const MOST = .{
    .method = 32,
    .host = 256,
    .path = 1024,
    .agent = 256,
    .detail = 256,
    .peer = 64,
    .decision = 64,
    .reason = 64,
};
const NUMBERS = 512; // bytes for names, numbers, the event and the flags, of which there are 30
const TEXTS = MOST.method + MOST.host + MOST.path + MOST.agent + MOST.detail + MOST.peer + MOST.decision + MOST.reason;

/// No line is longer, in bytes.
pub const LONGEST = TEXTS * text.GROWTH + NUMBERS;

/// What the gate decided. `asked`: whether the arbiter was asked for this very request.
pub const Decided = struct { decision: ?[]const u8, asked: ?bool, reason: ?[]const u8 };

/// One request. `time`: microseconds since the epoch; `duration`: microseconds; `path`: with its query, if it has one.
pub const Request = struct {
    door: []const u8,
    time: i64,
    event: [36]u8,
    peer: ?[]const u8,
    method: ?[]const u8,
    host: ?[]const u8,
    path: ?[]const u8,
    status: u32,
    grpc_status: ?i64,
    flags: u64,
    detail: ?[]const u8,
    received: u64,
    sent: u64,
    duration: ?i64,
    agent: ?[]const u8,
    decided: ?Decided,
};

/// Writes the line, with its newline; `error.TooLong` when it is longer than `LONGEST`.
pub fn write(out: *Out, one: Request) text.Error!void {
    try field(out, "{\"agent\":", one.agent, MOST.agent);
    if (one.decided) |decided| {
        try out.add(",\"asked\":");
        try out.add(if (decided.asked) |asked| (if (asked) "true" else "false") else "null");
        try field(out, ",\"decision\":", decided.decision, MOST.decision);
    }
    try field(out, ",\"detail\":", one.detail, MOST.detail);
    try out.add(",\"door\":\"");
    try out.add(one.door);
    try out.add("\",\"duration_us\":");
    try number(out, one.duration);
    try out.add(",\"event\":\"");
    try out.add(&one.event);
    try out.add("\",\"flags\":\"");
    try flags(out, one.flags);
    try out.add("\",\"grpc_status\":");
    try number(out, one.grpc_status);
    try field(out, ",\"host\":", one.host, MOST.host);
    try field(out, ",\"method\":", one.method, MOST.method);
    try field(out, ",\"path\":", if (one.path) |path| withoutQuery(path) else null, MOST.path);
    try field(out, ",\"peer\":", one.peer, MOST.peer);
    if (one.decided) |decided| try field(out, ",\"reason\":", decided.reason, MOST.reason);
    try out.add(",\"received\":");
    try out.number(one.received);
    try out.add(",\"sent\":");
    try out.number(one.sent);
    try out.add(",\"status\":");
    try out.number(one.status);
    try out.add(",\"time\":\"");
    try out.number(one.time);
    try out.add("\"}\n");
}

fn field(out: *Out, name: []const u8, value: ?[]const u8, bytes: usize) text.Error!void {
    try out.add(name);
    try text.cut(out, value, bytes);
}

fn number(out: *Out, value: ?i64) text.Error!void {
    try if (value) |given| out.number(given) else out.add("null");
}

/// Whether this can be a listener's name: a line holds it as it is.
pub fn isDoor(name: []const u8) bool {
    for (name) |letter| if (!std.ascii.isLower(letter)) return false;
    return name.len > 0 and name.len <= 16;
}

fn withoutQuery(path: []const u8) []const u8 {
    const whole = path[0 .. std.mem.indexOfScalar(u8, path, '?') orelse path.len];
    return whole[0 .. std.mem.indexOfScalar(u8, whole, '#') orelse whole.len];
}

/// Envoy's short names of its response flags, by their bit (Envoy 1.40, `%RESPONSE_FLAGS%`).
const FLAGS = [_][]const u8{
    "LH",  "UH", "UT", "LR",  "UR",    "UF",   "UC",   "UO", "NR",  "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO",   "DR",   "UDO",
};

fn flags(out: *Out, set: u64) text.Error!void {
    if (set == 0) return out.add("-");
    var count: usize = 0;
    for (FLAGS, 0..) |name, bit| {
        if (set >> @intCast(bit) & 1 == 0) continue;
        if (count > 0) try out.add(",");
        try out.add(name);
        count += 1;
    }
    if (count == 0) try out.add("-"); // one that Envoy has had since
}

/// A gRPC call's status by its number, by what Envoy goes by: the trailer, the header of an answer without one, or what
/// the HTTP status stands for; -1 for one that is no number.
pub fn grpcStatus(trailer: ?[]const u8, header: ?[]const u8, status: u32) ?i64 {
    for ([_]?[]const u8{ trailer, header }) |given| {
        const digits = given orelse continue;
        if (digits.len > 0) return std.fmt.parseInt(u31, digits, 10) catch -1;
    }
    if (status == 0) return null;
    return switch (status) {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429, 502, 503, 504 => 14,
        else => 2,
    };
}

/// Whether a request's content type is gRPC's.
pub fn isGrpc(kind: []const u8) bool {
    const grpc = "application/grpc";
    return std.mem.startsWith(u8, kind, grpc) and (kind.len == grpc.len or kind[grpc.len] == '+');
}

const NOTHING: Request = .{
    .door = "outer",
    .time = 0,
    .event = @splat('0'),
    .peer = null,
    .method = null,
    .host = null,
    .path = null,
    .status = 0,
    .grpc_status = null,
    .flags = 0,
    .detail = null,
    .received = 0,
    .sent = 0,
    .duration = null,
    .agent = null,
    .decided = null,
};

fn written(buffer: []u8, one: Request) ![]const u8 {
    var out = Out{ .room = buffer };
    try write(&out, one);
    return out.written();
}

test "what has no value is null, and the gate's fields are its own" {
    var buffer: [LONGEST]u8 = undefined;
    const line = try written(&buffer, NOTHING);
    try std.testing.expect(std.mem.startsWith(u8, line, "{\"agent\":null,\"detail\":null,\"door\":\"outer\","));
    try std.testing.expect(std.mem.endsWith(u8, line, ",\"received\":0,\"sent\":0,\"status\":0,\"time\":\"0\"}\n"));
    try std.testing.expect(std.mem.indexOf(u8, line, "decision") == null);
    var one = NOTHING;
    one.decided = .{ .decision = "d-1", .asked = true, .reason = null };
    const decided = try written(&buffer, one);
    try std.testing.expect(std.mem.indexOf(u8, decided, ",\"asked\":true,\"decision\":\"d-1\",") != null);
    try std.testing.expect(std.mem.indexOf(u8, decided, ",\"reason\":null,") != null);
}

test "no query, no fragment" {
    var buffer: [LONGEST]u8 = undefined;
    var one = NOTHING;
    one.path = "/v1/x?secret=1#more";
    try std.testing.expect(std.mem.indexOf(u8, try written(&buffer, one), "\"path\":\"/v1/x\",") != null);
}

test "the worst that can come fits" {
    const worst = "\x00" ** 2000;
    var one = NOTHING;
    one.door = "endpoint";
    inline for (.{ "peer", "method", "host", "path", "detail", "agent" }) |name| @field(one, name) = worst;
    one.decided = .{ .decision = worst, .asked = false, .reason = worst };
    inline for (.{ "received", "sent", "flags" }) |name| @field(one, name) = std.math.maxInt(u64);
    inline for (.{ "time", "duration", "grpc_status" }) |name| @field(one, name) = std.math.minInt(i64);
    one.status = std.math.maxInt(u32);
    var buffer: [LONGEST]u8 = undefined;
    _ = try written(&buffer, one);
}

test "flags by their short names" {
    var buffer: [LONGEST]u8 = undefined;
    var one = NOTHING;
    try std.testing.expect(std.mem.indexOf(u8, try written(&buffer, one), "\"flags\":\"-\"") != null);
    one.flags = 1 << 5 | 1 << 15;
    try std.testing.expect(std.mem.indexOf(u8, try written(&buffer, one), "\"flags\":\"UF,URX\"") != null);
}

test "the status of a gRPC call" {
    const expectEqual = std.testing.expectEqual;
    try expectEqual(0, grpcStatus("0", "7", 200));
    try expectEqual(7, grpcStatus(null, "7", 200));
    try expectEqual(2, grpcStatus("", null, 200));
    try expectEqual(14, grpcStatus(null, null, 503));
    try expectEqual(-1, grpcStatus("99999999999999999999", null, 200));
    try expectEqual(-1, grpcStatus("-1", null, 200));
    try expectEqual(null, grpcStatus(null, null, 0));
    for ([_][]const u8{ "application/grpc", "application/grpc+proto" }) |kind| try std.testing.expect(isGrpc(kind));
    for ([_][]const u8{ "", "application/json", "application/grpc-web" }) |kind| try std.testing.expect(!isGrpc(kind));
}
