//! What a request says of itself: bodies and routing headers, read strictly.
//!
//! Leaves out: whether the request is allowed (the arbiter), what a message means beyond the fields that name resources
//! (the catalogue). Source: gRPC over HTTP/2 (length-prefixed messages), protobuf.dev/encoding.

const std = @import("std");
const text = @import("text.zig");

const JSON = [_][]const u8{ "application/json", "application/json; charset=utf-8", "application/json; charset=UTF-8" };
const FIELDS = 10_000; // of one message: a caller's work is not ours
pub const MOST = 64; // fields that one lease may look at

pub fn callsItselfGrpc(kind: []const u8) bool {
    return text.begins(kind, "application/grpc");
}

pub fn isGrpc(kind: []const u8) bool {
    return text.equal(kind, "application/grpc") or text.equal(kind, "application/grpc+proto");
}

/// Whether a JSON body of `:predict` can name another endpoint than its path does. Google reads proto3 JSON, whose
/// keys may be escaped, and its parsers have been lenient about quotes: so the bare word is looked for anywhere, and
/// any backslash or zero byte (another encoding) counts as yes.
pub fn mayNameEndpoint(kind: []const u8, body: []const u8) bool {
    for (JSON) |known| {
        if (text.equal(kind, known)) break;
    } else return true;
    return text.holds(body, "endpoint") or text.holdsAny(body, "\\\x00");
}

/// Whether a gRPC body is exactly one uncompressed message.
pub fn oneMessage(body: []const u8) bool {
    return body.len >= 5 and body[0] == 0 and std.mem.readInt(u32, body[1..5], .big) == body.len - 5;
}

/// Bytes of a message that are read from the front.
const Reader = struct {
    rest: []const u8,

    /// Base 128, least group first; `null` for what is cut off, too large or not minimal.
    fn varint(self: *Reader) ?u64 {
        var value: u64 = 0;
        for (0..10) |count| {
            const byte = (self.take(1) orelse return null)[0];
            const group: u64 = byte & 0x7f;
            if (count == 9 and group > 1) return null;
            value |= group << @intCast(7 * count);
            if (byte < 0x80) return if (count > 0 and byte == 0) null else value;
        }
        return null;
    }

    fn take(self: *Reader, count: u64) ?[]const u8 {
        if (count > self.rest.len) return null;
        defer self.rest = self.rest[@intCast(count)..];
        return self.rest[0..@intCast(count)];
    }

    /// Passes over a value of a wire type that has no length; `null` for groups, and types that do not exist.
    fn skip(self: *Reader, kind: u64) ?void {
        switch (kind) {
            0 => _ = self.varint() orelse return null,
            1 => _ = self.take(8) orelse return null,
            5 => _ = self.take(4) orelse return null,
            else => return null,
        }
    }
};

/// The values of the wanted top-level fields of the one message in a gRPC body, in the order of `wanted`: each
/// length-delimited and at most once. `null` for a body that two parsers could read differently, and for one with a
/// field that is not `known`; without `known` every field is.
pub fn walk(body: []const u8, wanted: []const u32, known: ?[]const u32, into: *[MOST]?[]const u8) ?[]const ?[]const u8 {
    if (!oneMessage(body) or wanted.len > MOST) return null;
    const found = into[0..wanted.len];
    @memset(found, null);
    var reader = Reader{ .rest = body[5..] };
    for (0..FIELDS) |_| {
        if (reader.rest.len == 0) return found;
        const tag = reader.varint() orelse return null;
        if (tag >= 1 << 32 or tag < 8) return null;
        const number: u32 = @intCast(tag >> 3);
        if (known) |numbers| _ = std.mem.indexOfScalar(u32, numbers, number) orelse return null;
        const place = std.mem.indexOfScalar(u32, wanted, number);
        if (tag & 7 != 2) {
            if (place != null) return null;
            reader.skip(tag & 7) orelse return null;
            continue;
        }
        const value = reader.take(reader.varint() orelse return null) orelse return null;
        const index = place orelse continue;
        if (found[index] != null) return null;
        found[index] = value;
    }
    return null;
}

const PARAMETER = text.Letters.alphanumericAnd("_.");
const VALUE = text.Letters.alphanumericAnd("%_.~:@/-");

/// Whether `name=value` says what the message says. One pair, decoded once; anything else is no.
pub fn routesTo(memory: std.mem.Allocator, params: []const u8, value: []const u8) error{OutOfMemory}!bool {
    const equals = std.mem.indexOfScalar(u8, params, '=') orelse return false;
    const said = params[equals + 1 ..];
    if (!PARAMETER.some(params[0..equals]) or !VALUE.some(said)) return false;
    if (std.mem.indexOfScalar(u8, said, '%') == null) return text.equal(said, value);
    return text.equal(try text.unescaped(memory, said), value);
}

/// Whether an endpoint is the last thing that a path names. One that says so twice does not count.
pub fn namesEndpoint(path: []const u8) bool {
    const at = std.mem.indexOf(u8, path, "/endpoints/") orelse return false;
    const name = path[at + "/endpoints/".len ..];
    return name.len > 0 and std.mem.indexOfScalar(u8, name, '/') == null;
}

fn message(comptime bytes: []const u8) []const u8 {
    return "\x00\x00\x00\x00" ++ [_]u8{bytes.len} ++ bytes;
}

fn walked(body: []const u8, wanted: []const u32, known: ?[]const u32) ?[]const ?[]const u8 {
    const Place = struct {
        var into: [MOST]?[]const u8 = undefined;
    };
    return walk(body, wanted, known, &Place.into);
}

test "wanted fields are found, in order, whatever stands between" {
    const body = message("\x12\x01b" ++ "\x18\x96\x01" ++ "\x21" ++ "8" ** 8 ++ "\x2d" ++ "4" ** 4 ++ "\x0a\x02xy");
    const found = walked(body, &.{ 1, 2 }, null).?;
    try std.testing.expectEqualStrings("xy", found[0].?);
    try std.testing.expectEqualStrings("b", found[1].?);
    try std.testing.expect(walked(body, &.{ 1, 9 }, null).?[1] == null);
    try std.testing.expect(walked(body, &.{1}, &.{ 1, 2, 3, 4, 5 }) != null);
    try std.testing.expect(walked(body, &.{1}, &.{ 1, 2, 3, 4 }) == null);
}

test "what can be read in two ways is not read" {
    const bodies = [_][]const u8{
        "",
        "\x01\x00\x00\x00\x00", // compressed
        "\x00\x00\x00\x00\x01", // cut off
        "\x00\x00\x00\x00\x00\x00", // too long
        message("\x0a\x01a\x0a\x01b"), // twice
        message("\x08\x01"), // of another type
        message("\x0a\x05a"), // beyond the end
        message("\x0a\x81\x00a"), // a length that is not minimal
        message("\x8a\x00\x01a"), // a tag that is not minimal
        message("\x02\x01a"), // number 0
        message("\x13\x14"), // a group
        message("\x16\x00"), // a type that does not exist
        message("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), // the largest length
        message("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), // more than 64 bits
        message("\x11\x00\x00"), // half of eight bytes
        message("\x0a"), // no length
        message("\x80"), // half a tag
    };
    for (bodies) |body| try std.testing.expect(walked(body, &.{1}, null) == null);
}

test "hostile bytes are read without harm" {
    var seed: u64 = undefined;
    std.testing.expect(std.c.getrandom(std.mem.asBytes(&seed), 8, 0) == 8) catch {};
    errdefer std.debug.print("seed {d}\n", .{seed});
    var random = std.Random.DefaultPrng.init(seed);
    var bytes: [64]u8 = undefined;
    for (0..200_000) |_| {
        const length = random.random().uintLessThan(usize, 58);
        random.random().bytes(bytes[0 .. length + 5]);
        std.mem.writeInt(u32, bytes[1..5], @intCast(length), .big);
        bytes[0] = 0;
        _ = walked(bytes[0 .. length + 5], &.{ 1, 2 }, null);
    }
}

test "routing headers" {
    const memory = std.testing.allocator;
    try std.testing.expect(try routesTo(memory, "endpoint=projects/p/endpoints/1", "projects/p/endpoints/1"));
    for ([_][]const u8{ "", "=a", "a", "a=", "a=a&b=b", "a=b", "a b=a", "a==a" }) |params| {
        try std.testing.expect(!try routesTo(memory, params, "a"));
    }
}

test "a path names one endpoint" {
    try std.testing.expect(namesEndpoint("/v1/projects/p/locations/l/endpoints/1:predict"));
    for ([_][]const u8{ "/v1/endpoints/", "/v1/endpoints/1/endpoints/2", "/v1/models/1" }) |path| {
        try std.testing.expect(!namesEndpoint(path));
    }
}

test "a body may name an endpoint" {
    const kind = "application/json";
    try std.testing.expect(!mayNameEndpoint(kind, "{\"instances\":[]}"));
    for ([_][]const u8{ "{\"endpoint\":1}", "{\"\\u0065\":1}", "a\x00" }) |body| try std.testing.expect(mayNameEndpoint(kind, body));
    try std.testing.expect(mayNameEndpoint("text/plain", "{}"));
}
