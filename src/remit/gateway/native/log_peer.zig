//! Who speaks inside a tunnel. Envoy shows its access loggers no filter state, so a network filter of each door reads
//! the caller's address when a connection is made, and keeps it for the log until the connection is gone.
//!
//! A connection and its requests live on one worker: nothing is shared between threads. Leaves out listeners that
//! callers connect to themselves.

const std = @import("std");
const abi = @import("log_abi.zig");
const Buffer = @import("abi.zig").Buffer;

const memory = std.heap.c_allocator;
const STATE = "remit.peer";
const LONGEST = 64; // bytes: an IPv6 address with its zone has fewer
const GO_ON: c_int = 0;

/// One connection, from its beginning to its end.
const Peer = struct {
    connection: u64,
    address: [LONGEST]u8,
    length: usize,

    fn new(connection: abi.Connection) !*Peer {
        const self = try memory.create(Peer);
        errdefer memory.destroy(self);
        const address = connection.state(STATE) orelse "";
        self.* = .{ .connection = connection.id(), .address = undefined, .length = @min(address.len, LONGEST) };
        @memcpy(self.address[0..self.length], address[0..self.length]);
        try peers.put(memory, self.connection, self);
        return self;
    }

    fn destroy(self: *Peer) void {
        _ = peers.remove(self.connection);
        memory.destroy(self);
    }
};

threadlocal var peers: std.AutoHashMapUnmanaged(u64, *const Peer) = .empty;

/// The address of who opened the tunnel that this connection comes out of.
pub fn of(connection: u64) ?[]const u8 {
    const peer = peers.get(connection) orelse return null;
    return if (peer.length > 0) peer.address[0..peer.length] else null;
}

var settings: u8 = 0; // there are none, and Envoy wants to hold some

export fn envoy_dynamic_module_on_network_filter_config_new(_: *anyopaque, _: Buffer, _: Buffer) ?*u8 {
    return &settings;
}

export fn envoy_dynamic_module_on_network_filter_config_destroy(_: *u8) void {}

/// None when there is no memory: Envoy then closes the connection.
export fn envoy_dynamic_module_on_network_filter_new(_: *u8, connection: abi.Connection) ?*Peer {
    return Peer.new(connection) catch null;
}

export fn envoy_dynamic_module_on_network_filter_new_connection(_: abi.Connection, _: *Peer) c_int {
    return GO_ON;
}

export fn envoy_dynamic_module_on_network_filter_read(_: abi.Connection, _: *Peer, _: usize, _: bool) c_int {
    return GO_ON;
}

export fn envoy_dynamic_module_on_network_filter_write(_: abi.Connection, _: *Peer, _: usize, _: bool) c_int {
    return GO_ON;
}

export fn envoy_dynamic_module_on_network_filter_event(_: abi.Connection, _: *Peer, _: c_int) void {}

/// Comes after the last request of the connection was logged.
export fn envoy_dynamic_module_on_network_filter_destroy(peer: *Peer) void {
    peer.destroy();
}
