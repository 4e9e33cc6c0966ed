"""Experiments from YAML: what ``fit``, ``validate``, ``test`` and ``predict`` do."""

import csv
import logging
import os
import re
import secrets
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NoReturn

import torch
import yaml
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from safetensors.torch import load_file

from data_modules import ECGDataModule
from data_modules.archive import OWN as OWN_LABELS
from ecgclip.artefact import CATALOGUE, WEIGHTS, save_artefact, trained_path
from ecgclip.callbacks import Timing, ZeroShotEvaluation
from ecgclip.callbacks.dashboard import lay_out
from ecgclip.callbacks.examples import PICTURES
from ecgclip.callbacks.zero_shot import PER_LABEL
from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.losses import gather_rows
from ecgclip.model import ECGCLIP
from ecgclip.run import CONFIG, METRICS, closing_table, open_run, read_metrics, run_of
from ecgclip.towers.text_table import FROZEN, text_input

ARTEFACT = "artefact"
UNHELPFUL = (
    "The '.*_dataloader' does not have many workers",  # None are wanted: the memory map is read at memory speed.
    "Checkpoint directory .* exists",
    "Experiment logs directory .* exists",
    "Precision bf16-mixed is not supported by the model summary",
    ".*treespec, LeafSpec",
    "The dirpath has changed from",  # An evaluation on other data has a folder of its own.
)
SEE_HELP = ": `ecgclip COMMAND --help` lists the options"
# What jsonargparse says around the error itself.
NO_UNION = "Does not validate against any of the Union subtypes"
LINKED = re.compile(r"^Call to compute_fn of link .*? failed: ")  # With the arguments of the link, all of them.
PARSER_TALK = (
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Given value type:",
    "Given value: NestedArg",
    "Given value: Namespace",
)
RESULTS = {  # What the closing table says about where things lie.
    "all figures": METRICS,
    "per label": PER_LABEL,
    "example ECGs": PICTURES,
    "curves": "metrics.csv",
    "W&B": "wandb",
    "trained model": ARTEFACT,
}
EVALUATIONS = ("validate", "test", "predict")
BF16, FP32 = "bf16-mixed", "32-true"
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # As torch.cpu.get_capabilities() calls them.


class Parser(LightningArgumentParser):
    """Lightning's parser, with errors of one line, and without abbreviations: a mistyped key is never taken for another one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as a :class:`UserError`."""
        if "required: fit.data" in message:
            raise UserError("no data is given: add --config experiments/resnet_bert.yaml, or one of your own") from ex
        raise UserError(f"{_one_line(message).removesuffix(SEE_HELP)}{SEE_HELP}") from ex


def _one_line(message: str) -> str:
    """Shorten a nested parsing error to what is wrong, and name the classes that there are."""
    lines = [line.strip(" -").replace(NO_UNION, "").removesuffix(SEE_HELP) for line in message.splitlines()]
    said = " ".join(dict.fromkeys(line for line in lines if line and not line.startswith(PARSER_TALK)))
    said = LINKED.sub("", said)
    wanted = re.search(r"class_path '([\w.]+)\.\w+'", said)
    module = sys.modules.get(wanted[1]) if wanted else None
    known = getattr(module, "__all__", [])
    return f"{said} (known are {', '.join(known)})" if known else said


class RunConfig(SaveConfigCallback):
    """Write the resolved configuration into the run folder, and give it to W&B.

    It names the data by their store in the cache, not by the user's folder: a run folder can be passed on, and the run can be
    gone on with as long as the store is there.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or self.already_saved or not trainer.is_global_zero:
            return
        config = yaml.safe_load(self.parser.dump(self.config, skip_unset=False, format="yaml"))
        for name in ("ckpt_path", "init_from", "config"):
            config.pop(name, None)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if "root" in config["data"]["init_args"]:
            config["data"]["init_args"]["root"] = data.cached_name
        folder = Path(trainer.default_root_dir)
        (folder / CONFIG).write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(config, allow_val_change=True)
                lay_out(logger)
        self.already_saved = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if trainer.is_global_zero and isinstance(exception, KeyboardInterrupt) and last.is_file():
            print(f"\nInterrupted. Go on with: ecgclip fit --ckpt_path {last}", flush=True)


class ExperimentCLI(LightningCLI):
    """LightningCLI with a run folder, loggers, and an evaluation at the end of a training.

    An evaluation on another kind of data than the run's own leaves its results in a folder of the run that is named after them.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--experiment", type=str, default="experiment", help="Name of the experiment; its runs lie in runs/<name>/.")
        parser.add_argument("--runs", type=str, default="runs", help="Where the runs lie.")
        parser.add_argument(
            "--wandb",
            type=Literal["offline", "online", "disabled"],
            default="offline",
            help="W&B: offline needs no account and no network (`wandb sync RUN/wandb/offline-*` later), online wants `wandb login`.",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="A checkpoint or artefact to take the weights from, and nothing else.",
        )
        parser.link_arguments("data.catalogue", "model.catalogue", apply_on="instantiate")
        parser.link_arguments("data.withheld", "model.withheld", apply_on="instantiate", compute_fn=sorted)
        parser.link_arguments("data.sampling_rate", "model.sampling_rate", apply_on="instantiate")
        parser.link_arguments("data.crop_seconds", "model.crop_seconds", apply_on="instantiate")
        parser.link_arguments(("model.text_tower", "model.text_tower_args"), "data.init_args.tokenizer", compute_fn=text_input)
        parser.link_arguments("model.unimodal", "data.init_args.second_view", compute_fn=bool)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        self.precision_given = any(argument.startswith("--trainer.precision") for argument in args)

    def _parse_ckpt_path(self) -> None:
        """Lightning would let a checkpoint's arguments override the command line. Here ``config.yaml`` of its run lies beneath both."""

    @property
    def settings(self) -> Any:
        """The configuration of this command."""
        return self.config[self.subcommand]

    def before_instantiate_classes(self) -> None:
        settings = self.settings
        checkpoint = settings.ckpt_path
        if self.subcommand in EVALUATIONS and not checkpoint:
            raise UserError(f"{self.subcommand} needs a model: give --ckpt_path RUN/checkpoints/best.ckpt")
        if checkpoint and not Path(checkpoint).is_file():
            raise UserError(f"checkpoint {checkpoint} does not exist: give a file such as RUN/checkpoints/last.ckpt")
        if checkpoint and settings.init_from:
            raise UserError("--ckpt_path goes on with a run, --init_from starts one from given weights: give one of them")
        if self.subcommand in EVALUATIONS and settings.model.text_tower == FROZEN:
            settings.model.text_tower_args = _trained_text_tower_args(Path(checkpoint)) or settings.model.text_tower_args
        if settings.trainer.precision == BF16 and not self.precision_given and _emulates_bf16(settings.trainer.accelerator):
            settings.trainer.precision = FP32
            if _first_process():
                print(f"This CPU has no bf16 instructions: computing in {FP32} (--trainer.precision {BF16} insists)", flush=True)
        self.run_folder = self.results = open_run(
            Path(settings.runs),
            settings.experiment,
            Path(checkpoint) if checkpoint else None,
            make=_first_process(),
        )
        own = run_of(Path(checkpoint)) if self.subcommand in EVALUATIONS else None
        self.other_data = _other_data(own, settings.data) if own else None
        if self.other_data:
            self.results = self.run_folder / self.other_data
            self.results.mkdir(exist_ok=True)
            labels = self.run_folder / ARTEFACT / CATALOGUE
            if settings.data.init_args.get("catalogue") == OWN_LABELS and labels.is_file():  # Of a store that is not asked here.
                settings.data.init_args["catalogue"] = str(labels)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer_settings = self._get(self.config_init, "trainer")
        callbacks = trainer_settings["callbacks"] = list(trainer_settings["callbacks"] or [])
        if trainer_settings["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(TQDMProgressBar(refresh_rate=10))
        callbacks.append(Timing())
        chosen = trainer_settings["logger"]
        loggers: Any = self._loggers() if chosen in (None, True) else chosen
        return super().instantiate_trainer(default_root_dir=str(self.results), logger=loggers, **kwargs)

    def _loggers(self) -> list[Logger] | bool:
        if self.subcommand != "fit":
            return False
        if _first_process():
            _keep_history(self.run_folder / "metrics.csv")
        loggers: list[Logger] = [CSVLogger(self.run_folder, name="", version="")]
        if self.settings.wandb != "disabled":
            loggers.append(_wandb_logger(self.run_folder, self.settings.experiment, offline=self.settings.wandb == "offline"))
        return loggers

    def after_instantiate_classes(self) -> None:
        settings = self.settings
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ZeroShotEvaluation) and self.other_data:
                callback.fitted_in = self.run_folder
        if self.subcommand in EVALUATIONS:
            self.model = _load_model(Path(settings.ckpt_path), self.datamodule.labels)
            self._compare_signal_paths()
        elif settings.init_from:
            _take_weights(self.model, Path(settings.init_from))
        if self.subcommand == "fit" and _first_process():
            print(f"Run folder: {self.run_folder}", flush=True)

    def _compare_signal_paths(self) -> None:
        """Tell where these ECGs were not filtered as those that the model was trained on: a figure that drops may drop for that."""
        trained, here = trained_path(self.run_folder / ARTEFACT), self.datamodule.signal_path
        if trained and _first_process():
            for name in ("filter", "mains"):
                if (one := getattr(trained, name)) != (other := getattr(here, name)):
                    print(
                        f"The model was trained with {name} {one}, these ECGs have {name} {other}: see the figures in that light",
                        flush=True,
                    )

    def after_fit(self) -> None:
        """Evaluate the best checkpoint, and write the artefact and the closing table."""
        trainer = self.trainer
        if trainer.fast_dev_run or trainer.interrupted:  # type: ignore[attr-defined]
            return
        best = getattr(trainer.checkpoint_callback, "best_model_path", "") or None
        if trainer.is_global_zero:
            print(f"Evaluating {Path(best).name if best else 'the last weights'}", flush=True)
        trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False)
        fitted = next((c for c in trainer.callbacks if isinstance(c, ZeroShotEvaluation)), ZeroShotEvaluation())  # type: ignore[attr-defined]
        if self.datamodule.closing_split == "test":
            trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False)
        if trainer.is_global_zero:
            save_artefact(
                self.model,
                self.run_folder / ARTEFACT,
                thresholds=fitted.thresholds,
                calibration=fitted.calibration,
                signal_path=self.datamodule.signal_path,
            )
            self._print_results(self.datamodule.closing_split)

    def validate(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the validation split, and print its table."""
        self.trainer.validate(**kwargs)
        self._print_results("val")

    def test(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the test split, and print its table."""
        self.datamodule.prepare_data()
        self.datamodule.setup("test")
        if self.datamodule.closing_split != "test":
            raise UserError("the test records are not here: evaluate on the validation split with `ecgclip validate`")
        self.trainer.test(**kwargs)
        self._print_results("test")

    def predict(self, **kwargs: Any) -> None:
        """Write the scores of the closing split to ``predictions.csv`` in the run folder."""
        batches: Any = self.trainer.predict(**(kwargs | {"return_predictions": True}))
        records = gather_rows(torch.cat([batch["record"] for batch in batches]))
        scores = gather_rows(torch.cat([batch["scores"] for batch in batches]))
        if not self.trainer.is_global_zero:
            return
        rows = dict(zip(records.tolist(), scores.tolist(), strict=True))
        path = self.results / "predictions.csv"
        names = self.datamodule.store.manifest["id"]
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *self.datamodule.labels.ids])
            writer.writerows([names.iloc[record], *(f"{score:.5f}" for score in row)] for record, row in sorted(rows.items()))
        print(f"Scores of {len(rows)} records against {len(self.datamodule.labels)} labels: {path}")

    def _print_results(self, split: str) -> None:
        if not self.trainer.is_global_zero:
            return
        metrics = read_metrics(self.results)
        of = f" of {self.other_data}" if self.other_data else ""
        print(f"\n{self.settings.experiment} on the {split} split{of}: {metrics.get(f'data/{split}/records') or 0:.0f} records")
        print(closing_table(metrics, split), end="\n\n")
        for what, name in RESULTS.items():
            if (self.results / name).exists():
                print(f"  {what:17}{self.results / name}")
        if self.other_data:
            print(f"  these are other data than the run's own, whose figures and thresholds stay as they are in {self.run_folder}")
        elif (self.run_folder / ARTEFACT).exists():
            print(f"  read ECGs with it: ecgclip predict {self.run_folder / ARTEFACT} FILE...")
        sys.stdout.flush()


class TextsCLI(ExperimentCLI):
    """The options of a training, of which only the text tower is built, and looked at."""

    def before_instantiate_classes(self) -> None:
        """Nothing is run, so there is no run folder."""

    def instantiate_classes(self) -> None:
        """Neither the data nor the ECG tower is needed."""

    def after_instantiate_classes(self) -> None:
        """Print the report."""
        from ecgclip.report.texts import report_texts

        settings = self.settings
        catalogue = Catalogue.load(settings.data.init_args.catalogue)
        path = Path(settings.runs) / settings.experiment / "texts.png"
        print(report_texts(catalogue, settings.model.text_tower, settings.model.text_tower_args, path), flush=True)

    def _run_subcommand(self, subcommand: str) -> None:
        """The report is all there is."""


def run_experiment(command: str, arguments: list[str], cli: Callable[..., ExperimentCLI] = ExperimentCLI) -> ExperimentCLI:
    """Run one command of the static table.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        arguments: What follows it on the command line.
        cli: What runs it.

    Returns:
        What has run it, with its trainer, model and data.

    Raises:
        UserError: For anything that the user can mend.
    """
    _quieten()
    try:
        return cli(
            ECGCLIP,
            ECGDataModule,
            subclass_mode_data=True,
            args=[command, *arguments],
            parser_class=Parser,
            save_config_callback=RunConfig,
            seed_everything_default=0,
            # The samplers share out the records themselves, the same for any number of processes.
            trainer_defaults={"use_distributed_sampler": False, "num_sanity_val_steps": 0},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )
    finally:
        if "wandb" in sys.modules:  # Else the next run of this Python would go on with this one.
            sys.modules["wandb"].finish()


def _emulates_bf16(accelerator: str) -> bool:
    """Whether a training would be on a CPU that computes bf16 step by step in fp32: ten times as slow as fp32 itself, and slower still."""
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    return on_cpu and not any(torch.cpu.get_capabilities().get(name) for name in BF16_INSTRUCTIONS)


def _first_process() -> bool:
    """Whether this is the process that writes; known before there is a trainer."""
    return not _get_rank()


def _other_data(run: Path, data: Any) -> str | None:
    """Return what the folder for results on these data is called (``ptbxl``), or None where they are of the run's own kind.

    Args:
        run: Folder of the run.
        data: Settings of the data module: ``class_path`` and ``init_args``.
    """
    own = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))["data"]
    names = [_data_name(of["class_path"], of.get("init_args") or {}) for of in (own, data)]
    return None if names[0] == names[1] else names[1]


def _data_name(class_path: str, arguments: Any) -> str:
    """Several public sets share one data module and are told apart by their name."""
    return str(arguments.get("name") or class_path.rpartition(".")[2].removesuffix("DataModule").lower())


def _keep_history(metrics: Path) -> None:
    """Move the curve of an interrupted run aside: the logger of its resumption starts a new file."""
    if metrics.is_file():
        number = len(list(metrics.parent.glob("metrics.*.csv"))) + 1
        metrics.rename(metrics.with_name(f"metrics.{number}.csv"))


def _wandb_logger(run: Path, experiment: str, *, offline: bool) -> WandbLogger:
    import wandb

    name = run / "wandb_id"
    if not name.is_file() and _first_process():
        name.write_text(secrets.token_hex(4))
    identity = name.read_text() if name.is_file() else None
    # Neither the terminal's text nor the command line, with its folders, goes there.
    settings = wandb.Settings(console="off", disable_git=True, disable_code=True, x_disable_meta=True, silent=True)
    return WandbLogger(
        project="ecgclip",
        name=f"{experiment} {run.name}",
        save_dir=str(run),
        id=identity,
        offline=offline,
        resume="allow",
        settings=settings,
    )


def _load_model(checkpoint: Path, labels: Catalogue) -> ECGCLIP:
    """Outside of a training the checkpoint decides what the model is, and the data must be labelled in its terms."""
    try:
        model = ECGCLIP.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(f"checkpoint {checkpoint} does not load (it is damaged): take another of its run") from error
    except (RuntimeError, KeyError, TypeError, EOFError, ValueError) as error:
        raise UserError(f"checkpoint {checkpoint} does not load ({str(error).splitlines()[0]}): take another of its run") from error
    model.check_catalogue(labels)
    return model


def _trained_text_tower_args(checkpoint: Path) -> dict[str, Any] | None:
    """A trained frozen tower knows its sizes, and its checkpoint holds its prompts: then no language model is asked for them."""
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        arguments: dict[str, Any] | None = saved["hyper_parameters"]["text_tower_args"]
    except Exception:  # Loading it in earnest says what is wrong with it.
        return None
    return arguments


def _take_weights(model: ECGCLIP, source: Path) -> None:
    if source.is_dir():
        source = source / WEIGHTS
    if not source.is_file():
        raise UserError(f"--init_from {source} does not exist: give a checkpoint or the folder of an artefact")
    try:
        weights = (
            load_file(source)
            if source.suffix == ".safetensors"
            else torch.load(source, map_location="cpu", weights_only=True)["state_dict"]
        )
        model.load_state_dict(weights)
    except Exception as error:  # A damaged file can raise nearly anything.
        raise UserError(
            f"--init_from {source} does not fit the model ({' '.join(str(error).split())[:200]}): give one of the same towers"
        ) from error


def _quieten() -> None:
    """Leave out what Lightning and W&B say about themselves on every run."""
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in UNHELPFUL:
        warnings.filterwarnings("ignore", message=f".*{message}")
