"""Answers to any number of images: each once, however often the work is stopped and by however many processes."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.errors import UserError
from hvit.verbs import batch
from hvit.verbs.batch import BatchJob, ChunkWorker, device_of_process, rank_and_size
from hvit.verbs.classifier import open_classifier
from hvit.verbs.predict import predict
from hvit.verbs.predictor import Predictor
from tests.data.shards.made import write_tar

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten different images, of which number 3 and number 8 cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    for number in (3, 8):
        (folder / f"{number}.png").write_bytes(b"no image")
    return folder


def job_of(weights: Path, inputs: Path, out: Path, **fields: object) -> BatchJob:
    return BatchJob(Predictor(weights, top_k=2, device="cpu"), [inputs], out, chunk=4, batch_size=3, **fields)  # type: ignore


def rows_of(out: Path) -> list[dict[str, object]]:
    """All answers, as readers of such folders find them."""
    return parquet.read_table(out).to_pylist()


def test_answers_are_those_of_predict_and_bad_images_have_an_error(weights: Path, photos: Path, tmp_path: Path) -> None:
    refused: list[str] = []
    done: list[int] = []
    job = job_of(weights, photos, tmp_path / "out")
    job.run(done=done.append, refused=refused.append)
    rows = rows_of(tmp_path / "out")
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["file"] for row in rows] == [str(photos / f"{number}.png") for number in range(10)]
    assert sum(done) == 10
    assert [row["index"] for row in rows if row["error"]] == [3, 8]
    assert refused == [row["error"] for row in rows if row["error"]]
    assert rows[3]["class_1"] is None
    assert rows[3]["probability_1"] is None
    files = [photos / f"{number}.png" for number in range(10) if number not in (3, 8)]
    for answer in predict(open_classifier(weights, "cpu"), files, 2, 4, pytest.fail):
        row = rows[int(Path(answer["file"]).stem)]
        for rank, one in enumerate(answer["classes"], 1):
            assert row[f"class_{rank}"] == one["class"]
            assert row[f"probability_{rank}"] == pytest.approx(one["probability"], abs=1e-5)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert (manifest["images"], manifest["answered"], manifest["errors"]) == (10, 8, 2)
    assert [(one["images"], one["errors"]) for one in manifest["files"]] == [(4, 1), (4, 0), (2, 1)]
    assert manifest["first_errors"] == refused


def test_processes_share_the_chunks_and_the_last_one_writes_the_manifest(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    job_of(weights, photos, whole).run()
    first, second = (job_of(weights, photos, shared) for _ in range(2))
    assert (first.pending(0, 2), second.pending(1, 2)) == ([0, 2], [1])
    second.run(1, 2)
    assert not (shared / "_manifest.json").exists()
    first.run(0, 2)
    assert rows_of(shared) == rows_of(whole)
    assert (shared / "_manifest.json").read_text() == (whole / "_manifest.json").read_text()


def test_a_call_that_was_stopped_goes_on_with_what_is_not_done_also_on_another_number_of_processes(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    job_of(weights, photos, out).do(1)
    stamp = (out / "part-0000001.parquet").stat().st_mtime_ns
    (out / ".0123.unfinished").write_bytes(b"half a file of a process that was killed")
    answered: list[int] = []
    again = job_of(weights, photos, out)
    read = again.predictor.read
    monkeypatch.setattr(again.predictor, "read", lambda items: (answered.append(len(items)), read(items))[1])
    again.run()
    assert sum(answered) == 6
    assert (out / "part-0000001.parquet").stat().st_mtime_ns == stamp
    assert not (out / ".0123.unfinished").exists()
    assert [row["index"] for row in rows_of(out)] == list(range(10))


def test_a_folder_of_other_answers_is_refused(weights: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job_of(weights, photos, out)
    with pytest.raises(UserError, match=r"weights, preparation or options differ"):
        BatchJob(Predictor(weights, top_k=1, device="cpu"), [photos], out, chunk=4)
    (photos / "new.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"number of images, list of images differ"):
        job_of(weights, photos, out)
    with pytest.raises(UserError, match="holds something else"):
        job_of(weights, photos, photos)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "_job.json").write_text("{}")
    with pytest.raises(UserError, match="is no folder of answers"):
        job_of(weights, photos, tmp_path / "other")


def test_a_damaged_file_is_named(weights: Path, photos: Path, tmp_path: Path) -> None:
    job = job_of(weights, photos, tmp_path / "out")
    job.run()
    job.path(1).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"part-0000001\.parquet is damaged: remove it"):
        job.finish()


def test_features_are_written_with_the_hash_of_each_file(weights: Path, photos: Path, tmp_path: Path) -> None:
    job = BatchJob(Predictor(weights, "features", device="cpu"), [photos], tmp_path / "out", chunk=4)
    job.run()
    rows = rows_of(tmp_path / "out")
    assert rows[3]["features"] is None
    assert len({len(row["features"]) for row in rows if row["features"]}) == 1  # type: ignore
    assert len({row["sha256"] for row in rows if row["sha256"]}) == 8


def test_a_worker_of_ray_does_chunks_and_none_twice(weights: Path, photos: Path, tmp_path: Path) -> None:
    job = job_of(weights, photos, tmp_path / "out")
    worker = ChunkWorker(pickle.loads(pickle.dumps(job)))
    found = worker({"chunk": np.array([0, 2])})
    assert {name: values.tolist() for name, values in found.items()} == {
        "chunk": [0, 2],
        "images": [4, 2],
        "errors": [1, 1],
    }
    stamp = job.path(0).stat().st_mtime_ns
    assert worker({"chunk": np.array([0])})["errors"].tolist() == [0]
    assert job.path(0).stat().st_mtime_ns == stamp
    assert job.pending() == [1]


def test_images_in_shards_are_answered_by_their_names(weights: Path, photos: Path, tmp_path: Path) -> None:
    members = [(f"{number}.png", (photos / f"{number}.png").read_bytes()) for number in range(10)]
    shard = write_tar(tmp_path / "shards" / "000000.tar", members)
    for place in (shard, shard.parent):
        out = tmp_path / f"out_{place.name}"
        job = pickle.loads(pickle.dumps(job_of(weights, place, out)))
        job.run()
        rows = rows_of(out)
        assert [row["file"] for row in rows] == [f"000000.tar/{number}" for number in range(10)]
        assert [row["index"] for row in rows if row["error"]] == [3, 8]
    job_of(weights, photos, tmp_path / "out").run()
    for row, other in zip(rows, rows_of(tmp_path / "out"), strict=True):
        assert (row["class_1"], row["probability_1"]) == (other["class_1"], other["probability_1"])
    with pytest.raises(UserError, match="give one kind in a call"):
        BatchJob(Predictor(weights, device="cpu"), [shard, photos], tmp_path / "mixed")


def test_shards_of_a_web_server_are_answered_as_those_of_this_machine(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where copies lie
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    members = [(f"{number}.png", (photos / f"{number}.png").read_bytes()) for number in range(10)]
    shard = write_tar(tmp_path / "shards" / "000000.tar", members)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(shard.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = Path(f"http://127.0.0.1:{server.server_port}/000000.tar")
    try:
        pickle.loads(pickle.dumps(job_of(weights, url, tmp_path / "remote"))).run()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    job_of(weights, shard, tmp_path / "local").run()
    assert rows_of(tmp_path / "remote") == rows_of(tmp_path / "local")
    with pytest.raises(UserError, match="give one kind in a call"):
        BatchJob(Predictor(weights, device="cpu"), [url, photos], tmp_path / "mixed")


def test_a_list_that_changes_under_way_is_refused(weights: Path, photos: Path, tmp_path: Path) -> None:
    job = pickle.loads(pickle.dumps(job_of(weights, photos, tmp_path / "out")))
    (photos / "new.png").write_bytes(b"")
    with pytest.raises(UserError, match="list of images has changed"):
        job.do(0)


def test_who_a_process_is_stands_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert rank_and_size() == (0, 1)
    assert device_of_process("auto") == "auto"
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert rank_and_size() == (3, 4)
    monkeypatch.setattr(batch.torch.cuda, "is_available", lambda: True)
    assert (device_of_process("auto"), device_of_process("cpu")) == ("cuda:1", "cpu")


@pytest.mark.slow
def test_a_local_cluster_of_ray_answers_each_image_once_after_it_was_stopped(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": dict(os.environ)})
    try:
        job = job_of(weights, photos, tmp_path / "out")
        job.do(1)  # as if a first call had been killed after it
        manifest = batch.run_on_ray(job, 2)
        assert (manifest["images"], manifest["errors"]) == (10, 2)
        assert batch.run_on_ray(job, 2) == manifest
        items = ray.data.from_items([{"path": str(photos / f"{number}.png")} for number in range(10)])
        predictor = Predictor(weights, top_k=2, device="cpu")
        rows = items.map_batches(Predictor, fn_constructor_args=(weights, "classes", 2), concurrency=2).take_all()
        assert {Path(row["path"]).stem for row in rows if row["error"]} == {"3", "8"}
        assert predictor({"path": [str(photos / "0.png")]})["class_1"][0] in ("blue", "red")
    finally:
        ray.shutdown()
