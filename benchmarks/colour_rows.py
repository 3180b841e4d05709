"""The rows of the study of docs/colour.md: what each changes, and the parameters that say so."""

from __future__ import annotations

from dataclasses import dataclass

from colorgan import presets


@dataclass(frozen=True)
class Row:
    """A row of the study: a name, what is new in it, and the parameters that say so."""

    name: str
    change: str
    settings: tuple[str, ...]
    seed: int = 1
    cores: int = 1
    elsewhere: str = ""
    """What it takes to run it, where this script cannot."""

    @property
    def space(self) -> str:
        """The space it is a row of."""
        return self.name.partition("-")[0]

    @property
    def options(self) -> list[str]:
        """Its parameters, as `dvc exp run` takes them."""
        # Every value, whatever the experiment before has left in params.yaml: as shipped, over
        # that the reference, over that the row's own.
        shipped, reference = (
            presets.as_options(name).replace("-S", "").split() for name in ("default", "scratch")
        )
        shipped = [x for x in shipped if x.startswith(("model.", "train."))]
        values = dict(x.split("=", 1) for x in (*shipped, *reference, *self.settings))
        values["train.seed"] = str(self.seed)
        return [word for name, value in values.items() for word in ("-S", f"{name}={value}")]


REFERENCE = ("model.ngf=64", "model.ndf=64", "train.keep=best")
ENCODER = (
    "model.generator=encoder_unet", "train.lr=0.001",
    "train.lr_schedule=cosine", "train.beta1=0.9", "train.beta2=0.99",
    "train.warmup_iterations=30", "train.ema_decay=0.998", "train.keep=best",
    "train.epochs=2", "train.decay_start=0",
)  # fmt: skip
NO_GAN = (*ENCODER, "train.gan_start=1")
COLOR = (*NO_GAN, "train.lambda_color=30")
RECIPE = (*COLOR, "train.lambda_perceptual=1")
# Of the colourfulness loss's first form, which counted every pixel.
FIRST_COLOR = (*NO_GAN, "train.lambda_color=20")
FIRST = (*FIRST_COLOR, "train.lambda_perceptual=1")
HALF_SIZE = "the code of commit 90a7373, whose perceptual loss saw half the size"
# Weights are beside that of the game, 1: this is a quarter of the others' L1 and perceptual 4.
PROJECTED = (
    "train.gan_start=0.5", "train.lambda_l1=25", "train.lambda_perceptual=1",
    "model.discriminator=projected", "model.ndf=64", "train.gan_loss=hinge",
)  # fmt: skip
ROWS = (
    Row("lab-reference", "LAB: pix2pix (U-Net 128, ngf 64), 3 epochs: the reference",
        (*REFERENCE, "train.epochs=3", "train.decay_start=0.67"), cores=2),
    Row("rgb-reference", "RGB: pix2pix, the same",
        (*REFERENCE, "train.epochs=3", "train.decay_start=0.67")),
    Row("lab-l1", "LAB: `encoder_unet`, L1 alone, 2 epochs", NO_GAN),
    Row("lab-color", "L1 and the colourfulness loss", COLOR),
    Row("lab-seen-alike-4", "L1 and the perceptual loss, weight 4",
        (*NO_GAN, "train.lambda_perceptual=4"),
        elsewhere=HALF_SIZE),
    Row("lab-seen-alike-4-2", "L1 and the perceptual loss, weight 4, a second seed",
        (*NO_GAN, "train.lambda_perceptual=4"), seed=2,
        elsewhere=HALF_SIZE),
    Row("lab-projected", "L1 and the perceptual loss, a projected GAN in the second epoch",
        (*NO_GAN, *PROJECTED),
        elsewhere=HALF_SIZE),
    Row("lab-seen-large", "L1 and the perceptual loss at 160 px, with the pooled features",
        (*NO_GAN, "train.lambda_perceptual=4", "train.perceptual_size=160")),
    Row("lab-queries-large", "`lab-seen-large`, 64 colour queries in the decoder",
        (*NO_GAN, "train.lambda_perceptual=4", "train.perceptual_size=160",
         "model.color_queries=64"), elsewhere="the code of commit e13c380"),
    Row("lab-queries", "L1 and the perceptual loss, 64 colour queries in the decoder",
        (*NO_GAN, "train.lambda_perceptual=4"),
        elsewhere="EncoderUNet and ColorQueries of commit 783678a in the code of 90a7373"),
    Row("lab-seen-alike-12", "L1 and the perceptual loss, weight 12",
        (*NO_GAN, "train.lambda_perceptual=12"),
        elsewhere=HALF_SIZE),
    Row("lab-recipe", "L1, colourfulness and perceptual loss: the recipe", RECIPE,
        elsewhere=HALF_SIZE),
    Row("lab-recipe-2", "the recipe, a second seed", RECIPE, seed=2,
        elsewhere=HALF_SIZE),
    Row("lab-perceptual", "the recipe, colourfulness of single pixels, weight 20",
        FIRST, elsewhere="the code of commit 783678a"),
    Row("lab-rare", "`lab-perceptual`, rare colours in place of the perceptual loss",
        (*FIRST_COLOR, "train.rare_color=0.25"), elsewhere="the code of commit 7ea93b3"),
    Row("lab-seen", "`lab-perceptual`, L1 scaled as CIE94 sees errors",
        (*FIRST, "train.l1_as_seen=true"), elsewhere="the code of commit 90f2652"),
    Row("lab-gan", "`lab-seen` (CIE94 too), a GAN in the second epoch",
        (*FIRST, "train.l1_as_seen=true", "train.gan_start=0.5", "model.spectral_norm=true",
         "train.gan_loss=hinge", "train.discriminator_lr=0.0004"),
        elsewhere="the code of commit 783678a with that of 90f2652"),
    Row("rgb-seen-alike-4", "RGB: L1 and the perceptual loss, weight 4",
        (*NO_GAN, "train.lambda_perceptual=4"),
        elsewhere=HALF_SIZE),
    Row("rgb-perceptual", "RGB: L1 scaled as CIE94, colourfulness of single pixels, weight 20",
        (*FIRST, "train.l1_as_seen=true"), elsewhere="the code of commit 90f2652"),
    Row("lab-final", "LAB: colourfulness and perceptual loss, 64 px before 128 px, more photos",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
    Row("lab-final-2", "`lab-final`, one epoch more, CIE94, a mean as colourfulness",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
    Row("lab-long", "`lab-final-2`, 10 epochs more, at last colourfulness 5, perceptual 3",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
    Row("lab-noise", "`lab-long`, 3 epochs more with noise, colourfulness 2, perceptual 4",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
    Row("lab-last", "the mean of `lab-long` and `lab-noise`, an epoch more with noise",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
    Row("lab-noise-mean", "the mean of what `lab-last` began with and came to",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
    Row("lab-large", "`lab-noise-mean`, 2 epochs more, the loss of `lab-seen-large`",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
    Row("lab-pretrained", "the mean of `lab-noise-mean` and `lab-large`: the pretrained model",
        (), elsewhere="the commands in docs/colour.md at commit 482ae00"),
)  # fmt: skip
