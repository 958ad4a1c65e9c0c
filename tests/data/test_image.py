from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.data.image import KIND_OF_MODEL, KINDS, Preprocessing, read_images
from headstart.errors import CheckpointError, DataError

SMALL = {
    "ViT": {"size": {"height": 31, "width": 29}},
    "DeiT": {"size": {"height": 37, "width": 41}, "crop_size": {"height": 29, "width": 31}},
    "CLIP": {"size": {"shortest_edge": 31}, "crop_size": {"height": 29, "width": 23}},
    "Bit": {"size": {"shortest_edge": 37}, "crop_size": {"height": 31, "width": 31}},
    "Siglip": {"size": {"height": 31, "width": 31}},
}
SIZES = [(47, 53), (53, 47), (31, 31), (1, 1), (3, 7), (211, 5), (5, 211)]
"""Pixels wide and high: odd, square, tiny, and smaller than what is cut out."""


@pytest.fixture(scope="session")
def hf():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    return transformers


def theirs(hf, kind: str, **settings: object):
    """Their processor that resizes with Pillow; before transformers 5 it has the plain name."""
    name = f"{kind}ImageProcessor"
    return (getattr(hf, f"{name}Pil", None) or getattr(hf, name))(**settings)


def written(folder: Path, **values: object) -> Preprocessing:
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return Preprocessing.open(folder)


def noise(width: int, height: int, bands: int = 3) -> np.ndarray:
    shape = (height, width, bands) if bands > 1 else (height, width)
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


def wanted(processor, image) -> torch.Tensor:
    return processor(image, return_tensors="pt")["pixel_values"][0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_pixels_equal_those_of_transformers(hf, tmp_path, kind, size):
    processor = theirs(hf, kind, **SMALL[kind])
    processor.save_pretrained(tmp_path)
    file = tmp_path / "image.png"
    Image.fromarray(noise(*size)).save(file)
    (got,) = read_images([file], Preprocessing.open(tmp_path))
    assert (got.dtype, got.is_contiguous()) == (torch.float32, True)
    assert torch.equal(got, wanted(processor, str(file)))
    assert torch.equal(got, wanted(processor, Image.open(file)))


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_transformers(hf, tmp_path, kind):
    ours = written(tmp_path, image_processor_type=f"{kind}ImageProcessor")
    theirs(hf, kind).save_pretrained(tmp_path)
    assert Preprocessing.open(tmp_path) == ours


@pytest.mark.parametrize("resample", range(6))
def test_every_filter(hf, tmp_path, resample):
    image = Image.fromarray(noise(47, 53))
    settings = {"size": {"height": 19, "width": 67}, "resample": resample}
    ours = written(tmp_path, image_processor_type="ViTImageProcessor", **settings)
    assert torch.equal(ours.pixels(image), wanted(theirs(hf, "ViT", **settings), image))


@pytest.mark.parametrize(
    "settings",
    [
        {"do_resize": False},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"image_mean": 0.3, "image_std": 0.7},
        {"do_center_crop": False},
        {"size": 37, "crop_size": 23},
        {"size": [37, 41], "crop_size": [23, 29]},
        {"size": 37, "default_to_square": True},
    ],
)
@pytest.mark.parametrize("kind", ["CLIP", "DeiT"])
def test_every_switch(hf, tmp_path, kind, settings):
    image = Image.fromarray(noise(47, 53))
    processor = theirs(hf, kind, **settings)
    ours = written(tmp_path, image_processor_type=f"{kind}ImageProcessor", **settings)
    assert torch.equal(ours.pixels(image), wanted(processor, image).float())


def odd_images(folder: Path) -> dict[str, Path]:
    """Files of every kind of image, by what is odd about them."""
    rgb = Image.fromarray(noise(47, 53))
    rgba = Image.fromarray(noise(47, 53, 4))
    palette = rgb.convert("P")
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side
    deep = np.random.default_rng(3).integers(0, 65_536, (53, 47)).astype(np.uint16)
    files = {
        name: folder / f"{name}.png"
        for name in ("grey", "rgba", "palette", "clear palette", "bilevel", "16 bits", "grey alpha")
    }
    files |= {"turned": folder / "turned.jpg", "cmyk": folder / "cmyk.jpg",
              "webp": folder / "lossless.webp"}  # fmt: skip
    Image.fromarray(noise(47, 53, 1)).save(files["grey"])
    rgba.save(files["rgba"])
    palette.save(files["palette"])
    palette.save(files["clear palette"], transparency=bytes(range(256)))
    rgb.convert("1").save(files["bilevel"])
    Image.fromarray(deep).save(files["16 bits"])
    rgba.convert("LA").save(files["grey alpha"])
    rgb.save(files["turned"], exif=turned)
    rgb.convert("CMYK").save(files["cmyk"])
    rgba.save(files["webp"], lossless=True)
    return files


@pytest.mark.parametrize("kind", ["ViT", "CLIP"])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_odd_images_equal_those_of_transformers(hf, tmp_path, kind):
    processor = theirs(hf, kind, **SMALL[kind])
    processor.save_pretrained(tmp_path)
    files = odd_images(tmp_path)
    got = read_images(list(files.values()), Preprocessing.open(tmp_path))
    for (name, file), pixels in zip(files.items(), got, strict=True):
        assert torch.equal(pixels, wanted(processor, str(file))), name


@pytest.mark.parametrize("name", ["grey", "rgba", "palette", "clear palette", "grey alpha"])
def test_images_in_memory_are_laid_on_white(hf, tmp_path, name):
    """As theirs, where the processor converts; a file's name has its transparency left out."""
    processor = theirs(hf, "CLIP", **SMALL["CLIP"])
    processor.save_pretrained(tmp_path)
    image = Image.open(odd_images(tmp_path)[name])
    assert torch.equal(Preprocessing.open(tmp_path).pixels(image), wanted(processor, image))


def test_a_photo_taken_on_its_side_stands_upright(tmp_path):
    files = odd_images(tmp_path)
    plain = written(tmp_path, image_processor_type="ViTImageProcessor", do_resize=False)
    (got,) = read_images([files["turned"]], plain)
    assert got.shape == (3, 47, 53)  # the file holds 53 lines of 47


def test_images_that_do_not_fit_in_memory_are_named(tmp_path):
    ours = written(tmp_path, image_processor_type="ViTImageProcessor")
    with pytest.raises(DataError, match="has the mode RGBA, and the backbone wants 3 channels"):
        ours.pixels(Image.fromarray(noise(5, 7, 4)))
    with pytest.raises(DataError, match="has the mode L, and"):
        ours.pixels(Image.fromarray(noise(5, 7, 1)))
    one = written(tmp_path, image_processor_type="ViTImageProcessor", image_mean=[0.1],
                  image_std=[0.2], do_resize=False)  # fmt: skip
    assert one.pixels(Image.fromarray(noise(5, 7, 1))).shape == (1, 7, 5)


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path):
    good = tmp_path / "good.png"
    Image.fromarray(noise(47, 53)).save(good)
    whole = good.read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "broken.png").write_bytes(whole[:300] + b"\0" * 60 + whole[360:])
    jpeg = tmp_path / "photo.jpg"
    Image.fromarray(noise(47, 53)).save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes()[:900])
    names = ["good.png", "missing.png", "short.png", "empty.png", "text.jpg", "broken.png",
             "photo.jpg", "."]  # fmt: skip
    ours = written(tmp_path, image_processor_type="ViTImageProcessor")
    with pytest.raises(DataError) as caught:
        read_images([tmp_path / name for name in names], ours)
    faults = [fault.removeprefix(str(tmp_path)).lstrip("/") for fault in caught.value.faults]
    starts = [
        "missing.png: is missing.",
        "short.png: is truncated or damaged (",
        "empty.png: is empty. Copy or download it again, or leave it out.",
        "text.jpg: is no image that can be read (8 bytes, beginning with b'no image')",
        "broken.png: is truncated or damaged (",
        "photo.jpg: is truncated or damaged (900 bytes; ",
        ": is a folder; name the images in it.",
    ]
    assert len(faults) == len(starts)
    for fault, start in zip(faults, starts, strict=True):
        assert fault.startswith(start), fault


def test_an_old_file_without_a_class_goes_by_the_model(hf, tmp_path):
    """google/vit-base-patch16-224 and openai/clip-vit-base-patch32, as they lie on the hub."""
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    ours = written(tmp_path, do_normalize=True, do_resize=True, image_mean=[0.5] * 3,
                   image_std=[0.5] * 3, size=224)  # fmt: skip
    assert (ours.size, ours.resample, ours.crop, ours.rgb) == ((224, 224), 2, None, False)
    ours = written(tmp_path, feature_extractor_type="CLIPFeatureExtractor", size=224,
                   crop_size=224, do_center_crop=True, resample=3)  # fmt: skip
    assert (ours.size, ours.resample, ours.crop, ours.rgb) == (224, 3, (224, 224), True)
    for model, kind in KIND_OF_MODEL.items():
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model}))
        assert written(tmp_path) == written(tmp_path, image_processor_type=f"{kind}ImageProcessor")


def test_a_joint_file_rules(tmp_path):
    written(tmp_path, image_processor_type="ViTImageProcessor", size=13)
    joint = {"image_processor": {"image_processor_type": "CLIPImageProcessor", "size": 17}}
    (tmp_path / "processor_config.json").write_text(json.dumps(joint))
    assert Preprocessing.open(tmp_path).size == 17
    (tmp_path / "processor_config.json").write_text('{"processor_class": "ViTProcessor"}')
    assert Preprocessing.open(tmp_path).size == (13, 13)


def test_values_that_are_not_honoured_come_all_at_once(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        written(
            tmp_path,
            image_processor_type="CLIPImageProcesor",
            do_resize="yes",
            size={"longest_edge": 31},
            do_center_crop=True,
            crop_size={"shortest_edge": 31},
            resample=7,
            rescale_factor="1/255",
            image_mean=["a"],
            image_std=[0.0],
            do_pad=True,
            pad_size={"height": 3, "width": 3},
            do_reduce_labels=False,
        )
    file = tmp_path / "preprocessor_config.json"
    assert [fault.removeprefix(f"{file}, ") for fault in caught.value.faults] == [
        "image_processor_type: 'CLIPImageProcesor' is not supported. Did you mean "
        "'CLIPImageProcessor'? Known: ViTImageProcessor, DeiTImageProcessor, CLIPImageProcessor, "
        "BitImageProcessor, SiglipImageProcessor.",
        "do_resize: must be true or false; got 'yes'.",
        "size: must be height and width or shortest_edge, each a whole number above 0; "
        "got {'longest_edge': 31}.",
        "crop_size: must be height and width, each a whole number above 0; "
        "got {'shortest_edge': 31}.",
        "resample: must be Pillow's 0 to 5; got 7.",
        "rescale_factor: must be a number; got '1/255'.",
        "image_mean: must be a number, or one for each channel; got ['a'].",
        "image_std: must be a number, or one for each channel; got [0.0].",
        "do_pad: True is not supported; leave it out if it changes nothing.",
        "pad_size: {'height': 3, 'width': 3} is not supported; leave it out if it changes nothing.",
    ]


def test_a_mean_for_three_channels_and_a_deviation_for_two(tmp_path):
    with pytest.raises(CheckpointError, match="image_std: must be as many as image_mean, 3; got 2"):
        written(tmp_path, image_processor_type="ViTImageProcessor", image_std=[0.5, 0.5])


def test_folders_that_say_nothing(tmp_path):
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json: is missing"):
        Preprocessing.open(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"model_type of config.json, 'bert', does not"):
        written(tmp_path)
