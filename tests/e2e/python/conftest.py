"""The fixtures of the binding's own tests, for the real SDKs."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "bindings-python/tests"), str(Path(__file__).parent)]

# The one home of the fixtures is the binding's conftest, which can only be imported by its path.
spec = importlib.util.spec_from_file_location("binding_conftest", ROOT / "bindings-python/tests/conftest.py")
assert spec is not None
assert spec.loader is not None
binding = importlib.util.module_from_spec(spec)
spec.loader.exec_module(binding)

server = binding.server
loopback = binding.loopback
trail = binding.trail
_environment = binding._environment
