#!/usr/bin/env bash
# The environments of the peers: torch (plain transformers, TRL) and tunix (JAX). Needed once, a few minutes.
#
#     benchmarks/speed/peers/setup.sh                    under ~/.cache/urlvr_jax_peers
#     PEERS_HOME=folder benchmarks/speed/peers/setup.sh  elsewhere; set the same for benchmarks/speed/run.py
#
# PYTHON names the interpreter (3.11 or newer). The versions are those the results were measured with.
set -euo pipefail
home="${PEERS_HOME:-$HOME/.cache/urlvr_jax_peers}"
python="${PYTHON:-python3}"
mkdir -p "$home"

"$python" -m venv "$home/torch"
"$home/torch/bin/pip" install -q torch==2.13.0
"$home/torch/bin/pip" install -q trl==1.16.0 transformers==5.23.0 accelerate==1.15.0

"$python" -m venv "$home/tunix"
"$home/tunix/bin/pip" install -q google-tunix==0.1.7 jax==0.10.2 flax==0.12.8 transformers==5.12.1

echo "made $home/torch and $home/tunix"
