"""How `models info` shows a report to people: fields, tables and bars that fit 60 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepseek_apps.cli.figures import Bar, bar_lines, readable_size

if TYPE_CHECKING:
    from deepseek_apps.cli.render import Output
    from local_backend.model_report import ModelReport
    from local_backend.store.cache_report import CacheClaim

__all__ = ["show_fields", "show_report"]

LABELS = {
    "bytes": "size",
    "bytes_on_disk": "on disk",
    "packed_bytes": "packed copy",
    "memory_bytes": "memory",
}
KINDS = {"checkpoint": "checkpoint", "config": "config alone, no weights", "published": "published shape"}


def show_fields(out: Output, details: Mapping[str, Any]) -> None:
    """Print what the catalogue says of a model; nothing for a model that is not in it."""
    if details:
        out.fields((LABELS.get(key, key.replace("_", " ")), _text(key, details[key])) for key in details)


def show_report(out: Output, report: ModelReport) -> None:
    """Print a report: the model, its cache, memory, and what is wrong with its files."""
    _show_model(out, report)
    _show_cache(out, report)
    _show_memory(out, report)
    for title, lines in (("not used", report.unused), ("problems", report.problems)):
        if lines:
            out.heading(title)
            out.fields((str(number), line) for number, line in enumerate(lines, 1))


def _show_model(out: Output, report: ModelReport) -> None:
    config, count = report.config, report.parameters
    active = f", {_billions(count.active)} active per token" if config.moe is not None else ""
    attention = "latent" if config.mla is not None else "grouped-query"
    if config.mla is None and config.num_key_value_heads == config.num_attention_heads:
        attention = "multi-head"
    module = ", multi-token prediction" if config.num_nextn_predict_layers else ""
    out.heading(report.name)
    out.fields(
        (
            ("what", KINDS[report.kind]),
            ("source", report.source),
            (
                "architecture",
                f"{config.model_type}, {config.num_hidden_layers} layers, {attention} attention{module}",
            ),
            ("parameters", f"{_billions(count.total)}{active}"),
            ("context", f"{config.max_position_embeddings:,} tokens"),
        )
    )


def _show_cache(out: Output, report: ModelReport) -> None:
    out.heading(f"cache: {report.cache.kept:,} numbers per token")
    out.table(
        ("type", "bits", "per token", "full context"),
        (
            (
                row.dtype,
                f"{row.bits_per_number:.2f}",
                _kilobytes(row.bytes_per_token),
                readable_size(row.bytes_at_full_context),
            )
            for row in report.cache_rows
        ),
    )
    out.heading("cache per token, compared")
    for line in bar_lines(_cache_bars(report), width=out.width, blocks=out.has_blocks):
        out.text(line)
    if report.claim is not None:
        out.heading("against DeepSeek 67B's cache")
        out.fields(_claim_lines(report, report.claim))


def _cache_bars(report: ModelReport) -> list[Bar]:
    """Everyone in 16 bits first, then what this model can be kept in."""
    numbers = {
        "multi-head, 16 bits": report.cache.multi_head,
        "DeepSeek 67B, 16 bits": report.rival_numbers,
        "this, 16 bits": report.cache.kept,
    }
    sizes = {label: 2 * count for label, count in numbers.items()}
    sizes |= {
        f"this, {row.dtype}": row.bytes_per_token
        for row in report.cache_rows
        if row.dtype in ("int8", "int6")
    }
    return [(label, size, _kilobytes(size)) for label, size in sizes.items()]


def _claim_lines(report: ModelReport, claim: CacheClaim) -> list[tuple[str, str]]:
    six = next((row for row in report.cache_rows if row.dtype == "int6"), None)
    lines = [
        (
            _percent(claim.equal_precision),
            f"at equal precision: {report.cache.kept:,} numbers per token against {report.rival_numbers:,}",
        ),
        (_percent(claim.paper_bits), "with 6 bits a number, as the DeepSeek-V2 paper counts, against 16"),
    ]
    if six is not None and claim.int6 is not None:
        what = f"as int6 is stored here: {six.bits_per_number:.2f} bits a number, scales included"
        lines.append((_percent(claim.int6), what))
    return lines


def _show_memory(out: Output, report: ModelReport) -> None:
    plan = report.plan
    out.heading(f"memory: {readable_size(plan.available_bytes)} available here")
    out.table(
        ("weights", "bits", "size", "in all", "fits"),
        (
            (
                row.dtype,
                f"{row.bits_per_weight:.2f}",
                readable_size(row.weight_bytes),
                readable_size(row.needed_bytes),
                "yes" if row.fits else "no",
            )
            for row in report.memory
        ),
    )
    out.fields(
        (
            ("in all", f"with {readable_size(plan.cache_bytes)} of cache for all requests, and buffers"),
            ("loading now" if report.kind == "checkpoint" else "if loaded now", plan.describe()),
        )
    )


def _kilobytes(count: int) -> str:
    return f"{count / 1e3:,.1f} kB" if count < 1e5 else f"{count / 1e3:,.0f} kB"


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count:,}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} % smaller"


def _text(key: str, value: object) -> str:
    if key == "memory_bytes":
        return f"about {readable_size(float(str(value)))} at a 4K context"
    if key == "bytes" or key.endswith("_bytes") or key == "bytes_on_disk":
        return readable_size(float(str(value))) if value else "none"
    if key == "context":
        return f"{value} tokens"
    return ", ".join(value) if isinstance(value, list) else str(value)
