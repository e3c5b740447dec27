"""A process that is lost is noticed by all others within a minute, and one that only evaluates for long is not."""

from __future__ import annotations

from collections import Counter

from hvit.training.heartbeat import BEAT, MISSED, Heartbeat


class Shared:
    """Numbers by name, as torch's store has them."""

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()

    def add(self, key: str, value: int, /) -> int:
        self.numbers[key] += value
        return self.numbers[key]


def hearts(count: int) -> list[Heartbeat]:
    store = Shared()
    return [Heartbeat(store, rank, count, lambda sentence: None) for rank in range(count)]


def test_processes_that_live_miss_nobody() -> None:
    three = hearts(3)
    for _ in range(10 * MISSED):
        assert [heart.beat() for heart in three] == ["", "", ""]


def test_a_lost_process_is_noticed_by_all_within_a_minute() -> None:
    first, second, third = hearts(3)
    for heart in (first, second, third):
        heart.beat()
    found: dict[str, int] = {}
    for beats in range(1, 2 * MISSED):
        for name, heart in (("first", first), ("second", second)):
            sentence = heart.beat()
            if sentence:
                assert sentence == "process 2 of this run is lost"
                found.setdefault(name, beats)
    assert found.keys() == {"first", "second"}
    assert (max(found.values()) + 1) * BEAT < 60
    assert third.beat() == "process 2 of this run is lost", "it was paused, and comes back to nobody"


def test_the_loss_of_the_first_process_is_noticed_by_every_other() -> None:
    first, second, third = hearts(3)
    first.beat()
    answers = [(second.beat(), third.beat()) for _ in range(MISSED + 2)]
    assert answers[MISSED - 1] == ("", "")
    assert answers[-1] == ("process 0 of this run is lost",) * 2


def test_a_store_that_is_gone_means_that_the_process_that_had_it_is_lost() -> None:
    class Gone:
        def add(self, key: str, value: int, /) -> int:
            raise RuntimeError("Connection reset by peer")

    said: list[str] = []
    heart = Heartbeat(Gone(), 1, 2, said.append)
    heart._over.wait = lambda seconds: False  # type: ignore[method-assign]
    heart._run()
    assert said == ["the process that started this run is lost"]
