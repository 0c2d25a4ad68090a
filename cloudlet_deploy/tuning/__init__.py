"""The tuning model: from a host, a load and a site's shape to settings with their reasons.

Nothing in here reads or writes anything. Every formula stands once, beside the words for it:
in ``door``, ``transfer``, ``hdfs``, ``kernel``, ``kernel_limits``. docs/tuning.md is its prose.
"""

from cloudlet_deploy.tuning.model import MODEL_VERSION, RULES, advise
from cloudlet_deploy.tuning.types import (
    Advice,
    HostReading,
    Load,
    Pin,
    Scalar,
    Seen,
    Setting,
    Shape,
)

__all__ = [
    "MODEL_VERSION",
    "RULES",
    "Advice",
    "HostReading",
    "Load",
    "Pin",
    "Scalar",
    "Seen",
    "Setting",
    "Shape",
    "advise",
]
