//! Text as a JSON string, whatever bytes come.
//!
//! Valid UTF-8 stays as it is. Of text that is not, each byte beyond ASCII becomes the character of its number, as
//! Latin-1 has it: valid in any case, and what was sent can still be told. Source: RFC 8259 section 7.

const std = @import("std");
const Writer = std.Io.Writer;

/// The most bytes that one byte of text becomes.
pub const GROWTH = 6;

/// Writes `bytes` in quotes, `null` for none. Only `most` bytes are looked at: no caller makes a line grow.
pub fn cut(out: *Writer, bytes: ?[]const u8, most: usize) Writer.Error!void {
    const all = bytes orelse return out.writeAll("null");
    const text = all[0..@min(all.len, most)];
    const is_text = std.unicode.utf8ValidateSlice(text);
    try out.writeByte('"');
    var rest = text;
    while (plainLength(rest, is_text)) |plain| : (rest = rest[plain + 1 ..]) {
        try out.writeAll(rest[0..plain]);
        switch (rest[plain]) {
            '"', '\\' => |mark| try out.writeAll(&.{ '\\', mark }),
            else => |byte| try out.print("\\u{x:0>4}", .{byte}),
        }
    }
    try out.writeAll(rest);
    try out.writeByte('"');
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
    var out = Writer.fixed(&buffer);
    try cut(&out, bytes, most);
    try std.testing.expectEqualStrings(expected, out.buffered());
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
        var out = Writer.fixed(&buffer);
        try cut(&out, &bytes, bytes.len);
        const parsed = try std.json.parseFromSlice([]const u8, std.testing.allocator, out.buffered(), .{});
        parsed.deinit();
    }
}
