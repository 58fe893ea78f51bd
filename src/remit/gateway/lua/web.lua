-- What a browser says besides: the session's cookie, the page that it came from, what it wants to see.
--
-- Leaves out: what a session is worth (the arbiter). Source: RFC 6265bis section 4.1.3 (`__Host-`), RFC 3986 (targets).

local web = {}

local SESSION = "__Host-remit"
local SAID = "\0" -- before an identity that is no `authorization`: no header can hold it
local OURS = "^__host%-remit" -- of a cookie's name in small letters: the session, and what sign-ins travel with
local PATH = "^/[%w._~!$&'()*+,=:@%%/-]*$"
local QUERY = "^[%w._~!$&'()*+,;=:@%%/?%[%]|{}^`-]*$"
local ESCAPED = { ["2f"] = true, ["5c"] = true, ["2e"] = true, ["00"] = true }

-- The session's value, `nil` for none, and the cookies that are not Remit's, `nil` for none. `false` when two sessions
-- stand there, one that is none of ours, or the name where a cookie has no name.
function web.cookies(cookie)
  if not string.find(string.lower(cookie), "__host-remit", 1, true) then
    return nil, cookie
  end
  local session, kept = nil, {}
  for pair in string.gmatch(cookie, "%s*([^;]*)") do
    local name, value = string.match(pair, "^([^=]*)=?(.*)$")
    if name == SESSION then
      if session or not string.find(value, "^[%w._~+/=-]*$") or #value > 4096 then
        return false
      end
      session = value
    elseif pair ~= "" and not string.find(string.lower(name), OURS) then
      kept[#kept + 1] = pair
    end
  end
  local rest = table.concat(kept, "; ")
  if string.find(string.lower(rest), "__host-remit", 1, true) then
    return false
  end
  return session ~= "" and session or nil, rest ~= "" and rest or nil
end

-- Adds to the question what only browsers say, and puts the session in the place of a missing identity.
function web.read(handle, question)
  local headers = handle:headers()
  local cookie = headers:get("cookie")
  question.origin, question.accept = headers:get("origin"), headers:get("accept")
  local wanted = question.method == "GET" and question.accept
  question.page = wanted and string.find(wanted, "text/html", 1, true) ~= nil
  if cookie then
    question.cookie = true
    question.session, question.rest = web.cookies(cookie)
  end
  if question.session == false or (question.session and question.identity) then
    return answer.refusal(400, "request_ambiguous", "the request carries more than one identity")
  end
  if question.session then
    question.identity = SAID .. "session " .. question.session
  elseif not question.identity and question.page then
    question.identity, question.nobody = SAID .. "nobody", true -- who may be told where to sign in, and nothing else
  end
  return nil
end

-- The rest of a lease's key: all that the arbiter is told besides and an answer may rest on.
function web.key(question)
  return (question.page and "page" or "data") .. (question.origin and " from " .. question.origin or "")
end

-- Whether every escape in this path is one. `slashes`: whether an escaped slash is part of a name.
local function plainly_escaped(path, slashes)
  local strange = false
  for digits in string.gmatch(path, "%%(..?)") do
    local small = string.lower(digits)
    if not string.find(digits, "^%x%x$") or (ESCAPED[small] and not (slashes and small ~= "00")) then
      strange = true
    end
  end
  return not strange and not string.find(path, "%%.?$")
end

-- Whether all parsers read this target alike: no dot or empty segment, parameter, backslash or fragment.
function web.plain(target, slashes)
  local path, query = string.match(target, "^([^?]*)%??(.*)$")
  if not string.find(path, PATH) or not string.find(query, QUERY) then
    return false
  end
  if string.find(path, "//", 1, true) or string.find(path .. "/", "/%.%.?/") or string.find(query, "%00", 1, true) then
    return false
  end
  return plainly_escaped(path, slashes) and (slashes or not string.find(path, "%%25"))
end

-- Whether this may follow `location`: a path of Remit's own door.
function web.leads_home(location)
  return string.find(location, "^/[%w_.~:@/?&=%%+,-]*$") ~= nil and string.sub(location, 2, 2) ~= "/"
end
