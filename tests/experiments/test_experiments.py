"""Experiments: grids that resume, tables from journals alone, intervals and verdicts, and the verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from hvit import experiments
from hvit.cli import experiments as words
from hvit.data.images.digits import DigitsData
from hvit.errors import Stopped, UserError
from hvit.experiments import grid
from hvit.experiments.experiment import Cell, Claim, Experiment, Header, Pretraining, ScaleName
from hvit.experiments.grid import Place, chosen_rate, jobs_of, state_of
from hvit.experiments.results import Results
from hvit.experiments.table import markdown
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe, as_json, read_recipe
from hvit.training.journal import JOURNAL, Journal
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from hvit.verbs import experiments as verb

Run = Callable[..., tuple[int, str, str]]

TINY = NestConfig(
    input_size=(8, 8), in_channels=1, num_classes=10, patch_size=(1, 1), dims=(8, 16), heads=(2, 2), depths=(1, 1)
)
RECIPE = Recipe(
    name="toy",
    summary="A test",
    model=TINY,
    data=DigitsData(canvas=8),
    optimize=OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=1),
    loop=LoopConfig(epochs=1, batch_size=64, max_steps=2, workers=0, device="cpu"),
)
HEADER = Header("Toy", "depth matters", "99 %", "it does not", "seconds")


def toy(scale: ScaleName) -> Experiment:
    deep = replace(RECIPE, model=replace(TINY, depths=(1, 2)))
    cells = (
        Cell("flat", {"depth": "1"}, RECIPE, family="toy"),
        Cell("deep", {"depth": "2"}, deep, family="toy"),
        Cell("tuned", {"depth": "1, pretrained"}, RECIPE, pretraining=Pretraining("first", RECIPE)),
    )
    return Experiment("toy", HEADER, cells, (Claim("Depth helps", ("deep",), ("flat",)),), reference="flat")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment whose runs take two steps, without pictures and report, which other tests look at."""
    monkeypatch.setattr(verb.train, "draw_training_images", lambda *given: None)
    monkeypatch.setattr(verb.train, "_finish", lambda *given: None)
    monkeypatch.setitem(experiments.EXPERIMENTS, "toy", toy)
    rates = {1e-3: replace(RECIPE, seed=1000), 4e-3: replace(RECIPE, seed=1001)}
    monkeypatch.setattr(grid, "sweep", lambda family, scale: rates if family == "toy" else {})
    monkeypatch.setattr(grid, "BEYOND", 0)


@pytest.mark.usefixtures("toys")
def test_a_whole_experiment_at_two_steps(hvit: Run, tmp_path: Path) -> None:
    status, out, _ = hvit("experiments", "run", "toy", "--out", "runs", "--scale", "quick")
    assert status == 0
    assert "all runs are done" in out
    folder = tmp_path / "runs" / "quick"
    assert {path.name for path in (folder / "toy").iterdir()} == {
        f"{name}-seed-{seed}" for name in ("flat", "deep", "tuned", "pretraining-first") for seed in (0, 1)
    }
    assert len(list((folder / "learning_rates").iterdir())) == 2
    before = {path: path.read_bytes() for path in folder.rglob(JOURNAL)}
    tuned = read_recipe(folder / "toy" / "tuned-seed-1")
    assert tuned.weights == str(folder / "toy" / "pretraining-first-seed-1" / "weights.safetensors")
    rate = chosen_rate("toy", Place(tmp_path / "runs", "quick"))
    assert rate is not None
    assert read_recipe(folder / "toy" / "deep-seed-0").optimize.learning_rate_per_256 == rate.rate
    assert tuned.optimize.learning_rate_per_256 == 4e-3
    status, out, _ = hvit("experiments", "run", "toy", "--out", "runs", "--scale", "quick")
    assert (status, {path: path.read_bytes() for path in folder.rglob(JOURNAL)}) == (0, before), "nothing is run twice"
    status, out, _ = hvit("experiments", "status", "toy", "--out", "runs", "--scale", "quick", "--json")
    assert {"runs": 10, "done": 10, "begun": 0, "failed": 0}.items() <= json.loads(out).items()
    status, out, _ = hvit("experiments", "table", "toy", "--out", "runs", "--scale", "quick", "--picture", "toy.png")
    assert status == 0
    assert "| depth | seeds | top-1, % |" in out
    assert "| Depth helps |" in out
    assert "6 of 6 runs are finished" in out
    assert Path("toy.png").read_bytes().startswith(b"\x89PNG")
    _, out, _ = hvit("experiments", "table", "toy", "--out", "runs", "--scale", "quick", "--json")
    printed = json.loads(out)
    assert [set(cell["values"]["top1"]) for cell in printed["cells"]] == [{"0", "1"}] * 3
    assert printed["claims"][0]["difference"]["by_seed"].keys() == {"0", "1"}


def test_the_verb_refuses_what_it_does_not_know_in_one_sentence(hvit: Run, tmp_path: Path) -> None:
    for given, sentence in (
        (["go"], "experiments has no action 'go'; it has list, run, status, table"),
        (["run"], "name the experiments, or all"),
        (["run", "convergenc"], "did you mean 'convergence'?"),
        (["run", "aggregation", "--part", "2", "2"], "--part takes K from 0 to N - 1"),
        (["run", "aggregation", "--budget", "0"], "--budget must be above 0; got 0"),
        (["run", "aggregation", "--data-root", "nowhere", "--seeds", "1"], "nowhere/cifar10 does not exist"),
        (["table", "aggregation"], "holds no finished run of aggregation at the scale small"),
    ):
        status, _, err = hvit("experiments", *given)
        assert status == 2
        assert sentence in err
        assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.rglob("recipe.json")) == []
    status, out, _ = hvit("experiments", "list", "--json")
    assert [json.loads(line)["experiment"] for line in out.splitlines()] == list(experiments.EXPERIMENTS)


@pytest.mark.parametrize("scale", get_args(ScaleName))
@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_is_a_grid_of_valid_recipes_with_claims_about_its_cells(name: str, scale: Any) -> None:
    one = experiments.get_experiment(name, scale)
    assert one.name == name
    names = [cell.name for cell in one.cells]
    assert len(set(names)) == len(names)
    assert one.reference in names
    assert all(vars(one.header).values())
    for claim in one.claims:
        assert set(claim.weights()) <= set(names)
        assert sum(claim.weights().values()) == pytest.approx(0)
    columns = {tuple(cell.factors) for cell in one.cells}
    assert len(columns) == 1
    assert len({tuple(cell.factors.values()) for cell in one.cells}) == len(names)
    for job in jobs_of([one], Place(Path("x"), scale), 1, ""):
        assert as_json(job.recipe)["name"] == job.recipe.name
    if scale != "published":
        assert all(cell.recipe.model.num_classes > 1 for cell in one.cells)


class Written:
    """Journals of finished runs with given accuracies."""

    def __init__(self, root: Path, experiment: Experiment) -> None:
        self.place, self.experiment = Place(root, "quick"), experiment

    def score(self, cell: str, *accuracies: float) -> None:
        one = next(one for one in self.experiment.cells if one.name == cell)
        for seed, accuracy in enumerate(accuracies):
            folder = self.place.run(self.experiment, one, seed)
            folder.mkdir(parents=True)
            (folder / "recipe.json").write_text("{}")
            journal = Journal(folder)
            journal.write("train", 1, loss=1.0, images_per_second=100.0, seconds=1.0)
            journal.write("evaluate", 2, top1=accuracy)
            journal.write("finish", 2, seconds=10.0)


def test_intervals_are_those_of_randomised_blocks(tmp_path: Path) -> None:
    written = Written(tmp_path, toy("quick"))
    written.score("flat", 0.50, 0.54)
    written.score("deep", 0.60, 0.66)
    written.score("tuned", 0.51, 0.53)
    results = Results(written.experiment, written.place)
    # By hand: residuals of a 3 x 2 table with the means of rows and columns taken out, 2 degrees of freedom.
    residual = [[0.0, 0.0], [-0.01, 0.01], [0.01, -0.01]]
    spread, freedom = results.spread("top1")
    assert freedom == 2
    assert spread == pytest.approx((sum(one**2 for row in residual for one in row) / 2) ** 0.5)
    found = results.difference({"deep": 1.0, "flat": -1.0})
    assert found is not None
    assert found.mean == pytest.approx(0.11)
    assert found.high - found.mean == pytest.approx(4.302653 * spread, rel=1e-5)  # t of 2, sqrt(2 / 2 seeds)
    assert found.own_high - found.mean == pytest.approx(12.7062 * 0.0141421 / 2**0.5, rel=1e-4)
    verdict, _ = results.verdict(Claim("", ("deep",), ("flat",)))
    assert verdict == "held"
    assert results.verdict(Claim("", ("flat",), ("deep",)))[0] == "did not hold"
    assert results.verdict(Claim("", ("tuned",), ("flat",)))[0] == "cannot be decided at this scale"
    assert results.verdict(Claim("", ("tuned",), ("flat",), margin=0.1))[0] == "held"
    more = results.difference(Claim("", ("deep",), ("flat",), than=(("tuned",), ("flat",))).weights())
    assert more is not None
    assert more.mean == pytest.approx(0.11)


@pytest.mark.usefixtures("toys")
def test_a_run_at_chance_widens_no_interval_and_decides_no_claim(tmp_path: Path) -> None:
    written = Written(tmp_path, toy("quick"))
    written.score("flat", 0.50, 0.54)
    written.score("deep", 0.60, 0.65)
    written.score("tuned", 0.40, 0.10)
    results = Results(written.experiment, written.place)
    assert results.collapsed("tuned") == (1,)
    assert results.spread("top1") == (pytest.approx(0.005), 1)
    assert results.verdict(Claim("", ("flat",), ("tuned",)))[0] == "cannot be decided at this scale"
    assert "(1 did not train)" in markdown(results)


def test_one_seed_gives_a_difference_without_an_interval_and_no_verdict(tmp_path: Path) -> None:
    written = Written(tmp_path, toy("quick"))
    written.score("flat", 0.5)
    written.score("deep", 0.6)
    results = Results(written.experiment, written.place)
    verdict, found = results.verdict(written.experiment.claims[0])
    assert found is not None
    assert (verdict, round(found.mean, 6)) == ("cannot be decided at this scale", 0.1)
    assert results.verdict(Claim("", ("tuned",), ("flat",)))[0] == "not run yet"


@pytest.mark.usefixtures("toys")
def test_a_run_that_fails_is_noted_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, tried = Place(tmp_path, "quick"), []

    def diverging(recipe: Recipe, folder: Path) -> dict[str, Any]:
        tried.append(folder.name)
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text("{}")
        Journal(folder).write("train", 3, loss=float("nan"), seconds=1.0)
        raise UserError("the loss became nan")

    monkeypatch.setattr(verb.train, "train", diverging)
    for _ in range(2):
        assert verb.run(["toy"], place, seeds=1) == 1, "what starts from a failed run stays missing"
    assert len(tried) == len(set(tried)) == 5
    assert state_of(place.root / "quick" / "toy" / "flat-seed-0") == "failed"
    assert verb.status(["toy"], place, 1)[0]["failed"] == 5


@pytest.mark.usefixtures("toys")
def test_a_folder_of_another_run_is_refused_and_a_stopped_one_ends_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "quick")

    def stopped(recipe: Recipe, folder: Path) -> dict[str, Any]:
        raise Stopped("stopped; resume continues")

    with monkeypatch.context() as patched:
        patched.setattr(verb.train, "train", stopped)
        with pytest.raises(Stopped):
            verb.run(["toy"], place)
    verb.run(["toy"], place, seeds=1)
    rows = (place.root / "quick" / "toy" / "deep-seed-0" / JOURNAL).read_text().splitlines()
    (place.root / "quick" / "toy" / "deep-seed-0" / JOURNAL).write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(UserError, match=r"deep-seed-0 holds a run of other settings \(loop.epochs was 1 and is 3\)"):
        verb.run(["toy"], place, seeds=1, change=lambda one: replace(one, loop=replace(one.loop, epochs=3)))


@pytest.mark.usefixtures("toys")
@pytest.mark.long
def test_parts_divide_the_grid_and_wait_for_each_other_without_hanging(tmp_path: Path) -> None:
    place = Place(tmp_path, "quick")
    every = jobs_of([toy("quick")], place, 1, "")
    assert verb.run(["toy"], place, seeds=1, part=(1, 2)) > 0, "its runs wait for the learning rates of the other part"
    assert verb.run(["toy"], place, seeds=1, part=(0, 2)) >= 0
    verb.run(["toy"], place, seeds=1, part=(1, 2))
    verb.run(["toy"], place, seeds=1, part=(0, 2))
    assert all(state_of(job.folder) == "done" for job in every)


def test_actions_explain_themselves(hvit: Run) -> None:
    for action in words.ACTIONS:
        status, out, _ = hvit("experiments", action, "--help")
        assert status == 0
        assert "usage" in out
