//! What a browser says besides: the session's cookie, and targets that hold more than Google's.
//!
//! Leaves out: what a session is worth (the arbiter). Source: RFC 6265bis section 4.1.3 (`__Host-`), RFC 3986 (targets).

const std = @import("std");
const text = @import("text.zig");

const SESSION = "__Host-remit";
const OURS = "__host-remit"; // of a cookie's name in small letters: the session, and what sign-ins travel with
const SESSION_BYTES = 4096;
const VALUE = text.Letters.alphanumericAnd("._~+/=-");
const PATH = text.Letters.alphanumericAnd("._~!$&'()*+,=:@%/-");
const QUERY = text.Letters.alphanumericAnd("._~!$&'()*+,;=:@%/?[]|{}^`-");
const HOME = text.Letters.alphanumericAnd("_.~:@/?&=%+,-");

pub const Cookies = struct { session: ?[]const u8, rest: ?[]const u8 };

/// The session's value, and the cookies that are not Remit's, `null` for none. An error when two sessions stand there,
/// one that is none of ours, or the name where a cookie has no name.
pub fn cookies(memory: std.mem.Allocator, cookie: []const u8) error{ Ambiguous, OutOfMemory }!Cookies {
    if (!mentions(cookie)) return .{ .session = null, .rest = cookie };
    var session: ?[]const u8 = null;
    var kept = std.ArrayListUnmanaged(u8){};
    var pairs = std.mem.splitScalar(u8, cookie, ';');
    while (pairs.next()) |spaced| {
        const pair = std.mem.trimLeft(u8, spaced, &std.ascii.whitespace);
        const equals = std.mem.indexOfScalar(u8, pair, '=');
        const name = pair[0 .. equals orelse pair.len];
        if (text.equal(name, SESSION)) {
            const value = if (equals) |at| pair[at + 1 ..] else "";
            if (session != null or !VALUE.all(value) or value.len > SESSION_BYTES) return error.Ambiguous;
            session = value;
        } else if (pair.len > 0 and !std.ascii.startsWithIgnoreCase(name, OURS)) {
            if (kept.items.len > 0) try kept.appendSlice(memory, "; ");
            try kept.appendSlice(memory, pair);
        }
    }
    if (mentions(kept.items)) return error.Ambiguous;
    return .{ .session = filled(session), .rest = filled(kept.items) };
}

fn mentions(cookie: []const u8) bool {
    return std.ascii.indexOfIgnoreCase(cookie, OURS) != null;
}

fn filled(value: ?[]const u8) ?[]const u8 {
    return if (value) |some| if (some.len > 0) some else null else null;
}

/// Whether all parsers read this target alike: no dot or empty segment, parameter, backslash or fragment. `slashes`:
/// whether an escaped slash is part of a name.
pub fn plain(target: []const u8, slashes: bool) bool {
    const mark = std.mem.indexOfScalar(u8, target, '?') orelse target.len;
    const path = target[0..mark];
    const query = if (mark < target.len) target[mark + 1 ..] else "";
    if (!text.begins(path, "/") or !PATH.all(path) or !QUERY.all(query) or text.holds(query, "%00")) return false;
    return plainSegments(path) and plainlyEscaped(path, slashes);
}

fn plainSegments(path: []const u8) bool {
    var segments = std.mem.splitScalar(u8, path[1..], '/');
    while (segments.next()) |segment| {
        const last = segments.peek() == null;
        if ((segment.len == 0 and !last) or text.equal(segment, ".") or text.equal(segment, "..")) return false;
    }
    return true;
}

/// Whether every escape in this path is one, and of nothing that could be taken for the path's own.
fn plainlyEscaped(path: []const u8, slashes: bool) bool {
    var at: usize = 0;
    while (std.mem.indexOfScalarPos(u8, path, at, '%')) |sign| : (at = sign + 3) {
        if (sign + 2 >= path.len) return false;
        const byte = text.hex(path[sign + 1], path[sign + 2]) orelse return false;
        switch (byte) {
            0 => return false,
            '/', '\\', '.', '%' => if (!slashes) return false,
            else => {},
        }
    }
    return true;
}

/// Whether this may follow `location`: a path of Remit's own door.
pub fn leadsHome(location: []const u8) bool {
    return text.begins(location, "/") and !text.begins(location, "//") and HOME.all(location);
}

test "cookies" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const memory = arena.allocator();
    const found = try cookies(memory, "a=b; __Host-remit=s; __host-remit-x=1; c=d");
    try std.testing.expectEqualStrings("s", found.session.?);
    try std.testing.expectEqualStrings("a=b; c=d", found.rest.?);
    try std.testing.expectEqualStrings("a=b", (try cookies(memory, "a=b")).rest.?);
    try std.testing.expect((try cookies(memory, "__Host-remit=")).session == null);
    const doubtful = [_][]const u8{
        "__Host-remit=a; __Host-remit=b", "__Host-remit=; __Host-remit=b", "__Host-remit=a b", "=__Host-remit=a",
        "x=__Host-remit=a",               "\xa0__Host-remit=a",
    };
    for (doubtful) |cookie| try std.testing.expectError(error.Ambiguous, cookies(memory, cookie));
}

test "targets" {
    for ([_][]const u8{ "/", "/a/", "/a%20b?c=%2F", "/a.b/..c", "/?[]" }) |target| try std.testing.expect(plain(target, false));
    const odd = [_][]const u8{
        "",      "a",    "//",  "/a//b", "/./a", "/a/..", "/a/.",   "/a;b",  "/a\\b", "/a#b", "/%2f", "/%2E", "/%5c",
        "/%00a", "/%zz", "/a%", "/a%4",  "/%25", "/a b",  "/?a%00", "/\xff", "/?\"",
    };
    for (odd) |target| try std.testing.expect(!plain(target, false));
    for ([_][]const u8{ "/o/a%2Fb", "/o/%2E%2E", "/o/a%25b" }) |target| try std.testing.expect(plain(target, true));
    try std.testing.expect(!plain("/o/%00", true));
}

test "home" {
    try std.testing.expect(leadsHome("/sign-in?to=%2Fa"));
    for ([_][]const u8{ "", "//evil", "https://evil", "/a\\b", "/a b" }) |location| try std.testing.expect(!leadsHome(location));
}
