"""`deepseek-apps balance`: what is left on the DeepSeek account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepseek_apps.cli.options import JsonOption

if TYPE_CHECKING:
    from deepseek_apps.balance import Balance

__all__ = ["balance"]


def balance(as_json: JsonOption = False) -> None:
    """Show what is left on the account of DEEPSEEK_API_KEY."""
    from deepseek_apps.cli.render import Output  # noqa: PLC0415  lazy, as everywhere: --help stays instant

    out = Output()
    with out.waiting("asking api.deepseek.com"):
        left = fetch_balance()
    if as_json:
        out.json(balance_json(left))
        return
    rows = ((row.currency, str(row.total), str(row.topped_up), str(row.granted)) for row in left.infos)
    out.table(("currency", "left", "paid in", "granted"), rows)
    if not left.available:
        out.note("not enough for calls; top up at https://platform.deepseek.com/top_up")


def fetch_balance() -> Balance:
    """Ask the hosted API, without the openai SDK, whose import would take longer than the answer.

    Raises:
        AuthenticationError: There is no key, or a wrong one.
        BackendError: The API refused, failed or could not be reached.
    """
    import httpx2  # noqa: PLC0415  lazy, as above

    from deepseek_apps.backend_client import http_client  # noqa: PLC0415
    from deepseek_apps.backends.replies import check_status, read_json  # noqa: PLC0415
    from deepseek_apps.balance import BALANCE_PATH, balance_from_wire  # noqa: PLC0415
    from deepseek_apps.errors import from_openai_error  # noqa: PLC0415

    with http_client("hosted") as client:
        try:
            response = client.get(BALANCE_PATH)
        except httpx2.HTTPError as error:
            raise from_openai_error(error) from error
        check_status(response)
        return balance_from_wire(read_json(response))


def balance_json(left: Balance) -> dict[str, Any]:
    """Return the balance as JSON has it; amounts stay text, so that no digit is lost."""
    rows = [
        {
            "currency": row.currency,
            "total": str(row.total),
            "granted": str(row.granted),
            "topped_up": str(row.topped_up),
        }
        for row in left.infos
    ]
    return {"available": left.available, "balances": rows}
