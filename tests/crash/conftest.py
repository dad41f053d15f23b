"""The ground on which crashes are tried: made once for each worker of the test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loadtests.crashes import Ground, ground


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("crash")) as made:
        yield made
