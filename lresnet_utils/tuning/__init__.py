"""Choosing a build by measurement: the graph, the way of running it, and what is quantised."""
