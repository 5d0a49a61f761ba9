"""What a killed process left of its coverage data does not spoil everybody else's."""

from __future__ import annotations

from pathlib import Path

from coverage import CoverageData

from tests.half_written import remove_half_written


def test_what_cannot_be_combined_goes_and_is_named(tmp_path: Path) -> None:
    whole = tmp_path / ".coverage.whole"
    data = CoverageData(str(whole))
    data.add_arcs({f"module_{n}.py": {(-1, 1), (1, -1)} for n in range(50)})
    data.write()
    data.close()
    content = whole.read_bytes()
    (tmp_path / ".coverage.begun").write_bytes(b"")
    (tmp_path / ".coverage.half").write_bytes(content[: len(content) // 2])
    (tmp_path / ".coverage.torn").write_bytes(content[:8192] + bytes(len(content) - 8192))
    said = remove_half_written(tmp_path)
    assert [line.partition(" ")[0] for line in said] == [".coverage.begun", ".coverage.half", ".coverage.torn"]
    assert [path.name for path in tmp_path.iterdir()] == [whole.name]
