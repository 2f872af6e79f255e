"""The command line answers in sentences; set-up files agree with each other."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from mdelib import tether
from mdelib.progress import events

HOME = Path(__file__).resolve().parent.parent


def mde(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "mdelib.cli", *words], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


@pytest.mark.parametrize(("words", "sentence"), [
    (("run", "two_netwoks"), "did you mean 'two_networks'"),
    (("run", "two_networks", "--variant", "bts"), "variant 'bts' is not in experiments/two_networks.yaml"),
    (("run", "two_networks", "--data", "kitti"), "data set 'kitti' is not in experiments/two_networks.yaml"),
    (("reproduce", "--scale", "big"), "scale 'big' is not in the scales of the course"),
    (("data", "cityscapes"), "data set 'cityscapes' is not in what mde data can fetch"),
])
def test_what_a_person_typed_wrong_is_one_sentence(words, sentence):
    done = mde(*words)
    assert done.returncode == 2 and sentence in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_the_doctor_speaks_of_versions_device_and_data(tmp_path: Path):
    done = mde("doctor", MDE_DATA=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("torch", "threads", "scenes-rooms", "nyu", "mde data nyu", "mde data meter", "requirements.lock"):
        assert words in done.stdout


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((HOME / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    found = {}
    for line in (HOME / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            found[requirement.name.lower().replace("_", "-")] = Version(pin.version)
    return found


def test_every_range_holds_its_pin(project, pins):
    others = ("huggingface", "cluster", "bench")  # other people's networks and machines, libraries to be timed beside
    extras = {name: extra for name, extra in project["optional-dependencies"].items() if name not in others}
    wanted = [*project["dependencies"], *(r for extra in extras.values() for r in extra)]
    for requirement in map(Requirement, wanted):
        name = requirement.name.lower().replace("_", "-")
        assert name in pins, f"{name} is in pyproject.toml but not in requirements.lock: run `make lock`"
        assert pins[name] in requirement.specifier, f"{name}=={pins[name]} is outside {requirement.specifier}"
        assert "<" in str(requirement.specifier) or str(requirement.specifier).startswith(">=")


def test_the_pins_are_complete_and_installed(pins):
    from importlib import metadata

    for name, version in pins.items():
        try:
            assert Version(metadata.version(name).split("+")[0]) == version, f"{name} {version} is pinned"
        except metadata.PackageNotFoundError:
            assert name.startswith(("nvidia-", "cuda-", "triton")), f"{name} is pinned but not installed"
    for name in pins:
        for need in (metadata.requires(name) or []) if _installed(name) else []:
            requirement = Requirement(need)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted:
                key = re.sub(r"[-_.]+", "-", requirement.name.lower())
                assert key in {re.sub(r"[-_.]+", "-", p) for p in pins} | {"pip", "wheel"}, f"{name} needs {key}"


def _installed(name: str) -> bool:
    from importlib import metadata

    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def test_conda_and_make_install_the_same_lock(project):
    conda = yaml.safe_load((HOME / "environment.yml").read_text())
    assert any("python>=3.11" in str(line) for line in conda["dependencies"])
    (pip,) = [line["pip"] for line in conda["dependencies"] if isinstance(line, dict)]
    assert pip[0] == "-r requirements.lock" and "-e ." in pip[1]
    assert project["requires-python"] == ">=3.11"
    assert "-r requirements.lock" in (HOME / "Makefile").read_text()


def test_imports_are_declared(project):
    """Every third-party package that mdelib imports stands in pyproject.toml."""
    known = {"yaml": "pyyaml", "PIL": "pillow", "skimage": "scikit-image", "cv2": "opencv-python-headless",
             "segmentation_models_pytorch": "segmentation-models-pytorch", "lightning_fabric": "lightning-fabric",
             "ot": "pot", "IPython": "ipykernel", "markupsafe": "jinja2", "nbformat": "nbconvert"}
    declared = {Requirement(r).name.lower() for r in [*project["dependencies"], *(
        r for extra in project["optional-dependencies"].values() for r in extra)]}
    for path in (HOME / "mdelib").rglob("*.py"):
        named = [node.module if isinstance(node, ast.ImportFrom) else alias.name
                 for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
                 for alias in node.names]
        for name in {module.split(".")[0] for module in named}:
            if name not in sys.stdlib_module_names and name != "mdelib":
                assert known.get(name, name).lower() in declared, f"{path.name} imports {name}"


def test_continuous_integration_calls_the_readmes_test_command():
    script = (HOME / ".ci" / "run").read_text()
    assert re.search(r"^make test$", script, flags=re.MULTILINE) and "make test" in (HOME / "README.md").read_text()
    assert os.access(HOME / ".ci" / "run", os.X_OK)


def test_a_tethered_process_ends_with_its_owner(tmp_path: Path):
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    code = "from mdelib.tether import attach; attach(0.05); import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=HOME,
                             env={**os.environ, tether.VARIABLE: str(owner.pid)})
    time.sleep(0.5)
    assert child.poll() is None
    owner.kill()
    owner.wait()
    assert child.wait(20) == 1
    assert tether.attach() is None or tether.VARIABLE in os.environ


def test_progress_is_read_from_a_growing_log(tmp_path: Path):
    log = tmp_path / "log.txt"
    log.write_text("")
    lines = ["STEP train a/seed0", "    jobid: 3", "[date]", "STEP train b/seed0", "    jobid: 4",
             "Finished jobid: 3 (Rule: train)"]
    code = f"import time\nfor line in {lines!r}:\n    print(line, flush=True); time.sleep(.02)"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=out)
        found = [event for event in events(process, log, pause=0.01) if event[0] != "tick"]
    assert found == [("begins", "train a/seed0"), ("begins", "train b/seed0"), ("ends", "train a/seed0")]
