"""What things are: volumes, cines, grids, intensities; pure functions that know their undo."""
