"""What is written for people: tables of runs, and how far apart texts lie."""
