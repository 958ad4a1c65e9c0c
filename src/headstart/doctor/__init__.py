"""What is wrong with data, and what can be done about it, before anything is trained."""
