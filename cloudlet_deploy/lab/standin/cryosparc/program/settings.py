"""What config.sh says, as the programs of the stand-in get it by their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: What listens at which distance from the base port.
WEB, DATABASE, API, VIS, CACHE, SUPERVISOR, APP_API = range(7)
PORTS = 10


@dataclass(frozen=True)
class Settings:
    """One installation of the master."""

    root: Path
    version: str
    license: str
    hostname: str
    database: Path
    base_port: int

    @property
    def major(self) -> int:
        return int(self.version.lstrip("v").split(".")[0])


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings; KeyError where config.sh lacks one."""
    root = Path(environ["CRYOSPARC_ROOT_DIR"])
    return Settings(
        root,
        (root / "version").read_text().strip(),
        environ["CRYOSPARC_LICENSE_ID"],
        environ["CRYOSPARC_MASTER_HOSTNAME"],
        Path(environ["CRYOSPARC_DB_PATH"]),
        int(environ["CRYOSPARC_BASE_PORT"]),
    )


def number(version: str) -> tuple[int, ...]:
    """A version to compare: ``v5.0.1`` is (5, 0, 1)."""
    return tuple(int(part) for part in version.lstrip("v").split("."))
