-- What a request says of itself: the headers that count, and bodies, read strictly.
--
-- Leaves out: whether the request is allowed (the arbiter), what a message means beyond the fields that name
-- resources (the catalogue). Source: gRPC over HTTP/2 (length-prefixed messages), protobuf.dev/encoding.

local wire = {}

local GRPC = { ["application/grpc"] = true, ["application/grpc+proto"] = true }
local JSON = {
  ["application/json"] = true,
  ["application/json; charset=utf-8"] = true,
  ["application/json; charset=UTF-8"] = true,
}
local FIELDS = 10000 -- of one message: a caller's work is not ours

-- The headers that count. Only known ones are left when the gate is reached, and a repeated one is joined by commas:
-- none of these may hold one. Reading a few by name costs a tenth of walking through all (measured).
function wire.read(handle)
  local headers = handle:headers()
  return {
    method = headers:get(":method"),
    path = headers:get(":path"),
    kind = headers:get("content-type") or "",
    encoding = headers:get("content-encoding"),
    identity = headers:get("authorization"),
    caller = headers:get("x-remit-caller"), -- the address and the job of who opened the tunnel, as the door wrote them
  }
end

-- Whether the request becomes a WebSocket: only where that is served has the header come this far.
function wire.upgrades(handle)
  return handle:headers():get("upgrade") ~= nil
end

function wire.calls_itself_grpc(kind)
  return string.sub(kind, 1, 16) == "application/grpc"
end

function wire.is_grpc(kind)
  return GRPC[kind] == true
end

-- Whether a JSON body of `:predict` can name another endpoint than its path does. Google reads proto3 JSON, whose
-- keys may be escaped, and its parsers have been lenient about quotes: so the bare word is looked for anywhere, and
-- any backslash or zero byte (another encoding) counts as yes.
function wire.may_name_endpoint(kind, body)
  return not JSON[kind]
    or string.find(body, "endpoint", 1, true) ~= nil
    or string.find(body, "\\", 1, true) ~= nil
    or string.find(body, "\0", 1, true) ~= nil
end

-- Base 128, least group first; `nil` for what is cut off, longer than ten bytes or not minimal.
local function varint(bytes, at, last)
  local value, scale = 0, 1
  for count = 0, 9 do
    if at > last then
      return nil
    end
    local byte = string.byte(bytes, at)
    at = at + 1
    if byte < 128 then
      if count > 0 and byte == 0 then
        return nil
      end
      return value + byte * scale, at
    end
    value = value + (byte - 128) * scale
    scale = scale * 128
  end
  return nil
end

-- Whether a gRPC body is exactly one uncompressed message.
function wire.one_message(body)
  if #body < 5 or string.byte(body, 1) ~= 0 then
    return false
  end
  local a, b, c, d = string.byte(body, 2, 5)
  return a * 16777216 + b * 65536 + c * 256 + d + 5 == #body
end

local function skip(bytes, kind, at, last)
  if kind == 0 then
    local _, after = varint(bytes, at, last)
    return after
  elseif kind == 1 then
    return at + 8
  elseif kind == 5 then
    return at + 4
  end
  return nil -- groups, and wire types that do not exist
end

-- The values of the wanted top-level fields of the one message in a gRPC body, by number: each length-delimited and
-- at most once. `nil` for a body that two parsers could read differently, and for one with a field that is not known.
-- `wanted`, `known`: sets of field numbers; without `known` every field is.
function wire.walk(body, wanted, known)
  if not wire.one_message(body) then
    return nil
  end
  local at, last, found = 6, #body, {}
  for _ = 1, FIELDS do
    if at > last then
      return at == last + 1 and found or nil
    end
    local tag, length, field
    tag, at = varint(body, at, last)
    if not tag or tag >= 4294967296 then
      return nil
    end
    local kind = tag % 8
    field = (tag - kind) / 8
    if field == 0 or (wanted[field] and kind ~= 2) or (known and not known[field]) then
      return nil
    end
    if kind == 2 then
      length, at = varint(body, at, last)
      if not length or at + length - 1 > last then
        return nil
      end
      if wanted[field] then
        if found[field] then
          return nil
        end
        found[field] = string.sub(body, at, at + length - 1)
      end
      at = at + length
    else
      at = skip(body, kind, at, last)
      if not at then
        return nil
      end
    end
  end
  return nil
end

-- Whether `name=value` says what the message says. One pair, decoded once; anything else is no.
function wire.routes_to(params, value)
  if not params or not value then
    return false
  end
  local said = string.match(params, "^[%w_.]+=([%w%%_.~:@/-]+)$")
  if not said or not string.find(said, "%", 1, true) then
    return said == value
  end
  return string.gsub(said, "%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end) == value
end
