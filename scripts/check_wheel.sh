#!/usr/bin/env bash
# Build the wheel, install it with what it declares, and nothing else, into a fresh environment, and
# do the main job with it from an empty folder: what a `pip install foreframe` would give.
#
# Usage: scripts/check_wheel.sh PYTHON   (a Python that has `build`)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

# With LOCKED=1 what builds it is here already, and what is installed beside it must be in the lock.
build=(-m build --wheel) pip=(-m pip)
[ -z "${LOCKED:-}" ] || build+=(--no-isolation) pip=(scripts/lock.py)
"$python" "${build[@]}" --outdir "$place/dist" . >"$place/build.log" 2>&1 || {
    cat "$place/build.log"
    exit 1
}
"$python" -m venv "$place/venv"
"$place/venv/bin/python" "${pip[@]}" install --quiet --no-compile --disable-pip-version-check \
    -c constraints.txt "$place"/dist/*.whl
"$place/venv/bin/python" -m pip check

# From here on nothing of the checkout is within reach.
unset PYTHONPATH
mkdir "$place/work"
cd "$place/work"
PATH=$place/venv/bin:$PATH

python - "$checkout" <<'PYTHON'
import sys
from importlib.metadata import files, version
from pathlib import Path

import foreframe

home = Path(foreframe.__file__).resolve().parent
assert not home.is_relative_to(Path(sys.argv[1]) / "src"), f"imported from the checkout: {home}"
assert (home / "py.typed").is_file(), "py.typed is missing: users would get no types"
assert version("foreframe") == foreframe.__version__
packed = [str(file) for file in files("foreframe") or []]
assert any(name.endswith("licenses/LICENSE") for name in packed), "LICENSE is missing"
assert any(name.endswith("serve/page/app.js") for name in packed), "the page is missing"
assert not any(name.startswith("tests") for name in packed), "tests were packed"
print(f"foreframe {foreframe.__version__} from {home}")
PYTHON

foreframe --help >/dev/null
foreframe schedules demo >/dev/null
foreframe simulate data --sequences 8 --workers 1 --seed 0
foreframe train demo --data data --out run --epochs 1 --steps-per-epoch 2 --batch-size 2
sequence=$(find data/test -name 0.png | sort | head -n 1)
foreframe predict run --sequence "$(dirname "$sequence")" --samples 1
# The playground is an extra, and says so.
(foreframe serve run 2>&1 || true) | grep -q 'pip install .foreframe\[web\]'
echo "The wheel installs and runs outside of the checkout."
