"""The job files of examples/clusters are valid, and every option in them exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import get_args_parser

from hvit.bounds import leaves
from hvit.errors import RESUMABLE
from hvit.recipes import get_recipe

PLACE = Path(__file__).resolve().parents[2] / "examples" / "clusters"
SCRIPTS = sorted(PLACE.glob("*.sbatch"))
MANIFESTS = sorted(PLACE.glob("*.yaml"))


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--([a-z][\w.-]*)", text))


def check_command(text: str) -> None:
    """What follows `train` are a recipe, its fields, and options of the verb."""
    (recipe, rest), *others = re.findall(r"\btrain\s+(\w+)\s(.*?--resume)", text, re.DOTALL)
    assert not others
    known = {name.replace("_", "-") for name, _ in leaves(get_recipe(recipe))} | {"out", "resume"}
    assert options(rest) <= known
    assert {"out", "resume"} <= options(rest)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_for_slurm_is_valid_and_its_options_exist(path: Path) -> None:
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("there is no bash here")
    subprocess.run([shell, "-n", path], check=True)
    text = path.read_text()
    check_command(text.replace("\\\n", " "))
    assert "scontrol requeue" in text
    if "torchrun --" in text:
        launcher = re.search(r"torchrun (--.*?) -m hvit", text.replace("\\\n", " "), re.DOTALL)
        assert launcher
        assert options(launcher[1]) <= {name.lstrip("-") for name in get_args_parser()._option_string_actions}
    else:
        assert f'"$status" -eq {RESUMABLE}' in text


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_for_kubernetes_is_valid_and_its_options_exist(path: Path) -> None:
    yaml: Any = pytest.importorskip("yaml", reason="it comes with the extra docs")
    manifest = yaml.safe_load(path.read_text())
    assert manifest["kind"] in ("PyTorchJob", "JobSet")
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    (pod,) = pods(manifest)
    check_command(" ".join(pod["containers"][0]["command"]))
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert pod["terminationGracePeriodSeconds"] >= 120


def pods(tree: Any) -> list[dict[str, Any]]:
    """The pods in a manifest."""
    if isinstance(tree, list):
        return [pod for item in tree for pod in pods(item)]
    if not isinstance(tree, dict):
        return []
    return [tree] if "containers" in tree else [pod for item in tree.values() for pod in pods(item)]


def test_there_is_an_example_for_each_scheduler() -> None:
    assert [path.name for path in (*SCRIPTS, *MANIFESTS)] == [
        "slurm.sbatch", "torchrun.sbatch", "jobset.yaml", "pytorchjob.yaml",
    ]  # fmt: skip
