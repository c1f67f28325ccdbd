"""Keys of many sources, with descriptions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Root = Annotated[str, Field(description="Folder of the files; a download puts them there.")]
Download = Annotated[bool, Field(description="Download the files if they are missing.")]
