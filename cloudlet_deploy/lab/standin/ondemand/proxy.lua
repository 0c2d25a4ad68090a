-- Apache's part of the Open OnDemand stand-in: who is it, and to which server does it go.
-- Each function is a hook of mod_lua's fixups phase: authentication is over by then.

local unistd = require "posix.unistd"

local SOCKETS = "/run/ondemand-nginx/"
local TRIES = 5

local function percent(text, kept)
  return (text:gsub("[^" .. kept .. "]", function(c) return ("%%%02x"):format(c:byte()) end))
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function fail(r, text)
  r.status = 404
  r.content_type = "text/plain; charset=utf-8"
  r:puts("Error -- " .. text .. "\n")
  return apache2.DONE
end

local function redirect(r, where)
  r.status = 302
  r.headers_out["Location"] = where
  return apache2.DONE
end

-- The local account of whoever asks, or nil. Of the program's answer only the first line counts.
local function mapped(r)
  local claim = r.user
  if r.subprocess_env["OOD_USER_ENV"] then
    claim = r.subprocess_env[r.subprocess_env["OOD_USER_ENV"]]
  end
  if not claim or claim == "" then return nil end
  local program = r.subprocess_env["OOD_USER_MAP_CMD"]
  local user
  if program then
    local escaped = percent(claim, "%w%-_.* "):gsub(" ", "+")
    local pipe = io.popen(program .. " '" .. escaped .. "'")
    user = pipe:read("*l")
    pipe:close()
  else
    user = claim:match(r.subprocess_env["OOD_USER_MAP_MATCH"])
  end
  return user ~= "" and user or nil
end

local function unmapped(r)
  local where = r.subprocess_env["OOD_MAP_FAIL_URI"]
  if where then
    return redirect(r, where .. "?redir=" .. percent(r.unparsed_uri, "%w%-_.~"))
  end
  return fail(r, "failed to map user")
end

-- Run nginx_stage; what it says is what went wrong.
local function stage(r, arguments)
  local pipe = io.popen(r.subprocess_env["OOD_PUN_STAGE_CMD"] .. " " .. arguments .. " 2>&1")
  local said = pipe:read("*a")
  pipe:close()
  if said ~= "" then return said:gsub("^Error %-%- ", ""):gsub("%s+$", "") end
end

-- The user's own server, started unless it is there.
function pun(r)
  local user = mapped(r)
  if not user then return unmapped(r) end
  local socket = SOCKETS .. user .. "/passenger.sock"
  local missing = r.subprocess_env["OOD_PORTAL_URL"]
    .. "/nginx/init?redir=$http_x_forwarded_escaped_uri"
  local trouble
  for _ = 1, TRIES do
    if r:stat(socket) then break end
    trouble = stage(r, "pun -u " .. quoted(user) .. " -a " .. quoted(missing))
    if trouble then unistd.sleep(1) end
  end
  if not r:stat(socket) then return fail(r, trouble or "no server of this user") end
  r.headers_in["X-Forwarded-Escaped-Uri"] = percent(r.unparsed_uri, "%w%-_.~")
  r.filename = r.uri
  r.handler = "proxy:unix:" .. socket .. "|http://localhost"
  return apache2.OK
end

-- A server on some host; whoever asks needs an account's name, which need not exist.
function node(r)
  if not mapped(r) then return unmapped(r) end
  local e = r.subprocess_env
  local target = e["MATCH_HOST"] .. ":" .. e["MATCH_PORT"]
  local path = r.uri
  if not e["OOD_NODE_WHOLE"] then
    path = path:sub(#e["OOD_NODE_PREFIX"] + 1 + #e["MATCH_HOST"] + 1 + #e["MATCH_PORT"] + 1)
    if path == "" then path = "/" end
  end
  local scheme = e["OOD_NODE_SCHEME"]
  if (r.headers_in["Upgrade"] or ""):lower() == "websocket" then
    scheme = scheme == "https" and "wss" or "ws"
  end
  local query = r.args and r.args ~= "" and "?" .. r.args or ""
  r.handler = "proxy-server"
  r.proxyreq = apache2.PROXYREQ_REVERSE
  r.filename = "proxy:" .. scheme .. "://" .. target .. percent(path, "%w%-_.~!$&'()*+,;=:@/") .. query
  return apache2.OK
end

-- /nginx/init and /nginx/stop, where a server sends those whose app it does not know.
function control(r)
  local user = mapped(r)
  if not user then return unmapped(r) end
  local task = r.uri:match("^/nginx/(%a+)$")
  local given = (r.args or ""):match("redir=([^&]*)") or ""
  local where = r:unescape(given) or given
  if not where:match("^/pun/") then where = "/pun/sys/dashboard/" end
  local trouble
  if task == "init" then
    local app = where:match("^/pun(/%a+/[^/?]+)") or "/"
    trouble = stage(r, "app -u " .. quoted(user) .. " -r " .. quoted(app) .. " -i '/pun'")
  elseif task == "stop" then
    trouble = stage(r, "nginx -u " .. quoted(user) .. " -s stop")
  else
    trouble = "no such task"
  end
  return trouble and fail(r, trouble) or redirect(r, where)
end
