//! Asking the arbiter, and reading its answer so that only a whole permit is one.
//!
//! A token goes to the check listener, which verifies its signature natively before the arbiter sees it; a session, and
//! nobody, to the arbiter at once. That listener answers by itself in two cases: 401 or 403 for the token, 5xx when the
//! arbiter cannot be reached. To a gRPC content type it says both as a status in a 200: a 200 alone means nothing here.

const std = @import("std");
const abi = @import("abi.zig");
const answer = @import("answer.zig");
const question_ = @import("question.zig");
const text = @import("text.zig");
const web = @import("web.zig");
const Answer = answer.Answer;
const Question = question_.Question;
const Site = @import("site.zig").Site;

const BODY_BYTES = 4_194_304; // of a body that the arbiter puts in a message's place: launches, which have a few KiB
const CREDENTIAL_BYTES = 16_384; // Google's tokens may have 2,048, Remit's assertions have about a thousand
const ID_BYTES = 64;
const REASON_BYTES = 64;

/// What Envoy's jwt_authn says, and which refusal that is. Source: google/jwt_verify_lib, getStatusString.
const NATIVE = std.StaticStringMap(Answer).initComptime(.{
    .{ "Jwt is missing", token("token_missing") },
    .{ "Jwt is expired", token("token_expired") },
    .{ "Jwt not yet valid", token("token_not_yet_valid") },
    .{ "Audiences in Jwt are not allowed", token("token_audience") },
    .{ "Jwt issuer is not configured", token("token_issuer") },
    .{ "Jwt verification fails", token("token_signature") },
    .{ "Jwks doesn't have key to match kid or alg from Jwt", token("token_signature") },
});

fn token(comptime reason: []const u8) Answer {
    return answer.challenged(401, reason, "the token was not accepted", answer.MALFORMED_TOKEN);
}

/// The gRPC status of a refusal (google.rpc.Code), by its HTTP status.
const REFUSED = std.StaticStringMap([]const u8).initComptime(.{
    .{ "400", "3" }, .{ "401", "16" }, .{ "403", "7" }, .{ "503", "14" },
});

const ASKED = 13;

/// Asks the arbiter; whether it could be asked. `last`: nobody asks a second time; else the arbiter may say that its
/// decision needs longer.
pub fn ask(stream: abi.Stream, site: *const Site, question: *const Question, memory: std.mem.Allocator, last: bool) !bool {
    var headers: [ASKED]abi.Header = undefined;
    var count: usize = 0;
    const body = if (text.equal(question.method, "GET")) null else question.body;
    const direct = question.direct();
    const visited = site.settings.mode == .web;
    const given = [ASKED]struct { []const u8, ?[]const u8 }{
        .{ ":method", question.method },
        .{ ":path", try std.mem.concat(memory, u8, &.{ "/check", question.path }) },
        .{ ":authority", site.settings.host },
        .{ "authorization", if (direct) null else question.identity },
        .{ "cookie", if (question.session) |session| try std.mem.concat(memory, u8, &.{ "__Host-remit=", session }) else null },
        .{ "accept", if (visited) question.accept else null },
        .{ "origin", if (visited) question.origin else null },
        .{ "content-type", if (question.kind.len > 0) question.kind else null },
        .{ "x-remit-peer", question.peer },
        .{ "x-remit-job", if (question_.isJob(question.job)) question.job else null },
        .{ "x-remit-upgrade", if (question.upgrades) "websocket" else null },
        .{ "x-remit-body", if (body == null) "none" else "whole" },
        .{ "x-remit-again", if (last) null else "1" },
    };
    for (given) |pair| {
        headers[count] = abi.Header.of(pair[0], pair[1] orelse continue);
        count += 1;
    }
    return stream.call(if (direct) "arbiter" else "check", headers[0..count], body orelse "", site.settings.timeout_ms);
}

/// What came back: headers that count, by their names, each at most once.
const Response = struct {
    status: []const u8 = "503",
    authorization: ?[]const u8 = null,
    location: ?[]const u8 = null,
    challenge: ?[]const u8 = null,
    again: ?[]const u8 = null,
    assertion: ?[]const u8 = null,
    instead: ?[]const u8 = null,
    decision: ?[]const u8 = null,
    epoch: ?[]const u8 = null,
    grpc_message: ?[]const u8 = null,
    grpc_status: ?[]const u8 = null,
    lease_ms: ?[]const u8 = null,
    reason: ?[]const u8 = null,
    tell: ?[]const u8 = null,
    envoys_status: ?[]const u8 = null,
    envoys_message: ?[]const u8 = null,
    body: []const u8 = "",
};

const COUNTED = std.StaticStringMap(std.meta.FieldEnum(Response)).initComptime(.{
    .{ ":status", .status },
    .{ "authorization", .authorization },
    .{ "location", .location },
    .{ "www-authenticate", .challenge },
    .{ "x-remit-again", .again },
    .{ "x-remit-assertion", .assertion },
    .{ "x-remit-body", .instead },
    .{ "x-remit-decision", .decision },
    .{ "x-remit-epoch", .epoch },
    .{ "x-remit-grpc-message", .grpc_message },
    .{ "x-remit-grpc-status", .grpc_status },
    .{ "x-remit-lease-ms", .lease_ms },
    .{ "x-remit-reason", .reason },
    .{ "x-remit-tell", .tell },
    .{ "grpc-status", .envoys_status },
    .{ "grpc-message", .envoys_message },
});

/// What an answer means: final, or that the arbiter needs longer, or that it left the question unanswered.
pub const Reply = union(enum) { answer: Answer, again, unanswered };

/// Reads an answer; its texts are the caller's memory. One that has a header twice is void.
pub fn read(given: []const abi.Header, body: []const u8, site: *const Site, memory: std.mem.Allocator) !Reply {
    var response = Response{ .body = body };
    var seen = std.EnumSet(std.meta.FieldEnum(Response)).initEmpty();
    for (given) |header| {
        const field = COUNTED.get(header.name()) orelse continue;
        if (seen.contains(field)) return .{ .answer = answer.unavailable() };
        seen.insert(field);
        switch (field) {
            inline else => |tag| @field(response, @tagName(tag)) = header.value(),
        }
    }
    if (response.again) |again| {
        const asked = text.equal(response.status, "503") and text.equal(again, "1");
        return if (asked) .again else .{ .answer = answer.unavailable() };
    }
    if (text.equal(response.status, "503") and response.reason == null) return .unanswered;
    return .{ .answer = try said(&response, site, memory) };
}

fn said(response: *const Response, site: *const Site, memory: std.mem.Allocator) !Answer {
    if (response.decision) |id| if (id.len > ID_BYTES or !text.isNamed(id, "d-")) return answer.unavailable();
    if (response.reason) |reason| return refused(response, reason, site);
    if (text.equal(response.status, "200")) if (response.decision) |id| return permitted(response, id, site, memory);
    return natively(response, memory);
}

/// What the check listener says by itself.
fn natively(response: *const Response, memory: std.mem.Allocator) !Answer {
    const call = text.equal(response.status, "200");
    const words = if (call) try text.unescaped(memory, response.envoys_message orelse "") else response.body;
    const number = if (call) response.envoys_status orelse "" else response.status;
    if (NATIVE.get(words)) |refusal| return refusal;
    const malformed = text.equal(number, "401") or text.equal(number, "16");
    return if (malformed) token("token_malformed") else answer.unavailable();
}

fn permitted(response: *const Response, id: []const u8, site: *const Site, memory: std.mem.Allocator) !Answer {
    const credential = credentialOf(response, site) orelse return answer.unavailable();
    const epoch = text.number(response.epoch orelse "", 15) orelse return answer.unavailable();
    const life = text.number(response.lease_ms orelse "", 6) orelse return answer.unavailable();
    if (!only(response.instead, "replace") or !only(response.tell, "1")) return answer.unavailable();
    const replaced = response.instead != null;
    if (replaced and (response.body.len == 0 or response.body.len > BODY_BYTES)) return answer.unavailable();
    return .{
        .permit = true,
        .id = id,
        .epoch = epoch,
        .credential = credential,
        .mark = try std.mem.concat(memory, u8, &.{ "decision/", id }),
        .lease_ms = life,
        .instead = if (replaced) response.body else null,
        .tell = response.tell != null,
    };
}

/// What the upstream will be shown, of the one kind that this site takes.
fn credentialOf(response: *const Response, site: *const Site) ?[]const u8 {
    const assertion = site.settings.assertion;
    const credential = (if (assertion) response.assertion else response.authorization) orelse return null;
    const other = if (assertion) response.authorization else response.assertion;
    const formed = if (assertion) text.isSigned(credential) else text.isBearer(credential);
    return if (other == null and formed and credential.len <= CREDENTIAL_BYTES) credential else null;
}

/// Whether a header is absent or says the one thing that it may say.
fn only(value: ?[]const u8, word: []const u8) bool {
    return text.equal(value orelse word, word);
}

fn refused(response: *const Response, reason: []const u8, site: *const Site) Answer {
    const usual = REFUSED.get(response.status) orelse return answer.unavailable();
    if (!text.WORD.some(reason) or reason.len > REASON_BYTES) return answer.unavailable();
    const location = if (site.settings.mode == .web) response.location else null;
    if (location) |to| if (!web.leadsHome(to)) return answer.unavailable();
    const number = text.number(response.grpc_status orelse "", 2) orelse 0;
    const message = response.grpc_message orelse "";
    return .{
        .id = response.decision,
        .epoch = text.number(response.epoch orelse "", 15),
        .code = std.fmt.parseInt(u32, response.status, 10) catch return answer.unavailable(),
        .reason = reason,
        .grpc_status = if (number != 0) response.grpc_status orelse usual else usual,
        .grpc_message = if (text.PRINTABLE.some(message)) message else reason,
        .challenge = response.challenge,
        .location = location,
        .body = response.body,
    };
}
