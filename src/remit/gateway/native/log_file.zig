//! The log's files: one open file a path, shared by all loggers and workers of the process.
//!
//! A worker puts its lines into the tail, which survives the end of this process (`log_tail.zig`). A thread writes what
//! has come every few milliseconds, with O_APPEND, and looks whether the path still leads to the open file. When it does
//! not (the file was renamed), the rest goes into the old file, and then a new one is made.
//! An open file is locked (flock(2), shared): who can lock a renamed one alone knows that no process writes to it.
//! A write that failed is counted and its lines are gone; one that fell short is ended before the next line begins. A
//! process that is killed between a write and its mark in the tail leaves lines that the next one writes once more.

const std = @import("std");
const complain = @import("abi.zig").complain;
const tails = @import("log_tail.zig");
const linux = std.os.linux;
const memory = std.heap.c_allocator;

const LOOK_EVERY = 5 * std.time.ns_per_ms;
const RESCUE_EVERY = 200; // looks
const TRIES = 3; // a file is renamed once in many seconds
const STACK = 256 * 1024; // bytes: the program's own thread-local memory is taken from it as well
const MODE = 0o600;
const SPARE = tails.SPARE;

pub const Error = error{ NotOpened, OutOfMemory, NoThread };

/// Who is told of failed writes. It counts for a file between `File.join` and `File.leave`.
pub const Witness = struct {
    node: std.DoublyLinkedList.Node = .{},
    tell: *const fn (*Witness, usize) void,
};

var files_lock: std.Thread.Mutex = .{};
var files: ?*File = null;
var watched = false;

/// The file of a path, opened by whoever asks first. It stays open as long as the process lives.
pub fn shared(path: []const u8) Error!*File {
    files_lock.lock();
    defer files_lock.unlock();
    var next = files;
    while (next) |file| : (next = file.next) {
        if (std.mem.eql(u8, file.path, path)) return file;
    }
    const file = try File.create(path);
    errdefer file.destroy();
    if (!watched) try startWatch();
    file.next = files;
    files = file;
    return file;
}

fn startWatch() Error!void {
    const thread = std.Thread.spawn(.{ .stack_size = STACK }, watch, .{}) catch return error.NoThread;
    thread.detach();
    watched = true;
}

fn watch() void {
    const all = std.posix.sigfillset();
    std.posix.sigprocmask(linux.SIG.BLOCK, &all, null); // signals are for the program's own threads
    var looks: usize = 0;
    while (true) : (looks +%= 1) {
        std.Thread.sleep(LOOK_EVERY);
        files_lock.lock();
        var next = files;
        files_lock.unlock(); // files are only ever added, at the front
        while (next) |file| : (next = file.next) {
            file.flush();
            file.follow();
            if (looks % RESCUE_EVERY == 0) file.rescue();
        }
    }
}

pub const File = struct {
    path: [:0]const u8,
    next: ?*File = null,
    /// Guards what takes lines, and who is told of failures.
    lock: std.Thread.Mutex = .{},
    tail: tails.Tail,
    witnesses: std.DoublyLinkedList = .{},
    /// Guards what is written to. To be taken first.
    writing: std.Thread.Mutex = .{},
    opened: Opened,

    fn create(path: []const u8) Error!*File {
        const file = try memory.create(File);
        errdefer memory.destroy(file);
        const name = try memory.dupeZ(u8, path);
        errdefer memory.free(name);
        const opened = try Opened.at(name);
        errdefer opened.close();
        file.* = .{ .path = name, .opened = opened, .tail = undefined };
        var found = tails.Tails{ .log = name };
        file.tail = while (found.next()) |tail| {
            if (file.took(tail)) break tail;
            tail.release(); // what it holds must wait
        } else try fleeting();
        file.rescue();
        return file;
    }

    /// Writes what processes that were killed left, of which none may have begun anew. What cannot be written waits.
    fn rescue(self: *File) void {
        self.writing.lock();
        defer self.writing.unlock();
        var found = tails.Tails{ .log = self.path, .make = false };
        while (found.next()) |tail| {
            _ = self.took(tail);
            tail.release();
        }
    }

    fn fleeting() Error!tails.Tail {
        complain("what waits to be written to the access log will not survive the end of Envoy: ", "no file can be reserved");
        return tails.Tail.fleeting();
    }

    /// Writes what a process left in its tail, and empties that. Whether it could.
    fn took(self: *File, tail: tails.Tail) bool {
        const left = tail.left();
        if (!tail.idle() and left[0].len + left[1].len == 0) {
            complain("lines that waited for the access log are not believed after the machine began anew: ", self.path);
        }
        for (left) |lines| if (lines.len > 0 and self.put(lines) < lines.len) {
            self.failed(1);
            return false;
        };
        tail.clear();
        return true;
    }

    fn destroy(self: *File) void {
        self.tail.release();
        self.opened.close();
        memory.free(self.path);
        memory.destroy(self);
    }

    pub fn join(self: *File, witness: *Witness) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.witnesses.append(&witness.node);
    }

    pub fn leave(self: *File, witness: *Witness) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.witnesses.remove(&witness.node);
    }

    /// Appends a line that ends with a newline. It waits for the disk where there is no room, and where the tail would not
    /// outlive the process.
    pub fn append(self: *File, line: []const u8) void {
        for (0..TRIES) |_| {
            const there = self.added(line);
            if (!there or !self.tail.lasts()) self.flush();
            if (there) return;
        }
        self.failed(1);
    }

    fn added(self: *File, line: []const u8) bool {
        self.lock.lock();
        defer self.lock.unlock();
        return self.tail.add(line);
    }

    /// Writes what has come.
    pub fn flush(self: *File) void {
        if (self.tail.idle()) return;
        self.writing.lock();
        defer self.writing.unlock();
        self.drain();
    }

    fn drain(self: *File) void {
        const lines = self.turned() orelse return;
        const lost = lines[@max(self.put(lines), SPARE)..];
        if (lost.len > 0) self.failed(std.mem.count(u8, lost, "\n"));
        self.tail.drop();
    }

    fn turned(self: *File) ?[]u8 {
        self.lock.lock();
        defer self.lock.unlock();
        return self.tail.turn();
    }

    /// Writes lines with `SPARE` bytes before them; how many bytes of that are done.
    fn put(self: *File, spare_and_lines: []u8) usize {
        spare_and_lines[0] = '\n';
        var done: usize = if (self.opened.endsTorn()) 0 else SPARE;
        while (done < spare_and_lines.len) {
            const count = self.opened.write(spare_and_lines[done..]);
            if (count == 0) break;
            done += count;
        }
        return done;
    }

    /// Opens anew when the path leads elsewhere. Until that works, the old file is written to.
    fn follow(self: *File) void {
        if (self.opened.isAt(self.path)) return;
        self.writing.lock();
        defer self.writing.unlock();
        self.drain();
        const fresh = Opened.at(self.path) catch return self.failed(1);
        self.opened.close();
        self.opened = fresh;
    }

    /// Tells of lines that were not written, or of a file that did not open.
    fn failed(self: *File, count: usize) void {
        self.lock.lock();
        defer self.lock.unlock();
        const node = self.witnesses.first orelse return;
        const witness: *Witness = @fieldParentPtr("node", node);
        witness.tell(witness, count);
    }
};

/// An open file, and which one it is.
const Opened = struct {
    descriptor: i32,
    device: u64,
    inode: u64,

    fn at(path: [:0]const u8) error{NotOpened}!Opened {
        for (0..TRIES) |_| {
            const self = try once(path);
            if (self.lock() and self.isAt(path)) return self;
            self.close(); // it was renamed meanwhile
        }
        return error.NotOpened;
    }

    fn once(path: [:0]const u8) error{NotOpened}!Opened {
        const flags: linux.O = .{ .ACCMODE = .RDWR, .APPEND = true, .CREAT = true, .CLOEXEC = true, .NOCTTY = true, .NONBLOCK = true };
        const descriptor: i32 = @intCast(try result(linux.open(path, flags, MODE)));
        errdefer _ = linux.close(descriptor);
        var found: linux.Stat = undefined;
        _ = try result(linux.fstat(descriptor, &found));
        return .{ .descriptor = descriptor, .device = found.dev, .inode = found.ino };
    }

    /// Says that this process writes to it; false while somebody has it for himself, as only a renamed file is had.
    fn lock(self: Opened) bool {
        return linux.E.init(linux.flock(self.descriptor, std.posix.LOCK.SH | std.posix.LOCK.NB)) == .SUCCESS;
    }

    fn close(self: Opened) void {
        _ = linux.close(self.descriptor);
    }

    fn isAt(self: Opened, path: [:0]const u8) bool {
        var found: linux.Stat = undefined;
        _ = result(linux.fstatat(linux.AT.FDCWD, path, &found, 0)) catch return false;
        return found.dev == self.device and found.ino == self.inode;
    }

    /// Whether somebody's last line was never finished: whoever writes to it besides may be killed at any time.
    fn endsTorn(self: Opened) bool {
        var found: linux.Stat = undefined;
        _ = result(linux.fstat(self.descriptor, &found)) catch return true;
        if (!linux.S.ISREG(found.mode) or found.size <= 0) return false;
        var last: [1]u8 = undefined;
        const count = result(linux.pread(self.descriptor, &last, 1, found.size - 1)) catch return true;
        return count == 1 and last[0] != '\n';
    }

    /// How many bytes were written, 0 when it failed.
    fn write(self: Opened, bytes: []const u8) usize {
        while (true) {
            const code = linux.write(self.descriptor, bytes.ptr, bytes.len);
            switch (linux.E.init(code)) {
                .SUCCESS => return code,
                .INTR => continue,
                else => return 0,
            }
        }
    }
};

fn result(code: usize) error{NotOpened}!usize {
    return if (linux.E.init(code) == .SUCCESS) code else error.NotOpened;
}

const Counting = struct {
    witness: Witness = .{ .tell = &tell },
    failures: usize = 0,

    fn tell(witness: *Witness, count: usize) void {
        const self: *Counting = @fieldParentPtr("witness", witness);
        self.failures += count;
    }
};

fn appendText(file: *File, comptime line: []const u8) void {
    file.append(line);
    file.flush();
}

fn expectFile(folder: std.fs.Dir, name: []const u8, expected: []const u8) !void {
    var buffer: [256]u8 = undefined;
    try std.testing.expectEqualStrings(expected, try folder.readFile(name, &buffer));
}

fn openIn(folder: std.fs.Dir, name: []const u8) !*File {
    var buffer: [std.fs.max_path_bytes]u8 = undefined;
    const parent = try folder.realpath(".", &buffer);
    const path = try std.fs.path.join(std.testing.allocator, &.{ parent, name });
    defer std.testing.allocator.free(path);
    return File.create(path);
}

test "a renamed file is left for a new one" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const file = try openIn(folder.dir, "log");
    defer file.destroy();
    appendText(file, "one\n");
    file.follow();
    try folder.dir.rename("log", "old");
    appendText(file, "two\n");
    file.follow();
    appendText(file, "three\n");
    try expectFile(folder.dir, "old", "one\ntwo\n");
    try expectFile(folder.dir, "log", "three\n");
    try std.testing.expectEqual(MODE, (try folder.dir.statFile("log")).mode & 0o777);
}

test "a file is locked while it is written to" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const file = try openIn(folder.dir, "log");
    defer file.destroy();
    const old = try folder.dir.openFile("log", .{});
    defer old.close();
    try std.testing.expect(!try old.tryLock(.exclusive));
    try folder.dir.rename("log", "old");
    file.follow();
    try std.testing.expect(try old.tryLock(.exclusive));
}

test "a torn line is ended first" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    try folder.dir.writeFile(.{ .sub_path = "log", .data = "{\"tor" });
    const file = try openIn(folder.dir, "log");
    defer file.destroy();
    appendText(file, "one\n");
    appendText(file, "two\n");
    try expectFile(folder.dir, "log", "{\"tor\none\ntwo\n");
}

test "what a process left goes into the log of the next" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const first = try openIn(folder.dir, "log");
    first.append("one\n");
    _ = first.tail.turn(); // killed while it writes
    first.append("two\n");
    const other = try openIn(folder.dir, "log");
    other.append("three\n");
    try expectFile(folder.dir, "log", ""); // it lives
    for ([_]*File{ first, other }) |file| file.destroy();
    const next = try openIn(folder.dir, "log");
    defer next.destroy();
    try expectFile(folder.dir, "log", "one\ntwo\nthree\n");
    try std.testing.expect(next.tail.idle());
}

test "what a process left waits for a disk that takes it, and what dies beside one that lives is taken" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const dead = try openIn(folder.dir, "log");
    dead.append("one\n");
    dead.destroy();
    try folder.dir.rename("log", "old");
    try folder.dir.symLink("/dev/full", "log", .{});
    const next = try openIn(folder.dir, "log");
    defer next.destroy();
    const beside = try openIn(folder.dir, "log");
    beside.append("two\n");
    try folder.dir.deleteFile("log");
    next.follow();
    next.rescue();
    try expectFile(folder.dir, "log", "one\n"); // the other lives
    beside.destroy();
    next.rescue();
    next.rescue();
    try expectFile(folder.dir, "log", "one\ntwo\n");
}

test "what another writer left torn is ended" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const file = try openIn(folder.dir, "log");
    defer file.destroy();
    appendText(file, "one\n");
    const other = try folder.dir.openFile("log", .{ .mode = .write_only });
    defer other.close();
    try other.pwriteAll("{\"to", 4);
    appendText(file, "two\n");
    try expectFile(folder.dir, "log", "one\n{\"to\ntwo\n");
}

test "more lines than there is room for wait for the disk" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const file = try openIn(folder.dir, "log");
    defer file.destroy();
    const line = "x" ** 1023 ++ "\n";
    for (0..3000) |_| file.append(line);
    file.flush();
    try std.testing.expectEqual(3000 * line.len, (try folder.dir.statFile("log")).size);
}

test "what cannot be written or opened is counted, and the old file goes on" {
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    const file = try openIn(folder.dir, "log");
    defer file.destroy();
    var counting: Counting = .{};
    file.join(&counting.witness);
    try folder.dir.rename("log", "old");
    try folder.dir.makeDir("log"); // it opens for nobody
    file.follow();
    file.follow();
    appendText(file, "one\n");
    try std.testing.expectEqual(2, counting.failures);
    try expectFile(folder.dir, "old", "one\n");
    try folder.dir.deleteDir("log");
    try folder.dir.symLink("/dev/full", "log", .{});
    file.follow();
    appendText(file, "lost\n");
    try std.testing.expectEqual(3, counting.failures);
    file.append("lost\n");
    file.append("with it\n");
    file.flush();
    try std.testing.expectEqual(5, counting.failures);
    file.leave(&counting.witness);
    appendText(file, "lost\n");
    try std.testing.expectEqual(5, counting.failures);
}
