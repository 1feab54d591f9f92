"""The methods that CRAViM is compared with; ``README.md`` beside this file lists their settings."""
