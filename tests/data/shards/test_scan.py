"""A look through a tar file finds samples and their labels, and refuses what is none."""

import gc
import io
import tarfile
from pathlib import Path

import pytest

from hvit.data.shards.scan import Found, scan
from hvit.errors import UserError
from tests.data.shards.made import label_json, picture, write_shards, write_tar

pytest.importorskip("webdataset")


def scanned(path: Path, *fields: str) -> Found:
    with path.open("rb") as file:
        return scan(file, path.stat().st_size, fields)


def info(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def test_samples_of_webdatasets_writer_lie_where_the_scan_says(tmp_path: Path) -> None:
    write_shards(tmp_path, [5])
    found = scanned(tmp_path / "000000.tar")
    content = (tmp_path / "000000.tar").read_bytes()
    assert found.keys == [f"sample{number:04}" for number in range(5)]
    assert found.cells == ["0", "1", "0", "1", "0"]
    assert found.complaints == []
    for number, (offset, size) in enumerate(zip(found.offsets, found.sizes, strict=True)):
        assert content[offset : offset + size] == picture(number)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its reader leaves the file open
def test_the_scan_agrees_with_webdatasets_reader(tmp_path: Path) -> None:
    import webdataset

    write_shards(tmp_path, [4], extra={"json": '{{"class": "kind {number}"}}'})
    read = list(webdataset.WebDataset(str(tmp_path / "000000.tar"), shardshuffle=False))
    gc.collect()
    found = scanned(tmp_path / "000000.tar")
    assert [one["__key__"] for one in read] == found.keys
    assert [len(one["png"]) for one in read] == found.sizes
    assert found.cells == [f"kind {number}" for number in range(4)]


@pytest.mark.parametrize(
    ("fields", "cell"), [((), "cat"), (("age",), 7), (("cls",), "3"), (("txt",), "a cat"), (("nothing",), "")]
)
def test_labels_are_found_where_they_are_said_to_be(tmp_path: Path, fields: tuple[str, ...], cell: object) -> None:
    write_tar(
        tmp_path / "a.tar",
        [
            ("a.cls", b"3"),
            ("a.jpg", picture(0)),
            ("a.json", label_json(age=7, **{"class": "cat"})),
            ("a.txt", b"a cat"),
        ],
    )
    assert scanned(tmp_path / "a.tar", *fields).cells == [cell]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("../a.jpg", "leads out of the archive"), ("/etc/a.jpg", "leads out"), ("b/../../a.jpg", "leads out"),
     ("C:\\a.jpg", "leads out"), ("x" * 2000 + ".jpg", "is no name of a sample")],
)  # fmt: skip
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, complaint: str) -> None:
    write_tar(tmp_path / "a.tar", [(name, picture(0)), ("good.jpg", picture(1)), ("good.cls", b"0")])
    found = scanned(tmp_path / "a.tar")
    assert found.keys == ["good"]
    assert [complaint in one for one in found.complaints] == [True]


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [(tarfile.SYMTYPE, "is a link"), (tarfile.LNKTYPE, "is a link"), (tarfile.CHRTYPE, "is no plain file"),
     (tarfile.FIFOTYPE, "is no plain file"), (tarfile.BLKTYPE, "is no plain file")],
)  # fmt: skip
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes, complaint: str) -> None:
    write_tar(
        tmp_path / "a.tar", [(info("bad.jpg", kind, "/etc/passwd"), b""), ("good.jpg", picture(1)), ("good.cls", b"0")]
    )
    found = scanned(tmp_path / "a.tar")
    assert found.keys == ["good"]
    assert len(found.complaints) == 1
    assert complaint in found.complaints[0]


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([("a.jpg", b"1"), ("a.cls", b"0"), ("b.jpg", b"2"), ("a.jpg", b"3"), ("a.cls", b"0")], "a is there twice"),
        ([("a.jpg", b"1"), ("a.jpg", b"2"), ("a.cls", b"0"), ("b.jpg", b"2")], "a has two images"),
        ([("a.jpg", b"1"), ("a.png", b"2"), ("b.jpg", b"2")], "a has two images"),
        ([("a.cls", b"0"), ("b.jpg", b"2")], "a has no image"),
        ([("a.jpg", b""), ("b.jpg", b"2")], "a has an image of no content"),
        ([("a.jpg", b"1"), ("a.json", b"{"), ("b.jpg", b"2")], "the JSON of a is damaged"),
        ([("a.jpg", b"1"), ("a.cls", b"0"), ("a.cls", b"1"), ("b.jpg", b"2")], "a.cls is there twice"),
    ],
)
def test_bad_samples_are_named(tmp_path: Path, members: list[tuple[str, bytes]], complaint: str) -> None:
    found = scanned(write_tar(tmp_path / "a.tar", members))
    assert "b" in found.keys
    assert found.complaints == [complaint]


def test_other_files_between_the_samples_are_no_fault(tmp_path: Path) -> None:
    folder = info("pictures", tarfile.DIRTYPE)
    members = [(folder, b""), ("README", b"text"), ("a.jpg", b"1"), ("a.seg.png", b"2"), ("a.cls", b"-1")]
    found = scanned(write_tar(tmp_path / "a.tar", members))
    assert (found.keys, found.cells, found.complaints) == (["a"], [""], [])


@pytest.mark.parametrize("lost", [10240 + 600, 10240 + 1500, 20000])
def test_what_a_cut_shard_still_holds_is_used(tmp_path: Path, lost: int) -> None:
    write_shards(tmp_path, [40])
    path = tmp_path / "000000.tar"
    whole = scanned(path)
    path.write_bytes(path.read_bytes()[:-lost])
    found = scanned(path)
    assert 0 < len(found.keys) < 40
    assert found.keys == whole.keys[: len(found.keys)]
    assert found.complaints
    assert found.digest != whole.digest


def test_a_damaged_header_ends_the_shard_with_a_complaint(tmp_path: Path) -> None:
    write_shards(tmp_path, [6])
    path = tmp_path / "000000.tar"
    content = bytearray(path.read_bytes())
    place = content.index(b"sample0003.png")
    content[place : place + 512] = b"\xff" * 512
    path.write_bytes(content)
    found = scanned(path)
    assert found.keys == ["sample0000", "sample0001", "sample0002"]
    assert any("what follows is lost" in one for one in found.complaints)


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("pax")
    huge.type, huge.size = tarfile.XHDTYPE, 8 * 2**30
    path = tmp_path / "a.tar"
    good = write_tar(tmp_path / "good.tar", [("a.jpg", b"1"), ("a.cls", b"0")]).read_bytes()[:2048]
    path.write_bytes(good + huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    found = scanned(path)
    assert found.keys == ["a"]
    assert "a header claims to have 8,589,934,592 bytes" in found.complaints[0]


def test_a_member_that_claims_more_than_there_is_is_no_sample(tmp_path: Path) -> None:
    long = tarfile.TarInfo("b.jpg")
    long.size = 5 * 2**40
    good = write_tar(tmp_path / "good.tar", [("a.jpg", b"1"), ("a.cls", b"0")]).read_bytes()[:2048]
    path = tmp_path / "a.tar"
    path.write_bytes(good + long.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    found = scanned(path)
    assert found.keys == ["a"]
    assert any("b.jpg is cut off" in one for one in found.complaints)


@pytest.mark.parametrize("content", [b"no archive" * 100, picture(0) * 20, b"\x1f\x8b" + b"1" * 2000])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match="no tar file"):
        scan(io.BytesIO(content), len(content))
