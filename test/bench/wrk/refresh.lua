-- POST /auth/refresh, each time with the cookie that the last answer to that session set. Arguments: cookie's name, tokens.
dofile(debug.getinfo(1, 'S').source:sub(2):match('.*/') .. 'common.lua')
local waiting, first, last, name = {}, 1, 0, ''

local function push(token)
  last = last + 1
  waiting[last] = token
end

function init(args)
  name = args[1]
  for _, token in ipairs(lines_of(args[2])) do push(token) end
end

function request()
  local token = waiting[first]
  waiting[first] = nil
  first = first + 1
  return wrk.format('POST', '/auth/refresh', { ['cookie'] = name .. '=' .. token })
end

function response(status, headers)
  local cookie = headers['set-cookie'] or headers['Set-Cookie'] or ''
  local token = cookie:match(name:gsub('%-', '%%-') .. '=([^;]+)')
  if token then push(token) end
end
