"""Any interleaving of take, grow, shrink, release, kill and hog, against a model of the ledger."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from ocr_assets.gpu.admission import LeaseRefusedError, Limits
from ocr_assets.gpu.ledger import Lease, Ledger
from ocr_assets.gpu.snapshot import Memory

TOTAL = 100
sizes = st.integers(1, 60)


class LedgerMachine(RuleBasedStateMachine):
    """The model: a size and an allocation per lease, and until when each dead one drains."""

    leases = Bundle("leases")

    @initialize(
        fraction=st.sampled_from([0.5, 0.9, 1.0]),
        headroom=st.integers(0, 20),
        most=st.sampled_from([None, 1, 3]),
    )
    def start(self, fraction: float, headroom: int, most: int | None) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.limits = Limits(fraction, headroom, most)
        self.allowance = int(fraction * TOTAL)
        self.now = 0.0
        self.hogged = 0
        self.live: dict[str, list[int]] = {}  # size, allocated
        self.draining: list[tuple[float, int]] = []
        self.ledger = Ledger(
            self.folder / "state",
            "GPU-x",
            lambda: Memory(TOTAL, self.free),
            drain_seconds=2.0,
            clock=lambda: self.now,
        )

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @property
    def free(self) -> int:
        return max(TOTAL - self.hogged - sum(taken for _, taken in self.live.values()), 0)

    @property
    def drained(self) -> int:
        return sum(size for until, size in self.draining if self.now < until)

    def room(self) -> int:
        by_allowance = self.allowance - sum(size for size, _ in self.live.values()) - self.drained
        promised = sum(size - taken for size, taken in self.live.values()) + self.drained
        by_free = self.free - promised - self.limits.headroom_bytes
        return max(min(by_allowance, by_free), 0)

    @rule(target=leases, size=sizes)
    def take(self, size: int) -> Lease | None:
        full = self.limits.max_leases is not None and len(self.live) >= self.limits.max_leases
        fits = size <= self.room() and not full
        if not fits:
            with pytest.raises(LeaseRefusedError) as refused:
                self.ledger.take(size, self.limits)
            at_best = min(self.allowance, TOTAL - self.limits.headroom_bytes)
            assert refused.value.never == (size > at_best)
            return None
        lease = self.ledger.take(size, self.limits)
        self.live[lease.lease_id] = [size, 0]
        return lease

    @rule(lease=leases, share=st.floats(0, 1))
    def allocate(self, lease: Lease | None, share: float) -> None:
        if lease is not None and lease.lease_id in self.live:
            model = self.live[lease.lease_id]
            wanted = int(share * model[0])
            # No more than there is; a hog may have taken what was promised.
            model[1] = min(wanted, model[1] + self.free)
            lease.report_allocated(model[1])

    @rule(lease=leases, size=sizes)
    def resize(self, lease: Lease | None, size: int) -> None:
        if lease is None or lease.lease_id not in self.live:
            return
        model = self.live[lease.lease_id]
        size = max(size, model[1])
        fits = size <= model[0] or size - model[0] <= self.room()
        if fits:
            lease.resize(size, self.limits)
            model[0] = size
        else:
            with pytest.raises(LeaseRefusedError):
                lease.resize(size, self.limits)
        assert lease.size_bytes == model[0]

    @rule(lease=consumes(leases))
    def release(self, lease: Lease | None) -> None:
        if lease is not None:
            self._end(lease)
            lease.release()

    @rule(lease=consumes(leases))
    def kill(self, lease: Lease | None) -> None:
        if lease is not None:
            self._end(lease)
            os.close(lease.fileno())  # what the kernel does when the holder dies
            lease._file._descriptor = -1
            self.ledger.state()  # somebody looks; draining begins

    @rule(taken=st.integers(0, 80))
    def hog(self, taken: int) -> None:
        used = sum(allocated for _, allocated in self.live.values())
        self.hogged = min(taken, TOTAL - used)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "ledger"):
            return
        state = self.ledger.state()
        assert {one.lease_id: one.size_bytes for one in state.leases} == {
            lease_id: size for lease_id, (size, _) in self.live.items()
        }
        assert sum(one.size_bytes for one in state.draining) == self.drained
        assert state.leased_bytes <= self.allowance
        assert state.problems == ()
        full = self.limits.max_leases is not None and len(self.live) >= self.limits.max_leases
        assert self.ledger.room_bytes(self.limits) == (0 if full else self.room())

    def _end(self, lease: Lease) -> None:
        size, _ = self.live.pop(lease.lease_id)
        self.draining.append((self.now + 2.0, size))


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40)
