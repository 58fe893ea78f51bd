-- The gate: the one entry point. It only ever adds proof: its last act on success is to set the metadata that the
-- filter behind it demands. An error anywhere is a refusal, first here, and natively there.
--
-- 1 who asks, from where, what for      4 else the arbiter does
-- 2 the body, where it must be seen      5 replace what goes upstream, then mark the request as permitted
-- 3 a live lease answers
--
-- What is behind the gate has one of four modes. `google`: bodies are decided on, but for raw predictions. `serving`:
-- gRPC messages are decided on. `web`: only what it is called, and by whom; people come with a session. `objects`: the
-- same for tokens, and names may hold slashes.

local settings

local MODES = { google = true, serving = true, web = true, objects = true }
local METHODS = { GET = true, POST = true, PUT = true, PATCH = true, DELETE = true }
local READS = { GET = true, HEAD = true, OPTIONS = true } -- a body of these some servers leave, as the next request
local ASKED = 4 -- questions to the arbiter for one request: under four seconds in all
local BROWSERS = { GET = true, HEAD = true, POST = true, PUT = true, PATCH = true, DELETE = true, OPTIONS = true }

local function set(numbers)
  local members = {}
  for _, number in ipairs(numbers) do
    members[number] = true
  end
  return members
end

-- The context of the host or route as plain tables, read once a worker: it cannot change while this program lives.
local function configured(handle)
  local given = handle:filterContext()
  local read = {
    host = given:get("host"),
    mode = given:get("mode") or "google",
    assertion = given:get("assertion") or false,
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
  for path, numbers in pairs(given:get("walked") or {}) do -- a service's: nobody lists its fields, so all are known
    read.leasable[path] = #numbers.key > 0 and { order = numbers.key, wanted = set(numbers.key) } or nil
  end
  for _, path in ipairs(given:get("streaming")) do
    read.streaming[path] = true
  end
  if not MODES[read.mode] then
    error("there is no such mode")
  end
  read.decides = read.mode == "google" or read.mode == "serving" -- on bodies
  read.methods = read.decides and METHODS or BROWSERS
  read.quick = read.leases and read.mode ~= "web"
  return read
end

-- What is refused by its headers alone, before a body is waited for. `nil` when nothing is.
local function refused_at_once(handle, question)
  if not question.path then
    return answer.refusal(400, "request_malformed", "the request has no target")
  end
  local refusal = settings.mode == "web" and web.read(handle, question)
  if refusal then
    return refusal
  end
  if not question.identity then
    return answer.refusal(401, "token_missing", "the request carries no identity", "Bearer")
  end
  if question.encoding and question.encoding ~= "identity" and settings.decides then
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
  if READS[question.method] then
    return answer.refusal(400, "request_ambiguous", "a request that reads, with a body, can be read in two ways")
  end
  if #body > settings.body_bytes then
    return answer.refusal(400, "request_malformed", "the request body is too large to decide on")
  end
  return nil
end

-- Whether the target is of a form that the arbiter and what is behind the gate read alike.
local function plain_target(path)
  if not settings.decides then
    return web.plain(path, settings.mode == "objects")
  end
  return string.find(path, "^/[%w_.~:@/?&=%%+,*$!'()-]*$") ~= nil
end

-- What is refused without asking. All of it is in a lease's key: a live lease proves that it was looked at.
local function refused_unasked(question, grpc)
  if not (question.session or question.nobody) and not string.find(question.identity, "^Bearer [%w._~+/=-]+$") then
    local challenge = 'Bearer error="invalid_token"'
    return answer.refusal(401, "token_malformed", "the identity is not one bearer token", challenge)
  end
  if not settings.methods[question.method] then
    return answer.refusal(403, "method_unknown", "the request uses an HTTP method that Remit does not know")
  end
  if not plain_target(question.path) then
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

local function ends(text, with)
  return string.sub(text, -#with) == with
end

-- Whether an endpoint is the last thing that a path names. One that says so twice does not count.
local function names_endpoint(path)
  local _, last = string.find(path, "/endpoints/", 1, true)
  return last ~= nil and last < #path and not string.find(path, "/", last + 1, true)
end

-- Of Google's REST: a GET has no body; raw predictions go by in a stream, since the path alone says what is asked; a
-- prediction has a lease when its path names an endpoint and its body cannot name another. No patterns: over a path
-- they were a third of what a prediction costs in here (measured).
local function read_google(handle, question)
  if question.method == "GET" then
    question.body, question.key = whole(handle), "read"
    return
  end
  local query = string.find(question.path, "?", 1, true)
  local bare = query and string.sub(question.path, 1, query - 1) or question.path
  local posted = question.method == "POST"
  if posted and (ends(bare, ":rawPredict") or ends(bare, ":streamRawPredict")) then
    question.key = ""
    return
  end
  question.body = whole(handle)
  if posted and ends(bare, ":predict") and names_endpoint(bare) then
    question.key = not wire.may_name_endpoint(question.kind, question.body) and "predict" or nil
  end
end

-- Of a service's request: a body only where something is written. It is looked at even if a lease may answer.
local function read_service(handle, question)
  local reads = READS[question.method]
  local body = reads and whole(handle)
  question.body = body and body ~= "" and body or nil
  if settings.mode == "web" then
    question.key = web.key(question)
  else
    question.key = reads and "read" or ""
  end
end

local function read_body(handle, question, grpc)
  local mode = settings.mode
  question.upgrade = question.method == "GET" and settings.websockets and wire.upgrades(handle)
  if question.upgrade then
    return -- there is no body to wait for, and no lease: every WebSocket has a decision of its own
  end
  if grpc and settings.decides then
    read_message(handle, question)
  elseif mode == "google" then
    read_google(handle, question)
  elseif settings.assertion then
    read_service(handle, question)
  elseif READS[question.method] then
    local body = whole(handle)
    question.body = body ~= "" and body or nil
    question.key = question.method == "GET" and "read" or nil
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
-- it may only have been under way, so the arbiter is asked once more. One that needs longer than a question lasts says
-- so, and is asked anew while what it fetched for the last question comes in; the last time it has to say what it has.
local function ask_arbiter(handle, question)
  handle:streamInfo():dynamicMetadata():set("remit", "asked", true)
  local stale = 0
  for turn = 1, ASKED do
    local began = lease.now()
    local entry = check.ask(handle, settings, question, turn == ASKED)
    if not entry.again then
      if lease.current(entry.epoch) then
        return entry, began
      end
      stale = stale + 1
      if stale > 1 then
        break
      end
    end
  end
  return check.unavailable(), 0
end

-- Asks, and remembers what may be repeated: never an answer that came with a body. `held`: a lease that still lives,
-- whose renewal this is: it stands in when the arbiter is away, for as long as it would have lasted anyway.
local function ask(handle, grpc, question, held)
  local entry, began = refused_unasked(question, grpc), lease.now()
  if not entry then
    entry, began = ask_arbiter(handle, question)
  end
  local lasts = life(entry)
  if question.key and lasts > 0 and not entry.instead then
    lease.keep(began, settings, entry, lasts, question)
  elseif entry.code == 503 and held and held.epoch == lease.epoch and lease.now() < held.till then
    return held
  end
  return entry
end

-- Puts the arbiter's body in the caller's place. Only a body that was seen whole can be replaced by one that was not
-- sent, and a message by one message; `false` when it cannot.
local function replace_body(handle, grpc, question, instead)
  if not question.body or question.body == "" or (grpc and not wire.one_message(instead)) then
    return false
  end
  handle:body():setBytes(instead)
  if grpc then
    local fields = wire.walk(instead, { true })
    question.first = fields and fields[1]
  end
  return true
end

-- Who asks, for a service: Remit's assertion, and no other identity. Only web services see cookies, less Remit's own.
local function introduce(headers, question, entry)
  headers:remove("authorization")
  headers:replace("x-remit-assertion", entry.credential)
  if question.cookie or settings.mode ~= "web" then
    headers:remove("cookie")
    if question.rest then
      headers:add("cookie", question.rest)
    end
  end
end

-- Replaces what goes upstream; its last act is the proof.
local function permit(handle, grpc, question, entry)
  local headers = handle:headers()
  if not grpc or not wire.routes_to(headers:get("x-goog-request-params"), question.first) then
    headers:remove("x-goog-request-params")
  end
  if settings.assertion then
    introduce(headers, question, entry)
  else
    headers:replace("authorization", entry.credential)
    headers:replace("x-goog-request-reason", entry.mark)
  end
  local metadata = handle:streamInfo():dynamicMetadata()
  if entry.tell then
    metadata:set("remit", "tell", true)
  end
  metadata:set("remit", "decision", entry.id)
end

-- Says the answer: a refusal to the caller, a permit to the filters behind.
local function conclude(handle, grpc, question, entry)
  if not entry.permit then
    return answer.send(handle, grpc, entry)
  end
  if entry.instead and not replace_body(handle, grpc, question, entry.instead) then
    return answer.send(handle, grpc, check.unavailable())
  end
  permit(handle, grpc, question, entry)
end

local function gate(handle)
  -- 1 who asks, from where, what for: the question is all that the arbiter is told
  settings = settings or configured(handle)
  local question = wire.read(handle)
  local grpc = wire.calls_itself_grpc(question.kind)
  if settings.quick and not grpc and not question.encoding then
    local entry = lease.ready(lease.now(), question, "") -- of requests whose body nobody reads
    if entry then
      return conclude(handle, grpc, question, entry)
    end
  end
  local refusal = refused_at_once(handle, question)
  if refusal then
    return answer.send(handle, grpc, refusal)
  end

  -- 2 the body, where it must be seen
  read_body(handle, question, grpc)
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
  if grpc and entry.permit and question.body and not wire.one_message(question.body) then
    entry = answer.refusal(400, "request_ambiguous", "a call must hold exactly one plain message")
  end

  -- 5 replace what goes upstream, then mark the request as permitted
  conclude(handle, grpc, question, entry)
end

function envoy_on_request(handle)
  local passed, trouble = pcall(gate, handle)
  if not passed then
    handle:logErr("the gate failed: " .. tostring(trouble))
    answer.send(handle, false, answer.refusal(503, "plane_unavailable", "remit cannot decide right now"))
  end
end
