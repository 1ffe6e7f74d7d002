"""One entry per question. Plain ``nox`` is what CI runs; ``nox -l`` lists the rest."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = sorted({"3.11", "3.12", "3.13", THIS_PYTHON}, key=lambda version: int(version.partition(".")[2]))
CODE = ("eventpipe", "tests", "benchmarks", "docs", "examples", "noxfile.py")

# What each extra is for: after `pip install eventpipe[extra]` these modules import.
MODULES_OF_EXTRA = {
    "brotli": ("brotli",),
    "cli": ("eventpipe.cli.main",),
    "otel": ("eventpipe.integrations.opentelemetry",),
    "otlp": ("opentelemetry.proto.collector.logs.v1.logs_service_pb2",),
    "prometheus": ("eventpipe.integrations.prometheus",),
    "speed": ("isal.isal_zlib", "uvloop"),
    "zstd": ("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd",),
}
# The part of the suite that needs nothing but the core and pytest.
CORE_TESTS = ("tests/core", "tests/transport", "tests/codecs")
# Judges deadlines to a quarter of a second, and so has the machine to itself.
DEADLINES = "tests/stress/test_deadlines.py"
DOC_TESTS = ("tests/test_docs.py", "tests/test_guarantees.py", "tests/test_public_names.py")
MIN_KILLED = 0.90  # of the mutants that mutmut makes of the decision modules

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "build", "tests"]  # tests run the documentation too
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"


def show_pyenv_versions() -> None:
    """Let pyenv's shims find every Python it keeps: without this they hide all but the global one."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = [path.name for path in (root / "versions").glob("3.*") if path.name.replace(".", "").isdigit()]
    kept.sort(key=lambda version: [int(part) for part in version.split(".")])
    newest = {version.rpartition(".")[0]: version for version in kept}
    wanted = [newest[python] for python in (THIS_PYTHON, *PYTHONS) if python in newest]
    if wanted:
        os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys(wanted))


show_pyenv_versions()


def group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PYPROJECT, name)


@nox.session
def lint(session: nox.Session) -> None:
    """Is the code formatted and within the rules?"""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", *CODE)
    session.run("ruff", "check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Do the types hold, strictly, in the package and in its tests?"""
    session.install("-e", ".[cli]", *group("types"))
    session.run("mypy", *CODE)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Do all tests pass? Long runs on the default Python only, coverage on the newest, which measures for a fifth more.

    Arguments after ``--`` go to pytest.
    """
    session.install("-e", ".[cli]", *group("test"))
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    in_parallel = ("pytest", "-n", "2", "--dist", "worksteal", "-m")
    if session.python == THIS_PYTHON:
        session.run("pytest", "-m", "stress", DEADLINES)
        session.run(*in_parallel, "stress", f"--ignore={DEADLINES}")
    if session.python != PYTHONS[-1]:
        session.run(*in_parallel, "not stress")
        return
    # Not by a plugin of pytest: pytest loads eventpipe's own before any other could begin to measure.
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", *in_parallel, "not stress", env={"COVERAGE_CORE": "sysmon"})
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Do the documentation's snippets run, its links resolve, and its tables match the code?"""
    session.install("-e", ".[cli]", *group("test"))
    session.run("pytest", *DOC_TESTS, *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Does the wheel work alone, without this checkout, and with each extra?"""
    session.install(*group("build"))
    place = Path(session.create_tmp()).resolve()
    for leftover in (place / "dist", place / "alone", place / "checkout"):
        shutil.rmtree(leftover, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(place / "dist"))
    (wheel,) = (place / "dist").glob("*.whl")
    (_sdist,) = (place / "dist").glob("*.tar.gz")

    session.run("python", "-m", "venv", str(place / "alone"))
    python = str(place / "alone" / "bin" / "python")

    def alone(*arguments: str) -> None:
        with session.chdir(place / "checkout"):
            session.run(python, *arguments, external=True, env={"PYTHONWARNINGS": "error"})

    def install(*packages: str) -> None:
        session.run(python, "-m", "pip", "install", "-q", *packages, external=True)

    # Tests beside no package: what they import can only come from the wheel.
    shutil.copytree(ROOT / "tests", place / "checkout" / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place / "checkout")
    install(str(wheel))
    alone("-c", "import eventpipe, pathlib; assert 'site-packages' in pathlib.Path(eventpipe.__file__).parts")
    install(*group("core-test"))
    alone("-m", "pytest", "-p", "no:cacheprovider", "-m", "not hypothesis", *CORE_TESTS)

    extras = PYPROJECT["project"]["optional-dependencies"]
    if extras.keys() != MODULES_OF_EXTRA.keys():
        session.error(f"the extras {sorted(extras)} and MODULES_OF_EXTRA {sorted(MODULES_OF_EXTRA)} differ")
    for extra, modules in MODULES_OF_EXTRA.items():
        install(f"{wheel}[{extra}]")
        for module in modules:
            alone("-c", f"import {module}")


@nox.session
def edge(session: nox.Session) -> None:
    """Does each row of ``docs/hostile-far-ends.md`` hold? Prints what was measured for it."""
    session.install("-e", ".[cli]", *group("test"))
    session.run("pytest", "-n", "2", "--dist", "worksteal", "tests/edge", *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """Do long runs with random input hold? ``EVENTPIPE_TEST_SCALE`` says how many times as long (default: 10)."""
    session.install("-e", ".[cli]", *group("test"))
    scale = {"EVENTPIPE_TEST_SCALE": os.environ.get("EVENTPIPE_TEST_SCALE", "10")}
    arguments = session.posargs or ["-m", "stress or hypothesis or seeds", "-n", "2"]
    session.run("pytest", "--timeout=3600", *arguments, env=scale)


@nox.session
def bench(session: nox.Session) -> None:
    """Has an event become dearer than it was? After ``--``: another benchmark (``all``: every one), its arguments."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "-m", "benchmarks", *(session.posargs or ["check"]))


@nox.session
def mutants(session: nox.Session) -> None:
    """Do the tests notice when a decision module or the ledger is changed? Needs 90 % noticed."""
    session.install("-e", ".[cli]", *group("test"), *group("mutants"))
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    session.run("mutmut", "run", *session.posargs)
    session.run("mutmut", "export-cicd-stats", silent=True)
    report_mutants(session, json.loads((ROOT / "mutants" / "mutmut-cicd-stats.json").read_text()))


def report_mutants(session: nox.Session, counts: dict[str, int]) -> None:
    killed = counts["killed"] + counts["timeout"] + counts["segfault"]
    tested = counts["total"] - counts["skipped"]
    rate = killed / tested if tested else 0.0
    session.run("mutmut", "results")
    session.log(f"{killed} of {tested} mutants killed: {rate:.1%} (needed: {MIN_KILLED:.0%})")
    if rate < MIN_KILLED:
        session.error(f"only {rate:.1%} of the mutants were noticed; `mutmut show NAME` prints one of those above")
