//! What Envoy and a module of it say to each other over an HTTP stream, as far as Remit uses it (ABI v0.2.0).
//!
//! What is read of a stream belongs to Envoy, and holds until the hook returns or the same thing is set.
//! Leaves out the access logger (`log.zig`). Source: Envoy 1.40, dynamic modules, abi.h.

const std = @import("std");

pub const VERSION = "v0.2.0";

pub const Buffer = extern struct {
    ptr: ?[*]const u8,
    len: usize,

    pub fn of(bytes: []const u8) Buffer {
        return .{ .ptr = bytes.ptr, .len = bytes.len };
    }

    pub fn text(self: Buffer) []const u8 {
        return if (self.ptr) |start| start[0..self.len] else "";
    }
};

/// What removes a header when it is set.
const NOTHING = Buffer{ .ptr = null, .len = 0 };

pub const Header = extern struct {
    name_ptr: [*]const u8,
    name_len: usize,
    value_ptr: [*]const u8,
    value_len: usize,

    pub fn of(called: []const u8, said: []const u8) Header {
        return .{ .name_ptr = called.ptr, .name_len = called.len, .value_ptr = said.ptr, .value_len = said.len };
    }

    pub fn name(self: Header) []const u8 {
        return self.name_ptr[0..self.name_len];
    }

    pub fn value(self: Header) []const u8 {
        return self.value_ptr[0..self.value_len];
    }
};

pub const Map = enum(c_int) { request, request_trailers, response, response_trailers };
pub const Body = enum(c_int) { received_request, buffered_request, received_response, buffered_response };
pub const OnHeaders = enum(c_int) { go_on, stop, go_on_without_end, stop_all_and_buffer, stop_all };
pub const OnBody = enum(c_int) { go_on, stop_and_buffer, stop_and_watermark, stop };
pub const OnTrailers = enum(c_int) { go_on, stop };
pub const Called = enum(c_int) { success, reset, too_large, _ };

const HEADERS = 160; // Envoy takes 64 from a caller and 100 from an upstream, and adds a few

threadlocal var rooms: [HEADERS]Header = undefined; // on the stack it would be filled anew for every request

/// One request with its answer, as Envoy knows it.
pub const Stream = *opaque {
    const Self = @This();

    /// All headers of a map, until this thread reads another; `null` when there are more than `HEADERS`.
    pub fn headers(self: Stream, map: Map) ?[]const Header {
        const count = envoy_dynamic_module_callback_http_get_headers_size(self, map);
        if (count > HEADERS) return null;
        const room = &rooms;
        if (count > 0 and !envoy_dynamic_module_callback_http_get_headers(self, map, room)) return null;
        return room[0..count];
    }

    /// The first value of a header.
    pub fn header(self: Stream, map: Map, name: []const u8) ?[]const u8 {
        var found = NOTHING;
        const there = envoy_dynamic_module_callback_http_get_header(self, map, Buffer.of(name), &found, 0, null);
        return if (there and found.ptr != null) found.text() else null;
    }

    /// Sets a header, whatever was there.
    pub fn set(self: Stream, map: Map, name: []const u8, value: []const u8) error{Envoy}!void {
        if (!envoy_dynamic_module_callback_http_set_header(self, map, Buffer.of(name), Buffer.of(value))) return error.Envoy;
    }

    /// Adds a header to those of its name.
    pub fn add(self: Stream, map: Map, name: []const u8, value: []const u8) error{Envoy}!void {
        if (!envoy_dynamic_module_callback_http_add_header(self, map, Buffer.of(name), Buffer.of(value))) return error.Envoy;
    }

    /// Removes all headers of this name.
    pub fn remove(self: Stream, map: Map, name: []const u8) error{Envoy}!void {
        if (!envoy_dynamic_module_callback_http_set_header(self, map, Buffer.of(name), NOTHING)) return error.Envoy;
    }

    /// What a tunnel or listener said of this connection.
    pub fn state(self: Stream, key: []const u8) ?[]const u8 {
        var found = NOTHING;
        const there = envoy_dynamic_module_callback_http_get_filter_state_bytes(self, Buffer.of(key), &found);
        return if (there) found.text() else null;
    }

    /// Sets a text that the filters behind and the access log see.
    pub fn mark(self: Stream, key: []const u8, value: []const u8) void {
        envoy_dynamic_module_callback_http_set_dynamic_metadata_string(self, OURS, Buffer.of(key), Buffer.of(value));
    }

    /// Sets a flag that the filters behind and the access log see.
    pub fn flag(self: Stream, key: []const u8) void {
        envoy_dynamic_module_callback_http_set_dynamic_metadata_bool(self, OURS, Buffer.of(key), true);
    }

    /// The number of the worker that this stream belongs to.
    pub fn worker(self: Stream) u32 {
        return envoy_dynamic_module_callback_http_filter_get_worker_index(self);
    }

    /// How many pieces a body has now.
    pub fn pieces(self: Stream, body: Body) usize {
        return envoy_dynamic_module_callback_http_get_body_chunks_size(self, body);
    }

    /// Those pieces; `into` has room for as many as `pieces` said.
    pub fn read(self: Stream, body: Body, into: []Buffer) bool {
        return into.len == 0 or envoy_dynamic_module_callback_http_get_body_chunks(self, body, into.ptr);
    }

    pub fn size(self: Stream, body: Body) usize {
        return envoy_dynamic_module_callback_http_get_body_size(self, body);
    }

    /// Whether what is received now is what was buffered before, not more of it.
    pub fn receivesBuffered(self: Stream) bool {
        return envoy_dynamic_module_callback_http_received_buffered_request_body(self);
    }

    /// Puts `bytes` in the place of what is buffered.
    pub fn replace(self: Stream, body: Body, bytes: []const u8) error{Envoy}!void {
        const drained = envoy_dynamic_module_callback_http_drain_body(self, body, self.size(body));
        if (!drained or !envoy_dynamic_module_callback_http_append_body(self, body, Buffer.of(bytes))) return error.Envoy;
    }

    /// Answers a call in the upstream's place, by headers alone, with `:status` among them.
    pub fn respond(self: Stream, given: []const Header) void {
        envoy_dynamic_module_callback_http_send_response_headers(self, given.ptr, given.len, true);
    }

    /// Answers any other request in the upstream's place. Envoy adds the length, knows that a HEAD has no body, and closes
    /// a connection whose request is not whole. `detail`: what the access log says of it.
    pub fn reply(self: Stream, status: u32, given: []const Header, body: []const u8, detail: []const u8) void {
        envoy_dynamic_module_callback_http_send_response(self, status, given.ptr, given.len, Buffer.of(body), Buffer.of(detail));
    }

    /// Lets the request go on, after a hook that stopped it.
    pub fn goOn(self: Stream) void {
        envoy_dynamic_module_callback_http_filter_continue_decoding(self);
    }

    /// Lets the answer go on, after a hook that stopped it.
    pub fn answer(self: Stream) void {
        envoy_dynamic_module_callback_http_filter_continue_encoding(self);
    }

    /// Cuts the stream: for an answer that must not go on.
    pub fn cut(self: Stream) void {
        envoy_dynamic_module_callback_http_filter_reset_stream(self, 0, Buffer.of("remit"));
    }

    /// Asks a cluster; the answer comes to `http_callout_done`, which may be before this returns. Whether it was asked.
    pub fn call(self: Stream, cluster: []const u8, given: []const Header, body: []const u8, timeout_ms: u64) bool {
        var id: u64 = 0;
        return envoy_dynamic_module_callback_http_filter_http_callout(
            self,
            &id,
            Buffer.of(cluster),
            given.ptr,
            given.len,
            Buffer.of(body),
            timeout_ms,
        ) == 0;
    }
};

const OURS = Buffer.of("remit");

/// Pieces of a body as one, in memory of its own.
pub fn joined(memory: std.mem.Allocator, pieces: []const Buffer) error{OutOfMemory}![]u8 {
    var size: usize = 0;
    for (pieces) |piece| size += piece.len;
    const out = try memory.alloc(u8, size);
    var at: usize = 0;
    for (pieces) |piece| {
        @memcpy(out[at..][0..piece.text().len], piece.text());
        at += piece.text().len;
    }
    return out[0..at];
}

/// How many workers there will be.
pub fn workers() u32 {
    return envoy_dynamic_module_callback_get_concurrency();
}

/// Writes an error into Envoy's own log.
pub fn complain(what: []const u8, why: []const u8) void {
    var room: [256]u8 = undefined;
    const line = std.fmt.bufPrint(&room, "{s}{s}", .{ what, why }) catch what;
    envoy_dynamic_module_callback_log(4, Buffer.of(line));
}

extern fn envoy_dynamic_module_callback_get_concurrency() u32;
extern fn envoy_dynamic_module_callback_log(level: c_int, text: Buffer) void;
extern fn envoy_dynamic_module_callback_http_get_headers_size(stream: Stream, map: Map) usize;
extern fn envoy_dynamic_module_callback_http_get_headers(stream: Stream, map: Map, into: [*]Header) bool;
extern fn envoy_dynamic_module_callback_http_get_header(stream: Stream, map: Map, name: Buffer, found: *Buffer, index: usize, count: ?*usize) bool;
extern fn envoy_dynamic_module_callback_http_add_header(stream: Stream, map: Map, name: Buffer, value: Buffer) bool;
extern fn envoy_dynamic_module_callback_http_set_header(stream: Stream, map: Map, name: Buffer, value: Buffer) bool;
extern fn envoy_dynamic_module_callback_http_get_filter_state_bytes(stream: Stream, key: Buffer, found: *Buffer) bool;
extern fn envoy_dynamic_module_callback_http_set_dynamic_metadata_string(stream: Stream, space: Buffer, key: Buffer, value: Buffer) void;
extern fn envoy_dynamic_module_callback_http_set_dynamic_metadata_bool(stream: Stream, space: Buffer, key: Buffer, value: bool) void;
extern fn envoy_dynamic_module_callback_http_filter_get_worker_index(stream: Stream) u32;
extern fn envoy_dynamic_module_callback_http_get_body_chunks_size(stream: Stream, body: Body) usize;
extern fn envoy_dynamic_module_callback_http_get_body_chunks(stream: Stream, body: Body, into: [*]Buffer) bool;
extern fn envoy_dynamic_module_callback_http_get_body_size(stream: Stream, body: Body) usize;
extern fn envoy_dynamic_module_callback_http_received_buffered_request_body(stream: Stream) bool;
extern fn envoy_dynamic_module_callback_http_drain_body(stream: Stream, body: Body, bytes: usize) bool;
extern fn envoy_dynamic_module_callback_http_append_body(stream: Stream, body: Body, bytes: Buffer) bool;
extern fn envoy_dynamic_module_callback_http_send_response_headers(stream: Stream, headers: [*]const Header, count: usize, end: bool) void;
extern fn envoy_dynamic_module_callback_http_send_response(stream: Stream, status: u32, headers: [*]const Header, count: usize, body: Buffer, detail: Buffer) void;
extern fn envoy_dynamic_module_callback_http_filter_continue_decoding(stream: Stream) void;
extern fn envoy_dynamic_module_callback_http_filter_continue_encoding(stream: Stream) void;
extern fn envoy_dynamic_module_callback_http_filter_reset_stream(stream: Stream, reason: c_int, details: Buffer) void;
extern fn envoy_dynamic_module_callback_http_filter_http_callout(stream: Stream, id: *u64, cluster: Buffer, headers: [*]const Header, count: usize, body: Buffer, timeout_ms: u64) c_int;
