"""Make models/pretrained from a trained model, at half its size.

    python scripts/make_pretrained.py models/lab
    python scripts/make_pretrained.py out.safetensors WIDE PHOTOS

The second is for weights of train_pretrained.py or train_gan.py: the gain of its config.json is the
one at which 200 validation photos of each folder together are as colourful as `equal_gain` asks.

Weights become float16, but for one-dimensional ones (biases and norms). Prints how much the
pictures of both models differ on the test photos of data/processed/<space>. generator.onnx is the
same network for ONNX Runtime: norms are folded into convolutions, weights are float16 on disk.
"""

from __future__ import annotations

import io as bytes_io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from colorgan import color, io, paths
from colorgan.color import UInt8Array
from colorgan.config import load_params
from colorgan.data.arrays import open_split
from colorgan.evaluation.equal_colorfulness import equal_gain
from colorgan.inference.export import export
from colorgan.model import CONFIG, WEIGHTS, Model, build_generator, pictures, save_model
from colorgan.spaces import get_space

MOST_BYTES = 25_000_000


def main(trained: Path) -> None:
    """Write models/pretrained and compare."""
    target = paths.model(paths.PRETRAINED)
    state = load_file(trained / WEIGHTS)
    halved = {n: t.half() if t.is_floating_point() and t.ndim > 1 else t for n, t in state.items()}
    content = save(halved)
    if len(content) > MOST_BYTES:
        sys.exit(f"{trained} comes to {len(content):,} bytes; it should be at most {MOST_BYTES:,}")
    target.mkdir(parents=True, exist_ok=True)
    with io.file_aside(target / WEIGHTS) as aside:
        aside.write_bytes(content)
    shutil.copyfile(trained / CONFIG, target / CONFIG)

    before, after = Model.load(trained), Model.load(target)
    onnx_file = target / paths.ONNX
    export(after, onnx_file)
    halve(onnx_file)
    test = open_split(paths.processed(after.space.name), "test")
    pairs = zip(before.colorize_split(test, 16), after.colorize_split(test, 16), strict=True)
    apart = [np.abs(x.generated.astype(int) - y.generated) for x, y in pairs]
    parameters = sum(parameter.numel() for parameter in after.generator.parameters())
    print(
        f"{target / WEIGHTS}: {len(content):,} bytes, {parameters:,} parameters; the pictures "
        f"differ by {np.mean([x.mean() for x in apart]):.3f} of 255 on average, by "
        f"{max(x.max() for x in apart)} at most; {onnx_file}: "
        f"{onnx_file.stat().st_size:,} bytes"
    )


def with_gain(weights: Path, photos: list[Path], folder: Path) -> Path:
    """Write a model folder of weights, with the gain found on validation photos."""
    cfg, space = load_params().lab, get_space("lab")
    generator = build_generator(space, cfg.model, cfg.data.image_size)
    generator.load_state_dict(load_file(weights))
    save_model(folder, generator, space, cfg.model, cfg.data.image_size)
    gain, _ = equal_gain(coloured(Model.load(folder), photos))
    save_model(folder, generator, space, cfg.model, cfg.data.image_size, round(gain, 3))
    print(f"gain {gain:.3f}")
    return folder


def coloured(model: Model, photos: list[Path]) -> Iterator[tuple[Tensor, Tensor, UInt8Array]]:
    """Yield lightness, predicted ab and truth of 200 validation photos of each folder."""
    space, side = model.space, model.image_size
    for source in photos:
        files = sorted(source.glob("*.parquet"))
        encoded = pq.read_table(files, columns=["webp"], filters=[("split", "==", "val")])["webp"]
        for i in np.linspace(0, len(encoded) - 1, 200).round().astype(int):
            image = Image.open(bytes_io.BytesIO(encoded[i].as_py())).convert("RGB")
            lab = torch.from_numpy(color.lab8_from_rgb8(np.asarray(image))[None])
            input, target = space.encode(lab[..., 0], lab[..., 1:])
            output = model.predict(F.interpolate(input, (side, side), mode="bilinear"))
            output = F.interpolate(output, input.shape[-2:], mode="bilinear")
            yield input, output, pictures(space, input, target).numpy()


def halve(path: Path) -> None:
    """Store the weights of an ONNX file as float16; ONNX Runtime casts them once when it loads."""
    model = onnx.load(str(path))
    inputs = {input.name for input in model.graph.input}  # their initializers are defaults
    for weights in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.ndim > 1 and weights.name not in inputs:
            name, half = weights.name, f"{weights.name}.float16"
            weights.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half))
            to = onnx.TensorProto.FLOAT
            model.graph.node.insert(0, onnx.helper.make_node("Cast", [half], [name], to=to))
    with io.file_aside(path) as aside:
        aside.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    with TemporaryDirectory() as aside:
        trained, *photos = map(Path, sys.argv[1:])
        main(with_gain(trained, photos, Path(aside)) if photos else trained)
