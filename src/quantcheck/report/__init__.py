"""Reports: cells in, one view model out, rendered for a terminal or as Markdown."""
