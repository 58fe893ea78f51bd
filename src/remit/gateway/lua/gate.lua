-- The gate: the one entry point. It only ever adds proof: its last act on success is to set the metadata that the
-- RBAC filter behind it demands. An error anywhere is a refusal, first here, and natively there.
--
-- 1 who asks, from where, what for      4 else the arbiter does
-- 2 the body, where it must be seen      5 replace what goes upstream, then mark the request as permitted
-- 3 a live lease answers

local settings

local METHODS = { GET = true, POST = true, PUT = true, PATCH = true, DELETE = true }

local function set(numbers)
  local members = {}
  for _, number in ipairs(numbers) do
    members[number] = true
  end
  return members
end

-- The virtual host's context as plain tables, read once a worker: it cannot change while this program lives.
local function configured(handle)
  local given = handle:filterContext()
  local read = {
    host = given:get("host"),
    leases = given:get("leases"),
    lease_ms = given:get("lease_ms"),
    denial_ms = given:get("denial_ms"),
    entries = given:get("entries"),
    timeout_ms = given:get("timeout_ms"),
    body_bytes = given:get("body_bytes"),
    websockets = given:get("websockets"),
    leasable = {},
    streaming = {},
  }
  for path, numbers in pairs(given:get("leasable")) do
    read.leasable[path] = { order = numbers.key, wanted = set(numbers.key), known = set(numbers.known) }
  end
  for _, path in ipairs(given:get("streaming")) do
    read.streaming[path] = true
  end
  return read
end

-- What is refused by its headers alone, before a body is waited for. `nil` when nothing is.
local function refused_at_once(question)
  if not question.identity then
    return answer.refusal(401, "token_missing", "the request carries no identity", "Bearer")
  end
  if not question.path then
    return answer.refusal(400, "request_malformed", "the request has no target")
  end
  if question.encoding and question.encoding ~= "identity" then
    return answer.refusal(400, "request_ambiguous", "an encoded request body cannot be decided on")
  end
  if settings.streaming[question.path] then
    return answer.refusal(403, "method_unknown", "methods on which the client streams are not served")
  end
  return nil
end

-- What is refused for its body, whatever the arbiter would say of the rest.
local function refused_for_body(question)
  local body = question.body
  if not body or body == "" then
    return nil
  end
  if question.method == "GET" then
    return answer.refusal(400, "request_ambiguous", "a GET with a body can be read in two ways")
  end
  if #body > settings.body_bytes then
    return answer.refusal(400, "request_malformed", "the request body is too large to decide on")
  end
  return nil
end

-- What is refused without asking. All of it is in a lease's key: a live lease proves that it was looked at.
local function refused_unasked(question, grpc)
  if not string.find(question.identity, "^Bearer [%w._~+/=-]+$") then
    return answer.refusal(401, "token_malformed", "the identity is not one bearer token", 'Bearer error="invalid_token"')
  end
  if not METHODS[question.method] then
    return answer.refusal(403, "method_unknown", "the request uses an HTTP method that Remit does not know")
  end
  if not string.find(question.path, "^/[%w_.~:@/?&=%%+,*$!'()-]*$") then
    return answer.refusal(400, "request_malformed", "the request target holds characters that no known method has")
  end
  if string.find(question.kind, ",", 1, true) then
    return answer.refusal(400, "request_ambiguous", "the content type is repeated")
  end
  if grpc and (not wire.is_grpc(question.kind) or question.method ~= "POST") then
    return answer.refusal(400, "request_malformed", "the request is not gRPC with protobuf messages")
  end
  return nil
end

local function whole(handle)
  local body = handle:body()
  return body and body:getBytes(0, body:length()) or ""
end

-- A text of all wanted values, each with its length, in one order: what a lease for this method depends on.
local function joined(fields, order)
  local parts = {}
  for index, number in ipairs(order) do
    local value = fields[number]
    if not value then
      return nil
    end
    parts[index] = #value .. ":" .. value
  end
  return table.concat(parts)
end

-- Adds to the question the body when it must be seen, the last part of a key when a lease is possible, and for gRPC
-- the message's first field. A field that is not known has no lease: the arbiter refuses it, so it must be asked.
local function read_message(handle, question)
  question.body = whole(handle)
  local method = settings.leasable[question.path]
  local fields = wire.walk(question.body, method and method.wanted or { true }, method and method.known)
  question.first = fields and fields[1]
  question.key = method and fields and joined(fields, method.order)
end

local function read_body(handle, question)
  if question.method == "GET" then
    question.upgrade = settings.websockets and wire.upgrades(handle)
    if question.upgrade then
      return -- there is no body to wait for, and no lease: every WebSocket has a decision of its own
    end
    question.body, question.key = whole(handle), ""
    return
  end
  local bare = string.match(question.path, "^[^?]*")
  if question.method == "POST" and string.sub(bare, -11) == ":rawPredict" then
    question.key = "" -- the body goes by in a stream: the path alone says what is asked
    return
  end
  question.body = whole(handle)
  if question.method == "POST" and string.sub(bare, -8) == ":predict" then
    question.key = not wire.may_name_endpoint(question.kind, question.body) and ""
  end
end

-- How long this answer may be repeated, in milliseconds since the question began.
local function life(entry)
  if entry.permit then
    return math.min(entry.lease_ms, settings.lease_ms)
  elseif entry.code == 401 or entry.code == 403 then
    return settings.denial_ms
  end
  return 0
end

-- What the arbiter says, and when it was asked. An answer from before a revocation that others know of is not taken:
-- it may only have been under way, so the arbiter is asked once more.
local function ask_arbiter(handle, question)
  handle:streamInfo():dynamicMetadata():set("remit", "asked", true)
  for _ = 1, 2 do
    local began = lease.now()
    local entry = check.ask(handle, settings, question)
    if lease.current(entry.epoch) then
      return entry, began
    end
  end
  return check.unavailable(), 0
end

-- Asks, and remembers what may be repeated. `held`: a lease that still lives, whose renewal this is: it stands in when
-- the arbiter is away, for as long as it would have lasted anyway.
local function ask(handle, grpc, question, held)
  local entry, began = refused_unasked(question, grpc), lease.now()
  if not entry then
    entry, began = ask_arbiter(handle, question)
  end
  local lasts = life(entry)
  if question.key and lasts > 0 then
    lease.keep(began, settings, entry, lasts, question)
  elseif entry.code == 503 and held and held.epoch == lease.epoch and lease.now() < held.till then
    return held
  end
  return entry
end

-- Replaces what goes upstream; its last act is the proof.
local function permit(handle, grpc, question, entry)
  local headers = handle:headers()
  if not grpc or not wire.routes_to(headers:get("x-goog-request-params"), question.first) then
    headers:remove("x-goog-request-params")
  end
  headers:replace("authorization", entry.credential)
  headers:replace("x-goog-request-reason", entry.mark)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("remit", "decision", entry.id)
  metadata:set("remit", "permit", true)
end

local function gate(handle)
  -- 1 who asks, from where, what for: the question is all that the arbiter is told
  settings = settings or configured(handle)
  local question = wire.read(handle)
  local grpc = wire.calls_itself_grpc(question.kind)
  local refusal = refused_at_once(question)
  if refusal then
    return answer.send(handle, grpc, refusal)
  end

  -- 2 the body, where it must be seen
  if grpc then
    read_message(handle, question)
  else
    read_body(handle, question)
  end
  refusal = refused_for_body(question)
  if refusal then
    return answer.send(handle, grpc, refusal)
  end

  -- 3 a live lease answers
  question.key = settings.leases and question.key or nil
  local entry, due = nil, true
  if question.key then
    entry, due = lease.find(lease.now(), question)
  end

  -- 4 else the arbiter does
  if due then
    entry = ask(handle, grpc, question, entry)
  end
  if not entry.permit then
    return answer.send(handle, grpc, entry)
  end
  if grpc and not wire.one_message(question.body) then
    return answer.send(handle, grpc, answer.refusal(400, "request_ambiguous", "a call must hold exactly one plain message"))
  end

  -- 5 replace what goes upstream, then mark the request as permitted
  permit(handle, grpc, question, entry)
end

function envoy_on_request(handle)
  local passed, trouble = pcall(gate, handle)
  if not passed then
    handle:logErr("the gate failed: " .. tostring(trouble))
    answer.send(handle, false, answer.refusal(503, "plane_unavailable", "remit cannot decide right now"))
  end
end
