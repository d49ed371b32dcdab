"""Deleting what writers have left in a table's folder."""

import datetime as dt
import time
from pathlib import Path

from deltalake import DeltaTable

from ocr_assets.tables import checkpoint, delta_log
from ocr_assets.tables.replace_file import remove_older


def clean(table: Path, retention: dt.timedelta) -> None:
    """Deletes files that are in no version of a table that anybody can still be reading.

    The rule: a file goes when a checkpoint names it, or is of the writer that wrote it, and that
    checkpoint is older than the retention. It stays all the same while it is in the table, or a
    younger checkpoint names it. So

    - a writer keeps its parts as long as it finishes one within half of the retention; one that
      does not gives up by itself (`checkpoint.WriterTooLateError`);
    - what a commit replaces is named by the writer's checkpoint from just before the commit on,
      and can be read for the retention after it.

    No lock is needed: parts are resumed from only while their checkpoint is younger than half of
    the retention, so nobody begins to use what another process is about to delete. Only folders
    that have something to be deleted are looked into.
    """
    before = time.time() - retention.total_seconds()
    remove_older((table / checkpoint.FOLDER).glob(".*"), before)
    remove_older((table / delta_log.FOLDER).glob(delta_log.STAGED), before)
    paths = (table / checkpoint.FOLDER).glob("*.json")
    notes = {path: note for path in paths if (note := checkpoint.read_note(path)) is not None}
    old = {path: note for path, note in notes.items() if note.written_at < before}
    if not old:
        return
    used = {name for path in notes.keys() - old.keys() for name in notes[path].names()}
    # After the checkpoints: what was committed meanwhile is in one still, or in the table already.
    used |= delta_log.committed_names(DeltaTable(str(table)))
    for path, note in old.items():
        partition, _, writer_id = path.stem.rpartition("-")
        folder = table / partition
        own = {file.name for file in folder.glob(f"*{writer_id}*")}
        for name in (own | note.names()) - used:
            (folder / name).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
