-- How a refusal is said: Google's JSON error over REST, status in headers over gRPC, so that stock clients raise the
-- error that they know. Nothing here repeats what the caller sent.
-- Source: google.aip.dev/193 (errors), gRPC over HTTP/2 (trailers-only response).

local answer = {}

local STATUS = {
  [400] = { "INVALID_ARGUMENT", "3" },
  [401] = { "UNAUTHENTICATED", "16" },
  [403] = { "PERMISSION_DENIED", "7" },
  [503] = { "UNAVAILABLE", "14" },
}

local FORM = '{"error":{"code":%d,"message":"%s","status":"%s","details":['
  .. '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s","domain":"remit"}]}}'

-- A refusal of the gate's own. `code`: HTTP status; `reason`: from the closed list (`remit.model.reasons`).
function answer.refusal(code, reason, message, challenge)
  local name, number = STATUS[code][1], STATUS[code][2]
  return {
    permit = false,
    code = code,
    reason = reason,
    grpc_status = number,
    grpc_message = message,
    challenge = challenge,
    body = string.format(FORM, code, message, name, string.upper(reason)),
  }
end

function answer.send(handle, grpc, refusal)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("remit", "reason", refusal.reason) -- before the id, which without a reason is the proof of a permit
  if refusal.id then
    metadata:set("remit", "decision", refusal.id)
  end
  if refusal.location and not grpc then
    return handle:respond({
      [":status"] = "303",
      ["location"] = refusal.location,
      ["cache-control"] = "no-store",
      ["x-remit-reason"] = refusal.reason,
      ["x-remit-decision"] = refusal.id,
    })
  end
  local headers = {
    [":status"] = grpc and "200" or tostring(refusal.code),
    ["content-type"] = grpc and "application/grpc" or "application/json",
    ["cache-control"] = "no-store",
    ["x-remit-reason"] = refusal.reason,
    ["x-remit-decision"] = refusal.id,
    ["www-authenticate"] = refusal.challenge,
  }
  if grpc then
    headers["grpc-status"] = refusal.grpc_status
    headers["grpc-message"] = refusal.grpc_message
  end
  handle:respond(headers, not grpc and refusal.body or nil)
end
