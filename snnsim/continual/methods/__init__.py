"""Methods of continual learning, one file each; the folder is the registry."""
