//! What the upstream answered: nothing of it speaks for Remit, and what concerns the arbiter is told to it: what a launch
//! was named, and why a cloud refused.
//!
//! Whatever goes wrong with telling leaves the answer as it came. Leaves out answers that stay open, and refusals in the
//! trailers of a call that had already answered.

const std = @import("std");
const abi = @import("abi.zig");
const text = @import("text.zig");

const BODY_BYTES = 65_536;
const LOCATION_BYTES = 4096; // of an upload that began: its address holds the object's name and an id
const CAUSE_BYTES = 32;
const TIMEOUT_MS = 900;
const OURS = "x-remit-";
const COOKIE = "__host-remit"; // how Remit's own cookies begin, in small letters
const REFUSED = [_][]const u8{ "401", "403", "429" };
const CALLS_REFUSED = [_][]const u8{ "7", "8", "16" }; // permission denied, resource exhausted, unauthenticated
const READ = [_][]const u8{ "application/json", "application/grpc", "application/grpc+proto" };
const KIND = text.Letters.alphanumericAnd("/+.-");

/// `idle`: nothing is to be told, or all was; `holding`: the body is waited for; `telling`: the arbiter is.
const Phase = enum { idle, holding, telling };

/// An upstream's answer on its way back. `host`: what the arbiter calls who answers; `told`: whether it wants to know
/// whatever comes; `cookies`: whether a service may set any.
pub const Report = struct {
    stream: abi.Stream,
    memory: std.mem.Allocator,
    host: []const u8,
    decision: []const u8,
    wanted: bool,
    cookies: bool,
    phase: Phase = .idle,
    inside: bool = false, // a hook of Envoy's, so that it need not be told to go on

    /// The headers have come; `end`: and nothing else will. An error says that the answer must not go on.
    pub fn headers(self: *Report, end: bool) !abi.OnHeaders {
        self.inside = true;
        defer self.inside = false;
        const said = try self.clean(.response);
        if (!self.wanted and !said.refuses()) return .go_on;
        if (!end and self.small()) {
            self.phase = .holding;
            return .stop;
        }
        self.tell(null, self.grpcStatus(.response));
        return if (self.phase == .telling) .stop_all else .go_on;
    }

    /// A piece of the body has come; `end`: the last. A body that turns out large is not read.
    pub fn data(self: *Report, end: bool) abi.OnBody {
        self.inside = true;
        defer self.inside = false;
        if (self.phase == .holding) {
            const size = self.stream.size(.buffered_response) +| self.stream.size(.received_response);
            if (size > BODY_BYTES) self.tell(null, self.grpcStatus(.response));
            if (size <= BODY_BYTES and end) self.tell(self.body(true), self.grpcStatus(.response));
        }
        return switch (self.phase) {
            .idle => .go_on,
            .holding => .stop_and_buffer,
            .telling => if (end) .stop_and_buffer else .stop_and_watermark,
        };
    }

    /// Trailers have come instead of the last piece.
    pub fn trailers(self: *Report) !abi.OnTrailers {
        self.inside = true;
        defer self.inside = false;
        _ = try self.clean(.response_trailers);
        if (self.phase == .holding) {
            const early = self.stream.header(.response, "grpc-status") != null;
            self.tell(self.body(false), self.grpcStatus(if (early) .response else .response_trailers));
        }
        return if (self.phase == .telling) .stop else .go_on;
    }

    /// The arbiter has said what it makes of it.
    pub fn answered(self: *Report, outcome: abi.Called, given: []const abi.Header) void {
        if (self.phase != .telling) return;
        self.phase = .idle;
        if (outcome == .success) if (causeOf(given)) |cause| self.explain(cause) catch |trouble| {
            abi.complain("an answer was not explained: ", @errorName(trouble));
        };
        if (!self.inside) self.stream.answer();
    }

    fn explain(self: *Report, cause: []const u8) !void {
        try self.stream.set(.response, "x-remit-upstream", cause);
        try self.stream.set(.response, "x-remit-decision", self.decision);
    }

    /// Removes what only Remit may say, a cloud's cookies and Remit's own, and ways around the door.
    fn clean(self: *Report, map: abi.Map) !Said {
        const given = self.stream.headers(map) orelse return error.TooManyHeaders;
        var said = Said{};
        var unwanted = std.ArrayListUnmanaged([]const u8){};
        var stolen = false;
        for (given) |header| {
            const name = header.name();
            said.hear(name, header.value());
            const cookie = text.equal(name, "set-cookie");
            stolen = stolen or (cookie and ours(header.value()));
            if (text.begins(name, OURS) or text.equal(name, "alt-svc") or (cookie and (!self.cookies or map != .response))) {
                try unwanted.append(self.memory, try self.memory.dupe(u8, name));
            }
        }
        const kept = if (stolen and self.cookies and map == .response) try self.foreign(given) else null;
        for (unwanted.items) |name| try self.stream.remove(map, name);
        if (kept) |cookies| {
            try self.stream.remove(map, "set-cookie");
            for (cookies) |line| try self.stream.add(map, "set-cookie", line);
        }
        return said;
    }

    /// The cookies that are the service's own.
    fn foreign(self: *Report, given: []const abi.Header) ![]const []const u8 {
        var kept = std.ArrayListUnmanaged([]const u8){};
        for (given) |header| {
            if (!text.equal(header.name(), "set-cookie") or ours(header.value())) continue;
            try kept.append(self.memory, try self.memory.dupe(u8, header.value()));
        }
        return kept.items;
    }

    /// Whether the body is small: by its length, or by its kind where it has none (Google's own come in chunks).
    fn small(self: *Report) bool {
        if (self.stream.header(.response, "content-length")) |length| {
            return (text.number(length, 9) orelse return false) <= BODY_BYTES;
        }
        const said = self.stream.header(.response, "content-type") orelse return false;
        var end: usize = 0;
        while (end < said.len and KIND.in[said[end]]) end += 1;
        for (READ) |kind| if (std.ascii.eqlIgnoreCase(kind, said[0..end])) return true;
        return false;
    }

    const Status = struct { number: ?[]const u8, message: ?[]const u8 };

    fn grpcStatus(self: *Report, map: abi.Map) Status {
        return .{ .number = self.stream.header(map, "grpc-status"), .message = self.stream.header(map, "grpc-message") };
    }

    /// What has come of the body, `null` where it cannot be had.
    fn body(self: *Report, receiving: bool) ?[]const u8 {
        const before = self.stream.pieces(.buffered_response);
        const last = if (receiving) self.stream.pieces(.received_response) else 0;
        const pieces = self.memory.alloc(abi.Buffer, before + last) catch return null;
        if (!self.stream.read(.buffered_response, pieces[0..before])) return null;
        if (!self.stream.read(.received_response, pieces[before..])) return null;
        return abi.joined(self.memory, pieces) catch null;
    }

    fn tell(self: *Report, bytes: ?[]const u8, status: Status) void {
        self.phase = .telling;
        const asked = self.ask(bytes orelse "", status) catch false;
        if (!asked) self.phase = .idle;
    }

    fn ask(self: *Report, bytes: []const u8, status: Status) !bool {
        const location = self.stream.header(.response, "location") orelse "";
        const given = [_]struct { []const u8, ?[]const u8 }{
            .{ ":method", "POST" },
            .{ ":path", try std.mem.concat(self.memory, u8, &.{ "/answered/", self.decision }) },
            .{ ":authority", self.host },
            .{ "x-remit-host", self.host },
            .{ "x-remit-status", self.stream.header(.response, ":status") },
            .{ "x-remit-content-type", self.stream.header(.response, "content-type") },
            .{ "x-remit-location", if (location.len > 0 and location.len <= LOCATION_BYTES) location else null },
            .{ "x-remit-grpc-status", status.number },
            .{ "x-remit-grpc-message", status.message },
        };
        var headers_: [given.len]abi.Header = undefined;
        var count: usize = 0;
        for (given) |pair| {
            headers_[count] = abi.Header.of(pair[0], pair[1] orelse continue);
            count += 1;
        }
        return self.stream.call("arbiter", headers_[0..count], bytes, TIMEOUT_MS);
    }
};

/// What an answer says of itself, where it first says so.
const Said = struct {
    status: ?[]const u8 = null,
    call: ?[]const u8 = null,

    fn hear(self: *Said, name: []const u8, value: []const u8) void {
        if (self.status == null and text.equal(name, ":status")) self.status = value;
        if (self.call == null and text.equal(name, "grpc-status")) self.call = value;
    }

    /// Whether it is one that the arbiter is to hear of, whatever was asked.
    fn refuses(self: Said) bool {
        return among(self.status orelse "", &REFUSED) or among(self.call orelse "", &CALLS_REFUSED);
    }
};

/// The probable cause that the arbiter names; one that is said twice is none.
fn causeOf(given: []const abi.Header) ?[]const u8 {
    var cause: ?[]const u8 = null;
    var well = false;
    for (given) |header| {
        if (text.equal(header.name(), ":status")) well = text.equal(header.value(), "200");
        if (!text.equal(header.name(), "x-remit-upstream")) continue;
        if (cause != null) return null;
        cause = header.value();
    }
    const said = cause orelse return null;
    return if (well and said.len <= CAUSE_BYTES and text.WORD.some(said)) said else null;
}

/// Whether a service sets a cookie by which it could sign its visitors in as another. A browser strips blanks, and reads
/// `=__Host-remit=x` as a cookie without a name and sends it back as ours. It sends `\xa0__Host-remit=x` back as it is,
/// and a lenient reader strips that.
fn ours(line: []const u8) bool {
    var start: usize = 0;
    while (start < line.len and !text.PLAIN.in[line[start]] and line[start] != '_') start += 1;
    return std.ascii.startsWithIgnoreCase(line[start..], COOKIE);
}

fn among(word: []const u8, words: []const []const u8) bool {
    for (words) |one| if (text.equal(one, word)) return true;
    return false;
}

test "cookies that are ours" {
    for ([_][]const u8{ "__Host-remit=x", " =__host-REMIT=x", "\xa0__Host-remit-login=1" }) |line| {
        try std.testing.expect(ours(line));
    }
    for ([_][]const u8{ "", "a=__Host-remit", "__Host-other=x", "_=x" }) |line| try std.testing.expect(!ours(line));
}

test "a cause is one word, said once, by an arbiter that is well" {
    const well = abi.Header.of(":status", "200");
    const cause = abi.Header.of("x-remit-upstream", "iam_denied");
    try std.testing.expectEqualStrings("iam_denied", causeOf(&.{ well, cause }).?);
    try std.testing.expect(causeOf(&.{ well, cause, cause }) == null);
    try std.testing.expect(causeOf(&.{ abi.Header.of(":status", "500"), cause }) == null);
    try std.testing.expect(causeOf(&.{ well, abi.Header.of("x-remit-upstream", "a\r\nb") }) == null);
    try std.testing.expect(causeOf(&.{well}) == null);
}
