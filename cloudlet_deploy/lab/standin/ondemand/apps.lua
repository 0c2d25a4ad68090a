-- The dashboard of the stand-in: the link apps that the user may read.
local dirent = require "posix.dirent"
local lyaml = require "lyaml"
local page = dofile("/opt/ood/nginx_stage/lib/page.lua")

local function app(directory)
  local file = io.open(directory .. "/manifest.yml")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  local good, manifest = pcall(lyaml.load, text)
  return good and type(manifest) == "table" and manifest.url and manifest or nil
end

local names = {}
for name in dirent.files(ngx.var.apps) do
  if not name:match("^%.") then names[#names + 1] = name end
end
table.sort(names)
local out = { "<ul>\n" }
for _, name in ipairs(names) do
  local found = app(ngx.var.apps .. "/" .. name)
  if found then
    local target = found.new_window == false and "" or ' target="_blank"'
    out[#out + 1] = ('<li><a class="app" href="%s"%s>%s</a> %s</li>\n'):format(
      page.escaped(found.url), target, page.escaped(found.name or name),
      page.escaped(found.description or ""))
  end
end
out[#out + 1] = ('</ul>\n<p><a id="files" href="/pun/sys/dashboard/files/fs%s/">Files</a></p>\n')
  :format(page.escaped(ngx.var.home))
page.send(ngx.var.title, table.concat(out))
