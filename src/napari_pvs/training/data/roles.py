"""Who learns and who judges in a run: labelled subjects or, where there are none, all scans."""

from collections.abc import Mapping, Sequence

from napari_pvs.errors import InputError
from napari_pvs.study.bids import StudySubject
from napari_pvs.study.roles import Role, Split, split, split_without_labels
from napari_pvs.training.config import TrainingConfig


def adapts_without_labels(config: TrainingConfig, subjects: Sequence[StudySubject]) -> bool:
    """Whether a run adapts weights to scans of which none is labelled."""
    unlabelled = all(subject.label is None for subject in subjects)
    return unlabelled and config.semi_supervised and config.weights is not None


def roles_of(
    config: TrainingConfig, subjects: Sequence[StudySubject], known: Mapping[str, Role]
) -> Split:
    """Give the subjects of a study the roles that a run would give them; nothing is recorded.

    Parameters
    ----------
    config
        Of the run.
    subjects
        All subjects of the study.
    known
        Roles that persons have had.

    Returns
    -------
    Roles; nobody trains in a run that adapts without labels.

    Raises
    ------
    InputError
        As `split`; or persons are named for a role and none is labelled.
    """
    named = (*config.validation, *config.test)
    if adapts_without_labels(config, subjects):
        if named:
            raise InputError(
                f"{named[0]} is named to judge a run, and no scan of {config.study} is labelled; "
                "label it, or name nobody."
            )
        return split_without_labels(subjects, config.seed, known)
    if subjects and all(subject.label is None for subject in subjects):
        raise InputError(
            f"no subject has a label under {config.study / 'derivatives' / 'labels'}; label at "
            "least two, or adapt the starter weights without labels (recipe adapt, method m2ss)."
        )
    return split(subjects, config.validation, config.test, config.seed, known)
