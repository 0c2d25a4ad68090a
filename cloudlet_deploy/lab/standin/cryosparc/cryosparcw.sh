#!/usr/bin/env bash
# Lab stand-in for CryoSPARC's cryosparcw; see STAND-IN beside it.
CRYOSPARC_ROOT_DIR="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)"
export CRYOSPARC_ROOT_DIR
# On the nodes of a cluster it may be run as it was unpacked.
[ ! -r "$CRYOSPARC_ROOT_DIR/config.sh" ] || . "$CRYOSPARC_ROOT_DIR/config.sh"
PYTHONPATH="$CRYOSPARC_ROOT_DIR/lib" PYTHONDONTWRITEBYTECODE=1 exec python3 -m cryosparc_standin.worker "$@"
