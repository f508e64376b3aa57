"""The dossier: a release folder that is written whole or not at all, signed, and checked by anybody who receives it.

`SHA256SUMS` names every file with its hash (the format of `sha256sum`), `signatures/SHA256SUMS.sig` is an Ed25519
signature over its bytes and `signatures/coordinator.pem` the public key, so that a reader without synthfed can check:

    sha256sum --check SHA256SUMS
    openssl pkeyutl -verify -pubin -inkey signatures/coordinator.pem -rawin -in SHA256SUMS -sigfile \
signatures/SHA256SUMS.sig

The signature shows that the holder of that key wrote exactly these files. Whose key it is, readers learn elsewhere (by
voice, from a web page): a forger can sign a forged folder with a key of their own. Files under `internal/` stay with
the data holder; sums and signature leave them out.
"""

from synthfed.dossier.findings import Finding, Recomputed, Verification
from synthfed.dossier.keys import coordinator_key
from synthfed.dossier.layout import SUMS
from synthfed.dossier.logs import site_logs
from synthfed.dossier.reading import read_report
from synthfed.dossier.verifying import verify_dossier
from synthfed.dossier.writing import write_dossier

__all__ = [
    "SUMS",
    "Finding",
    "Recomputed",
    "Verification",
    "coordinator_key",
    "read_report",
    "site_logs",
    "verify_dossier",
    "write_dossier",
]
