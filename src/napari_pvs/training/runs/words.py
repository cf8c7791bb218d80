"""What a run says in words: its events that a user reads as sentences."""

from napari_pvs.training.runs.events import Kind, Values


def sentence(kind: Kind, event: Values) -> str:
    """Return what an event says; empty for kinds that have no sentence here.

    Examples
    --------
    >>> sentence("unlabelled", {"before_mm3": 800.0, "after_mm3": 1000.0, "scans": 12})
    'In 12 unlabelled scans 1,000 mm³ of PVS are found on average, 800 before (+25 %).'
    >>> sentence("compared", {"dsc": 0.6, "twin": 0.62, "kept": "twin", "method": "m2ss"})[:47]
    'The supervised twin is better on the validation'
    """
    match kind:
        case "unlabelled":
            return _unlabelled(event)
        case "compared":
            return _compared(event)
        case "agreement":
            return _agreement(event)
        case "pseudo_labels":
            return (
                f"pseudo-labels: {event['pvs_voxels']:,} PVS voxels to learn from in "
                f"{_scans(event['scans'])}"
            )
        case _:
            return ""


def _scans(number: int) -> str:
    return f"{number} scan{'s' * (number != 1)}"


def _unlabelled(event: Values) -> str:
    before, now, scans = event["before_mm3"], event["after_mm3"], event["scans"]
    share = f" ({100 * (now - before) / before:+.0f} %)" if before else ""
    average = " on average" if scans != 1 else ""
    return (
        f"In {scans} unlabelled scan{'s' * (scans != 1)} {now:,.0f} mm³ of PVS are found{average}, "
        f"{before:,.0f} before{share}."
    )


def _compared(event: Values) -> str:
    own, twin, method = event["dsc"] or 0.0, event["twin"], event["method"]
    figures = f"(DSC {twin:.3f}, {method} {own:.3f})"
    if event["kept"] == "twin":
        return (
            f"The supervised twin is better on the validation subjects {figures}: the unlabelled "
            "scans did not help, and its weights are kept."
        )
    return f"The supervised twin is not better on the validation subjects {figures}."


def _agreement(event: Values) -> str:
    found = event["recall"]
    share = "" if found is None else f", {100 * found:.0f} % of their sure PVS found"
    return (
        f"epoch {event['epoch']}: DSC {event['dsc'] or 0.0:.3f} with the voxels that the start "
        f"weights were sure of{share}"
    )
