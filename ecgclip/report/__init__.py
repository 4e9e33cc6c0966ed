"""What is written for people: tables and pictures about an experiment."""
