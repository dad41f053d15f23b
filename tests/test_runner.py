"""The embedded runner and the processes of its lanes."""

from __future__ import annotations

import multiprocessing
import re
import signal
from pathlib import Path

from story import Tale, tale

from pipeline.observing import Silent
from streams.runner import runner_of

__all__ = ["tale"]


def test_ctrl_c_cannot_reach_a_process_of_lanes_from_its_birth_on(tale: Tale) -> None:
    with runner_of(tale(shards=2).installation, Silent(), 2):
        processes = multiprocessing.active_children()
        assert len(processes) == 2
        for process in processes:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            blocked, ignored = (int(mask, 16) for mask in re.findall(r"^Sig(?:Blk|Ign):\s*([0-9a-f]+)$", status, re.MULTILINE))
            assert (blocked | ignored) >> (signal.SIGINT - 1) & 1
