//! Text as a JSON string, whatever bytes come.
//!
//! Valid UTF-8 stays as it is. Of text that is not, each byte beyond ASCII becomes the character of its number, as
//! Latin-1 has it: valid in any case, and what was sent can still be told. Source: RFC 8259 section 7.

const std = @import("std");

/// The most bytes that one byte of text becomes.
pub const GROWTH = 6;

pub const Error = error{TooLong};

/// What is written, one thing behind the other, into a room that does not grow.
pub const Out = struct {
    room: []u8,
    length: usize = 0,

    pub fn written(self: *const Out) []u8 {
        return self.room[0..self.length];
    }

    pub fn add(self: *Out, bytes: []const u8) Error!void {
        if (bytes.len > self.room.len - self.length) return error.TooLong;
        @memcpy(self.room[self.length..][0..bytes.len], bytes);
        self.length += bytes.len;
    }

    pub fn number(self: *Out, value: anytype) Error!void {
        var digits: [24]u8 = undefined;
        try self.add(digits[0..std.fmt.printInt(&digits, value, 10, .lower, .{})]);
    }
};

/// Writes `bytes` in quotes, `null` for none. Only `most` bytes are looked at: no caller makes a line grow.
pub fn cut(out: *Out, bytes: ?[]const u8, most: usize) Error!void {
    const all = bytes orelse return out.add("null");
    const text = all[0..@min(all.len, most)];
    try out.add("\"");
    try if (isPlain(text)) out.add(text) else escaped(out, text);
    try out.add("\"");
}

fn escaped(out: *Out, text: []const u8) Error!void {
    const is_text = std.unicode.utf8ValidateSlice(text);
    var rest = text;
    while (plainLength(rest, is_text)) |plain| : (rest = rest[plain + 1 ..]) {
        try out.add(rest[0..plain]);
        switch (rest[plain]) {
            '"', '\\' => |mark| try out.add(&.{ '\\', mark }),
            else => |byte| try out.add("\\u00" ++ std.fmt.hex(byte)),
        }
    }
    try out.add(rest);
}

const WIDTH = 16; // bytes that are looked at together

/// Whether all of it stays as it is.
fn isPlain(text: []const u8) bool {
    const Block = @Vector(WIDTH, u8);
    var at: usize = 0;
    while (at + WIDTH <= text.len) : (at += WIDTH) {
        const block: Block = text[at..][0..WIDTH].*;
        if (@reduce(.Or, block -% @as(Block, @splat(0x20)) >= @as(Block, @splat(0x5f)))) return false;
        if (@reduce(.Or, block == @as(Block, @splat('"')))) return false;
        if (@reduce(.Or, block == @as(Block, @splat('\\')))) return false;
    }
    return plainLength(text[at..], false) == null;
}

/// How many bytes stay as they are until one that does not; null when all do.
fn plainLength(text: []const u8, is_text: bool) ?usize {
    for (text, 0..) |byte, at| {
        if (byte < 0x20 or byte == '"' or byte == '\\' or byte == 0x7f) return at;
        if (byte >= 0x80 and !is_text) return at;
    }
    return null;
}

fn expectText(expected: []const u8, bytes: ?[]const u8, most: usize) !void {
    var buffer: [256]u8 = undefined;
    var out = Out{ .room = &buffer };
    try cut(&out, bytes, most);
    try std.testing.expectEqualStrings(expected, out.written());
}

test "text stays, what JSON forbids is escaped" {
    try expectText("null", null, 9);
    try expectText("\"\"", "", 9);
    try expectText("\"aé€😀\"", "aé€😀", 99);
    try expectText("\"a\\\"b\\\\\\u0000\\u000a\\u007f\"", "a\"b\\\x00\n\x7f", 99);
}

test "what is no UTF-8 can still be told" {
    try expectText("\"\\u00ff(\\u00c3\"", "\xff(\xc3", 99);
    try expectText("\"\\u00ed\\u00a0\\u0080\"", "\xed\xa0\x80", 99); // a lone surrogate
    try expectText("\"\\u00c0\\u00af\"", "\xc0\xaf", 99); // an overlong slash
}

test "a cut is a cut, also within a character" {
    try expectText("\"abc\"", "abcdef", 3);
    try expectText("\"a\\u00c3\"", "aé", 2);
}

test "any bytes become valid JSON" {
    var random = std.Random.DefaultPrng.init(7);
    for (0..2000) |_| {
        var bytes: [40]u8 = undefined;
        random.random().bytes(&bytes);
        var buffer: [2 + bytes.len * GROWTH]u8 = undefined;
        var out = Out{ .room = &buffer };
        try cut(&out, &bytes, bytes.len);
        const parsed = try std.json.parseFromSlice([]const u8, std.testing.allocator, out.written(), .{});
        parsed.deinit();
    }
}

test "each byte is told alike, wherever it stands" {
    for (0..256) |value| {
        for ([_]usize{ 0, 15, 16, 31, 39 }) |at| {
            var bytes = [_]u8{'a'} ** 40;
            bytes[at] = @intCast(value);
            try std.testing.expectEqual(plainLength(&bytes, false) == null, isPlain(&bytes));
        }
    }
}

test "what does not fit is not written" {
    var room: [4]u8 = undefined;
    var out = Out{ .room = &room };
    try out.add("abc");
    try std.testing.expectError(error.TooLong, out.add("de"));
    try std.testing.expectEqualStrings("abc", out.written());
}
