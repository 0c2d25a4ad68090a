"""Where cloudlet-deploy keeps what it remembers on the controller."""

from __future__ import annotations

import os
from pathlib import Path


def state_home() -> Path:
    """The directory for state, by the XDG rules; a relative ``XDG_STATE_HOME`` is no value."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".local" / "state"
    return base / "cloudlet-deploy"
