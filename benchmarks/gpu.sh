#!/usr/bin/env bash
# One GPU measured whole, in under 8 minutes on an H100-class card: `benchmarks/gpu.sh [--smoke]`.
#
# The machine with the card needs Python 3.12 and torch, and no network: `benchmarks/gpu.sh fetch` puts the
# wheels of what such a machine may lack into .whl/ (under 60 MiB); take that folder along with the code.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=(pydantic simplejpeg typer rich safetensors pytest hypothesis pytest-xdist)

if [ "${1:-}" = fetch ]; then
  platforms=()
  for glibc in 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
  python3 -m pip download --quiet --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .whl "${missing[@]}"
  rm -f .whl/numpy-*  # torch's own is there
  du -sh .whl
  exit
fi
if [ -d .whl ]; then
  site=$(mktemp -d)
  python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" .whl/*.whl
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
exec python3 -m benchmarks.gpu "$@"
