import itertools
import shutil

import pytest

from support import Echo, Server

names = itertools.count(1)


def pytest_sessionstart(session):
    if not shutil.which("curl"):
        pytest.exit("curl is missing: install it (Debian: apt-get install curl)", returncode=1)


@pytest.fixture(scope="session")
def server():
    """One server for all tests; each uses channels of its own."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def echo():
    with Echo() as echo:
        yield echo


@pytest.fixture
def name():
    """A channel that no other test uses."""
    return f"test/{next(names)}"
