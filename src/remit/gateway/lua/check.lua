-- Asking the arbiter, and reading its answer so that only a whole permit is one.
--
-- A token goes to the check listener, which verifies its signature natively before the arbiter sees it; a session, and
-- nobody, to the arbiter at once. That listener answers by itself in two cases: 401 or 403 for the token, 5xx when the
-- arbiter cannot be reached. To a gRPC content type it says both as a status in a 200: a 200 alone means nothing here.

local check = {}

local BODY_BYTES = 4194304 -- of a body that the arbiter puts in a message's place: launches, which have a few KiB
local CREDENTIAL_BYTES = 16384 -- Google's tokens may have 2,048, Remit's assertions have about a thousand

-- What Envoy's jwt_authn says, and which reason that is. Source: google/jwt_verify_lib, getStatusString.
local NATIVE = {
  ["Jwt is missing"] = "token_missing",
  ["Jwt is expired"] = "token_expired",
  ["Jwt not yet valid"] = "token_not_yet_valid",
  ["Audiences in Jwt are not allowed"] = "token_audience",
  ["Jwt issuer is not configured"] = "token_issuer",
  ["Jwt verification fails"] = "token_signature",
  ["Jwks doesn't have key to match kid or alg from Jwt"] = "token_signature",
}

-- Every header of the arbiter's that counts. One that stands twice makes the whole answer void.
local COUNTED = {
  ":status",
  "authorization",
  "location",
  "www-authenticate",
  "x-remit-again",
  "x-remit-assertion",
  "x-remit-body",
  "x-remit-decision",
  "x-remit-epoch",
  "x-remit-grpc-message",
  "x-remit-grpc-status",
  "x-remit-lease-ms",
  "x-remit-reason",
  "x-remit-tell",
}

-- Who opened the tunnel: the address, and the id of the job, if it is one.
local function caller_of(question)
  local peer, job = string.match(question.caller, "^(%S+) (%S*)$")
  return peer, job and string.find(job, "^j%-%w+$") and job or nil
end

-- The number of a header; `nil` when there is none, or more than a whole number can hold here.
local function epoch_of(response)
  local text = response["x-remit-epoch"]
  return text and #text <= 15 and string.find(text, "^%d+$") and tonumber(text) or nil
end

function check.unavailable()
  return answer.refusal(503, "plane_unavailable", "remit cannot decide right now")
end

local function unescape(text)
  return (string.gsub(text, "%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function native_refusal(said)
  local reason = NATIVE[said] or "token_malformed"
  return answer.refusal(401, reason, "the token was not accepted", 'Bearer error="invalid_token"')
end

-- What the upstream will be shown, of the one kind that this host takes.
local function credential_of(response, settings)
  local name, other, form = "authorization", "x-remit-assertion", "^Bearer [%w._~+/=-]+$"
  if settings.assertion then
    name, other, form = other, name, "^[%w_-]+%.[%w_-]+%.[%w_-]+$"
  end
  local credential = response[name]
  if response[other] or not credential or #credential > CREDENTIAL_BYTES or not string.find(credential, form) then
    return nil
  end
  return credential
end

-- Whether a header is absent or says the one thing that it may say.
local function only(value, word)
  return value == nil or value == word
end

local function permitted(response, body, id, settings)
  local credential, life, epoch = credential_of(response, settings), response["x-remit-lease-ms"], epoch_of(response)
  local instead, tell = response["x-remit-body"], response["x-remit-tell"]
  if not epoch or not credential or not only(instead, "replace") or not only(tell, "1") then
    return check.unavailable()
  end
  if not life or not string.find(life, "^%d%d?%d?%d?%d?%d?$") then
    return check.unavailable()
  end
  if instead and (not body or body == "" or #body > BODY_BYTES) then
    return check.unavailable()
  end
  return {
    permit = true,
    id = id,
    credential = credential,
    mark = "decision/" .. id,
    lease_ms = tonumber(life),
    epoch = epoch,
    instead = instead and body,
    tell = tell ~= nil,
  }
end

local REFUSED = { ["400"] = "3", ["401"] = "16", ["403"] = "7", ["503"] = "14" }

local function refused(response, body, id, settings)
  local reason, location = response["x-remit-reason"], response["location"]
  if not string.find(reason, "^[a-z_]+$") or #reason > 64 then
    return check.unavailable()
  end
  if settings.mode ~= "web" then
    location = nil
  elseif location and not web.leads_home(location) then
    return check.unavailable()
  end
  local status, said = response["x-remit-grpc-status"], response["x-remit-grpc-message"]
  return {
    permit = false,
    id = id,
    epoch = epoch_of(response),
    code = tonumber(response[":status"]),
    reason = reason,
    grpc_status = status and string.find(status, "^%d%d?$") and tonumber(status) ~= 0 and status
      or REFUSED[response[":status"]],
    grpc_message = said and string.find(said, "^[ -~]+$") and said or reason,
    challenge = response["www-authenticate"],
    location = location,
    body = body or "",
  }
end

local function read(response, body, settings)
  for _, name in ipairs(COUNTED) do
    if type(response[name]) == "table" then
      return check.unavailable()
    end
  end
  local status, id, reason = response[":status"], response["x-remit-decision"], response["x-remit-reason"]
  local again = response["x-remit-again"]
  if again then
    local entry = check.unavailable()
    entry.again = status == "503" and again == "1"
    return entry
  end
  if id and (not string.find(id, "^d%-%w+$") or #id > 64) then
    return check.unavailable()
  end
  if status == "200" and id and not reason then
    return permitted(response, body, id, settings)
  end
  if reason then
    return REFUSED[status] and refused(response, body, id, settings) or check.unavailable()
  end
  local said, number = body, status
  if status == "200" then
    said, number = unescape(response["grpc-message"] or ""), response["grpc-status"]
  end
  if number == "401" or number == "16" or NATIVE[said] then
    return native_refusal(said)
  end
  return check.unavailable()
end

-- The arbiter's verdict on a question (`wire.read`). With a body the decision is on that as well. Who is nobody is
-- permitted nothing. `last`: nobody asks a second time; else the arbiter may say that its decision needs longer, and
-- the entry has `again`.
function check.ask(handle, settings, question, last)
  local body = question.method ~= "GET" and question.body or nil
  local peer, job = caller_of(question)
  local direct = question.session or question.nobody
  local asked = {
    [":method"] = question.method,
    [":path"] = "/check" .. question.path,
    [":authority"] = settings.host,
    ["authorization"] = not direct and question.identity or nil,
    ["cookie"] = question.session and "__Host-remit=" .. question.session or nil,
    ["accept"] = question.accept,
    ["origin"] = question.origin,
    ["content-type"] = question.kind ~= "" and question.kind or nil,
    ["x-remit-peer"] = peer,
    ["x-remit-job"] = job,
    ["x-remit-upgrade"] = question.upgrade and "websocket" or nil,
    ["x-remit-body"] = body and "whole" or "none",
    ["x-remit-again"] = not last and "1" or nil,
  }
  local options = { timeout_ms = settings.timeout_ms, send_xff = false, return_duplicate_headers = true }
  local response, said = handle:httpCall(direct and "arbiter" or "check", asked, body, options)
  local unanswered = response[":status"] == "503" and not response["x-remit-reason"] and not response["x-remit-again"]
  if direct and unanswered then
    -- an arbiter that another one relieves leaves questions unanswered; the check listener asks again by itself
    response, said = handle:httpCall("arbiter", asked, body, options)
  end
  local entry = read(response, said, settings)
  return question.nobody and entry.permit and check.unavailable() or entry
end
