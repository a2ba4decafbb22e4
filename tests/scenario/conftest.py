"""What all scenario tests share."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tests.lab.process import stop_everything  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: too slow under a sanitizer")
    config.addinivalue_line("markers", "threaded: also run under ThreadSanitizer")


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="network namespaces need root"))


@pytest.fixture(autouse=True, scope="module")
def no_leftovers():
    yield
    stop_everything()
