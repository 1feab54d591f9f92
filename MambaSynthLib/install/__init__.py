"""What comes from outside: model packages, and files from their public home."""
