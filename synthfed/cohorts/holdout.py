"""Who is held out: decided by a keyed hash of one patient's id, before anything else looks at the rows.

A patient is held out iff HMAC-SHA256(site's split key, patient id) falls below the fraction. So no patient's presence
moves another between the halves, scoring the hold-out costs the training patients nothing (parallel composition), and
an outsider without the key cannot tell who was held out.
"""

import hmac
from functools import lru_cache

import numpy as np
import pandas as pd

from synthfed.cohorts.drawing import Mask


def is_held_out(patient_id: str, *, key: bytes, site: str, fraction: float) -> bool:
    """Whether a patient belongs to the site's hold-out; depends on nothing but the arguments."""
    digest = hmac.digest(_site_key(key, site), patient_id.encode(), "sha256")
    return int.from_bytes(digest[:8], "big") < fraction * 2.0**64


def held_out(table: pd.DataFrame, identity: str | None, key: bytes, site: str, fraction: float) -> Mask:
    """The hold-out as a mask; without ids a row's number stands for the patient."""
    with_ids = identity is not None and identity in table.columns
    names = table[identity].astype(str) if with_ids else [f"row {i}" for i in range(len(table))]
    return np.array([is_held_out(name, key=key, site=site, fraction=fraction) for name in names], dtype=bool)


@lru_cache(maxsize=64)
def _site_key(key: bytes, site: str) -> bytes:
    return hmac.digest(key, f"site:{site}".encode(), "sha256")
