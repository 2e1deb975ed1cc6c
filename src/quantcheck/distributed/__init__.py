"""An experiment on the nodes of a Ray cluster: `quantcheck run X --on ray`. Nothing else of quantcheck imports Ray."""
