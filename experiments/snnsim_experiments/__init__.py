"""The ``snnsim`` command line: experiments on the project's data sets."""
