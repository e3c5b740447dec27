"""What cannot be used on the command line is one sentence that says what was meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]
TRAIN = ("train", "nest_micro_digits")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((*TRAIN, "--optimize.lr", "1"), "no option --optimize.lr; did you mean --optimize.learning-rate-per-256?"),
        ((*TRAIN, "--lr=1"), "no option --lr; did you mean --optimize.learning-rate-per-256?"),
        ((*TRAIN, "--wd", "1"), "did you mean --optimize.weight-decay?"),
        ((*TRAIN, "--bs", "1"), "did you mean --loop.batch-size?"),
        ((*TRAIN, "-b", "1"), "did you mean --loop.batch-size?"),
        ((*TRAIN, "--epochs", "1"), "did you mean --loop.epochs?"),
        ((*TRAIN, "--num-classes", "3"), "did you mean --model.num-classes?"),
        ((*TRAIN, "--img_size", "64"), "did you mean --model.input-size?"),
        ((*TRAIN, "--loop.epoch", "1"), "did you mean --loop.epochs?"),
        ((*TRAIN, "--optimise.weight-decay", "1"), "did you mean --optimize.weight-decay?"),
        ((*TRAIN, "--output-dir", "x"), "did you mean --out?"),
        ((*TRAIN, "epochs=1"), "options start with two dashes; got 'epochs=1'; did you mean --loop.epochs?"),
        ((*TRAIN, "--no-such-field"), "no option --no-such-field; `hvit train nest_micro_digits --help` lists them"),
        ((*TRAIN, "--loop.epochs", "many"), "--loop.epochs takes a whole number; got 'many'"),
        ((*TRAIN, "--loop.epochs"), "--loop.epochs takes a whole number; got none"),
        ((*TRAIN, "--loop.epochs", "1", "2"), "'2' is one word too many"),
        ((*TRAIN, "--model.dims", "a"), "--model.dims takes whole numbers; got 'a'"),
        ((*TRAIN, "--optimize.betas", "1"), "--optimize.betas takes 2 numbers; got '1'"),
        ((*TRAIN, "--model.block-size", "x"), "--model.block-size takes a whole number or None; got 'x'"),
        ((*TRAIN, "--loop.device", "gpu"), "--loop.device must be one of auto, cpu, cuda, mps; got 'gpu'; did"),
        ((*TRAIN, "--model.input-size", "30"), "multiples of 8, such as 24, 32, 40; got 30"),
        ((*TRAIN, "--seed", "9" * 10_000), "--seed takes whole numbers below 2^63; got '999"),
        (("train", "nest_micro_digit"), "no recipe called 'nest_micro_digit'; did you mean 'nest_micro_digits'?"),
        (("models", "nest_tiny_244"), "no model matches 'nest_tiny_244'; did you mean 'nest_tiny_224'?"),
        (("recipes", "nest_micro_didgits"), "did you mean 'nest_micro_digits'?"),
        (("trian",), "no verb 'trian'; did you mean 'train'?"),
        (("test",), "no verb 'test'; did you mean 'evaluate'?"),
        (("\x1b[2J",), r"no verb '\x1b[2J'; verbs are demo, models"),
        (
            ("predict",),
            "hvit predict needs WEIGHTS: a run folder, a weights file in any known format, or hf:owner/name",
        ),
        (("predict", "w", "x", "--topk", "3"), "did you mean --top-k?"),
        (("explain", "w", "x", "--methods", "gradcm"), "got 'gradcm'; did you mean 'gradcam'?"),
        (
            ("explain", "w", "x", "--methods"),
            "--methods takes block_shapley, gradcat, cam, gradcam, gradcam++, rollout; got none",
        ),
        (("explain", "w", "x", "--classes", "--json"), "--classes takes values; got none"),
        (("report", "a\0b"), r"an argument holds a null character, which no name of a file can have: 'a\x00b'"),
        (("report",), "hvit report needs RUN: the run folder"),
        (("predict", "w", "x" * 10_000), "File name too long"),
        (("predict", "x" * 10_000, __file__), "xxx"),
        (("explain", "w", "x/" * 5_000), "File name too long"),
        (("evaluate", "x" * 10_000), "xxx"),
        (("report", "x" * 10_000), "xxx"),
        (("generate", "x" * 10_000), "xxx"),
        ((*TRAIN, f"--{'x' * 10_000}"), "no option --xxx"),
        (("y" * 10_000,), "no verb 'yyy"),
    ],
)
def test_it_is_one_short_line_and_status_2(hvit: Run, words: tuple[str, ...], sentence: str) -> None:
    status, out, err = hvit(*words)
    assert status == 2
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert err.startswith("hvit: ")
    assert len(err) < 1500


@pytest.mark.parametrize(
    ("recipe", "given", "size"),
    [
        ("nest_micro_digits", ("64",), (64, 64)),
        ("nest_micro_digits", ("64", "64"), (64, 64)),
        ("mvit_base_k400", ("128",), (16, 128, 128)),
        ("hiera_base_k400_finetune", ("8", "128", "128"), (8, 128, 128)),
    ],
)
def test_one_number_is_a_square_and_leaves_the_time_of_clips(
    recipe: str, given: tuple[str, ...], size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hvit.cli.main import main
    from hvit.verbs import train

    planned = []
    monkeypatch.setattr(train, "plan", lambda recipe: planned.append(recipe.model.input_size) or {"recipe": ""})
    main(["train", recipe, "--model.input-size", *given, "--seed", "3", "--dry-run"])
    assert planned == [size]
