"""What holds for every test: a law is searched without a clock, since the machine may be busy with something else; one process has the broker."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

settings.register_profile("payout", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("payout")

WITH_BROKER = "tests/kafka"


class OneBroker(LoadFileScheduling):
    """Gives each file to one process, and all files that need a Kafka broker to the same one: so there is one broker."""

    def _split_scope(self, nodeid: str) -> str:
        return WITH_BROKER if nodeid.startswith(f"{WITH_BROKER}/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneBroker | None:
    """Called where several processes run tests; anything but `--dist loadfile` is left as it is."""
    return OneBroker(config, log) if config.getoption("dist") == "loadfile" else None
