"""The connection to a Ray cluster, or a cluster on this host for as long as it is needed."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

import dagster as dg
import ray
from dagster_ray import LocalRay

from ocr_assets.compute.ray_environment import ClusterUnreachableError

# How often a `ray://` server is asked for a connection. For each it forks a process, and while
# others connect that fails now and then (2 of 36 with three at once, Ray 2.60).
TRIES = 3

_lock = threading.Lock()
_users = 0
_owned: list[contextlib.ExitStack] = []  # the connection, if it is ours


class _Cluster(LocalRay):
    """dagster-ray's resource, without what it sets for Ray Data, which is not used here."""

    address: str | None
    namespace: str

    @property
    def ray_address(self) -> str | None:  # type: ignore[override]
        return self.address

    @property
    def name(self) -> str:
        return f"Ray at {self.address}" if self.address else "a Ray cluster on this host"

    def connect(self, context: Any) -> Any:  # type: ignore[override] # theirs is wrapped
        try:
            self._context = self._connection(context)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ClusterUnreachableError(f"{self.name} cannot be used: {error}") from error
        return self._context

    def _connection(self, context: Any) -> Any:
        for _ in range(TRIES - 1):
            try:
                return self._connect_once()
            except ConnectionAbortedError:
                context.log.warning(f"{self.name} answered, and gave no connection; once more")
        return self._connect_once()

    def _connect_once(self) -> Any:
        options: dict[str, Any] = {}
        if self.address is None:
            options = {"include_dashboard": False, "_node_name": "ocr_assets"}
        with _own_signal_handler():
            return ray.init(
                self.address or "local",
                namespace=self.namespace,
                log_to_driver=False,
                logging_level=logging.WARNING,
                **options,
            )

    def on_connect(self, context: Any) -> None:
        context.log.info(f"connected to {self.name}")

    def on_cleanup(self, context: Any, *, deleted: bool) -> None:
        context.log.info(f"let go of {self.name}")


@contextlib.contextmanager
def connected(
    address: str | None, namespace: str, context: dg.InitResourceContext
) -> Iterator[None]:
    """Connects this process while the block runs, or other blocks that were begun meanwhile.

    If it is connected already, by whoever uses Ray as well, that is used.

    Args:
        address: The cluster's, as `ray.init` takes it; None for a new one.
        namespace: For names of actors.
        context: Takes messages.

    Raises:
        ClusterUnreachableError: There is none at that address, or it does not let us in.
    """
    global _users
    with contextlib.ExitStack() as connection:
        with _lock:
            if not ray.is_initialized():
                cluster = _Cluster(address=address, namespace=namespace)
                connection.enter_context(cluster.yield_for_execution(context))
                _owned.append(connection.pop_all())
            _users += 1
        try:
            yield
        finally:
            with _lock:
                _users -= 1
                if _users == 0 and _owned:
                    _owned.pop().close()


@contextlib.contextmanager
def _own_signal_handler() -> Iterator[None]:
    """Ray takes SIGTERM for itself, which Dagster ends a run with."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
