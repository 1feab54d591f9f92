"""Methods for cine frames between ED and ES, trained and scored side by side; see README.md."""
