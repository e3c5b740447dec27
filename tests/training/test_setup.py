"""Claims about settings: what is not asked for is off, and two runs do not share their wish to stop."""

from __future__ import annotations

from hvit.training.setup import BatchSource


def test_every_source_of_batches_has_its_own_wish_to_stop() -> None:
    one, other = (BatchSource(lambda start: [], list) for _ in range(2))
    assert one.augment is None
    one.interrupts.received.append(15)
    assert one.interrupts
    assert not other.interrupts
