"""The files of a ledger: what is in them, and what to make of those that are not as they should be.

A ledger's folder holds `lock`, `log.jsonl` (and one older log), and two folders with a held file
per lease and per waiting process, named by 32 hex digits.
"""

import os
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ocr_assets.gpu.admission import LeaseRecord
from ocr_assets.gpu.held_file import Found, look_at

FORMAT_VERSION = 1

LOCK, LOG, OLD_LOG = "lock", "log.jsonl", "log.1.jsonl"
LEASES, WAITING = "leases", "waiting"
OUR_FILES = re.compile(r"[0-9a-f]{32}\.json")

Content = TypeVar("Content")


def readable(
    folder: Path, parse: Callable[[Path, dict[str, Any]], Content]
) -> tuple[list[tuple[Path, bool, Content]], tuple[str, ...]]:
    """The files of a folder whose content is as it should be, and what is wrong with the others.

    Of those, ours are removed when their holder is gone, and foreign ones are left alone.
    """
    good: list[tuple[Path, bool, Content]] = []
    problems: list[str] = []
    for path in sorted(folder.iterdir()):
        found = _look_at(path)
        if found is None:
            problems.append(stray(path))
            continue
        try:
            good.append((path, found.alive, _content(found, parse)))
        except ValueError as problem:
            if found.alive:
                problems.append(f"{path} {problem}; of it only what is allocated counts")
            else:
                problems.append(f"{path} {problem}, and its holder is gone; it is removed")
                path.unlink()
    return good, tuple(problems)


def _look_at(path: Path) -> Found | None:
    if not OUR_FILES.fullmatch(path.name):
        return None
    try:
        return look_at(path)
    except OSError:
        return None  # a folder or a link of that name


def _content(found: Found, parse: Callable[[Path, dict[str, Any]], Content]) -> Content:
    if found.record is None:
        raise ValueError("is torn")
    version = found.record.get("version")
    if version != FORMAT_VERSION:
        raise ValueError(f"is of format {version!r}, this program knows {FORMAT_VERSION}")
    try:
        return parse(found.path, found.record)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"is no record of the ledger ({error!r})") from error


def stray(path: Path) -> str:
    """What to say of a file that is not ours."""
    return f"{path} is not a file of the ledger; it is left alone"


def waited_bytes(path: Path, record: dict[str, Any]) -> int:
    """What a waiting process waits for."""
    return int(record["size_bytes"])


def lease_json(record: LeaseRecord) -> dict[str, Any]:
    """What is written of a lease."""
    fields = asdict(record)
    del fields["lease_id"]  # the file's name has it
    return {"version": FORMAT_VERSION, **fields}


def parse_lease(path: Path, record: dict[str, Any]) -> LeaseRecord:
    """The lease that was written; raises KeyError, TypeError or ValueError if it was not."""
    draining_since = record["draining_since"]
    return LeaseRecord(
        lease_id=path.stem,
        holder=str(record["holder"]),
        size_bytes=int(record["size_bytes"]),
        allocated_bytes=int(record["allocated_bytes"]),
        since=float(record["since"]),
        draining_since=None if draining_since is None else float(draining_since),
    )


def holder_name(purpose: str) -> str:
    """Who holds a lease, for people to read."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip() or "python"
    process = f"{_plain(command)}, process {os.getpid()} on {socket.gethostname()}"
    return f"{_plain(purpose)} ({process})" if purpose else process


def _plain(text: str) -> str:
    """Without what would make the record longer than it may be."""
    ascii_text = text.encode("ascii", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in ascii_text)[:150]


def private_opener(path: str, flags: int) -> int:
    """For `open`: a file for the user alone, and no link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
