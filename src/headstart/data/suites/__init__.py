"""Official layouts of public data sets."""
