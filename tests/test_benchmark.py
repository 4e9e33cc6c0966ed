"""The benchmark: whole runs as child processes, gone on with after a kill, and what is refused."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from ecgclip.benchmark.slots import stack
from ecgclip.cli import main
from ecgclip.evaluation import PROTOCOL
from tests.ptbxl_folder import make_ptbxl
from tests.running import EXPERIMENTS, metrics

pytestmark = pytest.mark.xdist_group("benchmark")  # They share a run, and leave the cores to the others.
ROOT = Path(__file__).parents[1]


def recipe(folder: Path, name: str, **changes) -> str:
    """Write a variant of the debug experiment: dotted names to values, the first batch sizes small enough for the folder."""
    content = yaml.safe_load((EXPERIMENTS / "debug.yaml").read_text())
    content["data"]["init_args"] |= {"batch_size": 8}
    content["trainer"]["callbacks"] = [c for c in content["trainer"]["callbacks"] if "FewShot" not in c["class_path"]]
    for path, value in changes.items():
        *above, last = path.split("__")
        place = content
        for step in above:
            place = place.setdefault(step, {})
        place[last] = place[last] + value if isinstance(value, list) else value
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return str(folder / f"{name}.yaml")


def command(folder: Path, *arguments: str) -> list[str]:
    return [
        "benchmark",
        f"--data_root={folder / 'ptbxl'}",
        f"--runs={folder / 'runs'}",
        f"--out={folder / 'table.md'}",
        *arguments,
    ]


def runs(folder: Path, name: str, seed: int = 0) -> list[Path]:
    return sorted(path for path in (folder / "runs" / name / f"seed{seed}").iterdir() if path.is_dir())


def rows(folder: Path) -> dict[str, list[str]]:
    """The rows of the table by the recipe's name."""
    lines = [line.strip("|").split("|") for line in (folder / "table.md").read_text().splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells] for cells in lines}


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ecgclip: ")]
    return line


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two recipes that run, one that is killed, and one whose language model cannot be had, two at a time."""
    folder = tmp_path_factory.mktemp("benchmark")
    make_ptbxl(folder / "ptbxl", records=70, folds=range(1, 10))
    (folder / "table.md").write_text("# By hand\n\n<!-- benchmark: other -->\nkeep\n<!-- end -->\n")
    kill = {"class_path": "tests.killer.Kill", "init_args": {"epoch": 0, "batch": 1}}
    names = [
        recipe(folder, "plain"),
        recipe(folder, "other", model__loss="siglip"),
        recipe(folder, "killed", trainer__callbacks=[kill]),
        recipe(folder, "hub", model__text_tower_args__model=str(folder / "no_such_model")),
    ]
    arguments = ["--epochs=2", "--minutes=5", "--jobs=2", "--compare", "plain", "other", "--recipes", *names]
    call = command(folder, *arguments)
    finished = subprocess.run([sys.executable, "-m", "ecgclip", *call], cwd=ROOT, capture_output=True, text=True, check=False)
    return folder, finished, call


def test_the_table_has_what_ran_and_says_what_did_not(done):
    folder, finished, _ = done
    assert finished.returncode == 0, finished.stderr
    text, table = (folder / "table.md").read_text(), rows(folder)
    assert {"plain", "other"} <= set(table) and not {"killed", "hub"} & set(table)
    assert "- not run: killed, seed 0: ended by signal 9" in text
    (hub,) = [line for line in text.splitlines() if line.startswith("- not run: hub, seed 0: ")]
    assert "no_such_model" in hub and str(folder.parent) not in text
    assert "fold 9 (validation); fold 10 is not there" in text and "EPOCHS=2 MINUTES=5 JOBS=2" in text
    assert text.startswith("# By hand\n\n<!-- benchmark: other -->\nkeep\n<!-- end -->\n\n<!-- benchmark: ptbxl -->\n")
    auroc = metrics(runs(folder, "plain")[0])["val/zero_shot/ptbxl71/auroc_macro"]
    assert f"**{auroc:.3f}**" in table["plain"][2]
    for mark in ("[1/4] plain, seed 0: started", f"[1/4] plain, seed 0: macro AUROC {auroc:.3f}", "[3/4] killed, seed 0: not run"):
        assert mark in finished.stdout


def test_a_run_is_recorded_and_keeps_its_scores_without_naming_anybody(done):
    folder, _, _ = done
    (run,) = runs(folder, "plain")
    record = json.loads((run / "benchmark.json").read_text())
    assert (record["recipe"], record["seed"], record["epochs"], record["split"], record["protocol"]) == ("plain", 0, 2, "val", PROTOCOL)
    assert record["finished"] and record["parameters"] > 1e5 and 100 < record["peak_memory_mb"] < 10_000 and record["minutes"] > 0
    with np.load(run / "scores_val.npz") as saved:
        assert saved["scores"].shape == saved["labels"].shape == (len(saved["records"]), 98)
        assert len(set(saved["patients"])) < len(saved["patients"]) and saved["patients"].dtype == np.int32
        assert not any(str(record) in map(str, range(1, 71)) for record in saved["records"])
    assert not [path for path in (folder / "runs").rglob("*") if path.is_file() and str(folder / "ptbxl").encode() in path.read_bytes()]


def test_the_comparison_agrees_with_the_rows(done):
    folder, _, _ = done
    first, second = (metrics(runs(folder, name)[0])["val/zero_shot/ptbxl71/auroc_macro"] for name in ("plain", "other"))
    row = rows(folder)["macro AUROC, 71 statements"]
    assert row[1].startswith(f"{first - second:+.3f} (") and row[2].startswith(f"**{first - second:+.3f} (")


def test_what_is_done_is_not_done_again(done, capsys):
    folder, _, call = done
    before = {name: runs(folder, name) for name in ("plain", "other")}
    text = (folder / "table.md").read_text()
    only = call[: call.index("--recipes")] + ["--recipes", *[name for name in call if name.endswith(("plain.yaml", "other.yaml"))]]
    main(only)
    out = capsys.readouterr().out
    assert "[1/2] plain, seed 0: already done" in out and "started" not in out
    assert {name: runs(folder, name) for name in before} == before
    assert [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| plain")] == [
        line for line in text.splitlines() if line.startswith("| plain")
    ]


def test_another_protocol_does_not_go_into_the_table(done, capsys):
    folder, _, call = done
    path = runs(folder, "other")[0] / "metrics.json"
    kept, table = path.read_text(), (folder / "table.md").read_text()
    try:
        path.write_text(json.dumps(json.loads(kept) | {"protocol/version": 0}))
        line = refused(capsys, *call)
    finally:
        path.write_text(kept)
    assert "protocol version 0" in line and f"this is version {PROTOCOL}" in line
    assert (folder / "table.md").read_text() == table


def test_one_benchmark_at_a_time(done, capsys, monkeypatch):
    folder, _, call = done
    monkeypatch.setattr("ecgclip.benchmark.command.PATIENCE", 0.1)
    with (folder / "runs" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another benchmark is at work" in refused(capsys, *call)


def wait_for(what, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def alive(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and "ecgclip fit" in line:
            found.append(line)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a child outlives the benchmark, and holds its folder")
def test_a_killed_benchmark_goes_on_with_what_is_missing(tmp_path, capsys):
    make_ptbxl(tmp_path / "ptbxl", records=70, folds=range(1, 10))
    call = command(tmp_path, "--recipes", recipe(tmp_path, "plain"), "--epochs=12", "--seeds", "0", "1")
    last = "plain/seed0/*/checkpoints/last.ckpt"
    process = subprocess.Popen([sys.executable, "-m", "ecgclip", *call], cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: list((tmp_path / "runs").glob(last)), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while alive(tmp_path) and time.monotonic() < deadline:  # The kernel ends the child with it.
        time.sleep(0.05)
    assert alive(tmp_path) == []
    (broken,) = runs(tmp_path, "plain")
    assert not json.loads((broken / "benchmark.json").read_text())["finished"] and not (tmp_path / "table.md").exists()

    main(call)
    out = capsys.readouterr().out
    assert "[1/2] plain, seed 0: goes on" in out and "[2/2] plain, seed 1: started" in out
    assert runs(tmp_path, "plain") == [broken] and len(runs(tmp_path, "plain", seed=1)) == 1
    assert metrics(broken)["time/epochs"] == 12
    assert rows(tmp_path)["plain"][1] == "0 1"


def test_when_nothing_runs_it_fails_and_leaves_the_table_alone(tmp_path, capsys):
    make_ptbxl(tmp_path / "ptbxl", records=20, folds=range(1, 10))
    line = refused(capsys, *command(tmp_path, "--recipes", recipe(tmp_path, "wrong", model__loss="infonse")))
    assert "none of the 1 runs" in line and "infonce" in line
    assert not (tmp_path / "table.md").exists()


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--recipes", "debgu"], "known in experiments are"),
        (["--recipes", "debug", "debug"], "twice"),
        (["--recipes", "debug", "--compare", "debug", "resnet_bert"], "add it to --recipes"),
        (["--recipes", "debug", "--epochs", "0"], "at least 1"),
        (["--recipes", "debug", "--minutes", "-1"], "at least 0.01"),
        (["--recipes", "debug", "--seed", "3"], "--seed"),
        (["--recipes", "debug", "--seeds", "x"], "invalid int"),
        ([], "--recipes"),
        (["--recipes", "debug"], "ptbxl_database.csv"),
    ],
)
def test_mistakes_are_answered_in_one_line(tmp_path, monkeypatch, capsys, arguments, answer):
    monkeypatch.chdir(ROOT)
    assert answer in refused(capsys, *command(tmp_path, *arguments))
    assert not (tmp_path / "runs").exists()


def test_a_recipe_on_ptbxl_is_not_stacked_and_keeps_its_own_data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ptbxl.yaml").write_text("{}")
    own = tmp_path / "own.yaml"
    own.write_text("experiment: own\ndata: {class_path: data_modules.PTBXLDataModule, init_args: {root: null, caption: joined}}\n")
    other = tmp_path / "other.yaml"
    other.write_text("experiment: other\ndata: {class_path: data_modules.SimulatedDataModule}\n")
    assert stack(own) == [own] and stack(other) == [other, tmp_path / "data" / "ptbxl.yaml"]
    (tmp_path / "cpu.yaml").write_text("trainer: {precision: bf16-mixed}\n")
    assert stack(own) == [own, tmp_path / "cpu.yaml"]
    assert stack(other)[1:] == [tmp_path / "cpu.yaml", tmp_path / "data" / "ptbxl.yaml"]
