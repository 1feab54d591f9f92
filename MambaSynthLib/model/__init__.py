"""Model packages: the parsed card, its files, where packages are found."""
