//! Which letters a text may hold, told once and looked up by one load a letter.

const std = @import("std");

pub const Letters = struct {
    in: [256]bool,

    /// Letters and digits of ASCII, and those of `more`.
    pub fn alphanumericAnd(comptime more: []const u8) Letters {
        var found = Letters{ .in = [_]bool{false} ** 256 };
        for (0..256) |letter| found.in[letter] = std.ascii.isAlphanumeric(letter);
        for (more) |letter| found.in[letter] = true;
        return found;
    }

    /// From one letter to another.
    pub fn between(comptime first: u8, comptime last: u8, comptime more: []const u8) Letters {
        var found = Letters{ .in = [_]bool{false} ** 256 };
        for (first..last + 1) |letter| found.in[letter] = true;
        for (more) |letter| found.in[letter] = true;
        return found;
    }

    /// Whether a text holds no other.
    pub fn all(self: *const Letters, text: []const u8) bool {
        for (text) |letter| if (!self.in[letter]) return false;
        return true;
    }

    /// The same of a text that is not empty.
    pub fn some(self: *const Letters, text: []const u8) bool {
        return text.len > 0 and self.all(text);
    }
};

pub const DIGITS = Letters.between('0', '9', "");
pub const WORD = Letters.between('a', 'z', "_");
pub const PRINTABLE = Letters.between(' ', '~', "");
pub const PLAIN = Letters.alphanumericAnd("");
const TOKEN = Letters.alphanumericAnd("._~+/=-");
const SEGMENT = Letters.alphanumericAnd("_-");

pub fn equal(one: []const u8, other: []const u8) bool {
    return std.mem.eql(u8, one, other);
}

const WIDTH = 32; // bytes that are looked at together
const Block = @Vector(WIDTH, u8);
const Bits = std.meta.Int(.unsigned, WIDTH);

fn bitsOf(block: Block, letter: u8) Bits {
    return @bitCast(block == @as(Block, @splat(letter)));
}

/// Whether a text holds a word of two letters or more: where its first and its last stand right, all are compared.
pub fn holds(text: []const u8, comptime word: []const u8) bool {
    const last = word.len - 1;
    var at: usize = 0;
    while (at + WIDTH + last <= text.len) : (at += WIDTH) {
        const firsts, const lasts = .{ text[at..][0..WIDTH].*, text[at + last ..][0..WIDTH].* };
        var places = bitsOf(firsts, word[0]) & bitsOf(lasts, word[last]);
        while (places != 0) : (places &= places - 1) {
            if (begins(text[at + @ctz(places) ..], word)) return true;
        }
    }
    return std.mem.indexOf(u8, text[at..], word) != null;
}

pub fn begins(text: []const u8, with: []const u8) bool {
    return std.mem.startsWith(u8, text, with);
}

pub fn ends(text: []const u8, with: []const u8) bool {
    return std.mem.endsWith(u8, text, with);
}

/// Whether it is `Bearer` with one token (RFC 6750 section 2.1).
pub fn isBearer(text: []const u8) bool {
    return begins(text, "Bearer ") and TOKEN.some(text["Bearer ".len..]);
}

/// Whether it has the three parts of a signed JWT (RFC 7515 section 3.1).
pub fn isSigned(text: []const u8) bool {
    var parts = std.mem.splitScalar(u8, text, '.');
    var count: usize = 0;
    while (parts.next()) |part| : (count += 1) if (!SEGMENT.some(part)) return false;
    return count == 3;
}

/// What stands behind a prefix, when all of it is letters and digits.
pub fn isNamed(text: []const u8, comptime prefix: []const u8) bool {
    return begins(text, prefix) and PLAIN.some(text[prefix.len..]);
}

/// A whole number of at most `most` digits, which fits.
pub fn number(text: []const u8, comptime most: usize) ?u64 {
    comptime std.debug.assert(most < 19);
    if (text.len > most or !DIGITS.some(text)) return null;
    return std.fmt.parseInt(u64, text, 10) catch null;
}

/// With `%41` read as `A`; what is not of that form stays.
pub fn unescaped(memory: std.mem.Allocator, text: []const u8) error{OutOfMemory}![]const u8 {
    const out = try memory.alloc(u8, text.len);
    var length: usize = 0;
    var at: usize = 0;
    while (at < text.len) : (length += 1) {
        const byte = if (text[at] == '%' and at + 2 < text.len) hex(text[at + 1], text[at + 2]) else null;
        out[length] = byte orelse text[at];
        at += if (byte == null) 1 else 3;
    }
    return out[0..length];
}

pub fn hex(high: u8, low: u8) ?u8 {
    const first = std.fmt.charToDigit(high, 16) catch return null;
    const second = std.fmt.charToDigit(low, 16) catch return null;
    return first * 16 + second;
}

/// Whether a text holds any of these letters.
pub fn holdsAny(text: []const u8, comptime letters: []const u8) bool {
    var at: usize = 0;
    while (at + WIDTH <= text.len) : (at += WIDTH) {
        var places: Bits = 0;
        inline for (letters) |letter| places |= bitsOf(text[at..][0..WIDTH].*, letter);
        if (places != 0) return true;
    }
    return std.mem.indexOfAny(u8, text[at..], letters) != null;
}

test "a letter, wherever it stands" {
    var room = [_]u8{'a'} ** 100;
    for (0..room.len) |at| {
        try std.testing.expect(!holdsAny(&room, "\\\x00"));
        for ("\\\x00") |letter| {
            room[at] = letter;
            try std.testing.expect(holdsAny(&room, "\\\x00"));
            try std.testing.expect(!holdsAny(room[0..at], "\\\x00"));
        }
        room[at] = 'a';
    }
}

test "a word, wherever it stands" {
    const word = "endpoint";
    var room: [200]u8 = undefined;
    for (0..room.len + 1) |length| {
        for (0..length + 1) |at| {
            @memset(room[0..length], 'e');
            const fits = at + word.len <= length;
            const there = @min(word.len, length - at);
            @memcpy(room[at..][0..there], word[0..there]);
            try std.testing.expectEqual(fits, holds(room[0..length], word));
        }
    }
    try std.testing.expect(!holds("endpoin_" ** 20 ++ "endpoin", word));
}

test "one bearer token" {
    try std.testing.expect(isBearer("Bearer a.b_c~+/=-9"));
    for ([_][]const u8{ "", "Bearer", "Bearer ", "bearer a", "Bearer a b", "Bearer a,Bearer b", "Bearer \x00" }) |text| {
        try std.testing.expect(!isBearer(text));
    }
}

test "three parts" {
    try std.testing.expect(isSigned("a.b.c"));
    for ([_][]const u8{ "", "a.b", "a.b.c.d", "a..c", ".b.c", "a.b.", "a.b.c\n" }) |text| try std.testing.expect(!isSigned(text));
}

test "numbers" {
    try std.testing.expectEqual(@as(?u64, 500), number("500", 6));
    for ([_][]const u8{ "", "-1", "+1", "1_0", "1234567", " 1" }) |text| try std.testing.expectEqual(@as(?u64, null), number(text, 6));
}

test "escapes" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const cases = [_][2][]const u8{ .{ "a%41b", "aAb" }, .{ "%", "%" }, .{ "%4", "%4" }, .{ "%zz", "%zz" }, .{ "%2541", "%41" } };
    for (cases) |case| try std.testing.expectEqualStrings(case[1], try unescaped(arena.allocator(), case[0]));
}
