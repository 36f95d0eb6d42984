"""What is wrong with settings: pure rules over `values`."""
