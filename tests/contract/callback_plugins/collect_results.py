"""Writes each task result as one JSON line to the file that ``COLLECT_RESULTS`` names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: collect_results
type: aggregate
short_description: Results as JSON lines, for the contract tests
description: Writes each task result to a file.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "collect_results"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, result: Any, **status: bool) -> None:
        values = {**result.result, **status}
        with Path(os.environ["COLLECT_RESULTS"]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"task": result.task_name, "result": values}, default=str))
            stream.write("\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result, failed=True)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write(result, skipped=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result, unreachable=True)
