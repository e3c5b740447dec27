"""Predictions and features of any number of images: a folder of Parquet files, one for each chunk of the list.

A chunk is so many images in the order of the list, and its file has a name that follows from its number. It is written
under another name and renamed when it is whole: a chunk is done or not, whoever does it and however often the work is
stopped. Processes need not know of each other: each does the chunks whose number is its own, by the count of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from hvit.data.images.held import HeldImage
from hvit.data.images.listing import show
from hvit.data.regular_files import is_folder
from hvit.data.shards.copies import remote_place
from hvit.data.shards.opened import open_shards
from hvit.data.tables.path_lists import listed_files
from hvit.errors import UserError
from hvit.files import JsonObject, opened, read_object, remove_unfinished, replacing, write_text
from hvit.verbs.predictor import ERROR, Predictor

CHUNK = 1024
"""Images of a file."""
KIND = "hvit answers 1"
JOB, MANIFEST = "_job.json", "_manifest.json"
"""Files of a folder of answers besides the Parquet files; readers of such folders skip names that begin so."""
_MOST_ERRORS_KEPT = 20
_MOST = 16 * 2**30
Done = Callable[[int], object]
"""Called with how many images more are done."""


class _Files:
    """Images in files of their own."""

    def __init__(self, inputs: Sequence[Path]) -> None:
        self.files = listed_files(inputs)

    def __len__(self) -> int:
        return len(self.files)

    def digest(self) -> str:
        """What changes when the list does."""
        return self.files.digest().hex()

    def item(self, number: int) -> tuple[str, str | HeldImage]:
        """What to call an image, and the image."""
        return str(self.files[number]), str(self.files[number])


class _Shards(_Files):
    """Images in shards (see `data.shards`), of which remote ones are copied to this machine when they are needed."""

    def __init__(self, inputs: Sequence[Path]) -> None:
        self.rows = open_shards("::".join(remote_place(path) or str(path) for path in inputs))

    def __len__(self) -> int:
        return len(self.rows)

    def digest(self) -> str:
        """See `_Files.digest`."""
        index, total = self.rows.index, hashlib.sha256()
        for shard in index.shards:
            total.update(f"{shard.name} {shard.size} {shard.digest}/".encode())
        for numbers in (index.first, index.offsets, index.sizes):
            total.update(np.ascontiguousarray(numbers, "<i8").tobytes())
        return total.hexdigest()

    def item(self, number: int) -> tuple[str, str | HeldImage]:
        """See `_Files.item`: the shard and the key of a sample."""
        return self.rows.index.key_name(number), HeldImage(self.rows, number)


def _listed(inputs: Sequence[Path]) -> _Files:
    """The images of some inputs, which are all shards or none. Raises UserError where there is nothing."""
    shards = [path for path in inputs if _are_shards(path)]
    if shards and len(shards) < len(inputs):
        other = next(path for path in inputs if path not in shards)
        raise UserError(f"{show(shards[0])} is shards, and {show(other)} is not: give one kind in a call")
    return (_Shards if shards else _Files)(inputs)


def _are_shards(path: Path) -> bool:
    if remote_place(path):
        return True
    if not is_folder(path):
        return path.suffix.lower() == ".tar"
    return any(any(one.glob("*.tar")) for one in (path, *(path / part for part in ("train", "val", "test"))))


class BatchJob:
    """The answers to a list of images, in a folder; it can be pickled, and be done by any number of processes.

    inputs: files, folders and tables of paths (see `listed_files`), or shards, also remote ones (`Path("https://…")`).
    out: the folder. chunk: images of a file, 1,024 where it is not given. batch_size: images that are in the model at
    once. Raises UserError where the folder holds the answers of other weights or another list, or something else.
    """

    def __init__(
        self, predictor: Predictor, inputs: Sequence[Path], out: Path, chunk: int | None = None, batch_size: int = 16
    ) -> None:
        _pyarrow()
        self.predictor, self.out = predictor, out.absolute()
        self.inputs = [path if remote_place(path) else path.absolute() for path in inputs]
        self.chunk, self.batch_size = chunk or CHUNK, batch_size
        self._files: _Files | None = _listed(self.inputs)
        self.about: JsonObject = {
            "kind": KIND,
            "images": len(self._files),
            "list": self._files.digest(),
            "chunk": self.chunk,
            "output": predictor.output,
            "fingerprint": predictor.fingerprint(),
        }
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": None}

    @property
    def files(self) -> _Files:
        """The images, which each process lists by itself. Raises UserError where they are others than at the start."""
        if self._files is None:
            self._files = _listed(self.inputs)
            if self._files.digest() != self.about["list"]:
                raise UserError("the list of images has changed while it was worked on: start again")
        return self._files

    def __len__(self) -> int:
        return -(-self.about["images"] // self.chunk)

    def _begin(self) -> None:
        path = self.out / JOB
        if path.exists():
            found = read_object(path)
            if found.get("kind") != KIND:
                raise UserError(f"{show(self.out)} is no folder of answers: name one that is empty or does not exist")
            words = {"images": "number of images", "list": "list of images", "chunk": "images a file",
                     "output": "output", "fingerprint": "weights, preparation or options"}  # fmt: skip
            other = [words[name] for name, value in self.about.items() if name in words and found.get(name) != value]
            if other:
                raise UserError(
                    f"{show(self.out)} holds answers of another call ({', '.join(other)} differ): name another folder, "
                    "or remove it"
                )
            return
        others = self.out.exists() and any(not one.name.startswith(".") for one in self.out.iterdir())
        if others and not path.exists():  # which another process may just have written
            raise UserError(f"{show(self.out)} holds something else: name a folder that is empty or does not exist")
        write_text(path, json.dumps({**self.about, "weights": self.predictor.weights}) + "\n")

    def path(self, number: int) -> Path:
        """The file of a chunk."""
        return self.out / f"part-{number:07}.parquet"

    def pending(self, rank: int = 0, world_size: int = 1) -> list[int]:
        """The chunks of a process that are not done yet."""
        done = {path.name for path in self.out.glob("part-*.parquet")}
        return [number for number in range(rank, len(self), world_size) if self.path(number).name not in done]

    def run(
        self, rank: int = 0, world_size: int = 1, done: Done = lambda images: None,
        refused: Callable[[str], object] = lambda sentence: None,
    ) -> None:  # fmt: skip
        """Does the chunks of a process that are not done yet, and writes the manifest if they were the last ones.

        refused: called with a sentence for each image that cannot be read.
        """
        for number in self.pending(rank, world_size):
            self.do(number, done, refused)
        self.finish()

    def do(
        self, number: int, done: Done = lambda images: None, refused: Callable[[str], object] = lambda sentence: None
    ) -> int:
        """Answers a chunk and writes its file; returns how many of its images could not be read."""
        import pyarrow as pa

        first = number * self.chunk
        named = [self.files.item(place) for place in range(first, min(first + self.chunk, len(self.files)))]
        names = [name for name, _ in named]
        columns: dict[str, list[np.ndarray]] = {}
        for answers in self._answers([item for _, item in named]):
            for name, values in answers.items():
                columns.setdefault(name, []).append(values)
            for sentence in filter(None, answers[ERROR]):
                refused(sentence)
            done(len(answers[ERROR]))
        whole = {name: np.concatenate(values) for name, values in columns.items()}
        failed = np.array([bool(error) for error in whole[ERROR]])
        arrays = {
            "index": pa.array(np.arange(first, first + len(names))),
            "file": pa.array([_text(name) for name in names], pa.string()),
        }
        for name, kind in self.predictor.columns.items():
            arrays[name] = _column(kind, whole[name], ~failed if name == ERROR else failed)
        facts = {"errors": int(failed.sum()), "first_errors": [
            _text(error) for error in whole[ERROR][failed][:_MOST_ERRORS_KEPT]
        ]}  # fmt: skip
        table = pa.table(arrays).replace_schema_metadata({"hvit": json.dumps(facts)})
        with replacing(self.path(number)) as file:
            _pyarrow().write_table(table, file, compression="zstd")
        return int(failed.sum())

    def _answers(self, items: Sequence[str | HeldImage]) -> Iterator[dict[str, np.ndarray]]:
        """The answers a batch at a time; the next batch is read while the model is at work."""
        batches = [items[start : start + self.batch_size] for start in range(0, len(items), self.batch_size)]
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(self.predictor.read, batches[0])
            for following in (*batches[1:], None):
                read = waiting.result()
                if following is not None:
                    waiting = ahead.submit(self.predictor.read, following)
                yield self.predictor.answer(read)

    def finish(self) -> JsonObject | None:
        """Writes the manifest where all chunks are done, and returns it; else None.

        {"images", "answered", "errors", "first_errors", "files": [{"file", "images", "errors"}], and what `_job.json`
        says}.
        """
        if self.pending():
            return None
        files, first_errors = [], []
        for number in range(len(self)):
            path = self.path(number)
            with opened(path, _MOST) as file:
                try:
                    parquet = _pyarrow().ParquetFile(file)
                    facts = json.loads(parquet.schema_arrow.metadata[b"hvit"])
                    files.append({"file": path.name, "images": parquet.metadata.num_rows, "errors": facts["errors"]})
                    first_errors += facts["first_errors"][: _MOST_ERRORS_KEPT - len(first_errors)]
                except Exception as error:  # whatever pyarrow raises
                    raise UserError(f"{show(path)} is damaged: remove it, and repeat the call") from error
        errors = sum(one["errors"] for one in files)
        images = sum(one["images"] for one in files)
        if images != self.about["images"]:
            raise UserError(f"{show(self.out)} holds {images:,} answers to {self.about['images']:,} images")
        manifest = {
            **self.about, "weights": self.predictor.weights, "answered": images - errors, "errors": errors,
            "first_errors": first_errors, "files": files,
        }  # fmt: skip
        write_text(self.out / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        remove_unfinished(self.out)  # of processes that were killed
        return manifest


class ChunkWorker:
    """Does chunks of a job, for `ray.data.Dataset.map_batches` over rows {"chunk": number}.

    Gives {"chunk", "images", "errors"} of each. A chunk that is done already is not done again, so a call that was
    killed is repeated as it was.
    """

    def __init__(self, job: BatchJob) -> None:
        self.job = job

    def __call__(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        numbers = [int(number) for number in batch["chunk"]]
        errors = [0 if self.job.path(number).exists() else self.job.do(number) for number in numbers]
        images = [min(self.job.chunk, self.job.about["images"] - number * self.job.chunk) for number in numbers]
        return {"chunk": np.array(numbers), "images": np.array(images), "errors": np.array(errors)}


def run_on_ray(job: BatchJob, workers: int, **resources: Any) -> JsonObject:
    """Does a job on the Ray cluster that the program is connected to (extra `ray`), and returns its manifest.

    workers: actors that each hold a model. resources: of each actor, such as num_gpus=1 or num_cpus=4, as
    `map_batches` takes them. A call that was stopped is repeated as it was: chunks that are done are not done again.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of Ray's own making reports its use otherwise
    try:
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("Ray is missing: pip install 'hvit[ray]'") from error
    if pending := job.pending():
        rows = ray.data.from_items([{"chunk": number} for number in pending], override_num_blocks=len(pending))
        done = rows.map_batches(ChunkWorker, fn_constructor_args=(job,), concurrency=workers, batch_size=1, **resources)
        for _ in done.iter_batches(batch_size=None):
            pass
    manifest = job.finish()
    assert manifest is not None, "all chunks are done"
    return manifest


def rank_and_size() -> tuple[int, int]:
    """Number of this process among those that torchrun started, and their count."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def device_of_process(device: str) -> str:
    """The device of this process among those that torchrun started on a machine."""
    if device in ("auto", "cuda") and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{int(os.environ['LOCAL_RANK'])}"
    return device


def _column(kind: str, values: np.ndarray, absent: np.ndarray) -> Any:
    import pyarrow as pa

    if kind == "vector":
        flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(absent))
    if kind == "text":
        return pa.array(
            [None if gone else _text(str(one)) for one, gone in zip(values, absent, strict=True)], pa.string()
        )
    return pa.array(values, pa.bool_() if kind == "flag" else pa.float32(), mask=absent)


def _text(value: str) -> str:
    """Without the halves of letters that odd file names have, which Parquet's text does not allow."""
    return value.encode("utf-8", "backslashreplace").decode()


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("folders of Parquet files need pyarrow: pip install 'hvit[parquet]'") from error
    return pyarrow.parquet
