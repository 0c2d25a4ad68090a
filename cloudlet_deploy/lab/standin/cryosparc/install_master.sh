#!/usr/bin/env bash
# Lab stand-in for the installer of CryoSPARC's master; see STAND-IN beside it.
set -e
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
license="" hostname="$(hostname -f)" port=61000 dbpath="" yes=false
while [ $# -gt 0 ]; do
  case "$1" in
    --license) license="$2"; shift 2 ;;
    --hostname) hostname="$2"; shift 2 ;;
    --port) port="$2"; shift 2 ;;
    --dbpath) dbpath="$2"; shift 2 ;;
    --yes) yes=true; shift ;;
    *) echo "ERROR: unknown argument $1" >&2; exit 1 ;;
  esac
done
fail() { echo "ERROR: $*" >&2; exit 1; }
[ "$(id -u)" != 0 ] || fail "the installer must not be run as root"
[ "${#here}" -le 83 ] || fail "the installation path has ${#here} characters, at most 83 are possible"
[[ "$license" =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]] || fail "the license ID is not valid"
[ -n "$dbpath" ] || fail "--dbpath is required"
$yes || { read -r -p "Install to $here? [y/n] " answer && [ "$answer" = y ]; } || fail "cancelled"
echo "Installing the stand-in of CryoSPARC $(cat "$here/version") ..."
mkdir -p "$dbpath" "$here/run"
python3 -m compileall -q "$here/lib"
# A real one takes minutes for its dependencies; long enough here to look at the processes meanwhile.
sleep 1
[ ! -e "$HOME/.standin-fail-install" ] || fail "dependencies could not be installed (asked to fail)"
cat >"$here/config.sh" <<END
export CRYOSPARC_LICENSE_ID="$license"
export CRYOSPARC_MASTER_HOSTNAME="$hostname"
export CRYOSPARC_DB_PATH="$dbpath"
export CRYOSPARC_BASE_PORT=$port
export CRYOSPARC_DB_CONNECTION_TIMEOUT_MS=20000
END
echo "Installation complete. Start it with cryosparcm start."
