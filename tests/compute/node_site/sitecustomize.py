"""Python imports this by itself when it starts on a node of a test's Ray cluster.

GPUs there are made up, so the network behind them has to be, too: what loads a model is replaced
by what loads a fake one, the moment it is imported. Which, says a variable. Another one says where
the node is told which version of this package it has, whatever is installed, and one which process
of Ray's own ends before it has begun.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterable
from importlib.metadata import Distribution, DistributionFinder, PathDistribution
from pathlib import Path

MODULE = "ocr_assets.ocr.text_detector"
FAKE_VARIABLE = "FAKE_DETECTOR_MODULE"  # names a module with a function `load`

VERSION_VARIABLE = "FAKE_VERSION_INFO"  # names a folder *.dist-info
PACKAGE = "ocr-assets"

CLIENT_VARIABLE = "FAKE_CLIENT_FAILURE"  # names a file: if it is there, one connection fails


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            fake = importlib.import_module(os.environ[FAKE_VARIABLE])
            module.load_text_detector = fake.load  # type: ignore[attr-defined]

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


class _OtherVersion(DistributionFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """It finds no modules."""

    def find_distributions(
        self,
        context: DistributionFinder.Context = DistributionFinder.Context(),  # noqa: B008
    ) -> Iterable[Distribution]:
        return [PathDistribution(Path(os.environ[VERSION_VARIABLE]))] * (context.name == PACKAGE)


if VERSION_VARIABLE in os.environ:
    sys.meta_path.insert(0, _OtherVersion())
if FAKE_VARIABLE in os.environ:
    sys.meta_path.insert(0, _Finder())
if CLIENT_VARIABLE in os.environ and "--mode=specific-server" in sys.orig_argv:
    failure = Path(os.environ[CLIENT_VARIABLE])
    if failure.exists():
        failure.unlink()
        os._exit(1)
