"""``ecgclip bench`` and ``bench-towers``: how fast training is, measured on this machine."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecgclip.baseline_speed import BLOCKS, PlainModel, PlainRecords, plain_records_per_second
from ecgclip.callbacks.timing import WARM_UP
from ecgclip.errors import CommandParser, UserError
from ecgclip.experiment import ExperimentCLI, run_experiment
from ecgclip.labels import POSITIVE
from ecgclip.labels.captions import joined_caption
from ecgclip.naming import unknown
from ecgclip.report.benchmark import machine, write_section
from ecgclip.run import read_metrics
from ecgclip.towers import ECG_TOWERS
from ecgclip.towers.measure import measure_tower
from ecgclip.towers.tokenizer import japanese_tokenizer

SMALL_BERT = ("hidden_size", "layers", "heads", "dropout")
RESNET = ("width", "kernel", "stem_kernel", "stem_stride")


class BenchCLI(ExperimentCLI):
    """A few steps of a training, whose speed is all that is wanted."""

    def after_instantiate_classes(self) -> None:
        """Nothing is kept, so there is no run folder to speak of."""

    def after_fit(self) -> None:
        """Keep the figures: the run folder goes."""
        self.figures = read_metrics(self.run_folder)


def bench(arguments: Sequence[str]) -> None:
    """Train an experiment for a few steps, ours and the straightforward way in turns, and print how fast that was.

    Nothing of it is kept. ``--steps`` (40) and ``--repeats`` (3) are its own options, all others those of ``fit``.

    Raises:
        UserError: For an option that is not there or makes no sense.
    """
    # Without a help of its own: `bench --help` lists what fit takes.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    own, rest = parser.parse_known_args(list(arguments))
    if own.steps <= WARM_UP or own.repeats < 1:
        raise UserError(f"bench: --steps {own.steps} must be above {WARM_UP}, the warm-up, and --repeats {own.repeats} at least 1")
    limits = [f"--trainer.max_steps={own.steps}", "--trainer.max_epochs=-1", "--trainer.limit_val_batches=0"]
    quiet = ["--trainer.enable_checkpointing=false", "--trainer.callbacks=null", "--trainer.enable_model_summary=false"]
    ours, waiting, plain = [], [], []
    for _ in range(own.repeats):
        with tempfile.TemporaryDirectory() as folder:
            cli: Any = run_experiment("fit", [*rest, *limits, *quiet, "--wandb=disabled", f"--runs={folder}"], BenchCLI)
        ours.append(cli.figures["time/records_per_second"])
        if not ours[-1]:
            raise UserError(
                f"bench: an epoch is over within the warm-up of {WARM_UP} steps: give more records or a smaller data.batch_size"
            )
        waiting.append(cli.figures["time/loading_share"] or 0)
        if has_yardstick(cli.model.hparams):
            plain.append(yardstick(cli, own.steps))
    print(f"Training with real loading: {statistics.median(ours):.0f} records/s{_each(ours)}")
    print(f"Share of a step spent on data (reading, moving, crop and augmentation): {100 * statistics.median(waiting):.1f} %")
    if plain:
        ratios = [a / b for a, b in zip(ours, plain, strict=True)]
        what = "Straightforward implementation of the same model (Conv1d, fp32, a text per record, record by record)"
        print(f"{what}: {statistics.median(plain):.0f} records/s{_each(plain)}")
        print(f"Ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {own.repeats} in turns); {machine()}")
    else:
        print(f"Ratio: none, a straightforward implementation is here for {', '.join(BLOCKS)} with the small BERT only")


def has_yardstick(hparams: Any) -> bool:
    """Whether there is a straightforward implementation of a model: a ResNet of basic blocks, pooled as usual, with the small BERT."""
    ecg, text = hparams["ecg_tower_args"] or {}, hparams["text_tower_args"] or {}
    return (
        hparams["ecg_tower"] in BLOCKS
        and hparams["text_tower"] == "bert"
        and set(ecg) <= {*RESNET, "pooling"}
        and ecg.get("pooling", "mean_max") == "mean_max"
        and set(text) <= {*SMALL_BERT, "model"}
        and text.get("model", "ecgclip") == "ecgclip"
    )


def plain_model(hparams: Any, vocabulary: int) -> PlainModel:
    """Return the straightforward implementation of a model, see :func:`has_yardstick`."""
    ecg, text = hparams["ecg_tower_args"] or {}, hparams["text_tower_args"] or {}
    sizes = {name: given[name] for given, names in ((ecg, RESNET), (text, SMALL_BERT)) for name in names if name in given}
    return PlainModel(hparams["ecg_tower"], vocabulary, embed_dim=hparams["embed_dim"], **sizes)


def yardstick(cli: Any, steps: int) -> float:
    """Train the straightforward implementation on the data of a training that has just been measured, for as many steps."""
    data, hparams = cli.datamodule, cli.model.hparams
    tokenizer = japanese_tokenizer()
    names = np.array([label.ja for label in data.labels], dtype=object)
    captions = [joined_caption(list(names[row == POSITIVE])) for row in data.states[data.trainable]]
    records = PlainRecords(data.store, data.trainable, captions, round(data.crop_seconds * data.sampling_rate))
    return plain_records_per_second(
        plain_model(hparams, len(tokenizer)),
        records,
        tokenizer,
        batch_size=data.batch_size,
        steps=steps,
        warm_up=WARM_UP,
        device=cli.trainer.strategy.root_device,
    )


def _each(values: Sequence[float]) -> str:
    return f" (median of {', '.join(f'{value:.0f}' for value in values)})" if len(values) > 1 else ""


def bench_towers(arguments: Sequence[str]) -> None:
    """Measure the ECG towers one by one, print their table and put it into a file.

    Raises:
        UserError: For an unknown tower, or a file that cannot be written.
    """
    parser = CommandParser("bench-towers", "Measure the ECG towers one by one.")
    parser.add_argument("--towers", nargs="+", default=list(ECG_TOWERS), metavar="TOWER", help="which (all)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is measured (5)")
    parser.add_argument("--batch", type=int, default=64, help="records per step (64)")
    parser.add_argument("--samples", type=int, default=250, help="length of a record: 250 are 2.5 s at 100 Hz (250)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (a GPU where there is one)")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"), help="file of the table (docs/benchmarks.md)")
    options = parser.parse_args(list(arguments))
    for name in options.towers:
        if name not in ECG_TOWERS:
            raise unknown("ECG tower", name, list(ECG_TOWERS))
    lines = ["| ECG tower | parameters | features | records/s |", "| --- | ---: | ---: | ---: |"]
    for name in options.towers:
        found = measure_tower(name, batch=options.batch, samples=options.samples, seconds=options.seconds, device=options.device)
        speed = f"{found['records_per_second']:.0f}"
        lines.append(f"| {name} | {found['parameters'] / 1e6:.2f} M | {found['features']} | {speed} |")
        print(f"{name}: {found['parameters'] / 1e6:.2f} M parameters, {speed} records/s", flush=True)
    facts = (
        f"A training step of each ECG tower with its default arguments by itself (forward, backward, AdamW, bf16): {options.batch} records "
        f"of {options.samples} samples on {options.device}, {torch.get_num_threads()} threads. {machine()}; {time.strftime('%Y-%m-%d')}."
    )
    table = "\n".join(lines)
    write_section(options.out, "towers", f"```\nmake bench-towers\n```\n\n{facts}\n\n{table}")
    print(f"The table is in {options.out}")
