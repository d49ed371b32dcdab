"""Boxes made of score maps in processes of their own, for devices that are faster than Python.

A page full of words has hundreds of regions, each a few calls of OpenCV too short to let other
threads run: two threads are no faster than one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from multiprocessing.connection import Connection

import numpy as np

from ocr_assets.child_process import ChildProcess
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.text_boxes import extract_boxes
from ocr_assets.ocr.text_regions import ScoreMap
from ocr_assets.ocr.thresholds import DetectionThresholds

log = logging.getLogger(__name__)


class ExtractionProcesses:
    """One process for each thread that extracts; each is started when it is first needed."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._of_thread = threading.local()
        self._children: list[ChildProcess] = []

    def extract(
        self, text: ScoreMap, link: ScoreMap, scale: float, thresholds: DetectionThresholds
    ) -> list[TextBox]:
        """What `extract_boxes` returns; the thread waits for it, and lets others run.

        A process that dies costs nothing but time.
        """
        try:
            connection = self._child().connection
            connection.send((text.shape, link.shape, scale, thresholds))
            # Not pickled, which would copy them while no other thread can run.
            connection.send_bytes(np.ascontiguousarray(text).data)
            connection.send_bytes(np.ascontiguousarray(link).data)
            found: list[TextBox] | Exception = connection.recv()
        except (OSError, EOFError) as error:
            log.warning("a process that extracts boxes has died (%s); it is replaced", error)
            self._bury()
            return extract_boxes(text, link, scale, thresholds)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """Ends the processes."""
        for child in self._children:
            child.end(patient=True)
        self._children.clear()

    def _bury(self) -> None:
        child: ChildProcess = self._of_thread.child
        self._of_thread.child = None
        self._children.remove(child)
        child.end(patient=False)

    def _child(self) -> ChildProcess:
        child: ChildProcess | None = getattr(self._of_thread, "child", None)
        if child is None:
            child = self._of_thread.child = ChildProcess.start(__name__)
            self._children.append(child)
        return child


def serve(connection: Connection) -> None:
    """In such a process: extracts until the other end of the connection is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            text_shape, link_shape, scale, thresholds = connection.recv()
            text, link = (_received(connection, shape) for shape in (text_shape, link_shape))
            try:
                answer: list[TextBox] | Exception = extract_boxes(text, link, scale, thresholds)
            except Exception as error:
                answer = error  # it is raised where the boxes are waited for
            connection.send(answer)


def _received(connection: Connection, shape: tuple[int, int]) -> ScoreMap:
    scores = np.empty(shape, np.float32)
    connection.recv_bytes_into(scores.reshape(-1))
    return scores
