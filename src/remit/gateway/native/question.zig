//! The question that a request asks: all that the arbiter is told, and so all that a lease's key holds.
//!
//! The headers that count are read by name from those that are on the site's list. A repeated one is joined by commas:
//! none of these may hold one. On a tunnel that carries an identity the inner `Authorization` counts for nothing; the
//! job is the tunnel's alone: whoever speaks without one, speaks for none.

const std = @import("std");
const abi = @import("abi.zig");
const text = @import("text.zig");
const Site = @import("site.zig").Site;

pub const HEADERS = 96; // Envoy takes 64 from a caller, and adds a few
const TUNNEL = "remit.tunnel";
const PEER = "remit.peer";
const JOB = "remit.job";

pub const Question = struct {
    method: []const u8 = "",
    path: []const u8 = "",
    kind: []const u8 = "",
    encoding: ?[]const u8 = null,
    identity: ?[]const u8 = null,
    peer: []const u8 = "",
    job: []const u8 = "",
    params: ?[]const u8 = null,
    cookie: ?[]const u8 = null,
    origin: ?[]const u8 = null,
    accept: ?[]const u8 = null,
    upgrade: ?[]const u8 = null,

    session: ?[]const u8 = null,
    rest: ?[]const u8 = null,
    page: bool = false,
    nobody: bool = false,
    upgrades: bool = false,
    body: ?[]const u8 = null,
    first: ?[]const u8 = null,
    key: ?[]const u8 = null,

    /// Whether the arbiter is asked at once, since there is no token whose signature could be looked at.
    pub fn direct(self: *const Question) bool {
        return self.session != null or self.nobody;
    }

    /// The parts of a lease's key.
    pub fn parts(self: *const Question, last: []const u8) [7][]const u8 {
        return .{ self.identity orelse "", self.peer, self.job, self.path, self.method, self.kind, last };
    }

    /// The same in memory of its own.
    pub fn copied(self: Question, memory: std.mem.Allocator) error{OutOfMemory}!Question {
        var copy = self;
        inline for (std.meta.fields(Question)) |field| {
            const value = &@field(copy, field.name);
            if (field.type == []const u8) value.* = try memory.dupe(u8, value.*);
            if (field.type == ?[]const u8) value.* = if (value.*) |bytes| try memory.dupe(u8, bytes) else null;
        }
        return copy;
    }
};

/// A question, and the names of the headers that no upstream may see.
pub const Read = struct { question: Question, strange: []const []const u8 };

const Field = std.meta.FieldEnum(Question);

const COUNTED = std.StaticStringMap(Field).initComptime(.{
    .{ ":method", .method },
    .{ ":path", .path },
    .{ "content-type", .kind },
    .{ "content-encoding", .encoding },
    .{ "authorization", .identity },
    .{ "x-goog-request-params", .params },
    .{ "cookie", .cookie },
    .{ "origin", .origin },
    .{ "accept", .accept },
    .{ "upgrade", .upgrade },
});

/// Room for the names of strange headers.
pub const Names = [HEADERS][]const u8;

/// Reads a stream's headers. The question's texts hold until one of its own headers is set.
pub fn read(stream: abi.Stream, site: *const Site, memory: std.mem.Allocator, names: *Names) !Read {
    var room: [HEADERS]abi.Header = undefined;
    const given = stream.headers(.request, &room) orelse return error.TooManyHeaders;
    var question = Question{};
    var strange: usize = 0;
    for (given) |header| {
        if (!site.passed.contains(header.name())) {
            names[strange] = try memory.dupe(u8, header.name()); // two may have one name, and go with the first
            strange += 1;
        } else if (COUNTED.get(header.name())) |field| {
            try put(&question, memory, field, header.value());
        }
    }
    question.peer = stream.state(PEER) orelse return error.NoPeer;
    if (site.settings.tunnel) {
        if (stream.state(TUNNEL)) |identity| question.identity = identity;
        question.job = stream.state(JOB) orelse "";
    }
    return .{ .question = question, .strange = names[0..strange] };
}

fn put(question: *Question, memory: std.mem.Allocator, field: Field, value: []const u8) !void {
    switch (field) {
        inline else => |tag| {
            const place = &@field(question, @tagName(tag));
            switch (@TypeOf(place.*)) {
                []const u8 => place.* = if (place.len == 0) value else try joined(memory, place.*, value),
                ?[]const u8 => place.* = if (place.*) |before| try joined(memory, before, value) else value,
                else => return error.NotAHeader,
            }
        },
    }
}

fn joined(memory: std.mem.Allocator, one: []const u8, other: []const u8) ![]const u8 {
    return std.mem.concat(memory, u8, &.{ one, ",", other });
}

/// Whether this is the id of a job.
pub fn isJob(job: []const u8) bool {
    return text.isNamed(job, "j-");
}
