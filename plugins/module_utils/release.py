# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The release that this code belongs to, for what it leaves on hosts."""

from __future__ import annotations

#: As in galaxy.yml and in the Python package; a test keeps them equal.
RELEASE = "0.1.0"
