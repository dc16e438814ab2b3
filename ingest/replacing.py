"""Images that take the place of others: the same images as other files brought them are deleted, then ingested anew."""

from __future__ import annotations

from collections import Counter

from skydb.deletion import delete
from skydb.store.crashpoints import reached
from skydb.store.history import digests_of_images

from .job import Job
from .known import Staying
from .routing import RoutedBatch
from .storing import base_of


def take_out(job: Job, batch: RoutedBatch, staying: Staying) -> Counter[int]:
    """Delete the images that a batch's files bring anew, if they are accepted; returns how many, by number of the file.

    In a commit of its own: killed between it and the next, the images are gone, and the same call brings the new ones.

    Parameters
    ----------
    job, batch
        The call, and its files as they were read.
    staying
        Which images are not replaced.

    Raises
    ------
    BusyError, UsageError
        The batch could not be stored: nothing is deleted.
    """
    base = base_of(job, batch, replacing=staying)
    base.images.rules()
    brings = dict(zip(base.images.ids.tolist(), base.images.file.tolist(), strict=True))
    old = sorted(digests_of_images(base.snapshot, brings))
    if old:
        delete(job.db, images=old, workers=job.executor)
        reached("replace.deleted")
    return Counter(brings[image] for image in old)
