"""Image files to the pixels that a backbone was trained on.

The steps are those of transformers' image processors, with Pillow doing the resizing: convert to
RGB, resize, cut the middle out, scale to 0..1, normalise by mean and standard deviation.

Shapes: C channels, H x W pixels.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from headstart.errors import CheckpointError, DataError, nearest
from headstart.models.weights import read_json

FILE, JOINT_FILE = "preprocessor_config.json", "processor_config.json"
AGAIN = "Copy or download it again, or leave it out."
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises, format by format, on a file whose content is not what it ought to be."""

_HALF = (0.5, 0.5, 0.5)
_CLIP = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
    "do_convert_rgb": True,
    "default_to_square": False,
}
_ALL = {
    "do_resize": True,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_convert_rgb": False,
    "image_mean": _HALF,
    "image_std": _HALF,
    "size": {"height": 224, "width": 224},
    "default_to_square": True,
}
KINDS: dict[str, dict[str, Any]] = {  # where a file is silent
    "ViT": _ALL | {"resample": 2},
    "DeiT": _ALL
    | {
        "size": {"height": 256, "width": 256},
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "resample": 3,
    },
    "CLIP": _ALL | _CLIP,
    "Bit": _ALL | _CLIP,
    "Siglip": _ALL | {"resample": 3, "do_convert_rgb": True, "default_to_square": False},
}
KIND_OF_MODEL = {
    "vit": "ViT",
    "deit": "DeiT",
    "dinov2": "Bit",
    "dinov2_with_registers": "Bit",
    "clip": "CLIP",
    "clip_vision_model": "CLIP",
    "siglip": "Siglip",
    "siglip_vision_model": "Siglip",
}
SUFFIXES = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
IDLE = {  # keys that change nothing in the pixels of one image
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "auto_map",
    "data_format",
    "input_data_format",
    "device",
    "return_tensors",
    "disable_grouping",
    "image_seq_length",
    "_valid_processor_keys",
}
SWITCHES = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb",
            "default_to_square")  # fmt: skip


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before it is cut into patches.

    Attributes:
        size: (H, W) that it is resized to, or the length of its shorter edge, in pixels; None
            leaves it as it is.
        resample: Pillow's number of the filter that resizes.
        crop: (H, W) of the middle that is kept, with black around where there is less; None keeps
            all.
        factor: what a value, 0 to 255, is multiplied by; None leaves it.
        mean: subtracted, one for all channels or one for each; None subtracts and divides nothing.
        std: divided by, likewise.
        rgb: whether an image of another kind is converted, what is transparent to white.
    """

    size: tuple[int, int] | int | None
    resample: int
    crop: tuple[int, int] | None
    factor: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    rgb: bool

    @classmethod
    def open(cls, folder: Path) -> Preprocessing:
        """Read the preprocessor_config.json, or the processor_config.json, of a checkpoint.

        Raises:
            CheckpointError: there is none, it is damaged, or one line for each value that cannot
                be honoured.
        """
        joint, file = folder / JOINT_FILE, folder / FILE
        values = read_json(joint).get("image_processor") if joint.exists() else None
        if values is None:
            values = read_json(file)
        else:
            file = joint
        kind, faults = _kind(folder, values)
        values = kind | {key: value for key, value in values.items() if value is not None}
        faults += _faults(values)
        if faults:
            raise CheckpointError([f"{file}, {fault}" for fault in faults])
        square = values["default_to_square"]
        return cls(
            size=_size(values["size"], square) if values["do_resize"] else None,
            resample=values["resample"],
            crop=_both(_size(values["crop_size"], True)) if values["do_center_crop"] else None,
            factor=values["rescale_factor"] if values["do_rescale"] else None,
            mean=_channels(values["image_mean"]) if values["do_normalize"] else None,
            std=_channels(values["image_std"]) if values["do_normalize"] else None,
            rgb=values["do_convert_rgb"],
        )

    def pixels(self, image: Image.Image) -> Tensor:
        """(C, H, W) float32 of an image.

        Raises:
            DataError: it has other channels than the backbone was trained on.
        """
        image = _opaque(image) if self.rgb else image
        self._check_channels(image)
        if self.size is not None:
            height, width = self._resized(image)
            image = image.resize((width, height), resample=self.resample)
        array = np.asarray(image)
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        if self.crop is not None:
            array = _middle(array, self.crop)
        if self.factor is not None:
            array = array.astype(np.float64) * self.factor
        array = array.astype(np.float32)
        if self.mean is not None:
            array = (array - _column(self.mean)) / _column(self.std or (1.0,))
        return torch.from_numpy(np.ascontiguousarray(array))

    def _resized(self, image: Image.Image) -> tuple[int, int]:
        """(H, W) after resizing."""
        if not isinstance(self.size, int):
            assert self.size is not None, "asked only where there is a size"
            return self.size
        shorter, longer = sorted(image.size)
        grown = int(self.size * longer / shorter)
        return (grown, self.size) if image.width <= image.height else (self.size, grown)

    def _check_channels(self, image: Image.Image) -> None:
        count = len(image.getbands())
        wanted = len(self.mean) if self.mean is not None and len(self.mean) > 1 else count
        if image.mode not in ("L", "RGB") or count != wanted:
            raise DataError(
                f"has the mode {image.mode}, and the backbone wants {wanted} channels of 8 bits. "
                "Convert it to RGB."
            )


def read_images(files: Sequence[Path | str], preprocessing: Preprocessing) -> list[Tensor]:
    """The pixels of image files, as transformers' processors make them from a file's name.

    An image is turned as its EXIF data says and then made RGB, its transparency left out.

    Args:
        files: in any format that Pillow reads.
        preprocessing: of the backbone.

    Returns:
        For each file (C, H, W) float32.

    Raises:
        DataError: one line for each file that is missing, empty, damaged, no image, or does not
            fit the backbone.
    """
    pixels: list[Tensor] = []
    faults: list[str] = []
    for file in map(Path, files):
        try:
            pixels.append(preprocessing.pixels(_read(file)))
        except DataError as error:
            faults.append(f"{file}: {error}")
        except (*DAMAGED, Image.DecompressionBombError) as error:
            faults.append(f"{file}: {_fault(file, error)}")
    if faults:
        raise DataError(faults)
    return pixels


def _read(file: Path) -> Image.Image:
    with Image.open(file) as image, warnings.catch_warnings():
        # Pillow warns of transparency in a palette; it is left out on purpose.
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        return ImageOps.exif_transpose(image).convert("RGB")


def _fault(file: Path, error: Exception) -> str:
    """Word what is wrong with a file."""
    if isinstance(error, FileNotFoundError):
        return "is missing."
    if file.is_dir():
        return "is a folder; name the images in it."
    if isinstance(error, PermissionError):
        return "may not be read; give yourself the right to."
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large for memory ({error}). Make it smaller."
    size = file.stat().st_size
    if not size:
        return f"is empty. {AGAIN}"
    if isinstance(error, UnidentifiedImageError):
        with file.open("rb") as stream:
            start = stream.read(8)
        return f"is no image that can be read ({size:,} bytes, beginning with {start!r}). {AGAIN}"
    reason = str(error).strip().split("\n")[0]
    return f"is truncated or damaged ({size:,} bytes; {reason}). {AGAIN}"


def _opaque(image: Image.Image) -> Image.Image:
    """An RGB image, what is transparent white."""
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _middle(array: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """(C, H, W) to the middle of it, with zeros around where there is less."""
    height, width = array.shape[1:]
    grown = (max(height, crop[0]), max(width, crop[1]))
    top, left = -((height - grown[0]) // 2), -((width - grown[1]) // 2)
    canvas = np.zeros((len(array), *grown), array.dtype)
    canvas[:, top : top + height, left : left + width] = array
    top, left = (grown[0] - crop[0]) // 2, (grown[1] - crop[1]) // 2
    return canvas[:, top : top + crop[0], left : left + crop[1]]


def _column(values: tuple[float, ...]) -> np.ndarray:
    """(C or 1, 1, 1) float32."""
    return np.array(values, np.float32)[:, None, None]


def _kind(folder: Path, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What transformers' class sets where a file is silent, and the fault of an unknown class."""
    said = values.get("image_processor_type") or values.get("feature_extractor_type")
    if said is None:
        model = str(read_json(folder / "config.json").get("model_type"))
        known = KIND_OF_MODEL.get(model)
        if known is not None:
            return KINDS[known], []
        return KINDS["ViT"], [
            "image_processor_type: is missing, and the model_type of config.json, "
            f"{model!r}, does not tell. Known: {', '.join(KINDS)} with ImageProcessor behind."
        ]
    name = str(said)
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    if name in KINDS:
        return KINDS[name], []
    known_names = [f"{kind}ImageProcessor" for kind in KINDS]
    return KINDS["ViT"], [
        f"image_processor_type: {said!r} is not supported.{nearest(str(said), known_names)} "
        f"Known: {', '.join(known_names)}."
    ]


def _faults(values: Mapping[str, Any]) -> list[str]:
    """One fault for each value that cannot be honoured."""
    faults = [
        f"{key}: must be true or false; got {values[key]!r}."
        for key in SWITCHES
        if not isinstance(values[key], bool)
    ]
    sizes = {"size": values["do_resize"], "crop_size": values["do_center_crop"]}
    for key in (key for key, used in sizes.items() if used):
        faults += _size_faults(key, values.get(key))
    if values["resample"] not in range(6) or isinstance(values["resample"], bool):
        faults.append(f"resample: must be Pillow's 0 to 5; got {values['resample']!r}.")
    if not _number(values["rescale_factor"]):
        faults.append(f"rescale_factor: must be a number; got {values['rescale_factor']!r}.")
    for key in ("image_mean", "image_std"):
        faults += _channel_faults(key, values[key])
    mean, std = (_channels(values[key]) for key in ("image_mean", "image_std"))
    if len(mean) != len(std) and min(len(mean), len(std)) > 1:
        faults.append(f"image_std: must be as many as image_mean, {len(mean)}; got {len(std)}.")
    known = {*_ALL, *_CLIP, *IDLE}
    return faults + [
        f"{key}: {value!r} is not supported; leave it out if it changes nothing."
        for key, value in values.items()
        if key not in known and value not in (None, False)
    ]


def _size_faults(key: str, value: Any) -> list[str]:
    keys = ({"height", "width"}, {"shortest_edge"}) if key == "size" else ({"height", "width"},)
    if isinstance(value, Mapping):
        fits, sides = set(value) in keys, list(value.values())
    else:
        sides = list(value) if isinstance(value, list | tuple) else [value, value]
        fits = len(sides) == 2
    if fits and all(isinstance(side, int) and side > 0 for side in sides):
        return []
    named = " or ".join(" and ".join(sorted(names)) for names in keys)
    return [f"{key}: must be {named}, each a whole number above 0; got {value!r}."]


def _channel_faults(key: str, value: Any) -> list[str]:
    numbers = value if isinstance(value, list | tuple) else [value]
    if numbers and all(map(_number, numbers)) and not (key == "image_std" and 0 in numbers):
        return []
    return [f"{key}: must be a number, or one for each channel; got {value!r}."]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: Any, square: bool) -> tuple[int, int] | int:
    """(H, W), or the length of the shorter edge."""
    if isinstance(value, Mapping):
        edge = value.get("shortest_edge")
        return (value["height"], value["width"]) if edge is None else int(edge)
    if isinstance(value, list | tuple):
        return (value[0], value[1])
    return (value, value) if square else int(value)


def _both(size: tuple[int, int] | int) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _channels(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
