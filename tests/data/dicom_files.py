"""DICOM files for tests."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pydicom
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def dicom_bytes(values: NDArray[Any], compressed: bool = False, **elements: Any) -> bytes:
    """`values` (H, W), (frames, H, W) or (H, W, 3) as a file; `elements` are set as they are."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, pydicom.uid.generate_uid()
    frames = values.ndim == 3 and values.shape[2] != 3
    color = values.ndim == 3 and not frames
    dataset.Rows, dataset.Columns = values.shape[-2:] if not color else values.shape[:2]
    if frames:
        dataset.NumberOfFrames = len(values)
    dataset.SamplesPerPixel = 3 if color else 1
    dataset.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    dataset.PlanarConfiguration = 0 if color else None
    dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    if compressed:
        dataset.compress(pydicom.uid.RLELossless)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
