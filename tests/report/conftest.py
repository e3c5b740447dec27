"""Charts of the report are drawn in tests that look at them only."""

from __future__ import annotations

import pytest

from hvit import pictures


@pytest.fixture
def real_charts() -> None:
    """For tests that want the charts' own contents."""


@pytest.fixture(autouse=True)
def quick_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn, but their slow writing as SVG is skipped where a test does not look at it."""
    if "real_charts" not in request.fixturenames:
        monkeypatch.setattr(pictures, "figure_to_svg", lambda figure: "<svg/>")
