#!/usr/bin/env bash
# Check on a GPU what a CPU cannot show, and measure the training step there: under eight minutes.
#
#     bash benchmarks/gpu.sh            # needs PyTorch and this project's packages, not DVC or MLflow
#     TINY=1 bash benchmarks/gpu.sh     # the same at a tiny size, also on a CPU (a test runs this)
#
# Trains the bundled photos in LAB at 256 px in each mode, and checks that the losses are finite,
# that each mode comes to nearly the same L1 as float32, and that deterministic training repeats to
# the bit. Then measures each optimization and the usual way. Figures go to $OUT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
out=${OUT:-$root/reports/benchmarks}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$root/src

gpu=$(python -c 'import torch; print(int(torch.cuda.is_available()))')
size=256 batch=16 ngf=64 limit=128 epochs=4
if [ "${TINY:-0}" = 1 ]; then size=32 batch=8 ngf=8 limit=60 epochs=2; fi

mkdir "$work/data"
ln -s "$root/data/sample" "$work/data/sample"
ln -s "$root/src" "$work/src"
cp "$root/params.yaml" "$work/"
cd "$work"
python -m colorgan preset scratch --write >"$work/log"

# Set SECTION.KEY=VALUE ... in params.yaml.
set_params() {
  python - "$@" <<'PY'
import sys
from pathlib import Path
from ruamel.yaml import YAML

yaml, path = YAML(), Path("params.yaml")
content = yaml.load(path)
for option in sys.argv[1:]:
    name, value = option.split("=", 1)
    section, key = name.split(".")
    content[section][key] = YAML(typ="safe", pure=True).load(value)
yaml.dump(content, path)
PY
}

set_params lab.image_size=$size lab.limit=$limit model.ngf=$ngf model.ndf=$ngf train.batch_size=$batch \
  train.epochs=$epochs train.decay_start=0.5 train.gan_start=0 train.val_every=$epochs \
  logging.log_every=1
python -m colorgan download lab >>"$work/log"
python -m colorgan preprocess lab >>"$work/log"

# Train in the mode NAME with OPTIONS; print the last L1, and the digest of the weights.
train() {
  name=$1
  shift
  set_params train.amp=off train.channels_last=false train.compile=off train.allow_tf32=false \
    train.cudnn_benchmark=false train.cudnn_deterministic=false "$@"
  rm -rf .resume models/lab
  start=$SECONDS
  python -m colorgan train lab >>"$work/log" 2>&1 || { echo "$name: failed"; tail -n 5 "$work/log"; exit 1; }
  python - "$name" $((SECONDS - start)) <<'PY' | tee -a "$out/gpu-modes.csv"
import hashlib, math, sys
from pathlib import Path
import pandas as pd

losses = pd.read_csv("reports/lab/losses.csv")
assert all(map(math.isfinite, losses[["loss_D", "loss_G_GAN", "loss_G_L1"]].to_numpy().ravel()))
digest = hashlib.sha256(Path("models/lab/generator.safetensors").read_bytes()).hexdigest()
print(sys.argv[1], sys.argv[2], f"{losses['loss_G_L1'].tail(5).mean():.4f}", digest, sep=",")
PY
}

echo "mode,seconds,loss_G_L1,sha256" >"$out/gpu-modes.csv"
train float32
train channels_last train.channels_last=true
train bf16 train.amp=bf16
train deterministic train.cudnn_deterministic=true
train deterministic_again train.cudnn_deterministic=true
if [ "$gpu" = 1 ]; then
  train fp16 train.amp=fp16
  train tf32 train.allow_tf32=true
  train cudnn_benchmark train.cudnn_benchmark=true
  train compiled train.amp=bf16 train.compile=default
  train cuda_graphs train.amp=fp16 train.compile=reduce-overhead
fi
python - "$out/gpu-modes.csv" <<'PY'
import sys
import pandas as pd

modes = pd.read_csv(sys.argv[1], index_col="mode")
same = modes.loc["deterministic", "sha256"] == modes.loc["deterministic_again", "sha256"]
print("deterministic training repeats to the bit:", "yes" if same else "NO")
apart = (modes["loss_G_L1"] / modes.loc["float32", "loss_G_L1"] - 1).abs()
far = apart[apart > 0.25]
print("L1 against float32:", ", ".join(f"{name} {share:.1%}" for name, share in apart.items()))
sys.exit(f"too far from float32: {', '.join(far.index)}" if len(far) else not same)
PY

options=(--seconds 1.5 --rounds 2)
if [ "${TINY:-0}" = 1 ]; then options=(--quick --only amp_bf16 --only all --only "usual, 0 workers"); fi
python "$root/benchmarks/optimizations.py" "${options[@]}" --out "$out" --images "$out"
