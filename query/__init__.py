"""Questions and answers: SQL over one snapshot, regions, results."""
