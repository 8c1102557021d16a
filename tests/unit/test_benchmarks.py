"""The benchmarks start, and their report judges a number by the right side of its bar."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = [
    "adapter",
    "kernels",
    "latent_cache",
    "memory",
    "prefix_cache",
    "quality",
    "speed",
    "startup",
    "v2_lite",
]


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_report", FOLDER / "report.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_explains_itself(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


@pytest.mark.parametrize(
    ("value", "kind", "verdict"),
    [(2.0, "at most", "0.50x, ok"), (5.0, "at most", "1.25x, MISSED"), (5.0, "at least", "1.25x, ok")],
)
def test_a_bar_has_a_right_side(report: ModuleType, value: float, kind: str, verdict: str) -> None:
    assert report.Measurement(name="n", value=value, unit="s", limit=4.0, kind=kind).verdict == verdict


def test_a_ceiling_is_a_share_and_no_limit_is_silent(report: ModuleType) -> None:
    assert report.Measurement(name="n", value=3.0, unit="s", limit=4.0, kind="ceiling").verdict == "75%"
    assert report.Measurement(name="n", value=3.0, unit="s").verdict == ""


def test_json_has_machine_and_rows(report: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    report.print_report("title", [report.Measurement(name="n", value=3.0, unit="s")], as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["machine"]["cores"] >= 1
    assert printed["rows"][0]["ratio"] is None


def test_the_text_for_perplexity_is_a_third_each() -> None:
    text = (FOLDER / "data" / "mixed.txt").read_text(encoding="utf-8")
    english, chinese, code = text.partition("清晨五点半")[0], "", text[text.index('"""Keep track') :]
    chinese = text[len(english) : -len(code)]
    sizes = [len(part.encode()) for part in (english, chinese, code)]
    assert 45_000 < sum(sizes) < 55_000
    assert max(sizes) < 1.15 * min(sizes)
