"""Checks of a stored database, against itself: what `skydb fsck` finds, and what it mends."""
