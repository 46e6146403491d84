"""PushT, a benchmark that nobody here wrote, behind a process boundary: environment, expert, and how it is told."""
