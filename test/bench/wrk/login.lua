-- POST /auth/login with one after another of the addresses in a file. Arguments: password, addresses.
dofile(debug.getinfo(1, 'S').source:sub(2):match('.*/') .. 'common.lua')

function init(args)
  for _, email in ipairs(lines_of(args[2])) do
    requests[#requests + 1] = wrk.format('POST', '/auth/login', { ['content-type'] = 'application/json' },
      '{"email":"' .. email .. '","password":"' .. args[1] .. '"}')
  end
end
