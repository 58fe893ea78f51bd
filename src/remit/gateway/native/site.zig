//! What the gate is told of the site that stands behind it, as data, and the site's leases.

const std = @import("std");
const abi = @import("abi.zig");
const lease = @import("lease.zig");
const question = @import("question.zig");
const text = @import("text.zig");

/// `google`: bodies are decided on, but for raw predictions. `serving`: gRPC messages are decided on. `web`: only what
/// it is called, and by whom; people come with a session. `objects`: the same for tokens, and names may hold slashes.
pub const Mode = enum { google, serving, web, objects };

/// Of a gRPC method: the fields of a lease's key, in one order, and those that a leased message may hold.
pub const Method = struct { key: []const u32, known: ?[]const u32 = null };

/// As `gates.py` spells it.
const Settings = struct {
    host: []const u8,
    mode: Mode,
    assertion: bool,
    tunnel: bool,
    leases: bool,
    lease_ms: u32,
    denial_ms: u32,
    entries: u32,
    timeout_ms: u32,
    body_bytes: usize,
    websockets: bool,
    passed: []const []const u8,
    streaming: []const []const u8,
    leasable: std.json.ArrayHashMap(Method),
    walked: std.json.ArrayHashMap(Method),
};

const METHODS = [_][]const u8{ "GET", "POST", "PUT", "PATCH", "DELETE" };
const BROWSERS = METHODS ++ [_][]const u8{ "HEAD", "OPTIONS" };

pub const Site = struct {
    arena: std.heap.ArenaAllocator,
    settings: Settings,
    passed: question.Passed,
    streaming: std.StringHashMapUnmanaged(void),
    tables: []lease.Table,

    /// Reads the settings; an error is a configuration that Envoy refuses.
    pub fn new(memory: std.mem.Allocator, config: []const u8) !*Site {
        const site = try memory.create(Site);
        errdefer memory.destroy(site);
        site.arena = std.heap.ArenaAllocator.init(memory);
        errdefer site.arena.deinit();
        const own = site.arena.allocator();
        site.settings = try std.json.parseFromSliceLeaky(Settings, own, config, .{ .allocate = .alloc_always });
        site.passed = try question.passing(own, site.settings.passed);
        site.streaming = try set(own, site.settings.streaming);
        site.tables = try own.alloc(lease.Table, abi.workers());
        for (site.tables) |*one| one.* = lease.Table.new(memory);
        return site;
    }

    pub fn destroy(self: *Site) void {
        const memory = self.arena.child_allocator;
        for (self.tables) |*one| one.deinit();
        self.arena.deinit();
        memory.destroy(self);
    }

    /// The leases of a worker, `null` where none are kept.
    pub fn table(self: *Site, worker: u32) ?*lease.Table {
        return if (self.settings.leases and worker < self.tables.len) &self.tables[worker] else null;
    }

    pub fn bounds(self: *const Site) lease.Bounds {
        return .{ .entries = self.settings.entries, .lease_ms = self.settings.lease_ms };
    }

    /// Whether bodies are decided on.
    pub fn decides(self: *const Site) bool {
        return self.settings.mode == .google or self.settings.mode == .serving;
    }

    pub fn knows(self: *const Site, method: []const u8) bool {
        const methods: []const []const u8 = if (self.decides()) &METHODS else &BROWSERS;
        for (methods) |known| if (text.equal(known, method)) return true;
        return false;
    }

    /// What a lease of this gRPC method rests on; a service's fields nobody lists, so there all are known.
    pub fn leasable(self: *const Site, path: []const u8) ?Method {
        if (self.settings.walked.map.get(path)) |method| return if (method.key.len > 0) method else null;
        return self.settings.leasable.map.get(path);
    }
};

fn set(memory: std.mem.Allocator, names: []const []const u8) !std.StringHashMapUnmanaged(void) {
    var members = std.StringHashMapUnmanaged(void){};
    for (names) |name| try members.put(memory, name, {});
    return members;
}
