-- What the pages of the stand-in's per-user server share. The worker that runs it is the user.
local page = {}

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

function page.escaped(text)
  return (tostring(text):gsub('[&<>"]', ENTITIES))
end

function page.send(title, body)
  ngx.header["Content-Type"] = "text/html; charset=utf-8"
  ngx.header["Cache-Control"] = "no-store"
  local head = '<!doctype html>\n<html lang="en"><meta charset="utf-8">\n<title>%s</title>\n'
    .. "<style>body { font: 16px sans-serif; max-width: 50em; margin: 2em auto }</style>\n"
    .. "<h1>%s</h1>\n"
  local foot = "<p><small>The lab's stand-in of Open OnDemand</small></p>\n"
  ngx.print(head:format(page.escaped(title), page.escaped(title)), body, foot)
end

return page
