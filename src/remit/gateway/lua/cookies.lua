-- Cookies that a service sets: all but those with Remit's names, by which it could sign its visitors in as another.
--
-- A browser strips blanks, and reads `=__Host-remit=x` as a cookie without a name and sends it back as ours. It sends
-- `\xa0__Host-remit=x` back as it is, and a lenient reader strips that.

local function foreign(line)
  return not string.find(string.lower((string.gsub(line, "^[^%w_]+", ""))), "^__host%-remit")
end

local function keep(headers)
  local kept = {}
  for index = 0, headers:getNumValues("set-cookie") - 1 do
    local line = headers:getAtIndex("set-cookie", index)
    if foreign(line) then
      kept[#kept + 1] = line
    end
  end
  headers:remove("set-cookie")
  for _, line in ipairs(kept) do
    headers:add("set-cookie", line)
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if not pcall(keep, headers) then
    headers:remove("set-cookie")
  end
end
