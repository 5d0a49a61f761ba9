"""What time travel prints for programs: the keys and times of all commands."""

from __future__ import annotations

from autosync.cli.past import for_programs


def test_keys_are_kebab_case_and_times_iso_but_what_the_user_named_stays() -> None:
    told = {
        "at": {"snapshot": "a1", "at_ms": 1795300000250, "made_ms": 1795300000000},
        "dry_run": True,
        "refused": {"my_file.txt": "busy"},
        "taken_back": {"lap_top": 2},
        "changes": [{"path": "a_b", "old_path": None}],
    }
    assert for_programs(told) == {
        "at": {"snapshot": "a1", "at": "2026-11-21T22:26:40.250+00:00", "made": "2026-11-21T22:26:40.000+00:00"},
        "dry-run": True,
        "refused": {"my_file.txt": "busy"},
        "taken-back": {"lap_top": 2},
        "changes": [{"path": "a_b", "old-path": None}],
    }


def test_a_time_that_no_calendar_has_is_no_obstacle() -> None:
    assert for_programs({"made_ms": 10**18})["made"].endswith("+00:00")
