"""Images: hashes against ImageHash, planted faults in real folders."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from tests.doctor.conftest import one

import headstart
from headstart.doctor.images import holds_images, near_images, perceptual_hash
from headstart.errors import DataError


def photos(real: Path) -> list[Path]:
    return sorted((real / "imagenet_sample" / "one_per_class").iterdir())


def hashed(image: Image.Image) -> int:
    small = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    return perceptual_hash(np.asarray(small))


def test_hashes_are_those_of_imagehash(real: Path) -> None:
    imagehash = pytest.importorskip("imagehash")
    for file in photos(real):
        with Image.open(file) as image:
            theirs = imagehash.phash(image)
            assert bin(int(str(theirs), 16) ^ hashed(image)).count("1") <= 2  # ties at the median


def test_what_is_resized_or_brighter_keeps_its_hash(real: Path) -> None:
    hashes = []
    for file in photos(real):
        with Image.open(file) as image:
            image = image.convert("RGB")
            half = image.resize((image.width // 2, image.height // 2))
            brighter = ImageEnhance.Brightness(image).enhance(1.15)
            hashes.append(hashed(image))
            for changed in (half, brighter):
                assert bin(hashed(changed) ^ hashes[-1]).count("1") <= 5
    apart = [bin(a ^ b).count("1") for n, a in enumerate(hashes) for b in hashes[:n]]
    assert min(apart) > 10


def test_pairs_within_three_bits_are_all_found() -> None:
    random = np.random.default_rng(3)
    hashes = random.integers(0, 2**63, 307, dtype=np.uint64)
    planted = set()
    for one_place, other in zip(range(0, 101, 2), range(1, 102, 2), strict=True):
        bits = random.choice(64, random.integers(0, 4), replace=False)
        hashes[other] = hashes[one_place] ^ np.uint64(sum(1 << int(bit) for bit in bits))
        planted.add((one_place, other))
    grey = np.zeros((307, 32, 32), np.uint8)
    assert set(map(tuple, near_images(hashes, grey).tolist())) == planted
    grey[1] = 255  # alike by hash and not to the eye
    assert set(map(tuple, near_images(hashes, grey).tolist())) == planted - {(0, 1)}


@pytest.fixture
def folders(real: Path, tmp_path: Path) -> Path:
    """train and test of three classes, with faults."""
    for part, count in (("train", 5), ("val", 3)):
        for synset in sorted((real / "imagenet_sample" / part).iterdir())[:3]:
            place = tmp_path / "photos" / {"val": "test"}.get(part, part) / synset.name
            place.mkdir(parents=True)
            for file in sorted(synset.iterdir())[:count]:
                shutil.copyfile(file, place / file.name)
    return tmp_path / "photos"


def test_planted_faults_in_a_folder(folders: Path) -> None:
    classes = sorted((folders / "train").iterdir())
    clean = headstart.check(target=folders, test=folders, progress=False)
    assert [each.rows for each in clean.sets] == [15, 9]
    assert set(clean.sets[0].classes.values()) == {5}
    assert not {f.kind for f in clean.findings} & {
        "unreadable images", "repeated images", "images of test", "small images",
    }  # fmt: skip
    first = sorted(classes[0].iterdir())[0]
    with Image.open(first) as image:
        image.resize((200, 200)).save(classes[1] / "again.jpg", quality=70)
    tested = sorted((folders / "test" / classes[2].name).iterdir())[0]
    shutil.copyfile(tested, classes[2] / "leak.JPEG")
    (classes[0] / "empty.jpg").write_bytes(b"")
    (classes[0] / "cut.jpg").write_bytes(first.read_bytes()[:997])
    Image.new("L", (17, 23), 128).save(classes[1] / "tiny.png")
    findings = list(headstart.check(target=folders, test=folders, progress=False).findings)
    broken = one(findings, "unreadable images")
    assert broken.count == 2 and broken.severity == "harmful"
    assert broken.details[0].startswith(f"train/{classes[0].name}/cut.jpg is ")
    assert broken.details[1].startswith(f"train/{classes[0].name}/empty.jpg is empty")
    again = one(findings, "repeated images")
    assert again.count == 1 and again.severity == "warning" and "another label" in again.message
    assert f"train/{classes[1].name}/again.jpg like train/{classes[0].name}" in again.details[0]
    leak = one(findings, "images of test")
    assert leak.severity == "harmful" and leak.details[0].startswith(
        f"train/{classes[2].name}/leak.JPEG like test test/{classes[2].name}/"
    )
    small = one(findings, "small images")
    assert small.details == (f"train/{classes[1].name}/tiny.png is 17 x 23",)
    assert one(findings, "mixed channels").details[-1].endswith("tiny.png is L")


def test_a_table_of_files(real: Path, tmp_path: Path) -> None:
    rows = []
    for number, file in enumerate(photos(real)[:5]):
        shutil.copyfile(file, tmp_path / file.name)
        rows.append([file.name, "ab"[number % 2]])
    rows += [["missing.jpg", "a"], [rows[1][0], "b"]]
    table = tmp_path / "photos.csv"
    with table.open("w", newline="") as out:
        csv.writer(out).writerows([["image", "label"], *rows])
    assert holds_images(table) and not holds_images(tmp_path / "none")
    findings = list(headstart.check(target=table, progress=False).findings)
    assert one(findings, "unreadable images").details == ("row 7 (missing.jpg) is missing.",)
    again = one(findings, "repeated images")
    assert again.details == (f"row 8 ({rows[1][0]}) like row 3 ({rows[1][0]})",)


def test_images_and_texts_do_not_mix(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("text,label\na,1\nb,0\n")
    with pytest.raises(DataError, match=r"target: .*shop\.csv does not"):
        headstart.check(source=folders, target=tmp_path / "shop.csv", progress=False)
