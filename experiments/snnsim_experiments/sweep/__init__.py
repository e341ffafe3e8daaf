"""Many trainings: the cells of a grid as a queue in a folder, for any number of workers."""
