"""The commands of README.md and docs/: what a page says, and where each command is run.

A fenced block without a language is commands, one a line (or several lines joined by a backslash);
`python` is Python and `text` is what is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LANGUAGES = {"", "python", "text"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = r"(?:python -m colorgan|python benchmarks/|colorgan|dvc|make|mlflow|torchrun|git|pip)"
INLINE = re.compile(rf"`({PROGRAMS}[ \w][^`]*)`")
PRESET = "dvc exp run $(python -m colorgan preset {})"

# Run as they stand by the test of this name in tests/pipeline/test_tasks.py.
RUN: Mapping[str, tuple[str, ...]] = {
    "test_photos_are_coloured": (
        "source .venv/bin/activate",
        ".venv/bin/colorgan colorize scan.jpg -o coloured.jpg",
        "python -m colorgan colorize scan.tif -o coloured.tif",
        "python -m colorgan colorize scans -o coloured",
        "python -m colorgan colorize 'scans/**/*.jpg' -o coloured --compare slider",
    ),
    "test_a_model_is_exported_and_colours": (
        "python -m colorgan export colorgan.onnx",
        "python -m colorgan colorize scans -o coloured --model colorgan.onnx",
    ),
    "test_what_is_there_is_shown_and_not_made_again": (
        "make repro",
        "dvc repro train_lab",
        "dvc repro preprocess@rgb preprocess@lab",
        "dvc exp run -S runtime.devices=auto",
        "dvc exp show",
        "python -m colorgan preset",
        "python -m colorgan summary",
        "python -m colorgan shard lab --shards 8 --split train --out data/shards/lab",
    ),
    "test_a_run_is_repeated": ("python -m colorgan verify lab",),
    "test_training_begins_with_weights_of_ones_own": (
        "cp -r models/lab models/lab-first",
        "dvc exp run -S '+lab.train.init=models/lab-first' -S train.epochs=20",
        "dvc exp run -S '+lab.train.lr=0.0001'",
    ),
    "test_a_sweep_is_queued": (
        "dvc exp run --queue -S 'train.lr=0.0001,0.0002,0.0004' -S 'train.batch_size=16,32'",
        "dvc queue status",
    ),
    "test_a_queue_runs_and_its_experiments_are_compared": (
        "dvc queue start -j 1",
        "dvc queue kill NAME",
        "dvc queue logs NAME",
        "dvc exp show --only-changed",
        "dvc exp diff batch-32 batch-8",
        "dvc plots diff batch-32 batch-8",
    ),
    "test_data_and_models_are_shared_through_a_remote": (
        "dvc remote add -d storage /mnt/storage/colorgan",
        "dvc push",
        "git add .dvc/config dvc.lock params.yaml reports",
        'git commit -m "Train with batches of 32"',
        "git push",
        "git clone ADDRESS colorgan && cd colorgan && make setup && source .venv/bin/activate",
        "dvc pull",
        "python -m colorgan colorize scans -o coloured --model lab",
        "dvc repro",
    ),
    "test_the_request_is_what_the_served_model_takes": (
        "curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' "
        """-d '{"dataframe_split": {"columns": ["image"], "data": """
        """[["'"$(base64 -w0 scan.jpg)"'"]]}}'""",
    ),
}

# Run by another test, with other values, ports and photos.
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "tests/serving/test_web.py::test_a_photo_comes_back_in_its_format": (
        ".venv/bin/colorgan app",
        "python -m colorgan app",
    ),
    "tests/data/test_shards.py::test_two_processes_run_the_example_of_the_page": (
        "python -m torch.distributed.run --standalone --nproc-per-node 2 train_shards.py "
        "data/shards/lab",
    ),
    "tests/pipeline/test_pipeline.py::test_a_change_of_one_space_leaves_the_other": (
        "dvc exp run -S lab.limit=100",
    ),
    "tests/pipeline/test_pipeline.py::test_a_queue_runs_the_code_as_it_was_queued": (
        "dvc exp run --queue -S train.seed=2",
        "dvc exp run --queue -S train.seed=3",
        "dvc exp run --run-all",
    ),
    "tests/pipeline/test_pipeline.py::test_one_space_alone_is_trained_and_evaluated": (
        "python -m colorgan evaluate lab",
    ),
    "tests/pipeline/test_pipeline.py::"
    "test_parameters_of_training_retrain_both_and_nothing_before": (
        "dvc exp run -S train.batch_size=32",
    ),
    "tests/pipeline/test_pipeline.py::test_temp_leaves_the_workspace_as_it_was": (
        "dvc exp run --temp -S train.lr=0.0001",
    ),
    "tests/pipeline/test_presets.py::test_paper": (PRESET.format("paper"),),
    "tests/pipeline/test_presets.py::test_photos_in_a_folder": (
        PRESET.format("photos --path ~/pictures"),
    ),
    "tests/pipeline/test_presets.py::test_stl10": (PRESET.format("stl10"),),
    "tests/pipeline/test_tasks.py::test_the_best_run_is_promoted_and_colours": (
        "python -m colorgan promote lab",
    ),
    "tests/pipeline/test_ui.py::test_runs_are_listed_by_experiment_and_stage": ("make ui",),
    "tests/pipeline/test_recover.py::test_repro_is_killed": (
        "ps -eo pid,args | grep '[c]olorgan train'",
        "kill PID",
        r"find .git .dvc/tmp \( -name '*.lock' -o -name rwlock \) -delete",
        "git checkout HEAD dvc.lock",
    ),
    "tests/pipeline/test_recover.py::test_an_experiment_is_killed_while_it_trains": (
        "git switch main",
        "git diff HEAD params.yaml",
    ),
    "tests/pipeline/test_recover.py::test_an_experiment_is_killed_between_setup_and_training": (
        "git restore --source=refs/exps/exec/EXEC_MERGE .",
    ),
    "tests/pipeline/test_recover.py::test_an_experiment_is_killed_in_its_first_second": (
        "git stash list --date=relative",
        "git switch --discard-changes main",
        "git stash pop --index",
    ),
    "tests/pipeline/test_verify.py::test_an_experiment_with_uncommitted_code_is_repeated_"
    "bit_for_bit": ("python -m colorgan verify lab --run batch-32",),
    "tests/test_verify.py::test_other_weights_are_told_by_how_much": (
        "python -m colorgan verify rgb --run 79d9f5a4a4314b23925aca2343d878f1",
    ),
    "tests/serving/test_served.py::TestServed::test_each_row_has_its_picture_or_its_error": (
        "mlflow models serve -m models:/colorgan-lab@champion --env-manager local --port 5001",
    ),
    "tests/test_bare.py::test_the_benchmark_measures_and_writes_its_page": (
        "python -m colorgan benchmark",
    ),
    "tests/test_presets.py::test_writing_touches_only_the_lines_of_its_values": (
        "python -m colorgan preset scratch --write",
    ),
    "tests/test_presets.py::test_odd_paths_can_be_written": (
        "python -m colorgan preset photos --path ../shared/photos --write",
    ),
}

# Not run by any test: the reason, and the commands by what they begin with.
NOT_RUN: Mapping[str, tuple[str, ...]] = {
    "it is what runs the tests (.ci/run)": ("make test",),
    "it installs from the internet": ("pip install 'colorgan[onnx]'",),
    "it takes several machines": ("torchrun --nnodes 2 ",),
    "hours, of photos that are not part of the project": (
        "python benchmarks/colour.py ",
        "dvc exp run -n lab-",
        "python scripts/average_models.py LAB-LONG models/lab LAB-MEAN",
        "python scripts/average_models.py LAB-MEAN models/lab LAB-NOISE-MEAN",
        "python scripts/average_models.py LAB-NOISE-MEAN models/lab models/lab-final",
        "python scripts/make_pretrained.py models/lab-final",
        PRESET.format("photos --path ~/pictures") + " $(python -m colorgan preset encoder)",
    ),
}


@dataclass(frozen=True)
class Command:
    """A command of a page, without its comment, on one line."""

    page: str
    text: str
    inline: bool = False

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands() -> list[Command]:
    """Return the commands of the fenced blocks of all pages."""
    return [
        Command(page.name, line)
        for page in PAGES
        for language, block in FENCE.findall(page.read_text(encoding="utf-8"))
        if language == ""
        for line in _lines(block)
    ]


def inline_commands() -> list[Command]:
    """Return what the text around the blocks names in backticks and looks like a command."""
    found = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        # A line break inside backticks is a space.
        found += [
            Command(page.name, " ".join(one.split()), inline=True) for one in INLINE.findall(text)
        ]
    return found


def _lines(block: str) -> Iterator[str]:
    for line in re.sub(r" *\\\n\s*", " ", block).splitlines():
        text = re.sub(r"\s+# .*|^# .*", "", line).strip()
        if text:
            yield text
