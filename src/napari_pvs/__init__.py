"""Segment, correct, learn and count perivascular spaces (PVS) on brain MRI."""

import os
import sys

if sys.platform == "darwin":
    # operations that Metal lacks run on the CPU; PyTorch reads it while it is imported
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

__version__ = "0.1.0"
