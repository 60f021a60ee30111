"""Tests of visionllm_edu/cli.py.

Generated from nbs/91_cli.ipynb by make export: do not edit, edit the notebook.
"""

import json
import pytest
import subprocess
import sys
import time
import torch
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from safetensors.torch import load_file
from tempfile import TemporaryDirectory
from tqdm import tqdm
from unittest import mock

from visionllm_edu.cli import main
from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.train import read_losses
from visionllm_edu.v1.model import VisionLLMv1
from visionllm_edu.weights import digests


# nbs/91_cli.ipynb, cell 0274ea40
def test_front_door_is_light():
    heavy = "import visionllm_edu.cli, sys; print([m for m in ('torch', 'transformers', 'lightning') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout.strip() == "[]"


# nbs/91_cli.ipynb, cell 0f69eb8f
def run(*line):
    "What a command returned, and what it said on stdout and stderr: with bars as on a terminal."
    bars = [mock.patch(f"visionllm_edu.{module}.tqdm", tqdm) for module in ("train", "evaluate")]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, bars[0], bars[1]:
        status = main([str(part) for part in line])
    return status, out.getvalue(), err.getvalue()


# nbs/91_cli.ipynb, cell 38d85a84
def test_bad_input_gets_one_line():
    with TemporaryDirectory() as folder:
        spec, out = write_shapes(Path(folder, "shapes"), n=2), Path(folder, "run")
        Path(folder, "file").write_text("not a folder")
        train = ["train", "v1", "--size", "tiny", "--data", spec, "--out", out]
        for word, line in {
                "COMMAND": ["fly"], "required": [], "v9": ["train", "v9"], "--sterps": ["train", "v1", "--sterps", 5],
                "steps is 0": [*train, "--steps", 0], "steps is -5": [*train, "--steps", -5], "invalid int": [*train, "--steps", "many"],
                "minutes is 0.0": [*train, "--minutes", 0], "minutes is -1.0": [*train, "--minutes", -1],
                "minutes is nan": [*train, "--minutes", "nan"], "not allowed with": [*train, "--steps", 1, "--minutes", 1],
                "subset of 0": [*train, "--steps", 1, "--overfit", 0], "subset of -2": [*train, "--steps", 1, "--overfit", -2],
                "batch_size is 0": [*train, "--steps", 1, "--batch-size", 0], "seed is -1": [*train, "--steps", 1, "--seed", -1],
                "tasks juggle": [*train, "--steps", 1, "--tasks", "juggle"], "huge": ["train", "v1", "--size", "huge"],
                "weights have a size": [*train, "--steps", 1, "--start", "v1-toybox"], "--only names stages": [*train, "--steps", 1, "--only", "0-eyes"],
                "accepted are 0-drills": [*train, "--stages", "--only", "0-nothing"], "nowhere to start": [*train[:2], *train[4:], "--steps", 1, "--start", "./nowhere to start"],
                "painter goes with v2": [*train, "--stages", "--painter", "here"],
                "nowhere at all": ["train", "v2", "--size", "tiny", "--data", spec, "--out", out, "--stages", "--painter", "./nowhere at all"],
                "--steps does not go": [*train, "--stages", "--steps", 5], "--tasks does not go": [*train, "--stages", "--tasks", "pose"],
                "3 devices": [*train, "--steps", 1, "--batch-size", 4, "--devices", 3, "--accelerator", "cpu"],
                "no run.json": ["ship", Path(folder, "nothing")], "holds no stages": ["ship", Path(folder, "nothing"), "--run", folder],
                "checkpoint-minutes": [*train, "--steps", 1, "--checkpoint-minutes", -1],
                "accelerator 'abacus'": [*train, "--steps", 1, "--accelerator", "abacus"],
                "nothing to resume": [*train, "--steps", 1, "--resume"],
                "nowhere": ["train", "v1", "--steps", 1, "--data", f"coco:{folder}/nowhere:train", "--out", out],
                "shapes": ["train", "v1", "--steps", 1, "--data", "shapes", "--out", out],
                "file": [*train[:-1], Path(folder, "file"), "--steps", 1],
                "no such folder": ["evaluate", "v1", "--weights", "none", "--data", spec],
                "juggle": ["evaluate", "v1", "--weights", "none", "--data", spec, "--tasks", "juggle"],
                "subset of 0 ": ["evaluate", "v1", "--weights", "none", "--data", spec, "--limit", 0],
                "is a folder": ["evaluate", "v1", "--weights", "none", "--data", spec, "--json", folder],
                "--data": ["evaluate", "v1", "--weights", "none"], "nil": ["data", "check", "coco:nil:nil"],
                "which model": ["demo", "--weights", "mine", "--out", out], "goes with neither": ["demo", "v2", "--minutes", 1, "--out", out],
                "none: no such folder": ["demo", "v2", "--weights", "none", "--out", out],
                "--n 0": ["data", "toybox", "--out", out, "--n", 0]}.items():
            status, said, error = run(*line)
            assert (status, said, error.count("\n")) == (2, "", 1), (line, error)
            assert word.strip() in error and error.startswith("error: "), (word, error)
            assert not out.exists(), line


# nbs/91_cli.ipynb, cell 69fc15ec
def test_runs_and_sizes_are_protected():
    with TemporaryDirectory() as folder:
        spec, weights = write_shapes(Path(folder, "shapes"), n=2), Path(folder, "weights")
        VisionLLMv1.build("tiny").save_pretrained(weights)
        config = json.loads((weights / "config.json").read_text())
        config["tokenizer"]["deformable"]["ffn"] += 8
        (weights / "config.json").write_text(json.dumps(config))
        status, _, error = run("evaluate", "v1", "--weights", weights, "--data", spec)
        assert status == 2 and error.count("\n") == 1 and "has the size" in error and "feed_forward" in error
        Path(folder, "run").mkdir()
        Path(folder, "run", "last.ckpt").write_text("days of work")
        status, _, error = run("train", "v1", "--steps", 1, "--data", spec, "--out", Path(folder, "run"))
        assert status == 2 and "--resume" in error and Path(folder, "run", "last.ckpt").read_text() == "days of work"


# nbs/91_cli.ipynb, cell 428a00d8
def test_data_are_checked_before_anything_is_written():
    with TemporaryDirectory() as folder:
        spec, out = write_shapes(Path(folder, "shapes"), n=3), Path(folder, "run")
        table = Path(folder, "shapes", "annotations", "instances_train.json")
        records = json.loads(table.read_text())
        train = ["train", "v1", "--size", "tiny", "--steps", 1, "--data", spec, "--out", out]
        assert run("data", "check", spec)[::2] == (0, "")
        records["annotations"][0]["bbox"][2] += 500                    # hangs out of the picture: is clipped
        table.write_text(json.dumps(records))
        status, said, _ = run("data", "check", spec)
        assert status == 0 and said.startswith("fixed: ")
        with mock.patch("visionllm_edu.train.train_model", side_effect=ValueError("the first step")):
            status, said, error = run(*train)
        assert said.startswith("note: ") and error == "error: the first step\n"
        Path(folder, "shapes", "train", "000002.png").write_bytes(b"no picture")
        status, said, _ = run("data", "check", spec)
        assert status == 1 and said.startswith("error: ") and "000002.png" in said
        status, _, error = run(*train)
        assert status == 2 and "000002.png" in error and error.count("\n") == 1 and not out.exists()


# nbs/91_cli.ipynb, cell 5cdfecf6
def test_shell_sees_status_and_one_line():
    done = subprocess.run([sys.executable, "-m", "visionllm_edu", "train", "v1", "--steps", "0"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr == "error: steps is 0; accepted are whole numbers from 1\n"


# nbs/91_cli.ipynb, cell 57dc2339
def killed_run(command, out, rows):
    "Starts a command as a process, and kills it when its log has so many rows. Returns how it ended."
    process = subprocess.Popen([sys.executable, "-m", "visionllm_edu", *map(str, command), "--out", str(out)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log, give_up = Path(out, "losses.csv"), time.monotonic() + 300
    while process.poll() is None and time.monotonic() < give_up:
        if len(read_losses(log).get("step", ())) >= rows: break
        time.sleep(0.01)
    process.kill()
    return process.wait()

def same_weights(a, b):
    a, b = (load_file(Path(out, "weights", "model.safetensors")) for out in (a, b))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


# nbs/91_cli.ipynb, cell 2639d083
def test_sigkill_and_resume_equal_an_unbroken_run():
    with TemporaryDirectory() as folder:
        spec, whole, broken = write_shapes(Path(folder, "shapes"), n=4), Path(folder, "whole"), Path(folder, "broken")
        train = ["train", "v1", "--size", "tiny", "--data", spec, "--steps", 24, "--batch-size", 2, "--checkpoint-minutes", 0]
        assert run(*train, "--out", whole)[0] == 0
        assert killed_run(train, broken, rows=3) == -9
        died_at = len(read_losses(broken / "losses.csv")["step"])
        assert run(*train[:2], *train[4:], "--out", broken, "--resume")[0] == 0     # the size is known to the run
        logs = [read_losses(out / "losses.csv") for out in (whole, broken)]
        assert logs[0]["step"] == logs[1]["step"] == [*range(1, 25)] and 3 <= died_at < 24
        for term in logs[0]: assert logs[1][term] == pytest.approx(logs[0][term], rel=1e-6, nan_ok=True), term
        same_weights(whole, broken)


# nbs/91_cli.ipynb, cell a930a8bc
def test_train_evaluate_json():
    with TemporaryDirectory() as folder:
        spec, out, file = write_shapes(Path(folder, "shapes"), n=2), Path(folder, "run"), Path(folder, "deep", "scores.json")
        train = ["train", "v1", "--size", "tiny", "--data", spec, "--overfit", 2, "--steps", 1, "--out", out]
        status, said, _ = run(*train)
        assert status == 0 and f"--weights {out / 'weights'}" in said
        assert run(*train)[0] == 2 and run(*train, "--overwrite")[0] == 0
        status, said, error = run("evaluate", "v1", "--weights", out / "weights", "--data", spec, "--limit", 1,
                                  "--tasks", "detect", "caption", "--json", file)
        scores = json.loads(file.read_text())
    assert status == 0 and list(scores) == ["detect", "caption"] and "Traceback" not in error
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "n"} <= scores["detect"].keys() and scores["detect"]["n"] == 1


# nbs/91_cli.ipynb, cell 2c05b09e
def test_weights_are_a_beginning():
    with TemporaryDirectory() as folder:
        spec, first, out = write_shapes(Path(folder, "shapes"), n=2), Path(folder, "first"), Path(folder, "more")
        VisionLLMv1.build("tiny").save_pretrained(first)
        more = ["train", "v1", "--data", spec, "--stages", "--only", "1-detection", "--minutes", 0.3, "--start", first, "--out", out]
        status, _, error = run(*more)
        assert status == 0 and [p.name for p in out.iterdir()] == ["1-detection"], error
        assert json.loads((out / "1-detection" / "recipe.json").read_text())["start"] == digests(first)["model.safetensors"]


# nbs/91_cli.ipynb, cell 74b9b706
def test_v2_trains_and_is_scored():
    with TemporaryDirectory() as folder:
        spec, out, file = write_shapes(Path(folder, "shapes"), n=2), Path(folder, "run"), Path(folder, "scores.json")
        status, said, error = run("train", "v2", "--size", "tiny", "--data", spec, "--steps", 2, "--batch-size", 2,
                                  "--tasks", "detect", "answer", "--val", spec, "--out", out)
        assert status == 0 and f"evaluate v2 --weights {out / 'weights'}" in said, error
        assert list(Path(out, "pictures").glob("*.png"))
        assert run("evaluate", "v2", "--weights", out / "weights", "--data", spec, "--tasks", "detect", "routing", "--json", file)[0] == 0
        assert list(json.loads(file.read_text())) == ["detect", "routing"]
        status, _, error = run("evaluate", "v2", "--weights", out / "weights", "--data", spec, "--tasks", "juggle")
        assert status == 2 and "juggle; accepted are routing" in error and error.count("\n") == 1
        status, _, error = run("evaluate", "v1", "--weights", out / "weights", "--data", spec)
        assert status == 2 and "config.json" in error and error.count("\n") == 1


# nbs/91_cli.ipynb, cell 2231b8fc
def test_a_painter_goes_by_the_same_words():
    with TemporaryDirectory() as folder:
        status, _, error = run("train", "painter", "--data", "toybox:train:4", "--steps", 2, "--out", Path(folder, "run"))
        assert status == 2 and "add --stages" in error and not Path(folder, "run").exists()
        out = Path(folder, "painter")
        status, said, error = run("train", "painter", "--size", "tiny", "--data", "toybox:train:4", "--stages", "--minutes", 0.01, "--out", out)
        assert status == 0 and "evaluate painter --weights" in said, error
        status, _, error = run("evaluate", "painter", "--weights", out / "3-edit" / "weights", "--data", "toybox:val:4", "--tasks", "juggle")
        assert status == 2 and "juggle; accepted are generate, edit" in error


# nbs/91_cli.ipynb, cell 991ac9b4
def test_demo_shows_what_is_shipped():
    shown = []
    def note(version): return lambda *what, **beside: shown.append((version, *what, *beside.values()))
    with mock.patch.dict(main.__globals__, _show=note), mock.patch.dict("visionllm_edu.weights.SHIPPED", {"v1-toybox": {}, "v2-toybox": {}}):
        assert run("demo", "--out", "here")[0] == 0
        assert shown == [("v1", "here", "v1-toybox", {"VisionLLM v2": "v2.html"}), ("v2", "here", "v2-toybox", {"VisionLLM v1": "index.html"})]
        assert run("demo", "v2", "--weights", "mine")[0] == 0 and shown[2:] == [("v2", "out/demo", "mine", {})]
