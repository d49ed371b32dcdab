"""Where the videos of a day come from."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field

from ocr_assets.settings import Layout
from ocr_assets.video.listing import Sample, list_folder, read_jsonl
from ocr_assets.video.source_state import SourceState, source_state

# The keys of metadata that say what a day was made from.
SOURCE = "source"
SOURCE_FINGERPRINT = "source_fingerprint"


class SourceMissingError(LookupError):
    """The source has nothing for the day: no folder, no file."""


class VideoSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Lists the samples of a day."""

    root: str = Field(
        default="videos", min_length=1, description="The folder that holds the videos."
    )
    layout: Layout = Field(
        default="auto",
        description=(
            "How the root tells the days apart. `day_folder`: `<root>/<YYYY-MM-DD>/**`. `jsonl`: "
            "`<root>/<YYYY-MM-DD>.jsonl`, in Data-Juicer's form. `auto`: the JSONL if the day has "
            "one, else the day's folder. `modified_date`: `<root>/*`, by the day each file was "
            "last modified (UTC). `whole_folder`: `<root>/**`, all of it on whichever day is "
            "asked for."
        ),
    )
    allow_outside_source: bool = Field(
        default=False,
        description="Whether links and paths in a JSONL may lead to files outside the root.",
    )

    def samples(self, date: dt.date) -> Iterator[Sample]:
        """The samples of one day, in an order that is the same on every run.

        Raises:
            SourceMissingError: There is no such root, or nothing in it that stands for the day. A
                folder or file for the day that is empty is a day without samples.
        """
        root = self.absolute_root
        if not root.is_dir():
            raise SourceMissingError(f"the source {root} is not a folder")
        allow = self.allow_outside_source
        folder = root / date.isoformat()
        jsonl = self._jsonl(date)
        if jsonl is not None:
            return read_jsonl(jsonl, root, allow_outside_root=allow)
        if self.layout in ("day_folder", "auto") and folder.is_dir():
            return list_folder(root, folder, allow_outside_root=allow)
        if self.layout == "modified_date":
            return list_folder(
                root, root, recursive=False, modified_on=date, allow_outside_root=allow
            )
        if self.layout == "whole_folder":
            return list_folder(root, root, allow_outside_root=allow)
        wanted = {"jsonl": f"{date}.jsonl", "day_folder": f"{date}/"}.get(
            self.layout, f"{date}.jsonl or {date}/"
        )
        raise SourceMissingError(f"the source {root} has no {wanted}")

    @property
    def absolute_root(self) -> Path:
        """The folder that holds the videos."""
        return Path(self.root).expanduser().absolute()

    @property
    def identity(self) -> str:
        """Which source this is; the states of two sources have nothing to do with each other."""
        return f"{self.layout} {self.absolute_root}"

    def state(self, date: dt.date, within_seconds: float | None = None) -> SourceState:
        """What one day's samples are now, to be compared with what they are later.

        Args:
            date: The day.
            within_seconds: How long it may take; None for as long as it takes.

        Raises:
            SourceMissingError: As `samples` does.
            OSError: They cannot be listed.
            TimeoutError: It took too long; an OSError, too.
        """
        return source_state(self.samples(date), self._jsonl(date), within_seconds)

    def _jsonl(self, date: dt.date) -> Path | None:
        """The file that lists the day's samples, if one does."""
        jsonl = self.absolute_root / f"{date.isoformat()}.jsonl"
        return jsonl if self.layout in ("jsonl", "auto") and jsonl.is_file() else None
