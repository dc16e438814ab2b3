"""Images that take the place of others: the same images as other files brought them are deleted, then ingested anew."""

from __future__ import annotations

from collections import Counter

from skydb.deletion import delete
from skydb.store.crashpoints import reached
from skydb.store.history import digests_of_images

from .job import Job
from .routing import RoutedBatch


def take_out(job: Job, batch: RoutedBatch) -> Counter[int]:
    """Delete the images of a batch that other files brought before; returns how many, by number of the new file.

    In a commit of its own: killed between it and the next, the images are gone, and the same call brings the new ones.
    """
    own = {file.number: file.digest for file in batch.files}
    brings = {
        image: summary.number for summary in batch.summaries if summary.accepted
        for image in summary.images.column("image_id").to_pylist()
    }  # fmt: skip
    there = digests_of_images(job.db.snapshot(), brings)
    old = sorted(image for image, digest in there.items() if digest != own[brings[image]])
    if old:
        delete(job.db, images=old, workers=job.executor)
        reached("replace.deleted")
    return Counter(brings[image] for image in old)
