"""Import an example as a module, to test its parts against exact answers."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Return the module of ``examples/name.py``."""
    spec = importlib.util.spec_from_file_location(
        f"example_{name}", EXAMPLES / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for their annotations.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
