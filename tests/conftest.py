"""Makes ``ansible_collections.cloudlet.deploy`` importable, and signals what they usually are."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from cloudlet_deploy import content

_COLLECTIONS = Path(__file__).resolve().parent.parent / ".cache" / "collections"
sys.path.insert(0, str(content.link_collection(_COLLECTIONS)))

# A run under nohup or in the background ignores these, and so would the programs under test.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
