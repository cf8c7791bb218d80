"""Pages from templates: everything is escaped, whatever a name holds."""

from functools import cache
from typing import TYPE_CHECKING, Any

import napari_pvs
from napari_pvs.errors import plain

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("napari_pvs.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_spelled_out,
    )


def _spelled_out(value: Any) -> Any:
    """Spell out control characters, and bytes of names that are no UTF-8; markup stays."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def render(template: str, **values: Any) -> str:
    """Fill a template of ``report/templates``; the version is known to all."""
    return _environment().get_template(template).render(version=napari_pvs.__version__, **values)
