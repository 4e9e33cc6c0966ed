"""The command line: ``ecgclip``, ``lightning`` and ``python -m ecgclip`` are one."""

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import ecgclip
from ecgclip.errors import UserError
from ecgclip.naming import unknown
from ecgclip.run import CONFIG, run_of

BENCHMARK = "experiments/resnet_bert.yaml"
# Answered before torch is imported, in well under a second.
COMMANDS = {
    "fit": "train an experiment, evaluate its best checkpoint, write the run folder",
    "validate": "evaluate a checkpoint on the validation split",
    "test": "evaluate a checkpoint on the test split",
    "evaluate": "judge a trained run by every protocol: evaluate RUN [--tasks ...] [--config experiments/data/X.yaml --data.root=DIR]",
    "report": "write a page about a run: report RUN",
    "compare": "write a page that sets runs side by side, with paired differences: compare RUN RUN ...",
    "card": "write the model card of a run: card RUN",
    "predict": "read ECG files with a trained model: predict ARTEFACT FILE... [--plot]; or score a whole split: predict --ckpt_path ...",
    "texts": "tell how far apart an experiment's labels lie for its text tower, before any training",
    "benchmark": "train recipes by seeds on PTB-XL within one budget, and write one table; goes on with what is missing",
    "prepare": "make a data set out of an archive: prepare TABLE.csv or FOLDER --out STORE; goes on where it was stopped",
    "check": "verify a store: check STORE",
    "labels": "Japanese readings to labels: labels build | check | audit READINGS.csv",
    "simulate": "draw ECGs that show given labels: simulate --labels 完全右脚ブロック 心房細動 [--plot FILE] [--save DIR]",
    "gallery": "draw a simulated ECG for every label, and a page to search them",
    "bench-sim2real": "train on simulated ECGs alone, read PTB-XL with it, and write the tables; goes on with what is missing",
    "bench": "measure the speed of training against a straightforward implementation of the same model [--steps 40] [--repeats 3]",
    "bench-towers": "measure the size and speed of every ECG tower, and write their table",
    "bench-sim": "measure the simulator: speed, every label against its textbook, normal records against PTB-XL",
    "bench-eval": "measure the evaluation of 100,000 records against scikit-learn label by label",
    "bench-signals": "measure reading, filters and resampling against neurokit2 lead by lead, and write docs/signals.md",
}
# Commands with a parser of their own, imported only when they are called.
LAZY = {
    "evaluate": ("ecgclip.evaluate", "evaluate_command"),
    "report": ("ecgclip.report.run_page", "report_command"),
    "compare": ("ecgclip.report.compare", "compare_command"),
    "card": ("ecgclip.report.card", "card_command"),
    "benchmark": ("ecgclip.benchmark", "benchmark"),
    "prepare": ("ecgclip.report.prepared", "prepare_command"),
    "check": ("ecgclip.report.prepared", "check_command"),
    "labels": ("ecgclip.labels.command", "labels_command"),
    "simulate": ("ecgclip.report.simulated", "simulate_command"),
    "gallery": ("ecgclip.report.gallery", "gallery_command"),
    "bench-sim2real": ("ecgclip.benchmark.sim2real", "bench_sim2real"),
    "bench-sim": ("ecgclip.benchmark.simulator", "bench_sim"),
    "bench-signals": ("ecgclip.benchmark.signals", "bench_signals"),
    "bench-eval": ("ecgclip.benchmark.evaluation", "bench_evaluation"),
}
HELP = f"""usage: ecgclip COMMAND ...    (also: lightning COMMAND ..., python -m ecgclip COMMAND ...)

{ecgclip.__doc__}

commands:
{chr(10).join(f"  {name:14} {what}" for name, what in COMMANDS.items())}

examples:
  ecgclip fit --config experiments/resnet_bert.yaml
  ecgclip fit --config experiments/resnet_bert.yaml --config experiments/data/ptbxl.yaml --data.root=DIR
  ecgclip fit --ckpt_path runs/resnet_bert/TIME/checkpoints/last.ckpt      (go on with a run)
  ecgclip test --ckpt_path runs/resnet_bert/TIME/checkpoints/best.ckpt
  ecgclip validate --ckpt_path RUN/checkpoints/best.ckpt --config experiments/data/ptbxl.yaml --data.root=DIR    (other data)
  ecgclip evaluate runs/resnet_bert/TIME
  ecgclip report runs/resnet_bert/TIME
  ecgclip labels build readings.csv --out catalogue.yaml
  ecgclip prepare readings.csv --files DIR --catalogue catalogue.yaml --out archive
  ecgclip fit --config experiments/resnet_bert.yaml --config experiments/data/archive.yaml --data.root=archive
  ecgclip texts --config experiments/resnet_bert.yaml
  ecgclip predict runs/resnet_bert/TIME/artefact 00001_lr.hea --plot

`ecgclip COMMAND --help` lists the options of a command.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. A mistake of the user's is one line on stderr and exit code 2."""
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
    except Exception as error:
        message = _for_user(error)
        if message is None:
            raise
        sys.stdout.flush()
        print(f"ecgclip: {' '.join(message.split())}", file=sys.stderr)
        raise SystemExit(2) from None


def _for_user(error: BaseException) -> str | None:
    """Return what a user can do about an error, also where the parser has wrapped it in one of its own; None for a bug."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, PermissionError):
            return f"no permission for {cause.filename}: change its permissions, or choose another place"
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full: free some space and go on with --ckpt_path RUN/checkpoints/last.ckpt"
        cause = cause.__cause__
    return None


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    if arguments[0] in ("-V", "--version"):
        print(f"ecgclip {ecgclip.__version__}")
        return
    command, *rest = arguments
    if command not in COMMANDS:
        raise unknown("command", command, list(COMMANDS))
    if command == "predict" and rest and not rest[0].startswith("-"):
        read_files(rest)
        return
    if command in LAZY:
        module, function = LAZY[command]
        getattr(importlib.import_module(module), function)(rest)
        return
    if command in ("bench", "bench-towers"):
        from ecgclip.speed import bench, bench_towers

        if command == "bench":
            bench(_with_configs(command, rest))
        else:
            bench_towers(rest)
        return
    rest = _with_configs(command, rest)
    from ecgclip.experiment import TextsCLI, run_experiment

    if command == "texts":
        run_experiment("fit", rest, TextsCLI)
    else:
        run_experiment(command, rest)


def given(arguments: Sequence[str], *names: str) -> list[str]:
    """Return what follows an option, each time that it is given: ``--name value`` or ``--name=value``."""
    values = []
    for here, following in zip(arguments, [*arguments, ""][1:], strict=True):
        name, _, value = here.partition("=")
        if name in names:
            values.append(value or following)
    return values


def _with_configs(command: str, arguments: list[str]) -> list[str]:
    """Check the experiments that are asked for, and put the configuration of a checkpoint's run beneath what is given.

    The command line wins, then the YAMLs given, then the run that the checkpoint lies in.

    Raises:
        UserError: For an experiment that does not exist, with those that do.
    """
    configs = given(arguments, "--config", "-c")
    for path in map(Path, configs):
        if not path.is_file():
            siblings = sorted(sibling.stem for sibling in path.parent.glob("*.yaml"))
            known = f"known in {path.parent} are {', '.join(siblings)}" if siblings else f"{path.parent} holds no experiment"
            raise UserError(f"experiment {str(path)!r} does not exist: {known}")
    if command == "bench" and not configs:
        return ["--config", BENCHMARK, *arguments]
    run = next((run_of(Path(checkpoint)) for checkpoint in given(arguments, "--ckpt_path")), None)
    return ["--config", str(run / CONFIG), *arguments] if run else arguments


def read_files(arguments: list[str]) -> None:
    """``predict ARTEFACT FILE... [--plot [DIR]]``: print the five best Japanese labels of each ECG."""
    parser = argparse.ArgumentParser(prog="ecgclip predict", description="Read ECG files with a trained model.")
    parser.add_argument("artefact", type=Path, help="folder 'artefact' of a finished run")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="an ECG in any format that read_record knows")
    parser.add_argument("--top", type=int, default=5, help="labels to print (5)")
    parser.add_argument("--sampling_rate", type=float, help="Hz of a .npy file, which does not say")
    parser.add_argument(
        "--plot",
        nargs="?",
        type=Path,
        const=Path("predictions"),
        metavar="DIR",
        help="draw each ECG (into predictions/)",
    )
    options = parser.parse_args(arguments)
    from ecgclip.artefact import Artefact

    artefact = Artefact.load(options.artefact)
    print(
        "score: cosine of ECG and label; * reaches the label's threshold; ? has none: no validation record showed the label; p: its "
        "frequency among records of the validation split that score the same"
    )
    failed = 0
    for file in options.files:
        try:
            _read_file(artefact, file, options)
        except UserError as error:
            failed += 1
            message = " ".join(str(error).split())
            print(message if file.name in message else f"{file}: {message}", file=sys.stderr)
    if failed:
        raise UserError(f"{failed} of {len(options.files)} files could not be read; the others are above")


def _read_file(artefact, file: Path, options: argparse.Namespace) -> None:  # type: ignore[no-untyped-def]
    from ecgclip.signals import read_record

    record = read_record(file, sampling_rate=options.sampling_rate)
    findings = artefact.read(record)[: options.top]
    print(file)
    for rank, finding in enumerate(findings, start=1):
        mark = {True: "*", False: " ", None: "?"}[finding.called]
        probability = "" if finding.probability is None else f"  p = {finding.probability:.2f}"
        print(f"  {rank}  {finding.score:+.3f} {mark} {finding.ja}  [{finding.id}]{probability}")
    if options.plot:
        from ecgclip.signals.plot import plot_ecg

        signal, present = artefact.standardise(record, record.sampling_rate)
        best = [(finding.ja, finding.score) for finding in findings]
        page = options.plot / f"{file.stem}.png"
        plot_ecg(signal, record.sampling_rate, title=file.stem, findings=best, path=page, lead_mask=present)
        print(f"  -> {page}")
