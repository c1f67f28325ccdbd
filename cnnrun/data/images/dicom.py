"""DICOM images, read by pydicom, which `cnnrun[dicom]` installs."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.images.window import Pixels, Window, no_such_page, refuse_large

_BEGINNING, _MAGIC = 128, b"DICM"
# Unpacked as a whole before anything is known of its size.
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def is_dicom(content: bytes) -> bool:
    """Whether a file starts like a DICOM file."""
    return content[_BEGINNING : _BEGINNING + len(_MAGIC)] == _MAGIC


class DicomImage:
    """One frame of a DICOM file: gray by its rescaling and window, or color of 8 bits."""

    def __init__(self, content: bytes, reading: ImageReading) -> None:
        header = _opened(content)
        self.size, self.gray = _form(header)
        self.mode = f"{header.BitsStored}-bit DICOM"
        count, page = _frames(header), reading.page or 0
        if page >= count:
            raise UnreadableError(no_such_page(page, count))
        self._pixels = _decoded(content, page, reading)

    def read(self, channels: int, window: Window, size: tuple[int, int]) -> Pixels:  # noqa: ARG002
        """See `Opened.read`."""
        top, left, height, width = window
        part = self._pixels[top : top + height, left : left + width]
        if part.shape[2] == channels:
            return np.ascontiguousarray(part)
        if channels == 3:
            return part.repeat(3, axis=2)
        from PIL import Image

        return np.array(Image.fromarray(np.ascontiguousarray(part)).convert("L"))[:, :, None]

    def check(self) -> None:
        """It was decoded when it was opened."""

    def highest(self) -> None:
        """Its values are scaled as the file says."""


def read_header(content: bytes) -> tuple[tuple[int, int], bool]:
    """((height, width), whether it is gray)."""
    return _form(_opened(content))


def pages(content: bytes) -> int:
    """How many frames there are; 1 of a damaged file."""
    try:
        return _frames(_opened(content))
    except UnreadableError:
        return 1


def _opened(content: bytes, pixels: bool = False) -> Any:
    """The data set in the file.

    Raises:
        UnreadableError: pydicom is not installed, or the file is damaged.
    """
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise UnreadableError("a DICOM image: pip install 'cnnrun[dicom]'") from error
    if _DEFLATED in content[: 8 * _BEGINNING]:
        raise UnreadableError("a deflated DICOM file; save it uncompressed")
    try:
        return dcmread(BytesIO(content), stop_before_pixels=not pixels)
    except Exception as error:  # whatever a damaged file leads its reader to
        raise UnreadableError(_damage(error)) from error


def _form(header: Any) -> tuple[tuple[int, int], bool]:
    try:
        height, width = int(header.Rows), int(header.Columns)
        colors = str(header.PhotometricInterpretation)
        samples, bits = int(header.SamplesPerPixel), int(header.BitsStored)
    except (AttributeError, TypeError, ValueError) as error:
        raise UnreadableError("a DICOM file without an image") from error
    gray = colors in _GRAY and samples == 1
    if not gray and not (colors in _COLORS and samples == 3 and bits == 8):
        message = f"{colors}, {samples} values of {bits} bits a pixel"
        raise UnreadableError(f"an unsupported kind of DICOM image ({message})")
    refuse_large(height, width)
    return (height, width), gray


def _frames(header: Any) -> int:
    try:
        return max(int(header.get("NumberOfFrames") or 1), 1)
    except (TypeError, ValueError) as error:
        raise UnreadableError(_damage(error)) from error


def _decoded(content: bytes, page: int, reading: ImageReading) -> Pixels:
    """The frame, (H, W, C) uint8."""
    from pydicom.pixels.utils import pixel_array

    dataset = _opened(content, pixels=True)
    try:
        values = pixel_array(dataset, index=page)
        if values.ndim == 3:
            return reading.scaled(values, 255) if reading.clips else values.astype(np.uint8)
        shown = _shown(dataset, values, reading)
    except UnreadableError:
        raise
    except MemoryError as error:
        raise UnreadableError("there is not enough memory to decode it") from error
    except Exception as error:  # damage, or a compression that needs another package
        raise UnreadableError(_damage(error)) from error
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # whose lowest value is white
        shown = 255 - shown
    return shown[:, :, None]


def _shown(dataset: Any, values: NDArray[Any], reading: ImageReading) -> Pixels:
    """Gray (H, W) uint8: the range that was said, else the file's window, else all of its bits.

    The range and the window are of the values that the file rescales its own to, such as
    Hounsfield units.
    """
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    rescaled = apply_modality_lut(values, dataset)
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if reading.high is not None:
        return reading.scaled(rescaled, high)
    slope = float(dataset.get("RescaleSlope") or 1)
    ends = sorted(end * slope + float(dataset.get("RescaleIntercept") or 0) for end in (low, high))
    if "ModalityLUTSequence" in dataset or "VOILUTSequence" in dataset:
        message = "its values are shown by a table (LUT)"
        raise UnreadableError(f"{message}; set dataset.range to the values of black and white")
    if dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        rescaled = apply_windowing(rescaled, dataset)
    return ImageReading(ends[0], ends[1], clips=True).scaled(rescaled, ends[1])


def _damage(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"a damaged DICOM file, or of a kind that pydicom does not read: {text:.200}"
