"""What every long job needs: its folder, lines on disk, log, timings and progress."""
