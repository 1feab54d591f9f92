"""Model packages from checkpoints, folders and zip files."""
