"""One summary of the whole synthetic experiment, built once."""

import pytest

from quantcheck.report.summary import Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic


@pytest.fixture(scope="session")
def summary() -> Summary:
    return build_summary(synthetic.experiment(), synthetic.cells(), synthetic.artifacts(), synthetic.ENVIRONMENT, [])
