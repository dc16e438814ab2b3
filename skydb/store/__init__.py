"""The store: immutable Parquet files, one SQLite catalog, snapshots."""
