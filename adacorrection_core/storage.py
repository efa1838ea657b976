"""Where the anchors of a run are kept: on the device, or in RAM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .anchors import Anchor, AnchorHistory

ROUGHLY = 1.05  # an estimate may be off by so much


@dataclass
class Storage:
    """Where the anchors of a run are kept.

    Attributes:
        is_offloaded: whether all of them wait in RAM.
        room: bytes on the device that the host leaves free for them; None where nobody counts.
        has_spilled: whether some wait in RAM for want of room.
    """

    is_offloaded: bool = False
    room: int | None = None
    has_spilled: bool = False

    def place(self, anchor: Anchor, history: AnchorHistory, histories: Iterable[AnchorHistory]) -> Anchor:
        """An anchor where it is to be kept.

        Branches that nothing has announced, as guidance of another pack may have them, take no memory that
        the host counts as free.

        Args:
            anchor: to be pushed.
            history: of its branch.
            histories: of all branches.
        """
        if self.is_offloaded:
            return anchor.in_ram()
        if self.room is None or not anchor.bytes_on_device:
            return anchor
        others = sum(other.bytes_on_device for other in histories if other is not history)
        if others + history.bytes_on_device_with(anchor) <= ROUGHLY * self.room:
            return anchor
        self.has_spilled = True
        return anchor.in_ram()
