-- What the upstream answered, told to the arbiter: what a launch was named, and why a cloud refused.
--
-- Runs only for the answers that `answers.py` picks. Whatever goes wrong here leaves the answer as it came.
-- Leaves out: answers that stay open, and refusals in the trailers of a call that had already answered.

local BODY_BYTES = 65536
local TIMEOUT_MS = 900
local LOCATION_BYTES = 4096 -- of an upload that began: its address holds the object's name and an id
local READ = { ["application/json"] = true, ["application/grpc"] = true, ["application/grpc+proto"] = true }

-- Whether the body is small: by its length, or by its kind where it has none (Google's own come in chunks).
local function small(headers)
  local length = headers:get("content-length")
  if length then
    return #length < 10 and tonumber(length) ~= nil and tonumber(length) <= BODY_BYTES
  end
  local kind = string.match(headers:get("content-type") or "", "^[%w/+.-]*")
  return READ[string.lower(kind)] == true
end

-- The answer's body, `nil` for none or a large one, and the status of a call, which may come after it. What waits may
-- not hold on to headers: Envoy takes them back (measured).
local function contents(handle)
  local body = small(handle:headers()) and handle:body() or nil
  local text = body and body:length() <= BODY_BYTES and body:getBytes(0, body:length()) or nil
  local headers = handle:headers()
  local status, said = headers:get("grpc-status"), headers:get("grpc-message")
  if body and not status and string.sub(headers:get("content-type") or "", 1, 16) == "application/grpc" then
    local trailers = handle:trailers()
    if trailers then
      status, said = trailers:get("grpc-status"), trailers:get("grpc-message")
    end
  end
  return text, status, said
end

local function tell(handle)
  local known = handle:streamInfo():dynamicMetadata():get("remit") or {}
  if known.reason or not known.decision then
    return -- an answer of Remit's own
  end
  local body, number, said = contents(handle)
  local location = handle:headers():get("location")
  local host = handle:metadata():get("host") or handle:streamInfo():requestedServerName()
  local response = handle:httpCall("arbiter", {
    [":method"] = "POST",
    [":path"] = "/answered/" .. known.decision,
    [":authority"] = host,
    ["x-remit-host"] = host,
    ["x-remit-status"] = handle:headers():get(":status"),
    ["x-remit-content-type"] = handle:headers():get("content-type"),
    ["x-remit-location"] = location and #location <= LOCATION_BYTES and location or nil,
    ["x-remit-grpc-status"] = number,
    ["x-remit-grpc-message"] = said,
  }, body, { timeout_ms = TIMEOUT_MS, send_xff = false, return_duplicate_headers = true })
  local cause = response["x-remit-upstream"]
  if response[":status"] == "200" and type(cause) == "string" and #cause <= 32 and string.find(cause, "^[a-z_]+$") then
    handle:headers():replace("x-remit-upstream", cause)
    handle:headers():replace("x-remit-decision", known.decision)
  end
end

function envoy_on_response(handle)
  handle:headers():remove("x-remit-upstream")
  local told, trouble = pcall(tell, handle)
  if not told then
    handle:logErr("an answer was not reported: " .. tostring(trouble))
  end
end
