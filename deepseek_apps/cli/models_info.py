"""`deepseek-apps models info`: how large a model is, what its cache takes, and whether it fits here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepseek_apps.cli.options import CacheDtypeOption, JsonOption, QuantizationOption

if TYPE_CHECKING:
    from local_backend.config import EngineConfig
    from local_backend.model_report import ModelReport
    from local_backend.store.catalog import InstalledModel

__all__ = ["info", "memory_need", "model_summary", "report_json"]

# Before a model is packed or even here: packed weights are a little larger than a Q4_K_M file, whose Q6_K
# matrices become int8; Python, torch and working buffers come on top.
PACKED_RATIO = 1.3
OVERHEAD_BYTES = 500_000_000


def _complete_target(incomplete: str) -> list[tuple[str, str]]:
    from local_backend.store.catalog import catalogue  # noqa: PLC0415  lazy: only the shell asks for this
    from local_backend.store.published import published_shapes  # noqa: PLC0415

    names = {row.id: row.title for row in catalogue()} | {row.id: row.title for row in published_shapes()}
    return [(name, title) for name, title in names.items() if name.startswith(incomplete)]


def info(
    name: Annotated[
        str,
        typer.Argument(
            help="Model id, checkpoint folder, config.json or .gguf file, or a published shape, such as"
            " deepseek-v2.",
            autocompletion=_complete_target,
        ),
    ] = "starter",
    *,
    experts: Annotated[
        bool,
        typer.Option(
            "--experts", help="Also load the model, read a bilingual text, and count the tokens per expert."
        ),
    ] = False,
    text: Annotated[
        Path | None, typer.Option("--text", help="Read this file instead; implies --experts.")
    ] = None,
    quantization: QuantizationOption = None,
    cache_dtype: CacheDtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's parameters, its cache, the memory it needs per type, and whether it fits here."""
    from deepseek_apps.cli.experts import expert_use, expert_use_json, show_expert_use  # noqa: PLC0415  lazy
    from deepseek_apps.cli.model_view import show_fields, show_report  # noqa: PLC0415
    from deepseek_apps.cli.render import Output  # noqa: PLC0415
    from deepseek_apps.cli.session import engine_config  # noqa: PLC0415

    out = Output()
    config = engine_config(quantization=quantization, cache_dtype=cache_dtype)
    model = _installed(name)
    report = _report(name, config) if model is None or model.state == "present" else None
    details = {} if model is None else _catalogue_details(model, report)
    use = expert_use(name, text, config, out) if experts or text is not None else None
    if as_json:
        details |= {} if report is None else report_json(report)
        out.json(details | ({} if use is None else {"expert_use": expert_use_json(use)}))
        return
    show_fields(out, details)
    if report is not None:
        show_report(out, report)
    if use is not None:
        show_expert_use(out, use)


def model_summary(model: InstalledModel) -> dict[str, Any]:
    """Return what `models list --json` says of a catalogue model."""
    return {
        "id": model.row.id,
        "title": model.row.title,
        "quantization": model.row.quantization,
        "bytes": model.row.bytes,
        "context": model.row.context,
        "languages": list(model.row.languages),
        "licence": model.row.licence,
        "state": model.state,
        "bytes_on_disk": model.bytes_on_disk,
        "packed_bytes": model.packed_bytes,
    }


def report_json(report: ModelReport) -> dict[str, Any]:
    """Return a report for programs: sizes in bytes, fractions from 0 to 1."""
    config, plan = report.config, report.plan
    return {
        "name": report.name,
        "kind": report.kind,
        "source": report.source,
        "architecture": config.model_type,
        "layers": config.num_hidden_layers,
        "prediction_modules": config.num_nextn_predict_layers,
        "hidden_size": config.hidden_size,
        "context": config.max_position_embeddings,
        "parameters": asdict(report.parameters),
        "cache": {
            "numbers_per_token": report.cache.kept,
            "multi_head_numbers_per_token": report.cache.multi_head,
            "deepseek_67b_numbers_per_token": report.rival_numbers,
            "types": [asdict(row) for row in report.cache_rows],
            "smaller_than_deepseek_67b": None if report.claim is None else asdict(report.claim),
        },
        "memory": [asdict(row) for row in report.memory],
        "memory_bytes": plan.weight_bytes + plan.pinned_bytes,
        "plan": {
            **asdict(plan),
            "needed_bytes": plan.needed_bytes,
            "fits": plan.fits,
            "description": plan.describe(),
        },
        "unused": list(report.unused),
        "problems": list(report.problems),
    }


def memory_need(name: str) -> int:
    """Return the memory in bytes that answering with a short context (4K) takes, roughly before a pull.

    Raises:
        LocalBackendError: There is no such model, or it cannot be read.
    """
    from deepseek_apps.cli.session import engine_config  # noqa: PLC0415  lazy, as above

    model = _installed(name)
    if model is not None and model.state != "present":
        return _estimate(model)
    plan = _report(name, engine_config()).plan
    return plan.weight_bytes + plan.pinned_bytes


def _estimate(model: InstalledModel) -> int:
    return int(model.row.bytes * PACKED_RATIO) + OVERHEAD_BYTES


def _report(name: str, config: EngineConfig) -> ModelReport:
    from deepseek_apps.backends.local import require_local_extras  # noqa: PLC0415  lazy, as above

    require_local_extras()
    from local_backend.model_report import report_model  # noqa: PLC0415  an optional package

    return report_model(name, config)


def _installed(name: str) -> InstalledModel | None:
    from local_backend.store.catalog import installed  # noqa: PLC0415  an optional package

    return next((model for model in installed() if model.row.id == name), None)


def _catalogue_details(model: InstalledModel, report: ModelReport | None) -> dict[str, Any]:
    row = model.row
    need = _estimate(model) if report is None else report.plan.weight_bytes + report.plan.pinned_bytes
    return model_summary(model) | {
        "path": str(model.path),
        "sha256": row.sha256,
        "hub_repo": row.hub_repo,
        "as_of": str(row.date),
        "memory_bytes": need,
    }
