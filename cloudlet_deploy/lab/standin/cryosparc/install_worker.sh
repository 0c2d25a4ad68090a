#!/usr/bin/env bash
# Lab stand-in for the installer of CryoSPARC's worker; see STAND-IN beside it.
set -e
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
license="" yes=false gpu=true
while [ $# -gt 0 ]; do
  case "$1" in
    --license) license="$2"; shift 2 ;;
    --nogpu) gpu=false; shift ;;
    --yes) yes=true; shift ;;
    *) echo "ERROR: unknown argument $1" >&2; exit 1 ;;
  esac
done
fail() { echo "ERROR: $*" >&2; exit 1; }
[ "$(id -u)" != 0 ] || fail "the installer must not be run as root"
[ "${#here}" -le 83 ] || fail "the installation path has ${#here} characters, at most 83 are possible"
[[ "$license" =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]] || fail "the license ID is not valid"
! $gpu || nvidia-smi >/dev/null 2>&1 || fail "no GPU was found; --nogpu installs without"
$yes || { read -r -p "Install to $here? [y/n] " answer && [ "$answer" = y ]; } || fail "cancelled"
echo "Installing the stand-in of CryoSPARC's worker $(cat "$here/version") ..."
python3 -m compileall -q "$here/lib"
sleep 1
cat >"$here/config.sh" <<END
export CRYOSPARC_LICENSE_ID="$license"
export CRYOSPARC_USE_GPU=$gpu
END
echo "Installation complete."
