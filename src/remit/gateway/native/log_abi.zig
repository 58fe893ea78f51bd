//! What Envoy and a module of it say to each other about the access log and a connection (ABI v0.2.0).
//!
//! What is read belongs to Envoy, and holds until the hook returns. Source: Envoy 1.40, dynamic modules, abi.h.

const std = @import("std");
const abi = @import("abi.zig");
const Buffer = abi.Buffer;

const NOTHING = Buffer{ .ptr = null, .len = 0 };
const OURS = Buffer.of("remit"); // the gate's dynamic metadata

/// How many threads serve. For the main thread only, as `validating`.
pub fn workers() u32 {
    return envoy_dynamic_module_callback_get_concurrency();
}

/// Whether this process only reads a configuration, and will not serve.
pub fn validating() bool {
    return envoy_dynamic_module_callback_is_validation_mode();
}

/// One listener's log.
pub const Config = *opaque {
    const Self = @This();

    /// Makes a counter, whose number it gives.
    pub fn counter(self: *Self, name: []const u8) error{Envoy}!usize {
        var number: usize = 0;
        const found = envoy_dynamic_module_callback_access_logger_config_define_counter(self, Buffer.of(name), &number);
        return if (found == 0) number else error.Envoy;
    }

    /// Adds to it, on any thread.
    pub fn count(self: *Self, number: usize, more: usize) void {
        _ = envoy_dynamic_module_callback_access_logger_increment_counter(self, number, more);
    }
};

/// Nanoseconds: when a request began, since the epoch, and how long after that something was, -1 when it was not.
pub const Timing = extern struct {
    start: i64,
    complete: i64,
    first_sent_upstream: i64,
    last_sent_upstream: i64,
    first_received_upstream: i64,
    last_received_upstream: i64,
    first_sent: i64,
    last_sent: i64,
};

pub const Bytes = extern struct { received: u64, sent: u64, wire_received: u64, wire_sent: u64 };

/// One request that is to be logged.
pub const Entry = *opaque {
    const Self = @This();

    /// The number of the worker that this logger belongs to.
    pub fn worker(self: *Self) u32 {
        return envoy_dynamic_module_callback_access_logger_get_worker_index(self);
    }

    /// The first value of a header.
    pub fn header(self: *Self, map: abi.Map, name: []const u8) ?[]const u8 {
        var found = NOTHING;
        const there = envoy_dynamic_module_callback_access_logger_get_header_value(self, map, Buffer.of(name), &found, 0, null);
        return if (there) found.text() else null;
    }

    /// A text that the gate set.
    pub fn mark(self: *Self, key: []const u8) ?[]const u8 {
        var found = NOTHING;
        const there = envoy_dynamic_module_callback_access_logger_get_dynamic_metadata(self, OURS, Buffer.of(key), &found);
        return if (there) found.text() else null;
    }

    /// A flag that the gate set.
    pub fn flag(self: *Self, key: []const u8) ?bool {
        var found = false;
        const there = envoy_dynamic_module_callback_access_logger_get_dynamic_metadata_bool(self, OURS, Buffer.of(key), &found);
        return if (there) found else null;
    }

    /// The HTTP status, 0 when there was no answer.
    pub fn status(self: *Self) u32 {
        return envoy_dynamic_module_callback_access_logger_get_response_code(self);
    }

    /// Why this status.
    pub fn detail(self: *Self) ?[]const u8 {
        var found = NOTHING;
        return if (envoy_dynamic_module_callback_access_logger_get_response_code_details(self, &found)) found.text() else null;
    }

    /// One bit for each of Envoy's response flags.
    pub fn flags(self: *Self) u64 {
        return envoy_dynamic_module_callback_access_logger_get_response_flags(self);
    }

    pub fn timing(self: *Self) Timing {
        var found = std.mem.zeroes(Timing);
        envoy_dynamic_module_callback_access_logger_get_timing_info(self, &found);
        return found;
    }

    pub fn bytes(self: *Self) Bytes {
        var found = std.mem.zeroes(Bytes);
        envoy_dynamic_module_callback_access_logger_get_bytes_info(self, &found);
        return found;
    }

    /// The address of who is connected, without the port; null where a connection comes out of Envoy itself.
    pub fn address(self: *Self) ?[]const u8 {
        var found = NOTHING;
        var port: u32 = 0;
        const there = envoy_dynamic_module_callback_access_logger_get_downstream_direct_remote_address(self, &found, &port);
        return if (there) found.text() else null;
    }

    /// The number of its connection.
    pub fn connection(self: *Self) u64 {
        return envoy_dynamic_module_callback_access_logger_get_connection_id(self);
    }
};

/// One connection, as a network filter knows it.
pub const Connection = *opaque {
    const Self = @This();

    pub fn id(self: *Self) u64 {
        return envoy_dynamic_module_callback_network_filter_get_connection_id(self);
    }

    /// What a tunnel said of this connection.
    pub fn state(self: *Self, key: []const u8) ?[]const u8 {
        var found = NOTHING;
        const there = envoy_dynamic_module_callback_network_get_filter_state_bytes(self, Buffer.of(key), &found);
        return if (there) found.text() else null;
    }
};

extern fn envoy_dynamic_module_callback_get_concurrency() u32;
extern fn envoy_dynamic_module_callback_is_validation_mode() bool;
extern fn envoy_dynamic_module_callback_access_logger_config_define_counter(Config, Buffer, *usize) c_int;
extern fn envoy_dynamic_module_callback_access_logger_increment_counter(Config, usize, u64) c_int;
extern fn envoy_dynamic_module_callback_access_logger_get_worker_index(Entry) u32;
extern fn envoy_dynamic_module_callback_access_logger_get_header_value(Entry, abi.Map, Buffer, *Buffer, usize, ?*usize) bool;
extern fn envoy_dynamic_module_callback_access_logger_get_dynamic_metadata(Entry, Buffer, Buffer, *Buffer) bool;
extern fn envoy_dynamic_module_callback_access_logger_get_dynamic_metadata_bool(Entry, Buffer, Buffer, *bool) bool;
extern fn envoy_dynamic_module_callback_access_logger_get_response_code(Entry) u32;
extern fn envoy_dynamic_module_callback_access_logger_get_response_code_details(Entry, *Buffer) bool;
extern fn envoy_dynamic_module_callback_access_logger_get_response_flags(Entry) u64;
extern fn envoy_dynamic_module_callback_access_logger_get_timing_info(Entry, *Timing) void;
extern fn envoy_dynamic_module_callback_access_logger_get_bytes_info(Entry, *Bytes) void;
extern fn envoy_dynamic_module_callback_access_logger_get_downstream_direct_remote_address(Entry, *Buffer, *u32) bool;
extern fn envoy_dynamic_module_callback_access_logger_get_connection_id(Entry) u64;
extern fn envoy_dynamic_module_callback_network_filter_get_connection_id(Connection) u64;
extern fn envoy_dynamic_module_callback_network_get_filter_state_bytes(Connection, Buffer, *Buffer) bool;
