"""What every package may use: atomic files, clock and progress, optional libraries, formatting."""
