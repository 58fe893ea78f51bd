//! The question that a request asks: all that the arbiter is told, and so all that a lease's key holds.
//!
//! The headers that count are read by name from those that are on the site's list. A repeated one is joined by commas:
//! none of these may hold one. On a tunnel that carries an identity the inner `Authorization` counts for nothing; the
//! job is the tunnel's alone: whoever speaks without one, speaks for none.

const std = @import("std");
const abi = @import("abi.zig");
const text = @import("text.zig");
const Site = @import("site.zig").Site;

pub const MARK = "x-goog-request-reason"; // what only the gate says: the watch reads it, a service does not
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
        var size: usize = 0;
        inline for (std.meta.fields(Question)) |field| {
            const value = @field(self, field.name);
            if (field.type == []const u8) size += value.len;
            if (field.type == ?[]const u8) size += if (value) |bytes| bytes.len else 0;
        }
        var copy, var room = .{ self, try memory.alloc(u8, size) };
        inline for (std.meta.fields(Question)) |field| {
            const value = &@field(copy, field.name);
            if (field.type == []const u8) value.* = moved(&room, value.*);
            if (field.type == ?[]const u8) value.* = if (value.*) |bytes| moved(&room, bytes) else null;
        }
        return copy;
    }

    fn moved(room: *[]u8, bytes: []const u8) []const u8 {
        const place = room.*[0..bytes.len];
        room.* = room.*[bytes.len..];
        @memcpy(place, bytes);
        return place;
    }
};

/// A question, and the names of the headers that no upstream may see.
pub const Read = struct { question: Question, strange: []const []const u8 };

const Field = std.meta.FieldEnum(Question);

/// What is known of the headers that go on: the part of the question that one is, `null` of those that count for nothing.
pub const Passed = std.StaticStringMap(?Field);

/// Those of the list, which never holds the mark.
pub fn passing(memory: std.mem.Allocator, names: []const []const u8) error{ OutOfMemory, PassesTheMark }!Passed {
    const pairs = try memory.alloc(struct { []const u8, ?Field }, names.len);
    for (names, pairs) |name, *pair| {
        if (text.equal(name, MARK)) return error.PassesTheMark;
        pair.* = .{ name, COUNTED.get(name) };
    }
    return Passed.init(pairs, memory);
}

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

/// Reads a stream's headers. The question's texts hold until one of its own headers is set.
pub fn read(stream: abi.Stream, site: *const Site, memory: std.mem.Allocator) !Read {
    const given = stream.headers(.request) orelse return error.TooManyHeaders;
    var question = Question{};
    var strange = std.ArrayListUnmanaged([]const u8){};
    for (given) |header| {
        const counts = site.passed.get(header.name()) orelse {
            try strange.append(memory, try memory.dupe(u8, header.name())); // two may have one name, and go with the first
            continue;
        };
        if (counts) |field| try put(&question, memory, field, header.value());
    }
    question.peer = stream.state(PEER) orelse return error.NoPeer;
    if (site.settings.tunnel) {
        if (stream.state(TUNNEL)) |identity| question.identity = identity;
        question.job = stream.state(JOB) orelse "";
    }
    return .{ .question = question, .strange = strange.items };
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
