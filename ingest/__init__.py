"""Data in: readers, association, addstar."""
