"""What is written for people: tables of runs."""
