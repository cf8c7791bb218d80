"""Read images whose bytes were changed; count those that end neither in a volume nor in a sentence.

    python benchmarks/reliability/mutated_images.py --images 2000 --seed 0

Each image is a small NIfTI-1, NIfTI-2 or MGH file, plain or compressed, with changes in its header,
its voxels, its length or its gzip stream. Read in a process that may take 1 GB beyond its start.
"""

import argparse
import gzip
import resource
import struct
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np

NUMBERS = (0, 1, 2, 255, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62)
FLOATS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), 352.0, 1e9, -352.0)


def sound(rng: np.random.Generator) -> tuple[str, bytes]:
    """Return the name and content, not yet compressed, of an image that can be read."""
    shape = tuple(int(n) for n in rng.integers(3, 14, 3))
    data = rng.normal(100, 30, shape).astype(rng.choice(["u1", "i1", "i2", "f4", "f8"]))
    affine = np.diag([*rng.uniform(0.4, 2, 3), 1.0])
    kind, name = [
        (nib.Nifti1Image, "a.nii"),
        (nib.Nifti1Image, "a.nii.gz"),
        (nib.Nifti2Image, "a.nii.gz"),
        (nib.MGHImage, "a.mgz"),
        (nib.MGHImage, "a.mgh"),
    ][rng.integers(5)]
    if kind is nib.MGHImage:
        data = data.astype("f4")
    return name, kind(data, affine).to_bytes()


def mutated(rng: np.random.Generator) -> tuple[str, bytes]:
    """Return the name and content of an image with one to four changes."""
    name, content = sound(rng)
    whole = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, min(len(whole), 560)))
        match rng.integers(7):
            case 0:
                whole[at] ^= 1 << int(rng.integers(8))
            case 1:
                whole[at : at + 2] = rng.bytes(2)
            case 2:  # a size
                order = rng.choice(["<", ">"])
                size = rng.choice(["h", "i", "q"])
                bits = 8 * struct.calcsize(size)
                value = NUMBERS[rng.integers(len(NUMBERS))] % 2 ** (bits - 1)
                field = struct.pack(order + size, value)
                whole[at : at + len(field)] = field
            case 3:  # a length
                field = struct.pack("<f", FLOATS[rng.integers(len(FLOATS))])
                whole[at : at + 4] = field
            case 4:
                del whole[int(rng.integers(1, len(whole))) :]
            case 5:
                whole += rng.bytes(int(rng.integers(1, 20000)))
            case _:
                at = int(rng.integers(0, len(whole)))
                whole[at : at + 8] = rng.bytes(8)
        if not whole:
            break
    out = bytes(whole)
    if name.endswith("z"):
        out = gzip.compress(out, mtime=0)
        if rng.random() < 0.2:
            packed = bytearray(out)
            packed[int(rng.integers(len(packed)))] ^= 0xFF
            out = bytes(packed)
    return name, out


def tried(folder: Path, rng: np.random.Generator) -> tuple[str, float]:
    """Read a mutated image; return how it ended and the seconds that it took."""
    from napari_pvs.errors import InputError
    from napari_pvs.scans.nifti import read_labels, read_volume

    name, content = mutated(rng)
    path = folder / name
    path.write_bytes(content)
    begun = time.monotonic()
    ended = "a volume"
    for read in (read_volume, read_labels):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
        except InputError as error:
            ended = "a sentence" if "\n" not in str(error) else "several lines"
        except BaseException as error:
            ended = f"{type(error).__name__}: {str(error)[:80]}"
            kept = folder / f"kept-{time.monotonic_ns()}-{name}"
            kept.write_bytes(content)
            print(f"{ended}: {kept}", flush=True)
            break
    path.unlink()
    return ended, time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mutated-"))
    rng = np.random.default_rng(arguments.seed)
    tried(folder, rng)  # what is imported does not count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(arguments.images):
        ended, seconds = tried(folder, rng)
        ends[ended] += 1
        slowest = max(slowest, seconds)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{arguments.images} mutated images: {dict(ends.most_common())}")
    print(f"slowest {slowest:.2f} s, at most {more:.0f} MB beyond the start")
    bad = sum(n for end, n in ends.items() if end not in ("a volume", "a sentence"))
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
