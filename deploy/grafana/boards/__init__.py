"""The dashboards, one a file, and the pieces they are made of."""
