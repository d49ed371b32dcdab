"""Python imports this by itself when it starts on a node of a test's Ray cluster.

GPUs there are made up, so the network behind them has to be, too: what loads a model is replaced
by what loads a fake one, the moment it is imported. Which, says a variable.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types

MODULE = "ocr_assets.ocr.text_detector"
FAKE_VARIABLE = "FAKE_DETECTOR_MODULE"  # names a module with a function `load`


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


if FAKE_VARIABLE in os.environ:
    sys.meta_path.insert(0, _Finder())
