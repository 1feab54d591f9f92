"""The engine as a child process that speaks JSON lines."""
