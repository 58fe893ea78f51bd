//! Remit's part of Envoy's process: the gate and the access log, as hooks that Envoy calls by their names.
//!
//! Every hook is called with what `..._new` returned. Source: Envoy 1.40, dynamic modules, abi.h.

const std = @import("std");
const abi = @import("abi.zig");
const gate = @import("gate.zig");
const lease = @import("lease.zig");
const site = @import("site.zig");
const Call = gate.Call;
const Site = site.Site;

comptime {
    _ = @import("log.zig"); // has hooks of its own
}

const memory = std.heap.c_allocator;

export fn envoy_dynamic_module_on_program_init() [*:0]const u8 {
    lease.init();
    return abi.VERSION;
}

export fn envoy_dynamic_module_on_http_filter_config_new(_: *anyopaque, _: abi.Buffer, config: abi.Buffer) ?*Site {
    return Site.new(memory, config.text()) catch |trouble| {
        abi.complain("the gate's settings cannot be read: ", @errorName(trouble));
        return null;
    };
}

export fn envoy_dynamic_module_on_http_filter_config_destroy(of: *Site) void {
    of.destroy();
}

export fn envoy_dynamic_module_on_http_filter_new(of: *Site, stream: abi.Stream) ?*Call {
    return Call.new(memory, stream, of) catch null;
}

export fn envoy_dynamic_module_on_http_filter_destroy(call: *Call) void {
    call.destroy();
}

// While a hook runs the request stays, whatever Envoy does meanwhile.

export fn envoy_dynamic_module_on_http_filter_request_headers(_: abi.Stream, call: *Call, end: bool) abi.OnHeaders {
    call.enter();
    defer call.leave();
    return call.headers(end);
}

export fn envoy_dynamic_module_on_http_filter_request_body(_: abi.Stream, call: *Call, end: bool) abi.OnBody {
    call.enter();
    defer call.leave();
    return call.data(end);
}

export fn envoy_dynamic_module_on_http_filter_request_trailers(_: abi.Stream, call: *Call) abi.OnTrailers {
    call.enter();
    defer call.leave();
    return call.trailers();
}

export fn envoy_dynamic_module_on_http_filter_http_callout_done(
    _: abi.Stream,
    call: *Call,
    _: u64,
    outcome: abi.Called,
    headers: ?[*]const abi.Header,
    headers_count: usize,
    pieces: ?[*]const abi.Buffer,
    pieces_count: usize,
) void {
    const given: []const abi.Header = if (headers) |first| first[0..headers_count] else &.{};
    const body: []const abi.Buffer = if (pieces) |first| first[0..pieces_count] else &.{};
    call.enter();
    defer call.leave();
    call.answered(outcome, given, body);
}

export fn envoy_dynamic_module_on_http_filter_response_headers(_: abi.Stream, call: *Call, end: bool) abi.OnHeaders {
    call.enter();
    defer call.leave();
    return call.answers(end);
}

export fn envoy_dynamic_module_on_http_filter_response_body(_: abi.Stream, call: *Call, end: bool) abi.OnBody {
    call.enter();
    defer call.leave();
    return call.answersData(end);
}

export fn envoy_dynamic_module_on_http_filter_response_trailers(_: abi.Stream, call: *Call) abi.OnTrailers {
    call.enter();
    defer call.leave();
    return call.answersTrailers();
}

// What Envoy asks every module for, and this one has no use for.

export fn envoy_dynamic_module_on_http_filter_stream_complete(_: abi.Stream, _: *Call) void {}
export fn envoy_dynamic_module_on_http_filter_scheduled(_: abi.Stream, _: *Call, _: u64) void {}
export fn envoy_dynamic_module_on_http_filter_local_reply(_: abi.Stream, _: *Call, _: u32, _: abi.Buffer, _: bool) c_int {
    return 0;
}
export fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(_: abi.Stream, _: *Call) void {}
export fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(_: abi.Stream, _: *Call) void {}
export fn envoy_dynamic_module_on_http_filter_http_stream_headers(_: abi.Stream, _: *Call, _: u64, _: ?*anyopaque, _: usize, _: bool) void {}
export fn envoy_dynamic_module_on_http_filter_http_stream_data(_: abi.Stream, _: *Call, _: u64, _: ?*anyopaque, _: usize, _: bool) void {}
export fn envoy_dynamic_module_on_http_filter_http_stream_trailers(_: abi.Stream, _: *Call, _: u64, _: ?*anyopaque, _: usize) void {}
export fn envoy_dynamic_module_on_http_filter_http_stream_complete(_: abi.Stream, _: *Call, _: u64) void {}
export fn envoy_dynamic_module_on_http_filter_http_stream_reset(_: abi.Stream, _: *Call, _: u64, _: c_int) void {}
