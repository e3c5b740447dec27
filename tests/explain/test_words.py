"""Claims about how numbers are written for a reader."""

from __future__ import annotations

import pytest

from hvit.explain.words import number_writer


def test_values_are_written_in_few_characters_whatever_their_size() -> None:
    for size in (3e-7, 0.004, 0.5, 8.0, 45.0, 700.0, 123456.0):
        write, factor = number_writer([size, -size])
        exponent = factor.removeprefix("\N{MULTIPLICATION SIGN} 10").translate(
            str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        )
        assert len(write(-size)) <= 6
        back = float(write(-size).replace("\N{MINUS SIGN}", "-")) * 10.0 ** int(exponent or 0)
        assert back == pytest.approx(-size, rel=0.02)
    write, factor = number_writer([0.0, 0.0])
    assert (write(-0.0), factor) == ("0.00", "")
