//! The gate: whoever passes was permitted, for this very request. Its last act on a permit is to set the mark that the
//! filter behind it demands. An error anywhere is a refusal, first here, and there again.
//!
//! 1 who asks, from where, what for      4 else the arbiter does
//! 2 the body, where it must be seen      5 replace what goes upstream, then mark the request as permitted
//! 3 a live lease answers
//!
//! Hooks come one by one, on one thread, for one request. Leaves out what the upstream answers.

const std = @import("std");
const abi = @import("abi.zig");
const answer = @import("answer.zig");
const check = @import("check.zig");
const lease = @import("lease.zig");
const question = @import("question.zig");
const rules = @import("rules.zig");
const text = @import("text.zig");
const wire = @import("wire.zig");
const Answer = answer.Answer;
const Question = question.Question;
const Report = @import("report.zig").Report;
const Site = @import("site.zig").Site;

const ASKED = 4; // questions to the arbiter for one request: under four seconds in all
const ASKED_FOR = " asked"; // behind a decision that was made for this very request
const STALE = 2; // answers from before a revocation: the first may only have been under way

const Held = struct { said: Answer, till: u64 };

/// `fresh`: nothing has come yet; `reading`: the body is held until it is whole; `asking`: the arbiter is; then it has
/// `passed` or is `refused`.
const Phase = enum { fresh, reading, asking, passed, refused };

/// A body in one piece, which is Envoy's own or a copy: one of many megabytes is not kept longer than it is looked at.
const Body = struct {
    bytes: []const u8,
    copy: []const u8 = "",

    fn of(pieces: []const abi.Buffer) !Body {
        if (pieces.len == 1) return .{ .bytes = pieces[0].text() };
        const copy = try abi.joined(std.heap.c_allocator, pieces);
        return .{ .bytes = copy, .copy = copy };
    }

    fn free(self: Body) void {
        std.heap.c_allocator.free(self.copy);
    }
};

/// One request.
pub const Call = struct {
    arena: std.heap.ArenaAllocator,
    stream: abi.Stream,
    site: *Site,
    question: Question = .{},
    grpc: bool = false,
    single: bool = true, // the body is one plain message
    phase: Phase = .fresh,
    held: ?Held = null, // a lease that still lives, whose renewal this is
    turn: u32 = 0,
    stale: u32 = 0,
    began: u64 = 0,
    asked: bool = false, // the arbiter, for this very request
    relayed: bool = false,
    inside: bool = false, // a hook of Envoy's, so that it need not be told to go on
    report: ?Report = null, // of what was permitted
    hooks: u32 = 0, // that have begun and not ended
    over: bool = false, // Envoy has let go of it, which it may do while a hook answers

    pub fn new(memory: std.mem.Allocator, stream: abi.Stream, site: *Site) !*Call {
        const call = try memory.create(Call);
        call.* = .{ .arena = std.heap.ArenaAllocator.init(memory), .stream = stream, .site = site };
        return call;
    }

    /// A hook begins.
    pub fn enter(self: *Call) void {
        self.hooks += 1;
    }

    /// A hook ends.
    pub fn leave(self: *Call) void {
        self.hooks -|= 1;
        if (self.over) self.destroy();
    }

    /// Envoy lets go of the request. It goes when the last hook has ended.
    pub fn destroy(self: *Call) void {
        self.over = true;
        if (self.hooks > 0) return;
        const memory = self.arena.child_allocator;
        self.arena.deinit();
        memory.destroy(self);
    }

    /// The headers have come; `end`: and nothing else will.
    pub fn headers(self: *Call, end: bool) abi.OnHeaders {
        self.inside = true;
        defer self.inside = false;
        self.begin(end) catch |trouble| self.fail(trouble);
        return switch (self.phase) {
            .passed => .go_on,
            .asking => .stop_all,
            .fresh, .reading, .refused => .stop,
        };
    }

    /// A piece of the body has come; `end`: the last.
    pub fn data(self: *Call, end: bool) abi.OnBody {
        self.inside = true;
        defer self.inside = false;
        if (self.phase == .reading and end) self.whole(true) catch |trouble| self.fail(trouble);
        return switch (self.phase) {
            .passed => .go_on,
            .refused => .stop,
            .fresh, .reading, .asking => .stop_and_buffer,
        };
    }

    /// Trailers have come instead of the last piece. None goes on.
    pub fn trailers(self: *Call) abi.OnTrailers {
        self.inside = true;
        defer self.inside = false;
        self.ended() catch |trouble| self.fail(trouble);
        return if (self.phase == .passed) .go_on else .stop;
    }

    /// The arbiter has answered, or could not.
    pub fn answered(self: *Call, outcome: abi.Called, given: []const abi.Header, pieces: []const abi.Buffer) void {
        if (self.report) |*report| return report.answered(outcome, given);
        if (self.phase != .asking) return;
        self.weigh(outcome, given, pieces) catch |trouble| self.fail(trouble);
        if (self.phase == .passed and !self.inside and !self.over) self.stream.goOn();
    }

    fn fail(self: *Call, trouble: anyerror) void {
        abi.complain("the gate failed: ", @errorName(trouble));
        switch (self.phase) {
            .fresh, .reading, .asking => self.refuse(answer.unavailable()),
            .passed => { // its answer may have begun
                self.phase = .refused;
                self.stream.cut();
            },
            .refused => {},
        }
    }

    fn refuse(self: *Call, refused: Answer) void {
        self.phase = .refused;
        answer.send(self.stream, self.grpc, refused);
    }

    fn own(self: *Call) std.mem.Allocator {
        return self.arena.allocator();
    }

    fn begin(self: *Call, end: bool) !void {
        // 1 who asks, from where, what for: the question is all that the arbiter is told
        const read = try question.read(self.stream, self.site, self.own());
        self.question = read.question;
        self.grpc = wire.callsItselfGrpc(self.question.kind);
        if (try self.quick(end)) |said| {
            try self.clean(read.strange);
            return self.conclude(said.*);
        }
        self.question = try read.question.copied(self.own());
        try self.clean(read.strange);
        if (try rules.refusedAtOnce(self.site, &self.question, self.own())) |refused| return self.refuse(refused);

        // 2 the body, where it must be seen
        self.question.upgrades = rules.upgrades(self.site, &self.question);
        if (!rules.waits(self.site, &self.question, self.grpc)) return self.seen(null);
        if (end) return self.seen("");
        self.phase = .reading;
    }

    /// A live lease of a request that is known by its headers.
    fn quick(self: *Call, end: bool) !?*const Answer {
        const last = rules.early(self.site, &self.question, end) orelse return null;
        const table = self.site.table(self.stream.worker()) orelse return null;
        return table.ready(try lease.now(), try table.key(&self.question.parts(last)));
    }

    /// Removes the headers of these names, which are their own: no upstream may see them.
    fn clean(self: *Call, strange: []const []const u8) !void {
        for (strange) |name| try self.stream.remove(.request, name);
    }

    /// The upstream's answer has begun; `end`: and ended. What nobody was permitted, no upstream answers.
    pub fn answers(self: *Call, end: bool) abi.OnHeaders {
        const report = if (self.report) |*one| one else return .go_on;
        return report.headers(end) catch |trouble| {
            self.cut(trouble);
            return .stop_all;
        };
    }

    pub fn answersData(self: *Call, end: bool) abi.OnBody {
        return if (self.report) |*report| report.data(end) else .go_on;
    }

    pub fn answersTrailers(self: *Call) abi.OnTrailers {
        const report = if (self.report) |*one| one else return .go_on;
        return report.trailers() catch |trouble| {
            self.cut(trouble);
            return .stop;
        };
    }

    fn cut(self: *Call, trouble: anyerror) void {
        abi.complain("an answer was cut: ", @errorName(trouble));
        self.stream.cut();
    }

    fn ended(self: *Call) !void {
        const given = self.stream.headers(.request_trailers) orelse return error.TooManyTrailers;
        const names = try self.own().alloc([]const u8, given.len);
        for (given, names) |header, *name| name.* = try self.own().dupe(u8, header.name());
        for (names) |name| try self.stream.remove(.request_trailers, name);
        if (self.phase == .reading) try self.whole(false);
    }

    /// The body is whole. `receiving`: its last piece is not yet among what Envoy holds.
    fn whole(self: *Call, receiving: bool) !void {
        const body = try self.gather(receiving);
        defer body.free();
        try self.seen(body.bytes);
    }

    /// The body in one piece.
    fn gather(self: *Call, receiving: bool) !Body {
        const same = receiving and self.stream.receivesBuffered();
        const before = if (same) 0 else self.stream.pieces(.buffered_request);
        const last = if (receiving) self.stream.pieces(.received_request) else 0;
        const pieces = try self.own().alloc(abi.Buffer, before + last);
        if (!self.stream.read(.buffered_request, pieces[0..before])) return error.NoBody;
        if (!self.stream.read(.received_request, pieces[before..])) return error.NoBody;
        return Body.of(pieces);
    }

    /// 3 a live lease answers, 4 else the arbiter does.
    fn seen(self: *Call, bytes: ?[]const u8) !void {
        try rules.look(self.site, &self.question, self.grpc, bytes, self.own());
        defer self.question.body = if (self.question.body == null) null else ""; // what Envoy holds, it may move
        if (rules.refusedForBody(self.site, &self.question)) |refused| return self.refuse(refused);
        if (self.question.body) |message| self.single = wire.oneMessage(message);
        if (try self.leased()) |said| return self.settled(said);
        self.phase = .asking;
        if (rules.refusedUnasked(self.site, &self.question, self.grpc)) |refused| {
            self.began = try lease.now();
            return self.settle(refused);
        }
        self.asked = true;
        self.stream.flag("asked");
        try self.ask();
    }

    /// The live answer to this question, unless it is this request's turn to ask again: then it stands in when the
    /// arbiter is away, for as long as it would have lasted anyway.
    fn leased(self: *Call) !?Answer {
        const last = self.question.key orelse return null;
        const table = self.site.table(self.stream.worker()) orelse return null;
        const found, const due = table.find(try lease.now(), try table.key(&self.question.parts(last)));
        const one = found orelse return null;
        if (!due) return one.answer;
        self.held = .{ .said = try one.answer.copied(self.own()), .till = one.till };
        return null;
    }

    fn ask(self: *Call) !void {
        if (!self.relayed) {
            self.turn += 1;
            self.began = try lease.now();
        }
        if (!try check.ask(self.stream, self.site, &self.question, self.own(), self.turn == ASKED)) {
            if (self.phase == .asking) try self.settle(answer.unavailable());
        }
    }

    /// Asks once more, with the body as Envoy holds it now.
    fn askAgain(self: *Call) !void {
        if (self.inside) return self.settle(answer.unavailable()); // what has just come, Envoy does not hold yet
        const body = if (self.question.body != null) try self.gather(false) else return self.ask();
        defer body.free();
        self.question.body = body.bytes;
        defer self.question.body = "";
        try self.ask();
    }

    /// What the arbiter says. An answer from before a revocation that others know of is not taken: it may only have been
    /// under way, so the arbiter is asked once more. One that needs longer than a question lasts says so, and is asked
    /// anew while what it fetched for the last question comes in; the last time it has to say what it has.
    fn weigh(self: *Call, outcome: abi.Called, given: []const abi.Header, pieces: []const abi.Buffer) !void {
        const bytes = try abi.joined(self.own(), pieces);
        const reply = if (outcome == .success) try check.read(given, bytes, self.site, self.own()) else .unanswered;
        switch (reply) {
            .unanswered => if (!self.relayed and (self.question.direct() or lost(outcome, given))) {
                // an arbiter that another one relieves leaves questions unanswered, and so does a check with old keys
                self.relayed = true;
                return self.askAgain();
            },
            .again => if (self.turn < ASKED) {
                self.relayed = false;
                return self.askAgain();
            },
            .answer => |said| {
                if (lease.current(said.epoch)) return self.settle(said);
                self.stale += 1;
                self.relayed = false;
                if (self.stale < STALE and self.turn < ASKED) return self.askAgain();
            },
        }
        try self.settle(answer.unavailable());
    }

    /// Remembers what may be repeated: never an answer that came with a body.
    fn settle(self: *Call, given: Answer) !void {
        const said = if (self.question.nobody and given.permit) answer.unavailable() else given;
        const lasts = rules.life(self.site, &said);
        if (lasts > 0 and said.instead == null) {
            try self.keep(said, lasts);
        } else if (said.code == 503) if (self.held) |held| {
            if (lease.current(held.said.epoch) and try lease.now() < held.till) return self.settled(held.said);
        };
        try self.settled(said);
    }

    fn keep(self: *Call, said: Answer, lasts: u64) !void {
        const last = self.question.key orelse return;
        const table = self.site.table(self.stream.worker()) orelse return;
        const key = try table.key(&self.question.parts(last));
        try table.keep(self.site.bounds(), key, said, self.began, lasts);
    }

    fn settled(self: *Call, said: Answer) !void {
        if (self.grpc and said.permit and self.question.body != null and !self.single) {
            return self.refuse(answer.refusal(400, "request_ambiguous", "a call must hold exactly one plain message"));
        }
        try self.conclude(said);
    }

    /// 5 replace what goes upstream, then mark the request as permitted.
    fn conclude(self: *Call, said: Answer) !void {
        if (!said.permit) return self.refuse(said);
        const id = said.id orelse return error.NoDecision;
        if (said.instead) |bytes| try self.instead(bytes);
        try self.route();
        if (self.site.settings.assertion) {
            try self.introduce(said);
        } else {
            try self.stream.set(.request, "authorization", said.credential);
        }
        try self.stream.add(.request, question.MARK, said.mark); // a caller's is gone: `passing`
        const proof = if (self.asked) try std.mem.concat(self.own(), u8, &.{ id, ASKED_FOR }) else id;
        self.report = .{
            .stream = self.stream,
            .memory = self.own(),
            .host = self.site.settings.host,
            .decision = try self.own().dupe(u8, id),
            .wanted = said.tell,
            .cookies = self.site.settings.assertion,
        };
        self.phase = .passed;
        self.stream.mark("permitted", proof);
    }

    /// Puts the arbiter's body in the caller's place. Only a body that was seen whole can be replaced by one that was
    /// not sent, and a message by one message.
    fn instead(self: *Call, bytes: []const u8) !void {
        if (self.question.body == null or self.inside or self.stream.size(.buffered_request) == 0) return error.NoBody;
        if (self.grpc and !wire.oneMessage(bytes)) return error.NotOneMessage;
        try self.stream.replace(.buffered_request, bytes);
        var digits: [20]u8 = undefined;
        try self.stream.set(.request, "content-length", try std.fmt.bufPrint(&digits, "{d}", .{bytes.len}));
        if (self.grpc) {
            var room: [wire.MOST]?[]const u8 = undefined;
            self.question.first = if (wire.walk(bytes, &.{1}, null, &room)) |found| found[0] else null;
        }
    }

    /// A routing header goes on when it says what the message says.
    fn route(self: *Call) !void {
        const params = self.question.params orelse return;
        const first = if (self.grpc) self.question.first else null;
        const same = if (first) |value| try wire.routesTo(self.own(), params, value) else false;
        if (!same) try self.stream.remove(.request, "x-goog-request-params");
    }

    /// Who asks, for a service: Remit's assertion, and no other identity. Only web services see cookies, less Remit's.
    fn introduce(self: *Call, said: Answer) !void {
        try self.stream.remove(.request, "authorization");
        try self.stream.set(.request, "x-remit-assertion", said.credential);
        const rest = if (self.site.settings.mode == .web) self.question.rest else null;
        if (rest) |cookies| {
            try self.stream.set(.request, "cookie", cookies);
        } else {
            try self.stream.remove(.request, "cookie");
        }
    }
};

/// Whether a question's connection has gone before anybody answered: whoever answers has said when.
fn lost(outcome: abi.Called, given: []const abi.Header) bool {
    for (given) |header| if (text.equal(header.name(), "date")) return false;
    return outcome == .reset or outcome == .success;
}
