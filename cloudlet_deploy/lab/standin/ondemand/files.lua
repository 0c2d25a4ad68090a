-- The files app of the stand-in: a page for a directory; all else is nginx's own work.
local dirent = require "posix.dirent"
local stat = require "posix.sys.stat"
local page = dofile("/opt/ood/nginx_stage/lib/page.lua")

local FORM = [[
<form>
  <p><input id="name" placeholder="name of the file" required></p>
  <p><textarea id="content" rows="10" cols="60"></textarea></p>
  <p><button id="save">Save</button> <output id="status"></output></p>
</form>
<script>
  document.forms[0].addEventListener("submit", async (event) => {
    event.preventDefault();
    const [name, content, told] = ["name", "content", "status"].map(
      (id) => document.getElementById(id));
    const answer = await fetch(encodeURIComponent(name.value),
      { method: "PUT", body: content.value });
    told.value = answer.ok ? "saved " + name.value : "failed: " + answer.status;
  });
</script>
]]

local path = ngx.var.uri:match("^/pun/sys/dashboard/files/fs(/.*)$")
local found = stat.stat(path)
if ngx.req.get_method() ~= "GET" or not path:match("/$") then return end
if not found then return ngx.exit(ngx.HTTP_NOT_FOUND) end
local good, names = pcall(dirent.dir, path)
if not good then return ngx.exit(ngx.HTTP_FORBIDDEN) end
table.sort(names)
local out = { "<ul>\n" }
for _, name in ipairs(names) do
  if name ~= "." and (name ~= ".." or path ~= "/") then
    local one = stat.stat(path .. name)
    local slash = one and stat.S_ISDIR(one.st_mode) ~= 0 and "/" or ""
    out[#out + 1] = ('<li><a class="entry" href="%s%s">%s%s</a></li>\n'):format(
      ngx.escape_uri(name), slash, page.escaped(name), slash)
  end
end
out[#out + 1] = "</ul>\n" .. FORM
page.send(path, table.concat(out))
return ngx.exit(ngx.HTTP_OK)
