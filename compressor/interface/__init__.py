"""What the Python interface takes and shows: models and samples that are held in memory, progress, typed keywords."""
