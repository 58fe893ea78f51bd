//! The log's tail: lines that are not in the log yet, in memory that outlives the process.
//!
//! That memory is a file beside the log, mapped: what stands in it when the process is killed, the kernel keeps, and the
//! next process finds it. Whoever writes holds the file's lock (flock(2)) as long as it lives, so that nobody takes what
//! is still written to. One half takes lines while the other goes into the log. The blocks are reserved at once: a full
//! disk must not end the process at a line. After a crash of the machine the halves are not believed: their pages reached
//! the disk in any order. Leaves out the log itself (`log_file.zig`).

const std = @import("std");
const linux = std.os.linux;
const page = std.heap.page_size_min;

const HALF = 1 << 20; // bytes: at 40,000 lines a second there are 0.15 MB in five milliseconds
const SLOTS = 8; // processes that write to one log: two, while one relieves the other
const BOOT = "/proc/sys/kernel/random/boot_id";
const MODE = 0o600;

/// Bytes that stay free in front of a half's lines, for the end of a torn one.
pub const SPARE = 1;

/// `boot`: the run of the machine that it was begun in; `filling`: the half that takes lines; `lengths`: of the lines in
/// each. A change of the layout is a new `LAYOUT`.
const Head = extern struct { boot: [36]u8, layout: u32, filling: u32, lengths: [2]u64 };
const LAYOUT = 1;

const Memory = extern struct { head: Head align(page), halves: [2][HALF]u8 };

pub const Tail = struct {
    memory: *Memory,
    descriptor: i32 = -1, // none where the memory ends with the process

    /// Puts a line at the end; false where there is no room for it.
    pub fn add(self: Tail, line: []const u8) bool {
        const filling = self.memory.head.filling;
        const half, const length = .{ &self.memory.halves[filling], &self.memory.head.lengths[filling] };
        const end = SPARE + length.*;
        if (line.len > half.len - end) return false;
        @memcpy(half[end..][0..line.len], line);
        @atomicStore(u64, length, length.* + line.len, .release); // the line is whole before it counts
        return true;
    }

    /// Whether there is no line.
    pub fn idle(self: Tail) bool {
        const head = &self.memory.head;
        return @atomicLoad(u64, &head.lengths[0], .acquire) == 0 and @atomicLoad(u64, &head.lengths[1], .acquire) == 0;
    }

    /// The lines of the half that was filled, which takes none until they are `dropped`, with `SPARE` bytes before them.
    pub fn turn(self: Tail) ?[]u8 {
        const head = &self.memory.head;
        const full = head.filling;
        if (head.lengths[full] == 0) return null;
        @atomicStore(u32, &head.filling, 1 - full, .release);
        return self.memory.halves[full][0 .. SPARE + head.lengths[full]];
    }

    /// Forgets what `turn` gave.
    pub fn drop(self: Tail) void {
        const head = &self.memory.head;
        @atomicStore(u64, &head.lengths[1 - head.filling], 0, .release);
    }

    /// What a process that was killed left, the older half first; each has `SPARE` bytes before it.
    pub fn left(self: Tail) [2][]u8 {
        const head = &self.memory.head;
        var found: [2][]u8 = .{ &.{}, &.{} };
        const boot = booted() orelse return found;
        if (head.layout != LAYOUT or head.filling > 1 or !std.mem.eql(u8, &head.boot, &boot)) return found;
        for ([_]u32{ 1 - head.filling, head.filling }, &found) |half, *lines| {
            const length = head.lengths[half];
            if (length == 0 or length > HALF - SPARE) continue;
            lines.* = self.memory.halves[half][0 .. SPARE + length];
        }
        return found;
    }

    /// Begins anew. Nothing old is ever believed: the run of the machine is named last.
    pub fn clear(self: Tail) void {
        const head = &self.memory.head;
        for (&head.lengths) |*length| @atomicStore(u64, length, 0, .release);
        @atomicStore(u32, &head.filling, 0, .release);
        @atomicStore(u32, &head.layout, LAYOUT, .release);
        head.boot = booted() orelse @splat(0);
    }

    /// Whether it outlives the process.
    pub fn lasts(self: Tail) bool {
        return self.descriptor >= 0;
    }

    /// Lets go of it: another process may have it.
    pub fn release(self: Tail) void {
        std.posix.munmap(@alignCast(std.mem.asBytes(self.memory)));
        if (self.descriptor >= 0) _ = linux.close(self.descriptor);
    }

    /// Memory that ends with the process.
    pub fn fleeting() error{OutOfMemory}!Tail {
        const bytes = mapped(-1) catch return error.OutOfMemory;
        const tail = Tail{ .memory = @ptrCast(bytes) };
        tail.clear();
        return tail;
    }
};

/// All tails of a log that no process holds, one after the other, and a new one while `make` is set.
pub const Tails = struct {
    log: []const u8,
    make: bool = true,
    slot: usize = 0,

    pub fn next(self: *Tails) ?Tail {
        while (self.slot < SLOTS) {
            defer self.slot += 1;
            if (self.claimed()) |tail| return tail else |_| continue; // another's, or none
        }
        return null;
    }

    fn claimed(self: *Tails) !Tail {
        if (booted() == null) return error.Refused; // nobody could believe it
        var room: [std.fs.max_path_bytes]u8 = undefined;
        const path = try std.fmt.bufPrintZ(&room, "{s}.tail{d}", .{ self.log, self.slot });
        const flags: linux.O = .{ .ACCMODE = .RDWR, .CREAT = self.make, .CLOEXEC = true, .NOFOLLOW = true, .NONBLOCK = true };
        const descriptor: i32 = @intCast(try result(linux.open(path, flags, MODE)));
        errdefer _ = linux.close(descriptor);
        _ = try result(linux.flock(descriptor, std.posix.LOCK.EX | std.posix.LOCK.NB));
        _ = try result(linux.fallocate(descriptor, 0, 0, @sizeOf(Memory)));
        return .{ .memory = @ptrCast(try mapped(descriptor)), .descriptor = descriptor };
    }
};

fn mapped(descriptor: i32) ![]align(page) u8 {
    const use = linux.PROT.READ | linux.PROT.WRITE;
    const kind: linux.MAP = if (descriptor < 0) .{ .TYPE = .PRIVATE, .ANONYMOUS = true } else .{ .TYPE = .SHARED };
    return std.posix.mmap(null, @sizeOf(Memory), use, kind, descriptor, 0);
}

/// What the kernel calls this run of the machine; null where it does not say.
fn booted() ?[36]u8 {
    const file = std.fs.openFileAbsolute(BOOT, .{}) catch return null;
    defer file.close();
    var id: [36]u8 = undefined;
    const count = file.readAll(&id) catch return null;
    return if (count == id.len) id else null;
}

fn result(code: usize) error{Refused}!usize {
    return if (linux.E.init(code) == .SUCCESS) code else error.Refused;
}

fn logIn(folder: std.fs.Dir) ![]const u8 {
    var buffer: [std.fs.max_path_bytes]u8 = undefined;
    return std.fs.path.join(std.testing.allocator, &.{ try folder.realpath(".", &buffer), "log" });
}

test "one half takes lines while the other is written" {
    const tail = try Tail.fleeting();
    defer tail.release();
    try std.testing.expect(tail.turn() == null);
    try std.testing.expect(tail.add("one\n"));
    try std.testing.expect(tail.add("two\n"));
    const lines = tail.turn().?;
    try std.testing.expect(tail.add("three\n"));
    try std.testing.expectEqualStrings("one\ntwo\n", lines[SPARE..]);
    tail.drop();
    try std.testing.expectEqualStrings("three\n", tail.turn().?[SPARE..]);
    tail.drop();
    try std.testing.expect(tail.idle());
}

test "a line that has no room is not taken in part" {
    const tail = try Tail.fleeting();
    defer tail.release();
    const line = "x" ** 1023 ++ "\n";
    var count: usize = 0;
    while (tail.add(line)) count += 1;
    try std.testing.expectEqual((HALF - SPARE) / line.len, count);
    try std.testing.expectEqual(SPARE + count * line.len, tail.turn().?.len);
    try std.testing.expect(tail.add(line));
}

test "what a process left is found by the next, and not while it lives" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const log = try logIn(folder.dir);
    defer std.testing.allocator.free(log);
    var tails = Tails{ .log = log };
    const first = tails.next().?;
    first.clear();
    try std.testing.expect(first.add("old\n"));
    _ = first.turn();
    try std.testing.expect(first.add("new\n"));
    tails = .{ .log = log };
    const second = tails.next().?;
    defer second.release();
    try std.testing.expectEqual(1, tails.slot - 1);
    first.release(); // as its end would
    tails = .{ .log = log, .make = false };
    const found = tails.next().?;
    defer found.release();
    try std.testing.expectEqualStrings("old\n", found.left()[0][SPARE..]);
    try std.testing.expectEqualStrings("new\n", found.left()[1][SPARE..]);
    try std.testing.expect(tails.next() == null);
}

test "nothing is believed that another run of the machine left, or nobody" {
    const tail = try Tail.fleeting();
    defer tail.release();
    try std.testing.expect(tail.add("line\n"));
    const good = tail.memory.head;
    try std.testing.expectEqualStrings("line\n", tail.left()[1][SPARE..]);
    var other = good;
    other.boot[0] +%= 1;
    const nobodys = [_]Head{
        other,
        .{ .boot = good.boot, .layout = LAYOUT + 1, .filling = 0, .lengths = .{ 5, 5 } },
        .{ .boot = good.boot, .layout = LAYOUT, .filling = 7, .lengths = .{ 5, 5 } },
        .{ .boot = good.boot, .layout = LAYOUT, .filling = 0, .lengths = .{ HALF, HALF } },
    };
    for (nobodys) |head| {
        tail.memory.head = head;
        for (tail.left()) |lines| try std.testing.expectEqual(0, lines.len);
    }
}
