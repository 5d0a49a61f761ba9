"""What all links of a device share of its lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from autosync.link.allotment import Allotment
from autosync.link.flow import Flow
from autosync.link.transfers import Transfers


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How fast answers go out (``upload``) and come in (``download``), how many, and which."""

    upload: Flow = field(default_factory=Flow)
    download: Flow = field(default_factory=Flow)
    allotment: Allotment = field(default_factory=Allotment)
    transfers: Transfers = field(default_factory=Transfers)
