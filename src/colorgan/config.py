"""params.yaml as typed, frozen, checked models; one class a section, no defaults.

Reading and checking the file, and what a user is told of it, are in `colorgan.config_file`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SpaceName = Literal["rgb", "lab"]
SPACES: tuple[SpaceName, ...] = ("rgb", "lab")
SPLITS = ("train", "val", "test")

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A section of params.yaml: every field is required, unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Stl10Params(Section):
    """Which parts of STL-10 are used; its own test part is always the test split."""

    train: bool
    """The 5,000 labelled training photos."""
    test: bool
    """The 8,000 labelled test photos."""
    unlabeled: bool
    """The 100,000 photos without a label."""


class ParquetParams(Section):
    """The columns of Parquet files; an empty name means that there is no such column."""

    image_column: Annotated[str, Field(min_length=1)]
    """Encoded pictures, as bytes or as Hugging Face's struct with a field `bytes`."""
    label_column: str
    """Class of each photo."""
    split_column: str
    """train, val or test."""


class DataParams(Section):
    """Where the photos of a space come from and how they are cut into arrays."""

    source: Literal["sample", "stl10", "kaggle", "folder", "parquet"]
    """Where photos come from: `sample` is bundled, `stl10` and `kaggle` are downloaded, `folder`
    and `parquet` are your own."""
    path: str
    """File or folder of a source on this machine; DVC watches it. The others leave it alone."""
    stl10: Stl10Params
    """Parts of STL-10, for that source."""
    parquet: ParquetParams
    """Columns, for that source."""
    image_size: Annotated[int, Field(ge=32, le=512, multiple_of=32)]
    """Side of the square arrays in pixels, a multiple of 32."""
    min_side: Positive
    """Photos with a shorter side than this many pixels are rejected."""
    min_chroma: Annotated[float, Field(ge=0, le=100)]
    """Photos with less mean chroma (in Lab) are rejected: gray photos teach gray; 0 takes all."""
    max_rejected: Annotated[float, Field(ge=0, le=1)]
    """The stage stops if more than this share of the photos is rejected."""
    val_fraction: Fraction
    """Share of the photos for validation, 0 up to 1, where the source has no split of its own."""
    test_fraction: Fraction
    """Share of the photos for the test, likewise."""
    limit: NotNegative
    """At most this many photos, chosen at random, always the same ones; 0 takes all."""

    @model_validator(mode="after")
    def _leaves_some_to_train_on(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            both = self.val_fraction + self.test_fraction
            raise ValueError(f"val_fraction + test_fraction is {both:g}; it should be less than 1")
        return self


class ModelParams(Section):
    """The two networks."""

    generator: Literal["unet", "encoder_unet"]
    """`unet`: the U-Net of pix2pix, its depth fitted to the image size. `encoder_unet`: a U-Net on
    a backbone that has seen ImageNet."""
    encoder: Annotated[str, Field(min_length=1)]
    """The backbone of `encoder_unet`, by timm's name."""
    encoder_weights: Annotated[str, Field(min_length=1)]
    """Its first weights: `efficientnet_lite0` (comes with colorgan, for tf_efficientnet_lite0),
    `imagenet` (any backbone, fetched by timm), a safetensors file, or `none`."""
    color_queries: NotNegative
    """Learnt queries of the decoder of `encoder_unet`, which ask the whole photo for its colours;
    0 leaves them out."""
    ngf: Positive
    """Channels of the generator's first layer (64 in the paper); of `encoder_unet`, of its last."""
    dropout: Fraction
    """Probability of dropping a value in the three decoder blocks of `unet` next to the innermost
    (0.5 in the paper); at 128 px there are two such blocks, at 64 px one, at sizes like 96 px
    none."""
    norm: Literal["batch", "instance", "none"]
    """Normalisation in `unet` and `patch`; `batch` in the paper. The others have their own."""
    discriminator: Literal["patch", "projected"]
    """`patch`: the PatchGAN of pix2pix. `projected`: small ones on the features of a network that
    has seen ImageNet, more telling for a generator that has learnt (`pretrain_epochs`)."""
    ndf: Positive
    """Channels of the discriminator's first layer (64 in the paper); of `projected`, of all."""
    n_layers: Annotated[int, Field(ge=1, le=6)]
    """Strided layers after the first of `patch`; 3 sees patches of 70x70 pixels."""


class TrainParams(Section):
    """Training of the two networks against each other."""

    init: Annotated[str, Field(min_length=1)]
    """Where the generator's first weights come from: `none` draws them at random (but for the
    backbone of `encoder_unet`, see `encoder_weights`); `pretrained` is the model that comes with
    colorgan; a model folder or the id of an MLflow run goes on from one's own."""
    batch_size: Positive
    """Photos of one update, all devices together."""
    epochs: Positive
    """Passes over the training photos."""
    pretrain_epochs: NotNegative
    """The first of the epochs, in which the generator learns without the discriminator, from L1 and
    the losses between pictures, before that joins; 0 as in the paper."""
    keep: Literal["last", "best"]
    """The weights that are kept: those of the end, or of the validation with the best score
    (training/validate.py)."""
    lr: Annotated[float, Field(gt=0)]
    """Learning rate of Adam, for both networks."""
    lr_schedule: Literal["linear", "cosine", "constant"]
    """How it falls over the last `decay_epochs`: in equal steps an epoch as in the paper, as half
    a cosine, or not at all."""
    decay_epochs: NotNegative
    """The last of the epochs, in which the learning rate falls towards 0."""
    warmup_iterations: NotNegative
    """The first iterations, in which the learning rate rises from 0; 0 leaves it out."""
    grad_clip: Annotated[float, Field(ge=0)]
    """Longest allowed gradient (2-norm over a network); longer ones are shortened; 0 allows all."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the exponential moving average of the generator's weights, which is then what is
    validated and kept; 0 keeps the weights themselves."""
    beta1: Fraction
    """Adam's decay of the mean of the gradients."""
    beta2: Fraction
    """Adam's decay of the mean of their squares."""
    lambda_l1: Annotated[float, Field(ge=0)]
    """Weight of L1 beside the adversarial loss (100 in the paper)."""
    lambda_color: Annotated[float, Field(ge=0)]
    """Weight of the colourfulness loss (training/losses.py), which L1's pale answers call for; 0
    leaves it out, as in the paper."""
    lambda_perceptual: Annotated[float, Field(ge=0)]
    """Weight of the perceptual loss (training/losses.py), on features of a network that has seen
    ImageNet; 0 leaves it out, as in the paper."""
    perceptual_size: Annotated[int, Field(ge=32)]
    """Side in pixels to which pictures are brought for the perceptual loss, whose network has
    learnt at 224; the larger, the longer it takes."""
    gan_loss: Literal["vanilla", "lsgan", "hinge"]
    """`vanilla` (binary cross-entropy), `lsgan` (least squares) or `hinge`."""
    flip: bool
    """Mirror half of the training photos left to right."""
    jitter: Fraction
    """Enlarge by this share, then crop at random (0.117 is the paper's 286 to 256; 0 is none)."""
    noise: Fraction
    """Strongest noise on the lightness of half of the training photos, as a standard deviation of a
    range of 1 (0.05 is strong grain); 0 leaves it out, as in the paper."""
    amp: Literal["auto", "off", "fp16", "bf16"]
    """Mixed precision; fp16 uses one GradScaler; `auto` takes what the device is fast at."""
    channels_last: bool
    """Keep activations channels last in memory."""
    compile: Literal["auto", "off", "default", "reduce-overhead"]
    """torch.compile in one of its modes, the second with CUDA graphs; `auto` is `default` on CUDA
    for runs of 5,000 iterations or more, else `off`."""
    sync_batchnorm: bool
    """Let batch norm see the batches of all GPUs together."""
    cudnn_benchmark: bool
    """Let cuDNN time its algorithms; with cudnn_deterministic it chooses among those alone."""
    cudnn_deterministic: bool
    """Use only algorithms that give the same bits every time."""
    allow_tf32: bool
    """Let the matrix units round float32 to TF32 (`cuda.matmul` and cuDNN)."""
    seed: Annotated[int, Field(ge=0, le=1_000_000_000)]
    """Seed of weights, order, augmentation and dropout."""
    val_every: Positive
    """Epochs between two validations; the last is always validated."""
    val_photos: NotNegative
    """Validation photos that are used, spread over the split; 0 uses all."""

    @model_validator(mode="after")
    def _parts_fit_their_wholes(self) -> Self:
        if self.pretrain_epochs > self.epochs:
            raise ValueError(
                f"pretrain_epochs is {self.pretrain_epochs}; it should be at most epochs "
                f"({self.epochs})"
            )
        if self.decay_epochs > self.epochs:
            raise ValueError(
                f"decay_epochs is {self.decay_epochs}; it should be at most epochs ({self.epochs})"
            )
        return self


class LoggingParams(Section):
    """How often a training is recorded; changes no result and reruns no stage."""

    log_every: Positive
    """Iterations between two recorded losses, each the mean over these iterations."""
    sample_every: Positive
    """Epochs between two sample grids; the first and the last epoch always have one."""
    sample_photos: Positive
    """Photos in a sample grid."""


class EvaluateParams(Section):
    """Measures on the test split."""

    batch_size: Positive
    """Photos coloured at a time."""
    chromatic: Annotated[float, Field(ge=0, le=100)]
    """Chroma (in Lab) from which on a pixel of the truth counts as chromatic."""
    hue_tolerance: Annotated[float, Field(gt=0, le=180)]
    """A hue is right within this many degrees."""
    frechet: bool
    """Frechet distance on features of EfficientNet-Lite2 (`frechet_lite2`), whose weights come
    from a package; too large on few photos, and no FID."""
    fid: bool
    """Frechet Inception distance by torchmetrics, which downloads its network."""
    lpips: bool
    """LPIPS by torchmetrics, which downloads its network."""


class RenderParams(Section):
    """Grids and report."""

    rows: Positive
    """Photos in a grid."""
    extremes: Positive
    """Photos among the best and the worst."""


class RuntimeParams(Section):
    """How the machine is used: what changes no result, but for the number of devices."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""
    devices: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
    """Processes that train together on this machine, one a GPU; `auto` takes all GPUs. On the CPU
    `auto` is 1. Dropout, and batch norm without `sync_batchnorm`, depend on how many there are."""
    num_workers: Annotated[int, Field(ge=0, le=64)]
    """Processes that read batches; 0 reads in the training process."""
    preprocess_workers: Literal["auto"] | Annotated[int, Field(ge=0, le=64)]
    """Processes that convert photos; `auto` is one a core where there are many photos."""
    pin_memory: Literal["auto"] | bool
    """Page-locked batches, for faster copies to a GPU; `auto` is on for CUDA."""
    device_cache: Literal["auto"] | bool
    """Keep all training photos in the GPU's memory; `auto` does where they fit in half of it."""
    checkpoint_minutes: Annotated[float, Field(ge=0)]
    """Minutes between two checkpoints, from which a killed training goes on."""
    checkpoint_iterations: NotNegative
    """Iterations between two checkpoints, besides the minutes; 0 leaves it to these."""
    progress: Literal["auto", "bar", "lines", "none"]
    """`auto` shows a bar in a terminal and plain lines elsewhere."""


class SpaceParams(Section):
    """Everything that decides the model of one space, overrides applied."""

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


def flat(section: Section, prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return the parameters of a section by dotted path, as MLflow records them."""
    values: dict[str, str | int | float | bool] = {}
    for name, value in section:
        if isinstance(value, Section):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values
