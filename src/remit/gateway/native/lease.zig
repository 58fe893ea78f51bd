//! The table of leases: the last answer of the arbiter, for the same question, for at most half a second.
//!
//! The key is everything that the arbiter was told: identity (a token, or a session), peer and job, method, path with
//! query, content type, and last for gRPC the values of the fields that name resources, for browsers their origin. Each
//! part has its length before it, so that nothing can be shifted from one part to the next. The host is not in it: every
//! site has its own tables, one a worker, so that nobody waits for a lock.
//! Bounded by two generations: the young one becomes the old one when it is half the bound, or half a second, old.
//! A revocation raises the epoch that every answer carries: the first answer with a higher one ends all leases of this
//! process. The epoch never falls while Envoy lives: an installation that is restored from a backup with a lower one is
//! answered 503 until its Envoys are started anew, as its supervisor does.

const std = @import("std");
const Answer = @import("answer.zig").Answer;

const MS = std.time.ns_per_ms;

/// Nanoseconds of the monotonic clock: a step of the wall clock must not lengthen a lease (fault F10).
pub fn now() error{NoClock}!u64 {
    const time = std.posix.clock_gettime(.MONOTONIC) catch return error.NoClock;
    const seconds = std.math.cast(u64, time.sec) orelse return error.NoClock;
    const rest = std.math.cast(u64, time.nsec) orelse return error.NoClock;
    return seconds *| std.time.ns_per_s +| rest;
}

var newest = std.atomic.Value(u64).init(0);

/// Whether an answer of this epoch may be believed: not one that is older than another answer that was seen, since who
/// gave it has not heard of a revocation. `null` is no epoch, and says nothing about revocations.
pub fn current(epoch: ?u64) bool {
    const said = epoch orelse return true;
    return said >= newest.fetchMax(said, .acq_rel);
}

var seed: u64 = 0; // of the hash: nobody outside can make keys that collide

/// To be called once, before the first table.
pub fn init() void {
    std.crypto.random.bytes(std.mem.asBytes(&seed));
}

const ByBytes = struct {
    pub fn hash(_: ByBytes, key: []const u8) u64 {
        return std.hash.Wyhash.hash(seed, key);
    }

    pub fn eql(_: ByBytes, one: []const u8, other: []const u8) bool {
        return std.mem.eql(u8, one, other);
    }
};

/// An answer, and until when it holds; from `renew` on one request asks again, while the others still go by it.
pub const Lease = struct { answer: Answer, till: u64, renew: u64, renewing: bool = false };

const Generation = struct {
    arena: std.heap.ArenaAllocator,
    leases: std.HashMapUnmanaged([]const u8, Lease, ByBytes, 80) = .{},

    fn empty(self: *Generation) void {
        self.leases = .{};
        _ = self.arena.reset(.free_all);
    }
};

pub const Bounds = struct { entries: u32, lease_ms: u64 };

/// The leases of one site and worker.
pub const Table = struct {
    young: Generation,
    old: Generation,
    turned: u64 = 0,
    epoch: u64 = 0,
    written: std.ArrayListUnmanaged(u8) = .{},

    pub fn new(memory: std.mem.Allocator) Table {
        return .{
            .young = .{ .arena = std.heap.ArenaAllocator.init(memory) },
            .old = .{ .arena = std.heap.ArenaAllocator.init(memory) },
        };
    }

    pub fn deinit(self: *Table) void {
        self.written.deinit(self.young.arena.child_allocator);
        self.young.arena.deinit();
        self.old.arena.deinit();
    }

    /// The key of these parts, which holds until the next is made.
    pub fn key(self: *Table, parts: []const []const u8) error{ OutOfMemory, TooLarge }![]const u8 {
        self.written.clearRetainingCapacity();
        for (parts) |part| {
            const length = std.math.cast(u32, part.len) orelse return error.TooLarge;
            try self.written.appendSlice(self.young.arena.child_allocator, std.mem.asBytes(&length));
            try self.written.appendSlice(self.young.arena.child_allocator, part);
        }
        return self.written.items;
    }

    /// The live answer under this key, unless it is this request's turn to ask again.
    pub fn ready(self: *Table, at: u64, under: []const u8) ?*const Answer {
        const lease = self.get(under) orelse return null;
        return if (at < lease.renew or (lease.renewing and at < lease.till)) &lease.answer else null;
    }

    /// The live lease under this key, and whether to ask again: one request does so in the last fifth of its life.
    pub fn find(self: *Table, at: u64, under: []const u8) struct { ?*const Lease, bool } {
        const lease = self.get(under) orelse return .{ null, true };
        if (at >= lease.till) return .{ null, true };
        const due = at >= lease.renew and !lease.renewing;
        if (due) lease.renewing = true;
        return .{ lease, due };
    }

    fn get(self: *Table, under: []const u8) ?*Lease {
        self.follow();
        return self.young.leases.getPtr(under) orelse self.old.leases.getPtr(under);
    }

    /// Ends all leases when the epoch has been raised, by whichever worker.
    fn follow(self: *Table) void {
        const epoch = newest.load(.acquire);
        if (self.epoch == epoch) return;
        self.epoch = epoch;
        self.young.empty();
        self.old.empty();
    }

    /// Remembers an answer. `began`: when the question was asked; `life`: milliseconds from then.
    pub fn keep(self: *Table, bounds: Bounds, under: []const u8, answer: Answer, began: u64, life: u64) error{OutOfMemory}!void {
        self.follow();
        if (answer.epoch) |epoch| if (epoch != self.epoch) return;
        if (self.young.leases.count() >= bounds.entries / 2 or began -| self.turned >= bounds.lease_ms *| MS) {
            std.mem.swap(Generation, &self.young, &self.old);
            self.young.empty();
            self.turned = began;
        }
        const memory = self.young.arena.allocator();
        const copy = try answer.copied(memory);
        const lease = Lease{ .answer = copy, .till = began +| life *| MS, .renew = began +| life *| MS *| 4 / 5 };
        try self.young.leases.put(memory, try memory.dupe(u8, under), lease);
    }

    /// How many there are.
    pub fn count(self: *const Table) usize {
        return @as(usize, self.young.leases.count()) + self.old.leases.count();
    }
};

const testing = std.testing;
const BOUNDS = Bounds{ .entries = 8, .lease_ms = 500 };

test "a lease answers its own question, until its end, and one request asks again" {
    var table = Table.new(testing.allocator);
    defer table.deinit();
    try table.keep(BOUNDS, try table.key(&.{ "ab", "c" }), .{ .permit = true, .id = "d-1" }, 1000 * MS, 500);
    try testing.expect(table.ready(1000 * MS, try table.key(&.{ "a", "bc" })) == null);
    const same = try table.key(&.{ "ab", "c" });
    try testing.expectEqualStrings("d-1", table.ready(1399 * MS, same).?.id.?);
    try testing.expect(table.ready(1400 * MS, same) == null);
    try testing.expectEqual(true, table.find(1400 * MS, same)[1]);
    try testing.expectEqual(false, table.find(1401 * MS, same)[1]);
    try testing.expect(table.ready(1499 * MS, same) != null);
    try testing.expect(table.find(1500 * MS, same)[0] == null);
}

test "memory is bounded, whatever comes" {
    var table = Table.new(testing.allocator);
    defer table.deinit();
    for (0..1000) |number| {
        try table.keep(BOUNDS, try table.key(&.{std.mem.asBytes(&number)}), .{ .permit = true }, number, 500);
        try testing.expect(table.count() <= BOUNDS.entries);
    }
}

test "a raised epoch ends all leases, and an older answer is not believed" {
    var table = Table.new(testing.allocator);
    defer table.deinit();
    try testing.expect(current(7));
    const answer = Answer{ .permit = true, .epoch = 7 };
    try table.keep(BOUNDS, try table.key(&.{"a"}), answer, 0, 500);
    try testing.expect(table.ready(0, try table.key(&.{"a"})) != null);
    try testing.expect(current(8));
    try testing.expect(!current(7));
    try testing.expect(current(null));
    try testing.expect(table.ready(0, try table.key(&.{"a"})) == null);
    try table.keep(BOUNDS, try table.key(&.{"a"}), answer, 0, 500);
    try testing.expect(table.ready(0, try table.key(&.{"a"})) == null);
}
