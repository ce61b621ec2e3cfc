"""Tables and pictures of the commands: the machine and its devices, budgets, search spaces."""
