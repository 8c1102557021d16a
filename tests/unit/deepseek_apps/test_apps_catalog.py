"""The facts about hosted models are complete, dated and consistent."""

from __future__ import annotations

import pytest

from deepseek_apps import SettingsError
from deepseek_apps.catalog import canonical_name, catalogue, prices


def test_the_default_and_every_alias_lead_to_a_model_of_today() -> None:
    facts = catalogue()
    targets = {facts.default_model, *facts.aliases.values(), *(row.model for row in facts.retired.values())}
    assert targets <= set(facts.models)


def test_aliases_become_todays_names_and_unknown_names_pass() -> None:
    assert canonical_name("deepseek-v4-flash") == "deepseek-flash"
    assert canonical_name("deepseek-v4-pro") == "deepseek-v4-pro"
    assert canonical_name("my-model") == "my-model"


@pytest.mark.parametrize(
    ("name", "thinking"), [("deepseek-chat", "disabled"), ("deepseek-reasoner", "enabled")]
)
def test_retired_names_are_refused_with_their_replacement(name: str, thinking: str) -> None:
    with pytest.raises(SettingsError, match="2026-07-24") as caught:
        canonical_name(name)
    assert "deepseek-flash" in caught.value.help_message
    assert f'"type": "{thinking}"' in caught.value.help_message


def test_every_model_has_a_price_in_both_currencies_and_peak_costs_more() -> None:
    rows = prices()
    assert {(row.model, row.currency) for row in rows} == {
        (model, currency) for model in catalogue().models for currency in ("USD", "CNY")
    }
    assert all(0 < row.off_peak.hit < row.off_peak.miss < row.off_peak.output for row in rows)
    assert all(row.peak.output > row.off_peak.output for row in rows)
