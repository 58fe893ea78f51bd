-- Asking the arbiter, and reading its answer so that only a whole permit is one.
--
-- The call goes to the check listener, which verifies the token's signature natively before the arbiter sees it.
-- That listener answers by itself in two cases: 401 or 403 for the token, 5xx when the arbiter cannot be reached. To a gRPC
-- content type it says both as a status in a 200, so a 200 alone means nothing here.

local check = {}

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

local function permitted(response, id)
  local credential, life, epoch = response["authorization"], response["x-remit-lease-ms"], epoch_of(response)
  if not epoch then
    return check.unavailable()
  end
  if not credential or not string.find(credential, "^Bearer [%w._~+/=-]+$") then
    return check.unavailable()
  end
  if not life or not string.find(life, "^%d%d?%d?%d?%d?%d?$") then
    return check.unavailable()
  end
  local mark = "decision/" .. id
  return { permit = true, id = id, credential = credential, mark = mark, lease_ms = tonumber(life), epoch = epoch }
end

local REFUSED = { ["400"] = "3", ["401"] = "16", ["403"] = "7", ["503"] = "14" }

local function refused(response, body, id)
  local reason = response["x-remit-reason"]
  if not reason or not string.find(reason, "^[a-z_]+$") or #reason > 64 then
    return check.unavailable()
  end
  local status = response["x-remit-grpc-status"]
  return {
    permit = false,
    id = id,
    epoch = epoch_of(response),
    code = tonumber(response[":status"]),
    reason = reason,
    grpc_status = status and string.find(status, "^%d%d?$") and status ~= "0" and status
      or REFUSED[response[":status"]],
    grpc_message = response["x-remit-grpc-message"] or reason,
    challenge = response["www-authenticate"],
    body = body or "",
  }
end

local function read(response, body)
  local status, id, reason = response[":status"], response["x-remit-decision"], response["x-remit-reason"]
  if id and (not string.find(id, "^d%-%w+$") or #id > 64) then
    return check.unavailable()
  end
  if status == "200" and id and not reason then
    return permitted(response, id)
  end
  if reason then
    return REFUSED[status] and refused(response, body, id) or check.unavailable()
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

-- The arbiter's verdict on a question (`wire.read`). With a body the decision is on that as well.
function check.ask(handle, settings, question)
  local body = question.method ~= "GET" and question.body or nil
  local peer, job = caller_of(question)
  local response, said = handle:httpCall("check", {
    [":method"] = question.method,
    [":path"] = "/check" .. question.path,
    [":authority"] = settings.host,
    ["authorization"] = question.identity,
    ["content-type"] = question.kind ~= "" and question.kind or nil,
    ["x-remit-peer"] = peer,
    ["x-remit-job"] = job,
    ["x-remit-upgrade"] = question.upgrade and "websocket" or nil,
    ["x-remit-body"] = body and "whole" or "none",
  }, body, settings.timeout_ms)
  return read(response, said)
end
