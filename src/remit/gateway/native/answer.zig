//! What the arbiter or the gate says of a request, and how a refusal is told: Google's JSON error over REST, status in
//! headers over gRPC, so that stock clients raise the error that they know. Nothing here repeats what the caller sent.
//!
//! Source: google.aip.dev/193 (errors), gRPC over HTTP/2 (trailers-only response).

const std = @import("std");
const abi = @import("abi.zig");

/// A permit, or a refusal. `lease_ms`: how long a permit may be repeated; `epoch`: `null` where nobody knows of any;
/// `instead`: a body in the place of the caller's; `tell`: whether the arbiter wants to hear what the upstream says.
pub const Answer = struct {
    permit: bool = false,
    id: ?[]const u8 = null,
    epoch: ?u64 = null,

    credential: []const u8 = "",
    mark: []const u8 = "",
    lease_ms: u64 = 0,
    instead: ?[]const u8 = null,
    tell: bool = false,

    code: u32 = 0,
    reason: []const u8 = "",
    grpc_status: []const u8 = "",
    grpc_message: []const u8 = "",
    challenge: ?[]const u8 = null,
    location: ?[]const u8 = null,
    body: []const u8 = "",

    /// The same in memory of its own.
    pub fn copied(self: Answer, memory: std.mem.Allocator) error{OutOfMemory}!Answer {
        var copy = self;
        inline for (std.meta.fields(Answer)) |field| {
            const value = &@field(copy, field.name);
            if (field.type == []const u8) value.* = try memory.dupe(u8, value.*);
            if (field.type == ?[]const u8) value.* = if (value.*) |bytes| try memory.dupe(u8, bytes) else null;
        }
        return copy;
    }
};

const Status = struct { name: []const u8, grpc: []const u8 };

fn status(comptime code: u32) Status {
    return switch (code) {
        400 => .{ .name = "INVALID_ARGUMENT", .grpc = "3" },
        401 => .{ .name = "UNAUTHENTICATED", .grpc = "16" },
        403 => .{ .name = "PERMISSION_DENIED", .grpc = "7" },
        503 => .{ .name = "UNAVAILABLE", .grpc = "14" },
        else => @compileError("not an answer of the gate's"),
    };
}

/// A refusal of the gate's own. `code`: HTTP status; `reason`: from the closed list (`remit.model.reasons`).
pub fn refusal(comptime code: u32, comptime reason: []const u8, comptime message: []const u8) Answer {
    return challenged(code, reason, message, null);
}

/// The same with a challenge (RFC 6750 section 3).
pub fn challenged(comptime code: u32, comptime reason: []const u8, comptime message: []const u8, challenge: ?[]const u8) Answer {
    const named = comptime status(code);
    return .{
        .code = code,
        .reason = reason,
        .grpc_status = named.grpc,
        .grpc_message = message,
        .challenge = challenge,
        .body = comptime body(code, reason, message),
    };
}

fn body(comptime code: u32, comptime reason: []const u8, comptime message: []const u8) []const u8 {
    return std.fmt.comptimePrint(
        \\{{"error":{{"code":{d},"message":"{s}","status":"{s}","details":[
    ++
        \\{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{s}","domain":"remit"}}]}}}}
    , .{ code, message, status(code).name, upper(reason) });
}

fn upper(comptime word: []const u8) []const u8 {
    var letters: [word.len]u8 = undefined;
    return std.ascii.upperString(&letters, word) ++ "";
}

pub const MALFORMED_TOKEN = "Bearer error=\"invalid_token\"";

pub fn unavailable() Answer {
    return refusal(503, "plane_unavailable", "remit cannot decide right now");
}

const DETAIL = "gate_response"; // in the access log
const HEADERS = 8;

const Headers = struct {
    all: [HEADERS]abi.Header = undefined,
    count: usize = 0,

    fn add(self: *Headers, name: []const u8, value: ?[]const u8) void {
        const said = value orelse return;
        if (self.count == HEADERS) return;
        self.all[self.count] = abi.Header.of(name, said);
        self.count += 1;
    }

    fn items(self: *const Headers) []const abi.Header {
        return self.all[0..self.count];
    }
};

/// Answers the caller with a refusal.
pub fn send(stream: abi.Stream, grpc: bool, refused: Answer) void {
    stream.mark("reason", refused.reason);
    if (refused.id) |id| stream.mark("decision", id);
    var given = Headers{};
    given.add("cache-control", "no-store");
    given.add("x-remit-reason", refused.reason);
    given.add("x-remit-decision", refused.id);
    if (grpc) return call(stream, &given, refused);
    if (refused.location) |elsewhere| {
        given.add("location", elsewhere);
        return stream.reply(303, given.items(), "", DETAIL);
    }
    given.add("content-type", "application/json");
    given.add("www-authenticate", refused.challenge);
    stream.reply(refused.code, given.items(), refused.body, DETAIL);
}

fn call(stream: abi.Stream, given: *Headers, refused: Answer) void {
    given.add(":status", "200");
    given.add("content-type", "application/grpc");
    given.add("www-authenticate", refused.challenge);
    given.add("grpc-status", refused.grpc_status);
    given.add("grpc-message", refused.grpc_message);
    stream.respond(given.items());
}

test "a refusal is Google's error" {
    const parsed = try std.json.parseFromSlice(std.json.Value, std.testing.allocator, unavailable().body, .{});
    defer parsed.deinit();
    const said = parsed.value.object.get("error").?.object;
    try std.testing.expectEqual(@as(i64, 503), said.get("code").?.integer);
    try std.testing.expectEqualStrings("PLANE_UNAVAILABLE", said.get("details").?.array.items[0].object.get("reason").?.string);
}

test "a copy shares nothing" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const original = Answer{ .id = "d-1", .credential = "Bearer x", .lease_ms = 5 };
    const copy = try original.copied(arena.allocator());
    try std.testing.expectEqualDeep(original, copy);
    try std.testing.expect(copy.credential.ptr != original.credential.ptr);
}
