"""Runs the real command line in a home directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """A user's home directory, in which `autosync`, `git` and `hg` are run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """What a fresh login would have."""
        kept = {
            k: os.environ[k] for k in ("PATH", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG") if k in os.environ
        }
        return {**kept, "HOME": str(self.path), "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}

    def run(self, *arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `autosync` and return how it ended, its output as text with surrogate escapes."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `autosync`; the caller ends it."""
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def argv(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "autosync", *(str(a) for a in arguments)]

    def git(self, directory: str | Path, *arguments: str) -> str:
        """Run git in a directory of this home and return what it printed."""
        identity = ("-c", "user.name=You", "-c", "user.email=you@example.org")
        done = subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.path / directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def hg(self, directory: str | Path, *arguments: str) -> str:
        """Run hg in a directory of this home and return what it printed."""
        done = subprocess.run(
            ["/usr/bin/hg", "--config", "ui.username=You <you@example.org>", *arguments],
            cwd=self.path / directory,
            env={**self.environment, "HGPLAIN": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def configured(self, text: str) -> Path:
        """Write the configuration for `--config`, readable by this user alone, and return its path."""
        self.config.write_text(text)
        self.config.chmod(0o600)
        return self.config
