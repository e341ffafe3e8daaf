"""``snnsim continual``: methods against forgetting on streams of tasks."""
