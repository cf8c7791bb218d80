"""What a user can choose about scans; configurations read it without loading numpy."""

from typing import Literal

Register = Literal["auto", "off"]
REGISTER: Register = "auto"
"""Whether a T2 that does not lie on its T1 is registered, unless somebody says."""
