"""Which values of an image file are black and white, and which of its pages is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageReading:
    """How stored values become 0..255.

    low, high: the values that become 0 and 255; None is the whole range of the file's type: 65,535
        for 16 bits, 1 for floats, the file's own window for DICOM.
    clips: whether values beyond them become 0 and 255, too; if not, they are refused.
    page: of a file with several pages or frames, from 0; None is the first.
    """

    low: float = 0
    high: float | None = None
    clips: bool = False
    page: int | None = None

    @classmethod
    def of(
        cls, bits: int | None = None, span: list[float] | None = None, page: int | None = None
    ) -> ImageReading:
        """What the keys `bits`, `range` and `page` of the `dataset` section say."""
        if span is not None:
            return cls(span[0], span[1], clips=True, page=page)
        return cls(0, None if bits is None else 2**bits - 1, page=page)

    def scaled(self, values: NDArray[Any], high: float) -> NDArray[np.uint8]:
        """Values of any shape and type as uint8; `high` where none is said."""
        high = high if self.high is None else self.high
        with np.errstate(invalid="ignore"):
            shares = (values - np.asarray(self.low, np.float64)) * (255 / (high - self.low))
        shares = np.nan_to_num(np.clip(shares, 0, 255)) if self.clips else shares
        return np.rint(shares).astype(np.uint8)


AS_STORED = ImageReading()
