"""Networks in files of the Neuromorphic Intermediate Representation: ``snnsim nir``."""
