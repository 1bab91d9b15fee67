"""Eight pretended CPU devices, no network, and a compilation cache that outlives the run.

The programs are tiny, compiling them is what the tests' time goes into: so LLVM optimises nothing
here, and XLA fuses without its slow emitters (five times faster to compile together).
"""

import importlib.metadata
import os
import pathlib

_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # a flag XLA does not know ends the process
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"

import jax  # noqa: E402
import pytest  # noqa: E402

_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
jax.config.update("jax_compilation_cache_dir", str(_CACHE / "urlvr_jax" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

from launcher import launcher_fixture  # noqa: E402, F401
from runs import finished_fixture  # noqa: E402, F401

# A sum of bool and float32, or of float32 and float64, is a decision: it has to be written down.
jax.config.update("jax_numpy_dtype_promotion", "strict")
MATHEMATICS = {
    "test_advantages", "test_objective", "test_rewards", "test_rewards_compose", "test_rewards_float64", "test_rewards_spans",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_silent_broadcasts(request):
    """In the tests of rewards, advantages and the objective `[B]` never meets `[B, T]` by accident."""
    maths = request.module.__name__ in MATHEMATICS
    with jax.numpy_rank_promotion("raise" if maths else "allow"):
        yield
