"""Hosts on this machine, made from distribution packages, that behave like real ones."""

from __future__ import annotations

from cloudlet_deploy.lab.lifecycle import (
    Removed,
    command_on,
    down,
    down_all,
    images,
    kill,
    labs,
    reset,
    start,
    status,
    up,
)
from cloudlet_deploy.lab.model import Lab, LabHost, Progress

__all__ = [
    "Lab",
    "LabHost",
    "Progress",
    "Removed",
    "command_on",
    "down",
    "down_all",
    "images",
    "kill",
    "labs",
    "reset",
    "start",
    "status",
    "up",
]
