"""Rows of tables that a database declares for itself: read, tied to their objects, stored."""
