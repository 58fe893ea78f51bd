//! What the gate says without asking, what it must see of a body, and what a lease rests on.

const std = @import("std");
const answer = @import("answer.zig");
const text = @import("text.zig");
const web = @import("web.zig");
const wire = @import("wire.zig");
const Answer = answer.Answer;
const Question = @import("question.zig").Question;
const Site = @import("site.zig").Site;

const SESSION = "\x00session "; // before an identity that is no `authorization`: no header can hold a zero
const NOBODY = "\x00nobody";
const TARGET = text.Letters.alphanumericAnd("_.~:@/?&=%+,*$!'()-");

/// Whether the request becomes a WebSocket: only where that is served has the header come this far. There is no body to
/// wait for, and no lease: every WebSocket has a decision of its own.
pub fn upgrades(site: *const Site, question: *const Question) bool {
    return site.settings.websockets and question.upgrade != null and text.equal(question.method, "GET");
}

/// What is refused by its headers alone, before a body is waited for. `null` when nothing is.
pub fn refusedAtOnce(site: *const Site, question: *Question, memory: std.mem.Allocator) !?Answer {
    if (question.path.len == 0) return answer.refusal(400, "request_malformed", "the request has no target");
    if (site.settings.mode == .web) if (try visited(question, memory)) |refused| return refused;
    if (question.identity == null) {
        return answer.challenged(401, "token_missing", "the request carries no identity", "Bearer");
    }
    if (question.encoding) |encoding| if (site.decides() and !text.equal(encoding, "identity")) {
        return answer.refusal(400, "request_ambiguous", "an encoded request body cannot be decided on");
    };
    if (site.streaming.contains(question.path)) {
        return answer.refusal(403, "method_unknown", "methods on which the client streams are not served");
    }
    return null;
}

/// Adds what only browsers say, and puts the session in the place of a missing identity.
fn visited(question: *Question, memory: std.mem.Allocator) !?Answer {
    const accept = if (text.equal(question.method, "GET")) question.accept else null;
    question.page = text.holds(accept orelse "", "text/html");
    if (question.cookie) |cookie| {
        const found = web.cookies(memory, cookie) catch |trouble| switch (trouble) {
            error.Ambiguous => return doubled(),
            error.OutOfMemory => return error.OutOfMemory,
        };
        question.session, question.rest = .{ found.session, found.rest };
    }
    if (question.session) |session| {
        if (question.identity != null) return doubled();
        question.identity = try std.mem.concat(memory, u8, &.{ SESSION, session });
    } else if (question.identity == null and question.page) {
        question.identity, question.nobody = .{ NOBODY, true }; // who may be told where to sign in, and nothing else
    }
    return null;
}

fn doubled() Answer {
    return answer.refusal(400, "request_ambiguous", "the request carries more than one identity");
}

/// Whether it reads: a body of these some servers leave, as the next request.
fn reads(question: *const Question) bool {
    return text.equal(question.method, "GET") or text.equal(question.method, "HEAD") or text.equal(question.method, "OPTIONS");
}

/// A path without its query.
fn bare(path: []const u8) []const u8 {
    return path[0 .. std.mem.indexOfScalar(u8, path, '?') orelse path.len];
}

/// Raw predictions go by in a stream, since the path alone says what is asked.
fn raw(question: *const Question) bool {
    const path = bare(question.path);
    return text.equal(question.method, "POST") and (text.ends(path, ":rawPredict") or text.ends(path, ":streamRawPredict"));
}

/// Whether the body is held until it is whole: where it is decided on, and where there must be none.
pub fn waits(site: *const Site, question: *const Question, grpc: bool) bool {
    if (question.upgrades) return false;
    if (grpc and site.decides()) return true;
    return if (site.settings.mode == .google) !raw(question) else reads(question);
}

/// The last part of the key of a lease that may answer by the headers alone, `null` where there can be none: of a
/// request that reads and has no body (`end`), and of one whose body nobody reads. It is what `look` would say.
pub fn early(site: *const Site, question: *const Question, end: bool) ?[]const u8 {
    if (site.settings.websockets or question.encoding != null or wire.callsItselfGrpc(question.kind)) return null;
    const got = text.equal(question.method, "GET");
    return switch (site.settings.mode) {
        .google => if (got) (if (end) "read" else null) else if (raw(question)) "" else null,
        .objects => if (got and end) "read" else null,
        .serving => if (!reads(question)) "" else if (end) "read" else null,
        .web => null,
    };
}

/// Adds to the question the body when it was waited for, the last part of a key when a lease is possible, and for gRPC
/// the message's first field.
pub fn look(site: *const Site, question: *Question, grpc: bool, body: ?[]const u8, memory: std.mem.Allocator) !void {
    question.body = body;
    if (question.upgrades) return;
    if (grpc and site.decides()) return called(site, question, body orelse "", memory);
    switch (site.settings.mode) {
        .google => question.key = google(question, body orelse ""),
        .objects => question.key = if (text.equal(question.method, "GET")) "read" else null,
        .serving => question.key = if (reads(question)) "read" else "",
        .web => question.key = try visit(question, memory),
    }
    if (site.settings.mode != .google and body != null and body.?.len == 0) question.body = null;
}

/// The rest of a browser's key: all that the arbiter is told besides and an answer may rest on.
fn visit(question: *const Question, memory: std.mem.Allocator) ![]const u8 {
    const kind = if (question.page) "page" else "data";
    const origin = question.origin orelse return kind;
    return std.mem.concat(memory, u8, &.{ kind, " from ", origin });
}

/// Of Google's REST: a GET has no body; a prediction has a lease when its path names an endpoint and its body cannot
/// name another.
fn google(question: *const Question, body: []const u8) ?[]const u8 {
    if (text.equal(question.method, "GET")) return "read";
    if (raw(question)) return "";
    const path = bare(question.path);
    const predicts = text.equal(question.method, "POST") and text.ends(path, ":predict") and wire.namesEndpoint(path);
    return if (predicts and !wire.mayNameEndpoint(question.kind, body)) "predict" else null;
}

/// Of a gRPC message: a lease rests on all its wanted fields, each with its length, in one order. A message with a
/// field that is not known has no lease: the arbiter refuses it, so it must be asked.
fn called(site: *const Site, question: *Question, body: []const u8, memory: std.mem.Allocator) !void {
    const method = site.leasable(question.path);
    const wanted: []const u32 = if (method) |one| one.key else &.{1};
    var room: [wire.MOST]?[]const u8 = undefined;
    const found = wire.walk(body, wanted, if (method) |one| one.known else null, &room) orelse return;
    for (wanted, found) |number, value| {
        if (number == 1) if (value) |first| {
            question.first = try memory.dupe(u8, first);
        };
    }
    if (method != null) question.key = try joined(found, memory);
}

fn joined(found: []const ?[]const u8, memory: std.mem.Allocator) !?[]const u8 {
    var out = std.ArrayListUnmanaged(u8){};
    for (found) |value| {
        const some = value orelse return null;
        const length: u64 = some.len;
        try out.appendSlice(memory, std.mem.asBytes(&length));
        try out.appendSlice(memory, some);
    }
    return out.items;
}

/// What is refused for its body, whatever the arbiter would say of the rest.
pub fn refusedForBody(site: *const Site, question: *const Question) ?Answer {
    const body = question.body orelse return null;
    if (body.len == 0) return null;
    if (reads(question)) {
        return answer.refusal(400, "request_ambiguous", "a request that reads, with a body, can be read in two ways");
    }
    if (body.len > site.settings.body_bytes) {
        return answer.refusal(400, "request_malformed", "the request body is too large to decide on");
    }
    return null;
}

/// What is refused without asking. All of it is in a lease's key: a live lease proves that it was looked at.
pub fn refusedUnasked(site: *const Site, question: *const Question, grpc: bool) ?Answer {
    if (!question.direct() and !text.isBearer(question.identity orelse "")) {
        return answer.challenged(401, "token_malformed", "the identity is not one bearer token", answer.MALFORMED_TOKEN);
    }
    if (!site.knows(question.method)) {
        return answer.refusal(403, "method_unknown", "the request uses an HTTP method that Remit does not know");
    }
    if (!plainTarget(site, question.path)) {
        return answer.refusal(400, "request_malformed", "the request target holds characters that no known method has");
    }
    if (std.mem.indexOfScalar(u8, question.kind, ',') != null) {
        return answer.refusal(400, "request_ambiguous", "the content type is repeated");
    }
    if (grpc and (!wire.isGrpc(question.kind) or !text.equal(question.method, "POST"))) {
        return answer.refusal(400, "request_malformed", "the request is not gRPC with protobuf messages");
    }
    return null;
}

/// Whether the target is of a form that the arbiter and what is behind the gate read alike.
fn plainTarget(site: *const Site, path: []const u8) bool {
    if (site.decides()) return text.begins(path, "/") and TARGET.all(path);
    return web.plain(path, site.settings.mode == .objects);
}

/// How long an answer may be repeated, in milliseconds since the question began.
pub fn life(site: *const Site, said: *const Answer) u64 {
    if (said.permit) return @min(said.lease_ms, site.settings.lease_ms);
    return if (said.code == 401 or said.code == 403) site.settings.denial_ms else 0;
}
