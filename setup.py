"""urlvr_jax: reinforcement learning of language models without labels, in JAX."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = (HERE / "urlvr_jax" / "__init__.py").read_text().split('__version__ = "')[1].split('"')[0]

# jax 0.10.2 is the last one for Python 3.11; from 3.12 on jax 0.11.2 needs flax 0.12.12 or newer.
# Upper bounds are the newest releases this was tested with.
CORE = [
    "jax>=0.10.2,<0.10.3; python_version < '3.12'",
    "flax>=0.12.8,<0.12.9; python_version < '3.12'",
    "jax>=0.11.2,<0.11.3; python_version >= '3.12'",
    "flax>=0.12.12,<0.13; python_version >= '3.12'",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.4,<0.13",
    "transformers>=5.12,<5.24",
    "datasets>=5.0,<6",
    "ml_collections>=1.1,<1.2",
    "numpy>=2.0,<2.6",
    "matplotlib>=3.9,<3.12",
    "pyarrow>=15",
    "safetensors>=0.8,<0.9",
    "jinja2>=3.1",  # chat templates
    "tokenizers>=0.21",
    "absl-py>=2",
]

setup(
    name="urlvr_jax",
    version=VERSION,
    description=__doc__.strip(),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["urlvr_jax", "urlvr_jax.*"]),
    package_data={
        "urlvr_jax": ["lab/bases/*/*", "lab/questions/*.jsonl", "models/known/*/*", "report/page.*"]
    },
    python_requires=">=3.11",
    install_requires=CORE,
    extras_require={
        # 2.13.0 is pinned so that no newer build with gigabytes of GPU libraries is drawn in.
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "torch==2.13.0",
            "ruff>=0.9,<0.18",
            "math-verify>=0.9,<0.10",
            "bokeh>=3.6,<3.10",
            "selenium>=4.30,<5",  # drives a Chromium that is installed apart; without one its tests skip
        ],
        "peft": ["peft>=0.21,<0.22"],  # for the test that it loads our adapters; without it that is skipped
        "report": ["bokeh>=3.6,<3.10"],
        "gcs": ["gcsfs>=2025.3"],  # gs:// as workdir, model and data
        # The sinks of `log.sinks`, each imported by its own process only.
        "tensorboard": ["tensorboard>=2.21,<2.22"],
        "wandb": ["wandb>=0.31,<0.32"],
        "trackio": ["trackio>=0.43,<0.44"],
        "slurm": ["submitit>=1.5.3,<1.6"],
        "cuda": [
            "jax[cuda12]>=0.10.2,<0.10.3; python_version < '3.12'",
            "jax[cuda13]>=0.11.2,<0.11.3; python_version >= '3.12'",
        ],
        "tpu": [
            "jax[tpu]>=0.10.2,<0.10.3; python_version < '3.12'",
            "jax[tpu]>=0.11.2,<0.11.3; python_version >= '3.12'",
        ],
    },
)
