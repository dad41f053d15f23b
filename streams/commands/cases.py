"""`payout explain` and `payout trace`: one person's whole case, and one order's way from the registries to the bank."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connectors.store.queries import Queries
    from connectors.store.sessions import OrderRow

_ORDER = re.compile(r"([A-Z2-7]{26})(-\d{1,4})?")


def find_order(queries: Queries, text: str) -> OrderRow | None:
    """The order of an order id or an end-to-end id, in capital or small letters; None where there is none."""
    found = _ORDER.fullmatch(text.strip().upper())
    if found is None:
        return None
    try:
        return queries.order(base64.b32decode(found[1] + "======"))
    except binascii.Error:
        return None
