"""The group ``popups:`` of the configuration."""

from __future__ import annotations

import pytest

from autosync.config import Popups, Urgency, parse
from autosync.errors import ConfigError


def popups(text: str) -> Popups | None:
    return parse(text, "/c", {"HOME": "/home/you"}).popups


def test_each_kind_has_its_urgency_and_the_night_is_quiet() -> None:
    assert popups("device: x") == Popups()
    assert popups("popups: none") is None
    written = popups('popups: {arrived: none, halt: critical, quiet-hours: "22:30 - 7:05", lost-after: 1h}')
    assert written == Popups(
        arrived=Urgency.NONE, halt=Urgency.CRITICAL, quiet_hours=(22 * 60 + 30, 7 * 60 + 5), lost_after=3600
    )
    assert popups("popups: {quiet-hours: none}") == Popups()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "popups: loud",
            "popups: must be a group of kinds, or none\n  For example {arrived: low}; a kind has one of the levels "
            "none, low, normal, critical. No popups at all: `popups: none`",
        ),
        ("popups: {arrived: loud}", "popups.arrived: must be one of: none, low, normal, critical"),
        ("popups: {arived: low}", 'popups.arived: unknown key\n  Did you mean "arrived"?'),
        ("popups: {quiet-hours: 22-7}", "popups.quiet-hours: is no span of hours"),
        ('popups: {quiet-hours: "24:00-07:00"}', "popups.quiet-hours: is no span of hours"),
        ('popups: {quiet-hours: "22:00-22:00"}', "popups.quiet-hours: begins when it ends"),
        ("popups: {lost-after: 0}", "popups.lost-after: must be between 1 and 86400 seconds"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        popups(text)
    assert told in str(caught.value)
