"""How the stages run together: the graph, the flow, schedules and the command line."""
