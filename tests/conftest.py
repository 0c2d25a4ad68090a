"""Makes ``ansible_collections.cloudlet.deploy`` importable from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from cloudlet_deploy import content

_COLLECTIONS = Path(__file__).resolve().parent.parent / ".cache" / "collections"
sys.path.insert(0, str(content.link_collection(_COLLECTIONS)))
