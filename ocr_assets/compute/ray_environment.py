"""What has to be known of Ray without importing it."""

import os
import secrets
import sys


class RayMissingError(ImportError):
    """The packages for a Ray cluster are not installed."""


class ClusterUnreachableError(ConnectionError):
    """The cluster does not answer, or does not let this process in."""


class OtherVersionError(Exception):
    """A node of the cluster has another version of this package than the run."""


def guard_own_cluster() -> None:
    """Sees to it that nobody else can give work to a cluster that this process starts.

    Ray reads this when it is imported and never again; so where somebody has imported it before,
    or has set something about it, that stays.
    """
    if "ray" in sys.modules or any(name.startswith("RAY_AUTH_") for name in os.environ):
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
