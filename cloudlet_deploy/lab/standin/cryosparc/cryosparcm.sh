#!/usr/bin/env bash
# Lab stand-in for CryoSPARC's cryosparcm; see STAND-IN beside it.
CRYOSPARC_ROOT_DIR="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)"
export CRYOSPARC_ROOT_DIR
if [ "$(id -u)" = 0 ]; then
  echo "ERROR: cryosparcm must not be run as root." >&2
  exit 1
fi
if [ ! -r "$CRYOSPARC_ROOT_DIR/config.sh" ]; then
  echo "ERROR: $CRYOSPARC_ROOT_DIR/config.sh cannot be read: run install.sh first." >&2
  exit 1
fi
. "$CRYOSPARC_ROOT_DIR/config.sh"
# A password goes on by the environment, which other accounts cannot read.
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --password) export CRYOSPARC_STANDIN_PASSWORD="$2"; shift 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done
PYTHONPATH="$CRYOSPARC_ROOT_DIR/lib" exec python3 -m cryosparc_standin.master "${arguments[@]}"
