"""What is compared: the settings of the training step, one changed at a time and all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from colorgan.benchmark.machine import Machine

Arithmetic = Literal["float32", "tf32", "bf16", "fp16"]


@dataclass(frozen=True)
class Setting:
    """The networks and batches that everything is measured on.

    Attributes:
        space: rgb or lab.
        image_size: side of the photos in pixels.
        batch_size: photos of a step.
        ngf: channels of the first layer, of the generator and of the discriminator.
        batches: batches of an epoch: the made-up photos are `batches * batch_size`.
    """

    space: str
    image_size: int
    batch_size: int
    ngf: int
    batches: int

    def __str__(self) -> str:
        return (
            f"{self.space.upper()}, U-Net and PatchGAN at {self.image_size} px, "
            f"ngf and ndf {self.ngf}, batch {self.batch_size}"
        )


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: names it in files and on the command line.
        label: what a person reads.
        train: parameters of params.yaml's section `train` that differ from the base.
        runtime: the same for the section `runtime`.
        fused: one kernel for all weights in Adam, instead of a loop over them.
        flush_denormal: round denormals to 0 on the CPU.
        keep_memory: keep freed memory in the process on the CPU.
        products: compute the deep layers of the U-Net as matrix products on the CPU.
        arithmetic: what the matrix units compute in, whose peak the step is held against.
        on_gpus: "" where the CPU has it too, otherwise why a GPU alone does.
        on_cpus: the same the other way round.
    """

    name: str
    label: str
    train: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)
    fused: bool = False
    flush_denormal: bool = False
    keep_memory: bool = False
    products: bool = False
    arithmetic: Arithmetic = "float32"
    on_gpus: str = ""
    on_cpus: str = ""

    def missing(self, machine: Machine) -> str:
        """Say why it cannot be measured on this machine; an empty text where it can."""
        if self.on_gpus and machine.kind != "cuda":
            return self.on_gpus
        if self.on_cpus and machine.kind != "cpu":
            return self.on_cpus
        if self.arithmetic not in machine.arithmetics:
            return f"it does not compute in {self.arithmetic} in hardware"
        if self.train.get("compile") and machine.compiler_missing:
            return f"torch.compile needs {machine.compiler_missing}"
        return ""


BASE = Variant("base", "base")

_CUDNN = "cuDNN runs on NVIDIA GPUs alone"
_GRAPHS = "what it adds are CUDA graphs"


def all_variants(machine: Machine) -> tuple[Variant, ...]:
    """Return every row but the base; those that a machine cannot run are among them."""
    amp = next((a for a in ("bf16", "fp16") if a in machine.arithmetics), "off")
    computed: Arithmetic = amp if amp != "off" else _float32(machine)  # type: ignore[assignment]
    together: dict[str, Any] = {
        "train": {
            "amp": amp,
            "channels_last": True,
            "cudnn_benchmark": True,
            "allow_tf32": True,
        },
        "runtime": {"pin_memory": machine.kind == "cuda", "device_cache": "auto"},
        "fused": True,
        "flush_denormal": True,
        "keep_memory": True,
        "products": True,
        "arithmetic": computed,
    }
    return (
        Variant("again", "base once more (noise)"),
        *(
            Variant(f"num_workers_{n}", f"num_workers {n}", runtime={"num_workers": n})
            for n in (2, 4, 8)
        ),
        Variant(
            "pin_memory",
            "pin_memory",
            runtime={"pin_memory": True},
            on_gpus="page-locked memory is for copies to an NVIDIA GPU",
        ),
        Variant(
            "device_cache", "device_cache",
            runtime={"device_cache": True},
        ),
        Variant(
            "cudnn_benchmark", "cudnn_benchmark", train={"cudnn_benchmark": True}, on_gpus=_CUDNN
        ),
        Variant(
            "cudnn_deterministic", "cudnn_deterministic", train={"cudnn_deterministic": True},
            on_gpus=_CUDNN,
        ),
        Variant(
            "allow_tf32", "allow_tf32", train={"allow_tf32": True}, arithmetic="tf32",
            on_gpus="TF32 is a format of NVIDIA's matrix units",
        ),
        Variant(
            "amp_fp16", "AMP fp16", train={"amp": "fp16"}, arithmetic="fp16",
            on_gpus="training in it needs an NVIDIA GPU",
        ),
        Variant("amp_bf16", "AMP bf16", train={"amp": "bf16"}, arithmetic="bf16"),
        Variant("channels_last", "channels_last", train={"channels_last": True}),
        Variant("fused_adam", "fused Adam", fused=True),
        Variant(
            "flush_denormal", "denormals flushed", flush_denormal=True,
            on_cpus="a GPU computes with denormals at full speed",
        ),
        Variant(
            "keep_memory", "freed memory kept", keep_memory=True,
            on_cpus="PyTorch keeps a GPU's freed memory by itself",
        ),
        Variant(
            "products", "deep layers as products", products=True,
            on_cpus="cuDNN has algorithms of its own for them",
        ),
        Variant("compile", "compile default", train={"compile": "default"}),
        Variant(
            "compile_graphs", "compile reduce-overhead",
            train={"compile": "reduce-overhead"}, on_gpus=_GRAPHS,
        ),
        Variant("all", "all together", **together),
        Variant(
            "all_compile", "all, compile default",
            **{**together, "train": {**together["train"], "compile": "default"}},
        ),
        Variant(
            "all_graphs", "all, compile reduce-overhead",
            **{**together, "train": {**together["train"], "compile": "reduce-overhead"}},
            on_gpus=_GRAPHS,
        ),
    )  # fmt: skip


def variant(name: str, machine: Machine) -> Variant:
    """Return the variant called `name`; KeyError for any other name."""
    return {v.name: v for v in (BASE, *all_variants(machine))}[name]


def _float32(machine: Machine) -> Arithmetic:
    """Return what float32 becomes where TF32 is allowed."""
    return "tf32" if "tf32" in machine.arithmetics else "float32"
