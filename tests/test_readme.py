"""What README and the documentation say is true: commands, options, links, models, Python code and examples."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch
from PIL import Image

import hvit
from hvit.cli import (
    app,
    benchmark,
    compare,
    convert,
    embed,
    experiments,
    explain,
    export,
    generate,
    inference,
    listing,
    plan,
    probe,
    push,
    runs,
    shards,
)
from hvit.cli.main import VERBS, main
from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import CifarData, ClipData, DigitsData, FashionData, FolderData, MovingDigitsData
from hvit.data.preprocess import Preprocess
from hvit.models import catalogue
from hvit.models.baselines import ResnetConfig, VitConfig
from hvit.models.counts import in_billions
from hvit.models.gan.config import GanConfig
from hvit.models.hiera.config import HieraConfig
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig
from hvit.models.probe import ProbeConfig
from hvit.models.timm_encoder import TimmConfig
from hvit.recipe import Recipe
from hvit.tasks.confidence import ConfidenceConfig
from hvit.tasks.distill_settings import DistillConfig
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
ALL_PAGES = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| `(\w+)` \|([^\n]*)\|$", re.MULTILINE)
OPTION = re.compile(r"--[a-z][a-z0-9-]*(\.[a-z0-9-]+)?")
REPOSITORY_PATH = re.compile(r"(src|tests|benchmarks|examples|docs)/[\w./-]+")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(home|root|tmp|work|mnt|Users)/")

SECTIONS = {
    "model": (
        NestConfig,
        MvitConfig,
        HieraConfig,
        VitConfig,
        ResnetConfig,
        TimmConfig,
        MaskedConfig,
        GanConfig,
        ProbeConfig,
    ),
    "data": (DigitsData, CifarData, FashionData, FolderData, ClipData, MovingDigitsData),
    "augment": (AugmentConfig,),
    "distill": (DistillConfig,),
    "confidence": (ConfidenceConfig,),
    "optimize": (OptimizeConfig,),
    "loop": (LoopConfig,),
}
BARE_VERBS = [[verb] for verb in VERBS]
VERB_OPTIONS = (
    runs.DemoArguments,
    runs.ResumeArguments,
    runs.ReportArguments,
    shards.ShardsArguments,
    listing.ModelsArguments,
    inference.EvaluateArguments,
    inference.PredictArguments,
    explain.ExplainArguments,
    convert.ConvertArguments,
    plan.PlanArguments,
    push.PushArguments,
    export.ExportArguments,
    app.AppArguments,
    benchmark.BenchmarkArguments,
    generate.GenerateArguments,
    probe.ProbeArguments,
    compare.CompareArguments,
    embed.EmbedArguments,
    embed.NeighboursArguments,
    *(arguments for arguments, _ in experiments.ACTIONS.values()),
)


class Understood(Exception):
    """Raised where a verb, having understood its arguments, would begin its work."""


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return [found["body"] for found in FENCE.finditer(read(page)) if found["language"] == language]


def spans(page: Path) -> list[str]:
    """The code inside the lines of a page."""
    return SPAN.findall(FENCE.sub("", read(page)))


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    return LINK.findall(FENCE.sub("", read(page)))


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of every shell command of a page, without comments; a pipe ends a command."""
    shell = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    starts = ("hvit ", "torchrun ", "python ", "make ", ".venv/bin/")
    for line in [*shell, *(span for span in spans(page) if span.startswith(starts))]:
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in words:
            if set(word) <= set("|&;<>()") and word:
                yield command
                command = []
            else:
                command.append(word)
        yield command


def hvit_commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every call of hvit on a page."""
    for words in command_lines(page):
        for place, word in enumerate(words):
            if word == "hvit" or word.endswith("/hvit"):
                yield words[place + 1 :]
                break


COMMANDS = {
    f"{name_of(page)}: {shlex.join(arguments)}": arguments for page in ALL_PAGES for arguments in hvit_commands(page)
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_command_is_understood(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Understood

    for work in (
        "hvit.verbs.train.train",
        "hvit.verbs.train.plan",
        "hvit.verbs.probe.probe_recipe",
        "hvit.verbs.train.resume",
        "hvit.verbs.evaluate.evaluate",
        "hvit.verbs.generate.open_sampler",
        "hvit.verbs.convert.convert",
        "hvit.verbs.shards.write",
        "hvit.verbs.plan.plan",
        "hvit.verbs.push.push",
        "hvit.verbs.push.write_folder",
        "hvit.verbs.push.describe",
        "hvit.verbs.export.export",
        "hvit.cli.explain.check_paths",
        "hvit.verbs.compare.compare",
        "hvit.cli.embed.check_paths",
        "hvit.cli.embed.wait_for",
        "hvit.cli.inference.check_paths",  # before files are looked at
        "hvit.cli.app.find_spec",
        "hvit.benchmark.peers.check_peers",
        "hvit.report.write_report",
        "hvit.cli.listing.print_table",  # after `hvit models` has found names that match
        "hvit.cli.listing.print_json_lines",
        "hvit.cli.experiments.print_table",  # after `hvit experiments list` and `status` have found them
        "hvit.verbs.experiments.run",
        "hvit.verbs.experiments.results",
        "hvit.cli.completion.words_of_verbs",
        "hvit.recipes.headers.stored",  # after `hvit recipes` has found names that match
    ):
        monkeypatch.setattr(work, stop)
    if arguments in BARE_VERBS:  # the text speaks of a verb
        return
    outcome: object = None
    try:
        main(arguments)
    except Understood:
        outcome = "understood"
    except SystemExit as end:
        outcome = end.code
    assert outcome in ((0, None) if "--help" in arguments else ("understood",)), "see the captured message"


@pytest.mark.parametrize("wrong", ["trian", "train nest_mcro_digits", "train nest_micro_digits --loop.epoch 3"])
def test_a_wrong_command_would_be_noticed(wrong: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(wrong.split())


def known_options() -> set[str]:
    """Every option of every verb."""
    names = {
        f"{section}.{no}{field.name}"
        for section, kinds in SECTIONS.items()
        for kind in kinds
        for field in fields(kind)
        for no in ("", "no_")[: 1 + (field.default is True)]
    }
    names |= {field.name for kind in (*VERB_OPTIONS, Recipe) for field in fields(kind)} - SECTIONS.keys()
    return {f"--{name.replace('_', '-')}" for name in names | {"out", "resume", "dry_run", "help", "data"}}


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_option_that_is_named_exists(page: Path) -> None:
    named = {span.split()[0] for span in spans(page) if OPTION.fullmatch(span.split()[0])}
    assert named <= known_options()


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_script_and_make_target_that_is_named_exists(page: Path) -> None:
    makefile = read(ROOT / "Makefile")
    for words in command_lines(page):
        if words[:1] == ["make"]:
            assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), words
        for word in words:
            if word.endswith(".py"):
                assert (ROOT / word).is_file(), word


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_link_leads_to_something(page: Path) -> None:
    for target in links(page):
        if "://" in target:
            continue
        path, _, place = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if place:
            titles = re.findall(r"^#+ (.+)$", FENCE.sub("", read(linked)), re.MULTILINE)
            assert place in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_path_of_the_repository_that_is_named_exists(page: Path) -> None:
    named = [span for span in spans(page) if REPOSITORY_PATH.fullmatch(span)]
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_page_that_the_code_names_exists() -> None:
    sources = [file for place in ("src", "benchmarks", "examples") for file in sorted((ROOT / place).rglob("*.py"))]
    named = {path for file in sources for path in re.findall(r"docs/[\w/]+\.md", read(file))}
    assert named
    assert not [path for path in named if not (ROOT / path).is_file()]


def test_every_message_of_the_troubleshooting_page_is_one_that_is_given() -> None:
    quoted = re.findall(r'\*\*"([^"]+)"\*\*', read(DOCS / "troubleshooting.md").replace("\n", " "))
    trees = [ast.walk(ast.parse(read(file))) for file in sorted((ROOT / "src").rglob("*.py"))]
    texts = {
        node.value for tree in trees for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert quoted
    assert not [part for part in quoted if not any(part in text for text in texts)]


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_no_page_names_a_path_of_somebodys_machine(page: Path) -> None:
    assert not MACHINE_PATH.search(read(page))


def test_every_page_is_linked_from_the_index_and_every_example_from_the_readme() -> None:
    index = DOCS / "index.md"
    linked = {(page.parent / target.partition("#")[0]).resolve() for page in (README, index) for target in links(page)}
    assert {page for page in ALL_PAGES if page != README} <= linked
    assert {*EXAMPLES, index} <= {(ROOT / target).resolve() for target in links(README)}


def test_the_readme_fits_its_length_and_shows_every_verb_and_each_has_its_page() -> None:
    assert len(read(README).splitlines()) < 150
    used = {arguments[0] for arguments in hvit_commands(README)}
    assert set(VERBS) <= used
    for verb in VERBS:
        assert read(DOCS / "reference" / "verbs" / f"{verb}.md").startswith(f"# hvit {verb}\n")


def test_the_table_of_models_is_the_catalogue() -> None:
    shown = {
        name: [cell.strip() for cell in cells.split("|")]
        for name, cells in ROW.findall(read(DOCS / "reference" / "catalogue.md"))
    }
    assert sorted(shown) == sorted(catalogue.list_models())
    for name, cells in shown.items():
        entry = catalogue.entry(name)
        assert cells == [
            f"{entry.parameters:,}",
            in_billions(entry.multiply_adds),
            "x".join(map(str, (entry.config.in_channels, *entry.config.input_size))),
            str(entry.config.num_classes),
            entry.published.score if entry.published else "-",
        ]


def test_the_plan_in_the_documentation_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "nest_micro_digits", "--loop.device", "cpu", "--dry-run"])
    assert capsys.readouterr().err in blocks(DOCS / "reference" / "verbs" / "train.md", "text")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has what the Python code of the documentation opens: weights, a picture, the repository's tests."""
    model = hvit.create_model("nest_micro_32", in_channels=1)
    preprocess = asdict(Preprocess((32, 32), (0.5,), (0.5,)))
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    hvit.save_weights(
        model, tmp_path / "runs" / "demo" / "weights.safetensors", classes=tuple("0123456789"), preprocess=preprocess
    )
    generator = hvit.create_model("nest_generator_digits_32", num_classes=10)
    hvit.save_weights(generator, tmp_path / "runs" / "nest_gan_digits_32" / "weights.safetensors")
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "photo.jpg")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] if page.name in ("speed.md", "labels.md") else [], id=name_of(page))
        for page in PAGES
        if blocks(page, "python")
    ],
)
def test_the_python_code_of_a_page_runs(page: Path, workplace: Path) -> None:
    names: dict[str, object] = {}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), names)


@pytest.mark.long
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_an_example_runs_and_tells_what_it_found(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr().out


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_an_example_uses_the_public_names_only(script: Path) -> None:
    imported = re.findall(r"^\s*(?:from|import) (hvit[\w.]*)", read(script), re.MULTILINE)
    assert imported == ["hvit"]
    assert set(re.findall(r"\bhvit\.(\w+)", read(script))) <= set(hvit.__all__)


def test_version_and_licence_are_the_same_everywhere() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    assert f"\nversion: {project['version']}\nlicense: {project['license']}\n" in read(ROOT / "CITATION.cff")
    assert f"\n## {project['version']}" in read(ROOT / "CHANGELOG.md")
