"""Deleting what writers have left in a table's folder."""

import datetime as dt
import time

from ocr_assets.tables import checkpoint, delta_log
from ocr_assets.tables.folder import Folder


def clean(table: Folder, retention: dt.timedelta) -> None:
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
    table.remove_unfinished(delta_log.FOLDER, checkpoint.FOLDER, before)
    if all(entry.modified_at >= before for entry in table.entries(checkpoint.FOLDER)):
        return
    notes = checkpoint.read_notes(table)
    old = {name: note for name, note in notes.items() if note.written_at < before}
    used = {name for place in notes.keys() - old.keys() for name in notes[place].names()}
    # After the checkpoints: what was committed meanwhile is in one still, or in the table already.
    used |= delta_log.committed_names(delta_log.opened(table))
    for place, note in old.items():
        partition, _, writer_id = place.rpartition("/")[2].removesuffix(".json").rpartition("-")
        own = {entry.name for entry in table.entries(partition) if writer_id in entry.name}
        table.remove(f"{partition}/{name}" for name in sorted((own | note.names()) - used))
        table.remove([place])
