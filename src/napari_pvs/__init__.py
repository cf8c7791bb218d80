"""Segment, correct, learn and count perivascular spaces (PVS) on brain MRI."""

import os
import sys

import lazy_loader

if sys.platform == "darwin":
    # operations that Metal lacks run on the CPU; PyTorch reads it while it is imported
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
