-- GET of a path, with one after another of the access tokens in a file. Arguments: path, tokens (or nothing).
dofile(debug.getinfo(1, 'S').source:sub(2):match('.*/') .. 'common.lua')

function init(args)
  if args[2] == nil then requests[1] = wrk.format('GET', args[1]) return end
  for _, token in ipairs(lines_of(args[2])) do
    requests[#requests + 1] = wrk.format('GET', args[1], { ['authorization'] = 'Bearer ' .. token })
  end
end
