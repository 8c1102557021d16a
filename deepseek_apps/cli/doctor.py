"""`deepseek-apps doctor`: is this machine ready, and if not, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_apps.cli.options import BackendName, BackendOption, BaseUrlOption, JsonOption, ModelOption

if TYPE_CHECKING:
    from deepseek_apps.cli.checks import Check

__all__ = ["doctor"]

ANSWER_SECONDS = 120.0
INSTALL_LOCAL = "pip install 'deepseek-apps[local]'"


def doctor(
    generate: Annotated[
        bool, typer.Option("--generate/--no-generate", help="Also ask the model for a few words.")
    ] = True,
    backend: BackendOption = None,
    model: ModelOption = None,
    base_url: BaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check Python, torch, processor, kernels, settings, model and memory; each line says what to do.

    Ends with exit code 1 if something that is needed fails.
    """
    from deepseek_apps.cli.render import Output  # noqa: PLC0415  lazy: --help needs none of it

    out = Output()
    report = []
    for check in _checks(_Target(backend, model, base_url), generate=generate):
        report.append(check)
        if not as_json:
            out.check(check.status, check.name, check.detail, check.next_step)
    if as_json:
        out.json([asdict(check) for check in report])
    if any(check.status == "fail" for check in report):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Target:
    """Whom the report is about, as given on the command line."""

    backend: BackendName | None
    model: str | None
    base_url: str | None


def _checks(target: _Target, *, generate: bool) -> Iterator[Check]:
    from deepseek_apps.cli.checks import Check, checked, machine_checks, settings_checks  # noqa: PLC0415

    yield from machine_checks()
    yield checked("cpu kernels", _kernels)
    yield from settings_checks()
    backend = checked("backend", lambda: _backend(target))
    yield backend
    looks: dict[str, Callable[[], Check]] = {
        "model": lambda: _model(target),
        "memory": lambda: _memory(target),
    }
    needed = backend.detail == "local"
    ready = backend.status == "ok"
    for name, look in looks.items():
        check = checked(name, look)
        if check.status == "fail" and not needed:
            check = Check(name=name, status="warn", detail=check.detail, next_step=check.next_step)
        ready = ready and check.status != "fail"
        yield check
    if generate and ready:
        yield checked("answer", lambda: _answer(target))
    else:
        reason = "not asked for" if not generate else "something above must be mended first"
        yield Check(name="answer", status="skip", detail=reason)


def _kernels() -> Check:
    from deepseek_apps.cli.checks import Check  # noqa: PLC0415
    from local_backend.errors import NativeLibraryError  # noqa: PLC0415
    from local_backend.kernels.native_library import open_native  # noqa: PLC0415

    try:
        isas = open_native().isas
    except NativeLibraryError as error:
        return Check(name="cpu kernels", status="warn", detail=str(error), next_step=error.help_message)
    return Check(name="cpu kernels", status="ok", detail=f"{isas[0]}, the best of {', '.join(isas)}")


def _backend(target: _Target) -> Check:
    from deepseek_apps.cli.checks import Check  # noqa: PLC0415
    from deepseek_apps.cli.session import connect  # noqa: PLC0415

    with connect(backend=target.backend, model=target.model, base_url=target.base_url) as client:
        return Check(name="backend", status="ok", detail=client.backend.name)


def _model(target: _Target) -> Check:
    from deepseek_apps.cli.checks import Check  # noqa: PLC0415
    from deepseek_apps.cli.figures import readable_size  # noqa: PLC0415
    from deepseek_apps.cli.session import local_model_name  # noqa: PLC0415

    try:
        from local_backend.store.catalog import installed, resolve_model  # noqa: PLC0415  an optional package
    except ImportError:
        return Check(
            name="model", status="fail", detail="local_backend is incomplete", next_step=INSTALL_LOCAL
        )
    name = local_model_name(target.model)
    path = resolve_model(name)
    packed = next((item.packed_bytes for item in installed() if item.row.id == name), 0)
    detail = f"{name} at {path}, " + (
        f"packed copy {readable_size(packed)}" if packed else "packed at its first use"
    )
    return Check(name="model", status="ok", detail=detail)


def _memory(target: _Target) -> Check:
    from deepseek_apps.cli.checks import Check  # noqa: PLC0415
    from deepseek_apps.cli.figures import readable_size  # noqa: PLC0415
    from deepseek_apps.cli.models_info import memory_need  # noqa: PLC0415
    from deepseek_apps.cli.session import local_model_name  # noqa: PLC0415

    try:
        import psutil  # noqa: PLC0415  an optional package
    except ImportError:
        return Check(
            name="memory", status="skip", detail="not readable without psutil", next_step=INSTALL_LOCAL
        )
    from local_backend.store.memory import available_memory  # noqa: PLC0415

    available, total = available_memory(), psutil.virtual_memory().total
    need = memory_need(local_model_name(target.model))
    detail = (
        f"{readable_size(available)} of {readable_size(total)} available,"
        f" the local model needs about {readable_size(need)}"
    )
    if available >= need:
        return Check(name="memory", status="ok", detail=detail)
    return Check(
        name="memory",
        status="warn" if total >= need else "fail",
        detail=detail,
        next_step="Close other programs, or use a smaller model: --model starter-small",
    )


def _answer(target: _Target) -> Check:
    from deepseek_apps.answer import AnswerStream, Question  # noqa: PLC0415
    from deepseek_apps.cli.checks import Check  # noqa: PLC0415
    from deepseek_apps.cli.limits import time_limit  # noqa: PLC0415
    from deepseek_apps.cli.session import connect  # noqa: PLC0415

    question = Question(
        messages=[{"role": "user", "content": "Reply with one word: ready"}], model=target.model, max_tokens=8
    )
    with (
        time_limit(ANSWER_SECONDS),
        connect(backend=target.backend, model=target.model, base_url=target.base_url) as client,
        AnswerStream(client, question) as stream,
    ):
        text = "".join(delta.text for delta in stream)
    answer = stream.answer
    detail = f"{' '.join(text.split())!r} from {answer.backend} {answer.model} in {answer.seconds:.2f} s"
    if answer.first_token_seconds is not None:
        detail += f", first token after {answer.first_token_seconds:.2f} s"
    return Check(name="answer", status="ok", detail=detail)
