-- The table of leases: the last answer of the arbiter, for the same question, for at most half a second.
--
-- The key is everything that the arbiter was told: identity (a token, or a session), peer and job, method, path with
-- query, content type, and last for gRPC the values of the fields that name resources, for browsers their origin. Nested
-- tables, not one joined text: nothing can be shifted from one part to the next, and a token of 1.6 KiB is hashed once.
-- The host is not in it: every site has its own table.
-- Bounded by two generations: the young one becomes the old one when it is half the bound, or half a second, old.
-- A revocation raises the epoch that every answer carries: the first answer with a higher one ends all leases of this
-- table. The epoch never falls while Envoy lives: an installation that is restored from a backup with a lower one is
-- answered 503 until its Envoys are started anew, as its supervisor does.

local lease = { young = {}, old = {}, count = 0, turned = 0, epoch = 0 }

local clock

-- Milliseconds of the monotonic clock: a step of the wall clock must not lengthen a lease (fault F10).
local function monotonic()
  local ffi = require("ffi")
  ffi.cdef("typedef struct { long s; long ns; } remit_time; int clock_gettime(int, remit_time *);")
  local time = ffi.new("remit_time")
  return function()
    ffi.C.clock_gettime(1, time)
    return tonumber(time.s) * 1000 + tonumber(time.ns) / 1000000
  end
end

function lease.now()
  clock = clock or monotonic()
  return clock()
end

-- Half of what the table costs is collecting garbage, of which every request makes some: four times the memory that
-- lives may be taken before it is looked for (the default is twice; measured).
collectgarbage("setpause", 400)

local function dig(tree, question, key)
  local branch = tree[question.identity]
  branch = branch and branch[question.caller]
  branch = branch and branch[question.path]
  branch = branch and branch[question.method]
  branch = branch and branch[question.kind]
  return branch and branch[key]
end

-- The live answer to this question under this key, unless it is this request's turn to ask again.
function lease.ready(now, question, key)
  local entry = dig(lease.young, question, key) or dig(lease.old, question, key)
  return entry and (now < entry.renew or (entry.renewing and now < entry.till)) and entry or nil
end

-- The live answer to this question, and whether to ask again: one request does so in the last fifth of a lease's
-- life, while the others still go by it. Else every request of that moment would ask at once.
function lease.find(now, question)
  local entry = dig(lease.young, question, question.key) or dig(lease.old, question, question.key)
  if not entry or now >= entry.till then
    return nil, true
  end
  if now >= entry.renew and not entry.renewing then
    entry.renewing = true
    return entry, true
  end
  return entry, false
end

-- Whether an answer of this epoch may be believed: not one that is older than another answer that was seen, since who
-- gave it has not heard of a revocation. `nil` is no epoch, and says nothing about revocations.
function lease.current(epoch)
  if not epoch or epoch == lease.epoch then
    return true
  end
  if epoch < lease.epoch then
    return false
  end
  lease.epoch = epoch
  lease.young, lease.old, lease.count = {}, {}, 0
  return true
end

local function grow(branch, key)
  local next = branch[key]
  if not next then
    next = {}
    branch[key] = next
  end
  return next
end

-- `began`: when the question was asked; `life`: milliseconds from then.
function lease.keep(began, settings, entry, life, question)
  if lease.count >= settings.entries / 2 or began - lease.turned >= settings.lease_ms then
    lease.old, lease.young, lease.count, lease.turned = lease.young, {}, 0, began
  end
  local branch = grow(grow(grow(lease.young, question.identity), question.caller), question.path)
  branch = grow(grow(branch, question.method), question.kind)
  entry.till, entry.renew = began + life, began + life * 4 / 5
  branch[question.key] = entry
  lease.count = lease.count + 1
end
