"""`python -m pipelines`: the command line, from the working folder's own code."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
