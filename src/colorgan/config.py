"""params.yaml: what each parameter means, and how the file is read and checked.

Under each field stand its meaning, unit and range. There are no default values: params.yaml holds
them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from reprlib import Repr
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from colorgan import paths
from colorgan.errors import ParamsError
from colorgan.io import read_yaml

SpaceName = Literal["rgb", "lab"]
SPACES: tuple[SpaceName, ...] = ("rgb", "lab")
SPLITS = ("train", "val", "test")

Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Name = Annotated[Text, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000_000)]
Channels = Annotated[int, Field(ge=1, le=1024)]
ImageSize = Annotated[int, Field(ge=32, le=512, multiple_of=32)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Workers = Annotated[int, Field(ge=0, le=64)]


class Section(BaseModel):
    """A section of params.yaml: every field is required, unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ParquetParams(Section):
    """Names of the columns of Parquet files; an empty name means that there is no such column."""

    image_column: Name
    """Encoded pictures, as bytes or as Hugging Face's struct with a field `bytes`."""
    label_column: Text
    split_column: Text
    """Says train, val or test."""


class DataParams(Section):
    """The photos of one space: where they come from and how they become arrays."""

    source: Literal["sample", "stl10", "kaggle", "folder", "parquet"]
    """`sample` is in the project, `stl10` and `kaggle` are downloaded, `folder` and `parquet` are
    your own photos."""
    path: Text
    """File or folder with the photos, for `sample`, `folder` and `parquet`; watched by DVC."""
    parquet: ParquetParams
    image_size: ImageSize
    """Side of the square arrays in pixels."""
    min_side: Count
    """Photos whose shorter side has fewer pixels are rejected."""
    min_chroma: Annotated[float, Field(ge=0, le=100)]
    """Photos with a lower mean chroma (Lab units) are rejected as gray; 0 keeps all."""
    max_rejected: Annotated[float, Field(ge=0, le=1)]
    """Preprocess fails if a larger share of the photos is rejected."""
    val_fraction: Fraction
    test_fraction: Fraction
    """Shares of the photos for validation and test, where the source has no such splits."""
    limit: CountOrZero
    """Use at most this many photos, drawn at random (always the same ones); 0 uses all."""

    @model_validator(mode="after")
    def _some_are_left_to_train_on(self) -> Self:
        if (both := self.val_fraction + self.test_fraction) >= 1:
            raise ValueError(f"val_fraction + test_fraction is {both:g}; it should be less than 1")
        return self


class ModelParams(Section):
    """The generator and the discriminator."""

    generator: Literal["unet", "encoder_unet"]
    """`unet`: pix2pix's U-Net, its depth fitted to image_size. `encoder_unet`: a U-Net whose
    encoder is an ImageNet-pretrained backbone."""
    encoder: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """timm's name of the backbone of `encoder_unet`; with `hf-hub:` timm would ask the network."""
    encoder_weights: Name
    """Initial weights of the backbone: `efficientnet_lite0` (installed with colorgan, for
    tf_efficientnet_lite0), `imagenet` (downloaded by timm), a safetensors file, or `none`."""
    decoder_blocks: Annotated[int, Field(ge=3, le=4)]
    """Blocks of its decoder: with 4 it predicts colours at half the side, with 3 at a quarter."""
    hints: bool
    """Whether `encoder_unet` takes colour hints: the colours of some pixels beside the picture."""
    ngf: Channels
    """Channels of the first layer of `unet` (64 in the paper), or of the last of `encoder_unet`."""
    dropout: Fraction
    """Dropout probability in the inner decoder blocks of `unet` (0.5 in the paper)."""
    norm: Literal["batch", "instance", "none"]
    """Normalisation in `unet` and `patch`; `batch` in the paper."""
    discriminator: Literal["patch", "projected"]
    """`patch`: pix2pix's PatchGAN. `projected`: small convolutions on ImageNet features."""
    ndf: Channels
    """Channels of the first layer of `patch` (64 in the paper), or of all layers of `projected`."""
    n_layers: Annotated[int, Field(ge=1, le=6)]
    """Strided layers of `patch` after the first; with 3 each output sees 70x70 pixels."""


class TrainParams(Section):
    """Training of the generator and the discriminator."""

    init: Name
    """Initial weights of the generator: `none` (random, but for the backbone: encoder_weights),
    `pretrained` (the model that comes with colorgan), a model folder, or an MLflow run id."""
    init_discriminator: Literal["none", "pretrained"]
    """Initial weights of the discriminator: random, or those that come with colorgan."""
    batch_size: Count
    """Photos in a batch, all devices together."""
    epochs: Count
    """Passes over the training photos."""
    gan_start: Share
    """Share of the epochs after which the discriminator joins; 0 in the paper, 1 trains no GAN."""
    gan_gate: Weight
    """The adversarial loss of a batch counts only if its loss_D is lower (0.69 is guessing); 0
    counts all, as in the paper."""
    fake_chroma: Annotated[float, Field(gt=0, le=4)]
    """Factor on the chroma of the generated photos that the discriminator sees; 1 in the paper.
    At 1 it can recognise generated photos by their paleness alone."""
    freeze_encoder: bool
    """Keep the weights of the backbone of `encoder_unet`, and the statistics of all batch norm."""
    keep: Literal["last", "best"]
    """Weights to keep: of the last epoch, or the best at equal colourfulness (docs/training.md)."""
    calibrate_gain: bool
    """Multiply the colours by the gain that makes them as strong as those of photographs."""
    lr: Annotated[float, Field(gt=0)]
    """Learning rate of Adam."""
    lr_d_factor: Annotated[float, Field(gt=0)]
    """Learning rate of the discriminator, as a multiple of lr; 1 in the paper."""
    lr_schedule: Literal["linear", "cosine"]
    """How the learning rate falls towards 0; `linear` in the paper."""
    decay_start: Share
    """Share of the epochs after which it begins to fall; 0.5 in the paper, with 1 it stays."""
    warmup_iterations: CountOrZero
    """The first iterations, in which the learning rate rises from 0."""
    ema_decay: Fraction
    """Decay of the moving average of the generator's weights, which is then validated and kept;
    0 keeps the weights themselves."""
    beta1: Fraction
    beta2: Fraction
    """Betas of Adam (0.5 and 0.999 in the paper)."""
    beta1_d: Fraction
    beta2_d: Fraction
    """Betas for the discriminator; the same in the paper."""
    lambda_l1: Weight
    """Weight of the L1 loss beside the adversarial loss (100 in the paper)."""
    lambda_color: Weight
    """Weight of the colourfulness loss, against the pale colours of L1; 0 in the paper."""
    lambda_perceptual: Weight
    """Weight of the perceptual loss on ImageNet features; 0 in the paper."""
    perceptual_size: Annotated[int, Field(ge=32)]
    """Side in pixels of the pictures in the perceptual loss, whose network was trained at 224."""
    hints: Share
    """Share of the photos with colour hints, at random places, if model.hints; 0 in the paper."""
    flip: bool
    """Mirror half of the training photos left to right."""
    jitter: Fraction
    """Enlarge by this share, then crop at random (0.117 in the paper: 256 to 286 px); 0 is off."""
    amp: Literal["auto", "off", "fp16", "bf16"]
    """Mixed precision; `auto` takes what the device is fast at, fp16 uses a GradScaler."""
    channels_last: bool
    """Use the channels_last memory format."""
    compile: Literal["auto", "off", "default", "reduce-overhead"]
    """Mode of torch.compile (`reduce-overhead` uses CUDA graphs); `auto` is `default` on CUDA for
    runs of 5,000 iterations or more, else `off`."""
    cudnn_benchmark: bool
    """Let cuDNN time its algorithms; with cudnn_deterministic, the deterministic ones alone."""
    cudnn_deterministic: bool
    """Use only algorithms that give the same bits every time."""
    allow_tf32: bool
    """Allow TF32 in float32 matrix products and convolutions."""
    seed: Annotated[int, Field(ge=0, le=1_000_000_000)]
    """Seed of initial weights, order of photos, augmentation and dropout."""
    val_every: Count
    """Epochs between two validations; the last epoch is always validated."""
    val_photos: CountOrZero
    """Number of validation photos to use, spread evenly over the split; 0 uses all."""


class LoggingParams(Section):
    """What a training writes down, and how often; it changes no result."""

    log_every: Count
    """Iterations between two rows of losses.csv, each the mean over these iterations."""
    sample_every: Count
    """Epochs between two sample grids."""
    sample_photos: Count
    """Photos in a sample grid."""


class EvaluateParams(Section):
    """Metrics on the test split."""

    batch_size: Count
    """Photos coloured at a time."""
    frechet: bool
    """Frechet distance on EfficientNet-Lite2 features (`frechet_lite2`); it is not the FID."""


class RenderParams(Section):
    """Grids of pictures and the report."""

    rows: Count
    """Photos in a grid."""
    extremes: Count
    """Photos in the grids of the best and of the worst."""


class RuntimeParams(Section):
    """How the machine is used. Results can differ with `device` and `devices` alone."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""
    devices: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
    """Training processes on this machine, one a GPU; `auto` is all GPUs, or 1 on the CPU. Dropout,
    gan_gate and batch norm depend on the number."""
    num_workers: Workers
    """Processes that load batches; 0 loads in the training process."""
    preprocess_workers: Literal["auto"] | Workers
    """Processes that convert photos; `auto` is one a core where there are many photos."""
    checkpoint_minutes: Weight
    """Minutes between two checkpoints, from which a killed training resumes; 0: each iteration."""


class SpaceParams(Section):
    """The parameters of one space, its overrides of `model` and `train` applied."""

    data: DataParams
    model: ModelParams
    train: TrainParams


class Params(Section):
    """The whole of params.yaml."""

    rgb: SpaceParams
    lab: SpaceParams
    logging: LoggingParams
    evaluate: EvaluateParams
    render: RenderParams
    runtime: RuntimeParams

    def space(self, name: str) -> SpaceParams:
        """Return the parameters of the space called `name`."""
        return {"rgb": self.rgb, "lab": self.lab}[name]


OVERRIDABLE = ("model", "train")
"""Shared sections of params.yaml that a space may override."""


def flat(section: Section | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the parameters of a section by dotted path, as MLflow records them."""
    values: dict[str, Any] = {}
    for name, value in dict(section).items():
        if isinstance(value, Section | Mapping):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values


def load_params() -> Params:
    """Read and check params.yaml; ParamsError as `io.read_yaml` and `check_params`."""
    return check_params(read_yaml(paths.PARAMS))


def check_params(content: Mapping[str, Any], where: str = "params.yaml") -> Params:
    """Check the content of params.yaml and apply the overrides of each space.

    ParamsError has a line for each parameter that is unknown, missing, mistyped or out of range,
    with its path, its value and what is allowed; `where` is the file that they name.
    """
    sections = {name: value for name, value in content.items() if name not in OVERRIDABLE}
    for space in SPACES:
        if isinstance(values := content.get(space), dict):
            data = {name: value for name, value in values.items() if name not in OVERRIDABLE}
            sections[space] = {"data": data}
            for part in OVERRIDABLE:
                shared, own = content.get(part), values.get(part)
                if isinstance(shared, dict) and isinstance(own, dict):
                    shared = {**shared, **own}
                sections[space][part] = shared if own is None or isinstance(own, dict) else own
    try:
        return Params.model_validate(sections)
    except ValidationError as error:
        lines: dict[str, str] = {}
        for detail in error.errors():
            name, sentence = _sentence(detail, content)
            allowed = sentence.rpartition("it should be ")[2]
            # `train` is checked for both spaces, and a value of two kinds for each kind.
            if name not in lines:
                lines[name] = f"{where}: {sentence}"
            elif allowed not in lines[name]:
                lines[name] += f" or {allowed}"
        raise ParamsError("\n".join(lines.values())) from None


def _sentence(detail: ErrorDetails, content: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of a parameter in params.yaml and what pydantic finds wrong with it."""
    section: type[Section] = Params
    keys: list[Any] = []
    for key in detail["loc"]:
        keys.append(key)
        inner: Any = section.model_fields[key].annotation if key in section.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, Section)):
            break  # what follows is the kind of value
        section = inner
    # Pydantic gives no place for a name that is not Unicode.
    name, names = _name(keys or [str(detail["input"])], content), _names(section)
    match detail["type"]:
        case "extra_forbidden" | "invalid_key":
            close = difflib.get_close_matches(str(keys[-1]), names, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            said = f"is not a parameter; {meant}the names here are {', '.join(names)}"
        case "missing":
            said = "is missing: add it as in src/colorgan/presets/default.yaml"
        case "value_error":
            return name, f"{name}.{detail['ctx']['error']}"
        case _:
            said = _what_is_wrong(detail)
    return name, f"{name} {said}"


def first_problem(error: ValidationError) -> str:
    """Return the first of pydantic's findings, such as `model.ngf is 0; it should be ...`."""
    detail = error.errors()[0]
    return f"{'.'.join(map(str, detail['loc']))} {_what_is_wrong(detail)}"


def _what_is_wrong(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a parameter"
        case "model_type":
            allowed = "it should be a section of parameters"
        case _:
            allowed = detail["msg"].replace("Input", "it").replace("String", "it")
    return f"is {shortened(detail['input'])}; {allowed}"


def shortened(value: object) -> str:
    """Return a value as Python writes it, shortened: it may be huge, or contain itself."""
    values = Repr()
    values.maxlevel, values.maxstring, values.maxother = 2, 100, 100
    try:
        return values.repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a huge integer"


def _name(keys: Sequence[Any], content: Mapping[str, Any]) -> str:
    """Return the name in params.yaml of a value of Params: without `data`, shared or overridden."""
    if keys[0] in SPACES and len(keys) > 1:
        space, part, *rest = keys
        own = content[space].get(part)
        if part == "data":
            keys = [space, *rest]
        elif own in (None, {}) or (isinstance(own, dict) and rest and rest[0] not in own):
            keys = [part, *rest]
    return ".".join(map(str, keys))


def _names(section: type[Section]) -> list[str]:
    """Return the names in a section of params.yaml."""
    of = DataParams if section is SpaceParams else section
    return [*of.model_fields, *(OVERRIDABLE if of in (Params, DataParams) else ())]
